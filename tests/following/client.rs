//! Replies of a server that writes them as a test wants it to.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Buf, BufMut};
use mmap_rpc::codec::Decode;
use mmap_rpc::internals::peer::{Frame, Host, Peer, RawEntry};
use mmap_rpc::{Channel, Code, Response, Status};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType};
use testkit::PATIENCE;

use crate::watch::{alone, clear_log, eventually, holdings, logged, nothing_left_since, path_in};
use crate::{Written, text};

const TEXT: &str = "/following.Site/Text";

/// A text whose decoder counts.
#[derive(Debug, Default)]
struct Counted(String);

/// How many of them have been begun.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

impl prost::Message for Counted {
    fn encode_raw(&self, _: &mut impl BufMut) {
        unreachable!("nobody sends one")
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        BEGUN.fetch_add(1, SeqCst);
        self.0.merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Makes a call that is answered by `answer`, which is given the reply to be completed.
fn call<Resp: Decode>(
    timeout: Duration,
    answer: impl FnOnce(&mut Peer, RawEntry) + Send,
) -> (Channel, Result<Response<Resp>, Status>) {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut peer = host.accept().unwrap().answer(&[TEXT]).unwrap().let_in().unwrap();
            let id = peer.next_entry().unwrap().call_id();
            answer(&mut peer, RawEntry::reply(id));
            // Until the channel goes.
            peer
        });
        let channel = Channel::connect(&path).wait().unwrap();
        let method = channel.method(TEXT);
        let reply = channel.unary::<String, Resp>(&method, "x".to_owned().into()).timeout(timeout).wait();
        drop(serving.join().unwrap());
        (channel, reply)
    })
}

#[test]
fn a_reply_is_read_before_all_of_it_has_come() {
    let _alone = alone();
    let before = BEGUN.load(SeqCst);
    let (_channel, reply) = call::<Counted>(PATIENCE, |peer, reply| {
        let written = Written::half_of(peer, reply, &text(200_000));
        assert!(eventually(|| BEGUN.load(SeqCst) == before + 1), "nobody has begun");
        written.is_whole(peer);
    });
    assert_eq!(reply.unwrap().get_ref().0, text(200_000));
    // Once more, if we were too late.
    assert!(BEGUN.load(SeqCst) <= before + 2);
}

#[test]
fn a_reply_that_comes_in_pieces_is_read_whether_or_not_they_come_in_time() {
    let _alone = alone();
    let before = holdings();
    for pauses in [Duration::ZERO, Duration::from_micros(30), Duration::from_millis(1)] {
        let (_channel, reply) = call::<String>(PATIENCE, |peer, reply| {
            let written = Written::text(peer, reply, &text(200_000));
            for there in (0..written.len).step_by(30_000) {
                written.is_there(peer, there);
                std::thread::sleep(pauses);
            }
            written.is_whole(peer);
        });
        assert_eq!(*reply.unwrap().get_ref(), text(200_000));
    }
    nothing_left_since(before);
}

#[test]
fn a_reply_that_stalls_does_not_outlast_the_deadline() {
    let _alone = alone();
    let (channel, reply) = call::<String>(Duration::from_millis(20), |peer, reply| {
        Written::text(peer, reply, &text(200_000)).stalls(peer);
        std::thread::sleep(Duration::from_millis(40));
    });
    assert_eq!(reply.unwrap_err().code(), Code::DeadlineExceeded);
    drop(channel);
}

#[test]
fn a_reply_that_does_not_decode_fails_its_call_alone() {
    let _alone = alone();
    for stalls in [false, true] {
        let (channel, reply) = call::<String>(PATIENCE, |peer, reply| {
            let mut bytes = prost::Message::encode_to_vec(&text(200_000));
            bytes[100_000] = 0xff;
            let written = Written::announce(peer, reply, &bytes);
            if stalls {
                written.stalls(peer);
            }
            written.is_whole(peer);
        });
        let status = reply.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("the reply does not decode"), "{status}");
        drop(channel);
    }
}

#[test]
fn a_level_that_falls_under_a_decoder_closes_the_channel() {
    let _alone = alone();
    clear_log();
    let before = holdings();
    let before_it = BEGUN.load(SeqCst);
    let (channel, reply) = call::<Counted>(PATIENCE, |peer, reply| {
        let written = Written::half_of(peer, reply, &text(200_000));
        assert!(eventually(|| BEGUN.load(SeqCst) > before_it), "nobody has begun");
        written.is_there(peer, 10);
        assert!(peer.is_hung_up_on(), "the connection stays");
    });
    assert_eq!(reply.unwrap_err().code(), Code::Unavailable);
    assert!(channel.is_closed());
    logged(&["bad fill", "its level fell"]);
    drop(channel);
    nothing_left_since(before);
}

#[test]
fn a_server_that_leaves_in_the_middle_of_a_reply_fails_the_call() {
    let _alone = alone();
    let before = holdings();
    let (channel, reply) = call::<String>(PATIENCE, |peer, reply| {
        let written = Written::text(peer, reply, &text(200_000));
        written.is_there(peer, 100_000);
        assert_eq!(peer.frame(&Frame::Disconnect, &[]).ok(), Some(()));
    });
    assert_eq!(reply.unwrap_err().code(), Code::Unavailable);
    drop(channel);
    nothing_left_since(before);
}
