//! Streams: sessions of a call both ways, and what a peer may send and may not.

use std::thread;
use std::time::Duration;

use mmap_rpc::internals::peer::{ClientOffer, Host, Peer, RawEntry};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, Code, Lane, Request, Response, Status, Streaming};

use crate::document::{Block, Document};
use crate::session::cache::{GetRequest, GetResponse};
use crate::session::{KEY, RING_STREAMS, Session, Site, Tap, contents, netstring, value};

const GET_MANY: &str = "/cache.Streams/GetMany";
const HOLD: &str = "/cache.Streams/Hold";

/// A method that answers each request of a stream, once it has seen the first one; and one that reads none.
struct Streams;

impl Service for Streams {
    fn name(&self) -> &'static str {
        "cache.Streams"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[GET_MANY, HOLD]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        if method == 1 {
            return exchange.client_streaming(|request: Request<Streaming<GetRequest>>| {
                while !request.is_cancelled() {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(Response::new(GetResponse::default()))
            });
        }
        exchange.bidi_streaming(|request: Request<Streaming<GetRequest>>| {
            let mut requests = request.into_inner();
            let first = requests.message().wait()?;
            let answer = |request: Result<GetRequest, Status>| {
                request.map(|_| GetResponse { value: value(4), found: true })
            };
            let answers = first.map(Ok).into_iter().chain(requests).map(answer);
            let mut response = Response::new(answers);
            response.metadata_mut().insert("shard", "7").expect("a pair");
            response.trailers_mut().insert("source", "memory").expect("a pair");
            Ok(response)
        })
    }
}

/// So much that each side gives credit after two messages.
const WINDOW: u32 = 400;

/// Two requests, each sent once the one before it was answered.
pub(crate) fn session(lane: Lane) -> Session {
    let site = Site::start(|server, _| server.service(Streams));
    let tap = Tap::before(&site);
    let settings = Channel::builder().lane(lane).stream_window(WINDOW);
    let channel = settings.connect(tap.path()).wait().expect("a channel");
    let call = channel.bidi_streaming::<GetRequest, GetResponse>(&channel.method(GET_MANY));
    let (mut sender, mut responses) = call.wait().expect("a call");
    for _ in 0..2 {
        sender.send(GetRequest { key: KEY.into() }).wait().expect("sent");
        let response = responses.message().wait().expect("no failure").expect("a response");
        assert_eq!(response.value, value(4));
    }
    sender.finish();
    assert_eq!(responses.message().wait().expect("no failure"), None);
    let (metadata, trailers) = (responses.metadata(), responses.trailers());
    assert_eq!(metadata.and_then(|map| map.get("shard")), Some("7"));
    assert_eq!(trailers.and_then(|map| map.get("source")), Some("memory"));
    drop((responses, channel));
    let passed = tap.descriptors();
    let memory = vec![contents(&passed[0]), contents(&passed[2])];
    Session { frames: tap.frames(netstring), memory, seals: 0 }
}

// ---- what is out of order ----------------------------------------------------------------------------

/// An entry by its kind and flags.
fn entry(kind: u32, call_id: u32, code: u32) -> RawEntry {
    RawEntry { head: [kind, call_id, code, 0, 0, 0, 0], body: [0; 12] }
}

const REPLY: u32 = 2;
const MESSAGE: u32 = 6;
const END: u32 = 7;
const CREDIT: u32 = 8;
const HEADERS: u32 = 9;
const STREAM: u32 = 4 << 8;
const MORE: u32 = 8 << 8;

/// The index of the calls here is 1; the other half of their ids counts them.
const CALL: u32 = 0x0001_0001;
const OTHER: u32 = 0x0002_0001;

