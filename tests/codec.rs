//! Promise: a message is whatever says its length, writes itself and is made of bytes again. It travels as
//! protobuf does, on every lane, alone or in a stream, for threads and for tasks; and one that lies fails its
//! call and nothing else.
#![cfg(feature = "tokio")]

#[path = "codec/lies.rs"]
mod lies;
#[cfg(feature = "zerocopy")]
#[path = "codec/pod.rs"]
mod pod;

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream;
use mmap_rpc::codec::{CodecError, Decode, Encode, Raw};
use mmap_rpc::server::{Exchange, Handled, Handlers, Service};
use mmap_rpc::{Channel, Code, MetadataMap, Request, Response, Server, Status, Streaming};
use testkit::{LocalServer, PATIENCE, channel_builder, noise};
use tokio::runtime::{Builder, Runtime};

const REVERSE: &str = "/codec.Bytes/Reverse";
const REVERSE_ASYNC: &str = "/codec.Bytes/ReverseAsync";
const PIECES: &str = "/codec.Bytes/Pieces";
const BACK: &str = "/codec.Bytes/Back";

/// Lengths of messages that travel in an entry, in a slot, and in a slot that is read while it is written.
const LENGTHS: [usize; 8] = [0, 1, 96, 97, 1_024, 5_000, 100_000, 3 << 20];

/// How long the pieces of a stream are.
const PIECE: usize = 40_000;

testkit::on_every_way![
    bytes_go_there_and_back,
    bytes_go_there_and_back_with_metadata,
    bytes_come_in_a_stream,
    bytes_go_and_come_in_streams,
    what_does_not_decode_fails_its_call;
    memory: typed_bytes_are_those_of_raw_calls,
];

/// Bytes and nothing else.
struct Bytewise;

fn reversed(request: Request<Raw>) -> Response<Raw<Vec<u8>>> {
    let metadata = request.metadata().clone();
    let mut response = Response::new(Raw(request.get_ref().0.iter().rev().copied().collect()));
    *response.metadata_mut() = metadata;
    response
}

fn pieces(Raw(bytes): Raw) -> impl Iterator<Item = Result<Raw, Status>> {
    let starts = (0..bytes.len()).step_by(PIECE);
    starts.map(move |at| Ok(Raw(bytes.slice(at..bytes.len().min(at + PIECE)))))
}

