//! Conversations of two honest sides, in which messages of all lengths are decoded while they are written.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, BufMut, Bytes};
use mmap_rpc::{Channel, Code, Method, Request, Response, Server, Status};
use prost::Message;
use testkit::proto::FailRequest;
use testkit::{LocalServer, PATIENCE, noise};

use crate::text;
use crate::watch::{alone, holdings, nothing_left_since};

const ECHO: &str = "/following.Whole/Echo";
const PANIC: &str = "/following.Whole/Panic";

/// Fields that a decoder takes in different ways, derived as those of generated messages are.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "mmap_rpc::__private::prost")]
struct Mixed {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    shared: Vec<Bytes>,
    #[prost(bytes = "vec", tag = "3")]
    own: Vec<u8>,
    #[prost(fixed64, repeated, tag = "4")]
    words: Vec<u64>,
    #[prost(map = "string, uint32", tag = "5")]
    names: HashMap<String, u32>,
    #[prost(message, optional, boxed, tag = "6")]
    inner: Option<Box<Self>>,
}

impl Mixed {
    /// About `len` bytes, in fields of lengths that do not fit into any piece.
    fn of(len: usize, seed: u64) -> Self {
        let part = len / 5;
        let bytes = noise(part, seed);
        let shared = [1, 100, 1023, 1024, 5000, part / 3, part / 2];
        Self {
            text: text(part + seed as usize % 7).replace('c', "한"),
            shared: shared.iter().map(|&len| bytes.slice(..len.min(part))).collect(),
            own: noise(part, seed + 1).to_vec(),
            words: (0..part as u64 / 8).map(|word| word * seed).collect(),
            names: (0..part as u32 / 20).map(|number| (format!("name {number}"), number)).collect(),
            inner: (len > 10_000).then(|| Box::new(Self::of(part / 2, seed + 2))),
        }
    }
}

/// A message whose decoder panics over one that says so.
#[derive(Debug, Default)]
struct Panics;

impl prost::Message for Panics {
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        buf: &mut impl Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        // Once all of it was read, or before that, by its first byte behind the length.
        let len = prost::encoding::decode_varint(buf)? as usize;
        let late = buf.chunk()[0] == b'a';
        buf.advance(if late { len } else { 1 });
        panic!("a decoder that panics")
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {}
}

fn site() -> LocalServer {
    let builder = Server::builder()
        .unary::<Mixed, Mixed, _>(ECHO, |request| Ok(Response::new(request.into_inner())))
        .unary::<Panics, u32, _>(PANIC, |_| Err(Status::internal("no handler is reached")));
    let site = LocalServer::start(builder);
    // Until it has all that it needs: tests count what there is.
    let channel = Channel::connect(site.path()).wait().unwrap();
    echo(&channel, &channel.method(ECHO), &Mixed::of(1000, 0));
    site
}

fn echo(channel: &Channel, method: &Method, message: &Mixed) {
    let call = channel.unary::<Mixed, Mixed>(method, message.clone().into()).timeout(6 * PATIENCE);
    assert!(*call.wait().unwrap().get_ref() == *message, "another message came back");
}

#[test]
fn messages_of_all_kinds_come_back() {
    let _alone = alone();
    let site = site();
    let before = holdings();
    let channel = Channel::connect(site.path()).wait().unwrap();
    let method = channel.method(ECHO);
    for len in [100, 20_000, 33_000, 100_000, 500_000, 3 << 20, 18 << 20] {
        for seed in 0..if len < 1 << 20 { 5 } else { 1 } {
            echo(&channel, &method, &Mixed::of(len, seed));
        }
    }
    drop(channel);
    nothing_left_since(before);
}

/// Bytes that know how many of them were ever taken at once.
struct Taken<'a> {
    rest: &'a [u8],
    most: usize,
}

impl Buf for Taken<'_> {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        self.rest
    }

    fn advance(&mut self, count: usize) {
        self.most = self.most.max(count);
        self.rest.advance(count);
    }
}

#[test]
fn generated_messages_take_a_text_in_pieces() {
    let message = FailRequest { code: 1, text: text(1 << 20) };
    let encoded = message.encode_to_vec();
    let mut taken = Taken { rest: &encoded, most: 0 };
    assert!(FailRequest::decode(&mut taken).unwrap() == message, "another message");
    assert!(taken.most <= 64 << 10, "a piece of {} bytes, checked when it has left the cache", taken.most);
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_have_theirs_too() {
    let _alone = alone();
    let site = site();
    let channel = Channel::connect(site.path()).wait().unwrap();
    let method = channel.method(ECHO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for len in [100, 33_000, 300_000, 3 << 20] {
            for seed in 0..4 {
                let message = Mixed::of(len, seed);
                let call = channel.unary::<Mixed, Mixed>(&method, message.clone().into());
                assert!(*call.timeout(PATIENCE).await.unwrap().get_ref() == message, "another message");
            }
        }
    });
}

#[test]
fn a_reply_that_is_followed_gives_the_slot_of_its_request_back() {
    let _alone = alone();
    let site = site();
    let builder = Channel::builder().max_message_size(4 << 20).max_region_bytes(16 << 20);
    let channel = builder.connect(site.path()).wait().unwrap();
    let method = channel.method(ECHO);
    let message = Mixed { text: text(3 << 20), ..Mixed::default() };
    for _ in 0..20 {
        // Not written while it is read, because of the metadata; its reply is.
        let mut request = Request::new(message.clone());
        request.metadata_mut().insert("number", "1").unwrap();
        let reply = channel.unary::<Mixed, Mixed>(&method, request).timeout(PATIENCE).wait().unwrap();
        assert!(*reply.get_ref() == message, "another message came back");
    }
}

#[test]
fn several_callers_have_their_messages_at_once() {
    let _alone = alone();
    let site = site();
    let channel = Channel::connect(site.path()).wait().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let channel = channel.clone();
            scope.spawn(move || {
                let method = channel.method(ECHO);
                let message = Mixed::of(300_000 + 1000 * seed as usize, seed);
                (0..30).for_each(|_| echo(&channel, &method, &message));
            });
        }
    });
}

#[test]
fn a_decoder_that_panics_fails_its_call_alone() {
    let _alone = alone();
    let site = site();
    let before = holdings();
    let channel = Channel::connect(site.path()).wait().unwrap();
    let (panic, method) = (channel.method(PANIC), channel.method(ECHO));
    for begins in ["a", "b"] {
        let text = begins.to_owned() + &text(200_000);
        for _ in 0..5 {
            let call = channel.unary::<String, u32>(&panic, text.clone().into()).timeout(PATIENCE);
            let status = call.wait().unwrap_err();
            assert_eq!(status.code(), Code::Internal);
            assert!(status.message().contains("a decoder that panics"), "{status}");
            echo(&channel, &method, &Mixed::of(100_000, 1));
        }
    }
    // A client's decoder too: its caller panics, and the channel serves others on.
    for begins in ["a", "b"] {
        let message = Mixed { text: begins.to_owned() + &text(200_000), ..Mixed::default() };
        let call = channel.unary::<Mixed, Panics>(&method, message.into()).timeout(PATIENCE);
        let outcome = catch_unwind(AssertUnwindSafe(|| call.wait()));
        assert!(outcome.is_err(), "the caller did not panic");
        echo(&channel, &method, &Mixed::of(100_000, 2));
    }
    drop(channel);
    nothing_left_since(before);
}