/// Whether a server goes on after these entries of a client.
fn server_takes(entries: &[RawEntry]) -> bool {
    let site = Site::start(|server, _| server.service(Streams).stream_window(WINDOW));
    let mut peer = ClientOffer::honest().expect("an offer").knock(&site.path()).expect("let in");
    entries.iter().for_each(|&entry| peer.push(entry));
    // A call that is answered shows that everything before it was read.
    peer.push(RawEntry::request(LAST, NO_METHOD));
    peer.ring();
    loop {
        match peer.pop() {
            Some(next) if next.call_id() == LAST => return true,
            Some(_) => {}
            None if peer.has_lost() => return false,
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The call that shows that a server still reads.
const LAST: u32 = 0x0001_0000;

/// The code of the reply to a request.
fn code_of(request: RawEntry) -> u32 {
    let site = Site::start(|server, _| server.service(Streams));
    let mut peer = ClientOffer::honest().expect("an offer").knock(&site.path()).expect("let in");
    peer.push(request);
    peer.ring();
    peer.next_entry().expect("a reply").head[2]
}

/// Number of a method that no server has.
const NO_METHOD: u32 = 1 << 20;

/// Whether a client goes on after what a server does whom it has called, with streams both ways.
fn client_takes(script: impl FnOnce(&mut Peer, u32) + Send) -> bool {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("socket");
    let host = Host::bind(&path).expect("a server");
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            let answer = host.accept().expect("a client").answer(&[GET_MANY]).expect("an offer");
            let mut peer = answer.let_in().expect("let in");
            let request = peer.next_entry().expect("a request");
            script(&mut peer, request.call_id());
            peer.ring();
            // Until it is closed, which the client does in the end whatever has come.
            assert!(peer.is_hung_up_on());
        });
        let settings = Channel::builder().stream_window(WINDOW);
        let channel = settings.connect(&path).wait().expect("a channel");
        let call = channel.bidi_streaming::<GetRequest, GetResponse>(&channel.method(GET_MANY));
        let (sender, responses) = call.wait().expect("a call");
        let outcome: Result<Vec<_>, _> = responses.into_iter().collect();
        drop((sender, channel));
        server.join().expect("no panic");
        match outcome {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(status.message().contains("broke the protocol"), "{status}");
                false
            }
        }
    })
}

/// Rows of what a client and of what a server sends, and what becomes of it.
pub(crate) fn order(_: &Document, block: &Block) {
    // As the session called it; the other one has the next number.
    let called = &RING_STREAMS.memory[0][0x1000 + 12..][..4];
    let get_many = u32::from_le_bytes(called.try_into().expect("four bytes"));
    let hold = get_many + 1;
    let call = entry(1 | STREAM | MORE, CALL, get_many);
    let held = entry(1 | STREAM | MORE, CALL, hold);
    let whole = entry(1 | STREAM, CALL, get_many);
    let message = entry(MESSAGE, CALL, 0);
    let end = entry(END, CALL, 0);
    let long = RawEntry { head: [MESSAGE, CALL, 0, 0, 0, 96, 0], ..message };
    for row in block.body() {
        let takes = match (row[0].as_str(), row[1].as_str()) {
            ("client", "messages, then an end") => server_takes(&[call, message, message, end]),
            ("client", "a message after its end") => server_takes(&[call, end, message]),
            ("client", "a second end") => server_takes(&[call, end, end]),
            ("client", "a message or an end, its request without MORE") => {
                server_takes(&[whole, message]) || server_takes(&[whole, end])
            }
            ("client", "a message of a call that never was") => server_takes(&[message]),
            ("client", "a message of a call before the last one with its index") => {
                let next = entry(1 | STREAM | MORE, OTHER, hold);
                server_takes(&[whole, next, message])
            }
            ("client", "an end or a credit of a call that never was") => {
                server_takes(&[end]) && server_takes(&[entry(CREDIT, CALL, 1)])
            }
            ("client", "a credit above the window") => server_takes(&[held, entry(CREDIT, CALL, 1)]),
            ("client", "a message without a balance") => server_takes(&[held, long, long, long]),
            ("server", "headers, messages, a reply") => client_takes(|peer, id| {
                for kind in [HEADERS, MESSAGE, MESSAGE, REPLY] {
                    peer.push(entry(kind, id, 0));
                }
            }),
            ("server", "a second headers entry") => client_takes(|peer, id| {
                peer.push(entry(HEADERS, id, 0));
                peer.push(entry(HEADERS, id, 0));
            }),
            ("server", "a message or headers of a call that never was") => {
                let other =
                    |kind: u32| client_takes(move |peer, id| peer.push(entry(kind, id ^ 0x0100_0000, 0)));
                other(MESSAGE) || other(HEADERS)
            }
            ("server", "a credit of a call that never was") => client_takes(|peer, id| {
                peer.push(entry(CREDIT, id ^ 0x0100_0000, 1));
                peer.push(entry(REPLY, id, 0));
            }),
            ("server", "a credit above the window") => {
                client_takes(|peer, id| peer.push(entry(CREDIT, id, 1)))
            }
            other => panic!("nobody sends {other:?}"),
        };
        let expected = match row[2].as_str() {
            "taken" | "ignored" => true,
            "breaks the connection" => false,
            other => panic!("{other:?} is no outcome"),
        };
        assert_eq!(takes, expected, "{row:?}");
    }
    assert_eq!(block.body().len(), 14);
    // A method without streams as if it had some, and one with streams as if it had other ones, or none.
    for disagreed in
        [entry(1 | STREAM, CALL, 0), entry(1 | STREAM | MORE, CALL, 0), whole, entry(1, CALL, hold)]
    {
        assert_eq!(code_of(disagreed), Code::Unimplemented.as_u32(), "{disagreed:x?}");
    }
    assert!(server_takes(&[held, long, long]), "the balance may fall below zero by one message");
}