impl Service for Bytewise {
    fn name(&self) -> &'static str {
        "codec.Bytes"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[REVERSE, REVERSE_ASYNC, PIECES, BACK]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 => exchange.unary(|request| Ok(reversed(request))),
            1 => exchange.unary_async(|request| async {
                tokio::task::yield_now().await;
                Ok(reversed(request))
            }),
            2 => exchange
                .server_streaming(|request: Request<Raw>| Ok(Response::new(pieces(request.into_inner())))),
            _ => exchange.bidi_streaming_async(|request: Request<Streaming<Raw>>| async {
                Ok(Response::new(request.into_inner()))
            }),
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A server of the test's service, and a channel that goes the test's way.
pub(crate) fn site(service: impl Service, handlers: Handlers) -> (LocalServer, Channel) {
    let server = LocalServer::start(Server::builder().handlers(handlers).service(service));
    let channel = channel_builder().connect(server.path()).wait().unwrap();
    (server, channel)
}

fn reverse_of(sent: &[u8]) -> Vec<u8> {
    sent.iter().rev().copied().collect()
}

fn bytes_go_there_and_back() {
    let runtime = runtime();
    for handlers in [Handlers::Inline, Handlers::Pool(2)] {
        let (_server, channel) = site(Bytewise, handlers);
        for method in [REVERSE, REVERSE_ASYNC].map(|name| channel.method(name)) {
            for length in LENGTHS {
                let sent = noise(length, 1);
                let call = channel.unary::<_, Raw>(&method, Raw(sent.clone()).into());
                assert!(call.wait().unwrap().get_ref().0 == reverse_of(&sent), "{length} bytes");
                // What is sent need not be owned, and what comes can be a vector.
                let call = channel.unary::<_, Raw<Vec<u8>>>(&method, Raw(&sent[..]).into());
                assert!(call.start().unwrap().wait().unwrap().get_ref().0 == reverse_of(&sent));
                let call = channel.unary::<_, Raw>(&method, Raw(sent.clone()).into());
                let reply = runtime.block_on(async { call.await }).unwrap();
                assert!(reply.get_ref().0 == reverse_of(&sent), "{length} bytes");
            }
        }
    }
}

fn bytes_go_there_and_back_with_metadata() {
    let (_server, channel) = site(Bytewise, Handlers::Inline);
    let mut metadata = MetadataMap::new();
    metadata.insert("k", "v").unwrap();
    for length in LENGTHS {
        let sent = noise(length, 2);
        let mut request = Request::new(Raw(sent.clone()));
        *request.metadata_mut() = metadata.clone();
        let reply = channel.unary::<_, Raw>(&channel.method(REVERSE), request).wait().unwrap();
        assert_eq!(*reply.metadata(), metadata);
        assert!(reply.get_ref().0 == reverse_of(&sent), "{length} bytes");
    }
}

fn bytes_come_in_a_stream() {
    let (runtime, (_server, channel)) = (runtime(), site(Bytewise, Handlers::Inline));
    let method = channel.method(PIECES);
    for length in [0, 1, 3 * PIECE, 25 * PIECE + 7] {
        let sent = noise(length, 3);
        let call = || channel.server_streaming::<_, Raw>(&method, Raw(sent.clone()).into()).timeout(PATIENCE);
        let came: Result<Vec<_>, _> = call().wait().unwrap().into_inner().into_iter().collect();
        let came: Vec<_> = came.unwrap().into_iter().map(|Raw(bytes)| bytes).collect();
        assert_eq!(came.len(), length.div_ceil(PIECE));
        assert!(came.concat() == sent);
        let awaited = runtime.block_on(async {
            let (mut messages, mut all) = (call().await?.into_inner(), Vec::new());
            while let Some(Raw(piece)) = messages.message().await? {
                all.extend_from_slice(&piece);
            }
            Ok::<_, Status>(all)
        });
        assert!(awaited.unwrap() == sent);
    }
}

fn bytes_go_and_come_in_streams() {
    let (runtime, (_server, channel)) = (runtime(), site(Bytewise, Handlers::Inline));
    let method = channel.method(BACK);
    let (mut sender, mut messages) = channel.bidi_streaming::<Raw, Raw>(&method).wait().unwrap();
    for length in LENGTHS {
        let sent = noise(length, 4);
        sender.send(Raw(sent.clone())).wait().unwrap();
        assert!(messages.message().wait().unwrap() == Some(Raw(sent)), "{length} bytes");
    }
    sender.finish();
    assert!(messages.message().wait().unwrap().is_none());
    runtime.block_on(async {
        let sent = LENGTHS.map(|length| Raw(noise(length, 5)));
        let call = channel.bidi_streaming::<Raw, Raw>(&method).send_all(stream::iter(sent.clone()));
        let mut messages = call.await.unwrap().into_inner();
        for message in sent {
            assert!(messages.message().await.unwrap() == Some(message));
        }
        assert!(messages.message().await.unwrap().is_none());
    });
}

fn typed_bytes_are_those_of_raw_calls() {
    let server = LocalServer::start(
        Server::builder()
            .service(Bytewise)
            .raw("/codec.Raw/Twice", |request, _| Ok(request.into_inner().to_vec().repeat(2).into())),
    );
    let channel = channel_builder().connect(server.path()).wait().unwrap();
    let (reverse, twice) = (channel.method(REVERSE), channel.method("/codec.Raw/Twice"));
    for length in LENGTHS {
        let sent = noise(length, 6);
        let raw = channel.raw(&reverse, sent.clone()).wait().unwrap();
        assert!(raw.to_vec() == reverse_of(&sent), "{length} bytes");
        let typed = channel.unary::<_, Raw>(&twice, Raw(sent.clone()).into()).wait().unwrap();
        assert!(typed.get_ref().0 == sent.repeat(2), "{length} bytes");
    }
}

/// Text that must be some.
#[derive(Debug)]
struct Line(String);

impl Encode for Line {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        to.put(self.0.as_bytes());
        Ok(())
    }
}

impl Decode for Line {
    fn decode(from: impl Buf) -> Result<Self, CodecError> {
        match std::str::from_utf8(from.chunk()) {
            Ok("") => Err(CodecError::new("a line of nothing")),
            Ok(text) => Ok(Self(text.to_owned())),
            Err(error) => Err(CodecError::new(error)),
        }
    }
}

fn what_does_not_decode_fails_its_call() {
    const LINE: &str = "/codec.Lines/Echo";
    let echo = |request: Request<Line>| Ok(Response::new(request.into_inner()));
    let server = LocalServer::start(Server::builder().service(Bytewise).unary(LINE, echo));
    let channel = channel_builder().connect(server.path()).wait().unwrap();
    let (line, reverse, back) = (channel.method(LINE), channel.method(REVERSE), channel.method(BACK));
    let long = "größer ".repeat(20_000);
    for text in ["a", &long] {
        let reply = channel.unary::<_, Line>(&line, Line(text.to_owned()).into()).wait().unwrap();
        assert!(reply.get_ref().0 == text);
    }
    for (bytes, why) in
        [(&b""[..], "a line of nothing"), (b"\xff", "invalid utf-8"), (&[0xff; 5_000], "invalid")]
    {
        let bytes = Raw(Bytes::copy_from_slice(bytes));
        let fails = |outcome: Result<(), Status>, what: &str| {
            let status = outcome.unwrap_err();
            let says = format!("{what} does not decode: ");
            assert_eq!(status.code(), Code::Internal);
            assert!(status.message().starts_with(&says) && status.message().contains(why), "{status}");
        };
        fails(channel.unary::<_, Line>(&line, bytes.clone().into()).wait().map(drop), "the request");
        fails(channel.unary::<_, Line>(&reverse, bytes.clone().into()).wait().map(drop), "the reply");
        let (mut sender, mut messages) = channel.bidi_streaming::<Raw, Line>(&back).wait().unwrap();
        sender.send(bytes).wait().unwrap();
        fails(messages.message().wait().map(drop), "a message of the stream");
    }
    let reply = channel.unary::<_, Line>(&line, Line("all is well".to_owned()).into()).wait().unwrap();
    assert_eq!(reply.get_ref().0, "all is well");
}
