//! What is refused, in the words that the document quotes.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mmap_rpc::internals::Violation;
use mmap_rpc::internals::peer::{ClientOffer, FileSpec, Frame, Refusal, Seal};
use prost::Message;

use crate::document::{Block, Document, matches, numbers};
use crate::messages::any;
use crate::messages::proto::{
    ConnectResponse, DisconnectRequest, Envelope, Goaway, RpcRequest, RpcResponse, envelope,
};
use crate::session::{KEY, Site, cache, classic, netstring};

fn said(offer: ClientOffer, site: &Site) -> String {
    match offer.knock(&site.path()).map(|_| ()) {
        Err(Refusal::Said { error, .. }) => error,
        other => panic!("{other:?} is no refusal"),
    }
}

/// Reads until the end of the stream, or for five seconds.
fn all_of(mut socket: UnixStream) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = socket.read_to_end(&mut bytes);
    bytes
}

/// The error of a ConnectResponse in a netstring.
fn error_in(bytes: &[u8]) -> String {
    let len = netstring(bytes).expect("a frame");
    let body = bytes.iter().position(|&byte| byte == b':').expect("a length") + 1;
    match Envelope::decode(&bytes[body..len - 1]).expect("an envelope").message {
        Some(envelope::Message::ConnectResponse(response)) => response.error,
        other => panic!("{other:?} is no refusal"),
    }
}

pub(crate) fn refusals(_: &Document, block: &Block) {
    let site = Site::start(|server, _| server);
    let with_files = Site::start(|server, dir| server.file_backing(dir.join("files")));
    let honest = || ClientOffer::honest().expect("an offer");
    let without_memory = |features| {
        let mut offer = honest().required_features(features).base_bytes(0);
        offer.descriptors.clear();
        offer
    };
    for row in block.body() {
        let error = match row[0].as_str() {
            "speaks versions 2 to 3" => said(honest().versions(2, 3), &site),
            "requires feature 0x8" => said(honest().required_features(8), &site),
            "requires features 0x3 of a server without files" => said(without_memory(3), &site),
            "requires feature 0x2 alone" => said(without_memory(2), &with_files),
            "brings no base segment for the ring" => said(without_memory(0), &site),
            "brings a base segment without seals" => without_seal(Seal::Grow),
            "announces too long a base segment" => said(honest().base_bytes(1 << 40), &site),
            "says something else first" => {
                let mut socket = UnixStream::connect(site.path()).expect("a socket");
                socket.write_all(&Frame::Goaway.encode()).expect("sent");
                error_in(&all_of(socket))
            }
            "comes while every seat is taken" => {
                let small = Site::start(|server, _| server.max_connections(1));
                let _seated = honest().knock(&small.path()).expect("let in");
                said(honest(), &small)
            }
            "says nothing" => {
                let hasty = Site::start(|server, _| server.handshake_timeout(Duration::from_millis(10)));
                error_in(&all_of(UnixStream::connect(hasty.path()).expect("a socket")))
            }
            other => panic!("no client {other:?}"),
        };
        assert!(matches(&row[1], &error), "{}: {error}", row[0]);
    }
    assert_eq!(block.body().len(), 10);
}

/// What a client is told whose base segment lacks a seal.
pub(crate) fn without_seal(seal: Seal) -> String {
    let site = Site::start(|server, _| server);
    let base = FileSpec { missing: Some(seal), ..FileSpec::base() };
    said(ClientOffer::honest().expect("an offer").base(base.make().expect("a file")), &site)
}

/// How many descriptors may come with one message, as the refusal of more says.
pub(crate) fn most_descriptors() -> u64 {
    let site = Site::start(|server, _| server);
    let spare = || OwnedFd::from(std::fs::File::open("/dev/null").expect("a file"));
    // They need not belong to anything: five are too many for one read.
    let peer = ClientOffer::honest().expect("an offer").knock(&site.path()).expect("let in");
    let four: Vec<OwnedFd> = (0..4).map(|_| spare()).collect();
    let beside: Vec<_> = four.iter().map(AsFd::as_fd).collect();
    peer.send(b"0:,", &beside).expect("as many as one message may carry");
    let five = [&beside[..], &[four[0].as_fd()]].concat();
    let error = peer.send(b"0:,", &five).expect_err("one more").to_string();
    let [bytes, count] = numbers(&error)[..] else { panic!("{error}") };
    assert_eq!((bytes, count), (3, 5));
    count - 1
}

