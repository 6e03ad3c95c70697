//! What a peer can say wrong of the streams of a call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mmap_rpc::internals::peer::{
    CREDIT, ClientOffer, END, Frame, HEADERS, MESSAGE, MORE, Peer, RawEntry, STREAM,
};
use mmap_rpc::{Channel, ServerBuilder};
use testkit::interop;
use testkit::interop::proto::TestServiceServer;
use tokio::runtime::{Builder, Runtime};

use crate::attacks::{Attack, attack};
use crate::server::{is_given_up, visit};
use crate::watch::{
    METHODS, SOON, Site, alone, clear_log, failing_call, holdings, logged, nothing_left_since,
};
use crate::{strike_server, two_mib};

/// Numbers of the service's methods, and of the site's own behind them.
const OUTPUT: u32 = 2;
const DUPLEX: u32 = 4;
const ECHO: u32 = 6;

const DUPLEX_NAME: &str = "/grpc.testing.TestService/FullDuplexCall";
const OUTPUT_NAME: &str = "/grpc.testing.TestService/StreamingOutputCall";

const WINDOW: u32 = 1000;

fn serving(runtime: &Runtime) -> impl FnOnce(ServerBuilder) -> ServerBuilder {
    let handle = runtime.handle().clone();
    move |builder| {
        let service = Arc::new(interop::Service::default());
        builder.runtime(handle).stream_window(WINDOW).service(TestServiceServer::from_arc(service))
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A request for one response, an hour later: its handler reads no other one meanwhile.
const SLEEPY: &[u8] = &[0x12, 8, 0x08, 1, 0x10, 0xff, 0xff, 0xff, 0xff, 0x07];

fn open(call_id: u32) -> RawEntry {
    RawEntry::request(call_id, DUPLEX).flags(STREAM | MORE)
}

fn message(call_id: u32) -> RawEntry {
    RawEntry::of_stream(MESSAGE, call_id, 0)
}

/// What a client may not push, by the words that name it.
fn of_a_client() -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut say = |name, entries: Vec<RawEntry>, words| {
        attacks.push(attack(name, words, move |peer: &mut Peer| {
            entries.into_iter().for_each(|entry| peer.push(entry));
        }));
    };
    let (end, credit) = (RawEntry::of_stream(END, 1, 0), |bytes| RawEntry::of_stream(CREDIT, 1, bytes));
    let mut beyond = vec![open(1), message(1).bytes(SLEEPY)];
    beyond.extend([message(1).inline(90); 10]);
    say("beyond the credit", beyond, &["a message beyond the credit of its stream", "stream_window is 1000"]);
    say(
        "credit for nothing",
        vec![open(1), credit(1)],
        &["credit of 1 bytes lifts a stream above", "(1000)"],
    );
    say("credit beyond all", vec![open(1), credit(u32::MAX)], &["credit of 4294967295 bytes lifts a stream"]);
    say("no credit", vec![open(1), credit(0)], &["bad ring entry", "a credit of zero"]);
    say("after the end", vec![open(1), end, message(1)], &["a message after the end of its stream"]);
    say("two ends", vec![open(1), end, end], &["a second end of a stream"]);
    let one = RawEntry::request(1, OUTPUT).flags(STREAM);
    say("a second request", vec![one, message(1)], &["a message after the end of its stream"]);
    say("end of one request", vec![one, end], &["a second end of a stream"]);
    say("to a unary call", vec![RawEntry::request(1, ECHO), message(1)], &["of a stream that there is not"]);
    say("to no call", vec![message(1)], &["of a stream that there is not"]);
    say("to a call to come", vec![open(1), message(0x0001_0001)], &["of a stream that there is not"]);
    say("beyond all calls", vec![message(u32::MAX)], &["of a stream that there is not"]);
    say("message and more", vec![open(1).inline(5)], &["a message, and others follow"]);
    say("more of nothing", vec![RawEntry::request(1, ECHO).flags(MORE)], &["follow a call without streams"]);
    say("headers", vec![open(1), RawEntry::of_stream(HEADERS, 1, 0)], &["a client sends neither replies"]);
    say("end with a message", vec![open(1), end.inline(3)], &["message with a kind that has none"]);
    say("message as a fill", vec![open(1), message(1).slot(64, 0, 8).fill(0, 0)], &["unknown flags"]);
    say("message with metadata", vec![open(1), message(1).inline(9).metadata(4)], &["a kind that has none"]);
    let no_metadata = RawEntry::request(1, ECHO).bytes(&[0xff; 9]).metadata(9);
    say("no metadata", vec![no_metadata], &["bad control message", "Metadata"]);
    let bad_key = RawEntry::request(1, ECHO).bytes(&[0x0a, 6, 0x0a, 1, b'A', 0x12, 1, b'x']).metadata(8);
    say("a key that is none", vec![bad_key], &["Metadata has the key", "is not of lower-case letters"]);
    attacks.push(attack("message in a slot, and more", &["a message, and others follow"], |peer| {
        two_mib(peer, 1, 256);
        peer.push(open(1).slot(256, 0, 100));
    }));
    attacks.push(attack("long metadata", &["more than the agreed max_metadata_size (100)"], |peer| {
        two_mib(peer, 1, 256);
        peer.push(RawEntry::request(1, ECHO).slot(256, 0, 1000).metadata(101));
    }));
    attacks
}

#[test]
fn a_client_that_misuses_its_streams_is_cut_off_by_name() {
    let _alone = alone();
    let runtime = runtime();
    let site = Site::with(|builder| serving(&runtime)(builder).max_metadata_size(100));
    let before = holdings();
    of_a_client().into_iter().for_each(|attack| strike_server(&site, attack));
    nothing_left_since(before);
}

/// The halves of a client's call do not wait for each other: what one says of a call that is over may come
/// behind another call in its place.
#[test]
fn what_is_late_is_no_violation() {
    let _alone = alone();
    let runtime = runtime();
    let site = Site::with(serving(&runtime));
    let before = holdings();
    let mut peer = ClientOffer::honest().unwrap().knock(&site.path).unwrap();
    for generation in 1..4 {
        let call_id = generation << 16 | 1;
        peer.push(open(call_id));
        peer.push(RawEntry::of_stream(END, call_id, 0));
        // Headers and the reply.
        while peer.next_entry().expect("an answer").head[0] & 0xff != 2 {}
        for late in [call_id, call_id - (1 << 16)] {
            if late != call_id {
                peer.push(message(late));
            }
            peer.push(RawEntry::of_stream(CREDIT, call_id - (1 << 16), 7));
        }
    }
    peer.push(RawEntry::of_stream(END, 77, 0));
    peer.push(RawEntry::of_stream(CREDIT, 77, 7));
    peer.push(RawEntry::of_stream(3, 77, 0));
    peer.push(RawEntry::request(2, ECHO));
    assert_eq!(peer.next_entry().map(|reply| reply.call_id()), Some(2));
    assert!(!peer.has_lost());
    drop(peer);
    nothing_left_since(before);
}

#[test]
fn a_client_that_misuses_streams_on_the_socket_is_cut_off_by_name() {
    let _alone = alone();
    let runtime = runtime();
    let site = Site::with(serving(&runtime));
    let before = holdings();
    let open = Frame::Stream { method: DUPLEX_NAME, call_id: 1, messages_follow: true };
    let one = Frame::Stream { method: OUTPUT_NAME, call_id: 1, messages_follow: false };
    let unary = Frame::Call { connection_id: "", method: METHODS[0], segment_id: 0, offset: 0, size: 0 };
    let (message, end) = (Frame::StreamMessage(1), Frame::StreamEnd(1));
    let cases: [(&[Frame], &[&str]); 8] = [
        (&[open, Frame::StreamCredit(1, 1)], &["credit of 1 bytes lifts a stream above"]),
        (&[open, end, message], &["a message after the end of its stream"]),
        (&[open, end, end], &["a second end of a stream"]),
        (&[one, message], &["a message after the end of its stream"]),
        (&[message], &["of a stream that there is not"]),
        (&[unary, message], &["of a stream that there is not"]),
        (&[open, Frame::StreamMessage(2)], &["of a stream that there is not"]),
        (&[open, Frame::StreamHeaders(1)], &["StreamHeaders on an established connection"]),
    ];
    for (frames, words) in cases {
        clear_log();
        let mut peer = ClientOffer::on_socket_lane().unwrap().knock(&site.path).unwrap();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        peer.send(&bytes, &[]).unwrap();
        assert!(peer.is_hung_up_on(), "{frames:?}: the connection stays");
        logged(&[words, &["the peer broke the protocol", peer.connection_id()]].concat());
        drop(peer);
        site.honest_client_is_served();
    }
    nothing_left_since(before);
}

/// A client with a stream open both ways, and another call under way, for which it receives whatever comes.
#[track_caller]
fn strike(name: &str, words: &[&str], entries: impl FnOnce(u32, u32) -> Vec<RawEntry> + Send) {
    clear_log();
    eprintln!("{name}");
    let (channel, mut peer) = visit(Channel::builder().stream_window(WINDOW));
    std::thread::scope(|scope| {
        let hostile = scope.spawn(|| {
            let stream = peer.next_entry().unwrap().call_id();
            let call = peer.next_entry().unwrap().call_id();
            entries(stream, call).into_iter().for_each(|entry| peer.push(entry));
            assert!(peer.is_hung_up_on(), "{name}: the connection stays");
        });
        let method = channel.method(METHODS[0]);
        let (mut requests, mut responses) =
            channel.bidi_streaming::<Bytes, Bytes>(&method).timeout(2 * SOON).wait().unwrap();
        let status = failing_call(&channel);
        is_given_up(&channel, &status, words);
        // Both halves learn it, once what came before is read.
        let failed = loop {
            match responses.message().wait() {
                Ok(message) if message.is_some() => {}
                other => break other,
            }
        };
        // Unless the stream had its end before.
        assert!(
            failed.as_ref().is_ok_and(Option::is_none)
                || failed.is_err_and(|status| { words.iter().all(|word| status.message().contains(word)) })
        );
        assert!(requests.send(Bytes::from_static(b"x")).wait().is_err());
        hostile.join().unwrap();
    });
}

#[test]
fn a_server_that_misuses_a_clients_streams_is_given_up_by_name() {
    let _alone = alone();
    let before = holdings();
    let (headers, credit) =
        (|id| RawEntry::of_stream(HEADERS, id, 0), |id, bytes| RawEntry::of_stream(CREDIT, id, bytes));
    strike("beyond the credit", &["a message beyond the credit of its stream"], |id, _| {
        vec![message(id); 20]
    });
    strike("credit for nothing", &["credit of 1 bytes lifts a stream above"], |id, _| vec![credit(id, 1)]);
    strike("no credit", &["a credit of zero"], |id, _| vec![credit(id, 0)]);
    strike("second headers", &["second headers of one call"], |id, _| vec![headers(id), headers(id)]);
    let there_is_none = &["of a stream that there is not"];
    strike("after the reply", there_is_none, |id, _| vec![RawEntry::reply(id), message(id)]);
    strike("headers after the reply", there_is_none, |id, _| vec![RawEntry::reply(id), headers(id)]);
    strike("second reply", &["a reply to a call that is not"], |id, _| vec![RawEntry::reply(id); 2]);
    strike("to a unary call", there_is_none, |_, call| vec![message(call)]);
    strike("headers of a unary call", there_is_none, |_, call| vec![headers(call)]);
    for id in [7, 0x0009_0000, u32::MAX] {
        strike("to no call", there_is_none, move |_, _| vec![message(id)]);
        strike("headers of no call", there_is_none, move |_, _| vec![headers(id)]);
    }
    strike("end", &["a server sends neither requests nor cancels"], |id, _| {
        vec![RawEntry::of_stream(END, id, 0)]
    });
    strike("headers with a message", &["message with a kind that has none"], |id, _| {
        vec![headers(id).inline(5)]
    });
    strike("no metadata", &["Metadata"], |id, _| vec![headers(id).bytes(&[0xff; 9]).metadata(9)]);
    strike("metadata past the end", &["metadata longer than what it is part of"], |id, _| {
        vec![headers(id).inline(5).metadata(6)]
    });
    strike("headers in a slot that there is not", &["segment not announced"], |id, _| {
        vec![headers(id).slot(256, 0, 8).metadata(8)]
    });
    nothing_left_since(before);
}

/// Those that no honest call has any use for harm nothing: they may be late.
#[test]
fn credits_of_no_call_are_of_no_use_and_no_harm() {
    let _alone = alone();
    let (channel, mut peer) = visit(Channel::builder());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let id = peer.next_entry().unwrap().call_id();
            for other in [id + 1, id + (1 << 16), u32::MAX] {
                peer.push(RawEntry::of_stream(CREDIT, other, 100));
            }
            peer.push(RawEntry::reply(id));
        });
        let echo = channel.method(METHODS[0]);
        channel.raw(&echo, b"x").timeout(Duration::from_secs(5)).wait().unwrap();
    });
    assert!(!channel.is_closed());
}