/// Every violation that there is, by the beginning of its text.
pub(crate) fn violations(_: &Document, block: &Block) {
    let text = String::new;
    let all = [
        Violation::ForgedReturn { word: 0, bits: 1 },
        Violation::ForgedRelease { handle: 0 },
        Violation::RingHead { published: 2, low: 0, high: 1 },
        Violation::Entry("x"),
        Violation::Descriptor { handle: 0, offset: 0, length: 0, check: "x" },
        Violation::Fill("x"),
        Violation::Frame(text()),
        Violation::Message(text()),
        Violation::State(text()),
        Violation::Descriptors(text()),
        Violation::Segment(text()),
        Violation::Limit(text()),
    ];
    let kinds = include_str!("../../src/error.rs").matches("#[error(").count();
    assert_eq!(all.len(), kinds, "a violation that is not listed here");
    assert_eq!(block.body().len(), kinds);
    for (row, violation) in block.body().iter().zip(all) {
        let text = violation.to_string();
        assert!(text.starts_with(&row[1]) && text[row[1].len()..].starts_with(':'), "{row:?}: {text}");
    }
}

// ---- the classic protocol ----------------------------------------------------------------------------

/// A client of the classic protocol by hand.
struct Classic {
    socket: UnixStream,
    id: String,
    file: String,
}

impl Classic {
    fn ask<M: Message + Default>(&mut self, kind: &str, value: &impl Message) -> M {
        let body = any(&format!("type.googleapis.com/mmap_rpc.{kind}"), value);
        let frame = [&(body.len() as u32).to_le_bytes()[..], b":", &body, b","].concat();
        self.socket.write_all(&frame).expect("sent");
        let mut answer = vec![0; 5];
        self.socket.read_exact(&mut answer).expect("an answer");
        answer.resize(classic(&answer).expect("a length"), 0);
        self.socket.read_exact(&mut answer[5..]).expect("all of it");
        M::decode(&answer[5..answer.len() - 1]).expect("a message")
    }

    fn connect(&mut self) -> ConnectResponse {
        self.ask("ConnectRequest", &Goaway {})
    }

    fn call(&mut self, id: &str, method: &str, size: u64) -> RpcResponse {
        let (connection_id, fully_qualified_method_name) = (id.to_owned(), method.to_owned());
        let call =
            RpcRequest { connection_id, fully_qualified_method_name, size: Some(size), ..<_>::default() };
        let reply: RpcResponse = self.ask("RPCRequest", &call);
        assert_eq!((reply.connection_id.as_str(), reply.fully_qualified_method_name.as_str()), (id, method));
        reply
    }

    fn failure(&mut self, id: &str, method: &str, size: u64) -> String {
        let reply = self.call(id, method, size);
        assert_eq!(reply.size, Some(0), "a size that is sent although it is 0");
        reply.error
    }
}

pub(crate) fn classic_errors(_: &Document, block: &Block) {
    let site = Site::start(|server, dir| server.classic(dir.join("files")).classic_file_size(4096));
    let deaf = Site::start(|server, _| server);
    let knock = |site: &Site| {
        let socket = UnixStream::connect(site.path()).expect("a socket");
        Classic { socket, id: String::new(), file: String::new() }
    };
    let mut client = knock(&site);
    let ConnectResponse { connection_id, mmap_filename, .. } = client.connect();
    (client.id, client.file) = (connection_id, mmap_filename);
    let (id, get) = (client.id.clone(), "/cache.Cache/Get");
    for row in block.body() {
        let error = match row[0].as_str() {
            "the id is not that of this socket's connection" => client.failure("nope", get, 0),
            "there is no such method" => client.failure(&id, "/cache.Cache/Del", 0),
            "the request is longer than the file" => client.failure(&id, get, 4097),
            "the handler failed" => {
                let request = cache::GetRequest { key: format!("not {KEY}") }.encode_to_vec();
                std::fs::write(&client.file, &request).expect("a file");
                client.failure(&id, get, request.len() as u64)
            }
            "a second connect on one socket" => client.connect().error,
            "the server does not serve the classic protocol" => knock(&deaf).connect().error,
            other => panic!("no failure {other:?}"),
        };
        assert!(matches(&row[1], &error), "{}: {error}", row[0]);
    }
    assert_eq!(block.body().len(), 6);
    let farewell: Goaway = client.ask("DisconnectRequest", &DisconnectRequest { connection_id: id });
    assert_eq!(farewell, Goaway {});
}
