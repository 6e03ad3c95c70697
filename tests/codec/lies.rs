//! Messages that write more or less than they say, fail, or panic: their call fails with a status, on
//! whichever side they are, and the connection goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BufMut;
use mmap_rpc::codec::{CodecError, Encode, Raw};
use mmap_rpc::server::{Exchange, Handled, Handlers, Service};
use mmap_rpc::{Channel, Code, MetadataMap, Reconnect, Request, Response, Server, Status};
use testkit::{LocalServer, PATIENCE, channel_builder, noise};

use crate::{Bytewise, REVERSE, reverse_of, site};

const LIE: &str = "/codec.Lies/Lie";
const LIES: &str = "/codec.Lies/Lies";

/// Lengths of messages that travel in an entry, in a slot, and in a slot that is read while it is written.
const LENGTHS: [usize; 4] = [50, 5_000, 100_000, 3 << 20];

testkit::on_every_way![
    a_request_that_lies_fails_its_call,
    a_reply_that_lies_fails_its_call,
    a_stream_goes_on_after_a_request_that_lies,
    a_stream_ends_with_a_response_that_lies,
    replies_that_lie_and_wait_for_room_fail_their_calls,
    a_length_beyond_all_memory_is_refused,
];

/// What a message does instead of what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Less,
    Nothing,
    /// One byte more than it said, by itself at the end.
    OneMore,
    /// All at once, and there is no room for it.
    TwiceInOne,
    /// By each of the ways that a buffer has.
    MoreOfAll,
    Fails,
    Panics,
}

const ALL: [Does; 7] =
    [Does::Less, Does::Nothing, Does::OneMore, Does::TwiceInOne, Does::MoreOfAll, Does::Fails, Does::Panics];

#[derive(Debug, Clone, Copy)]
struct Liar {
    said: usize,
    does: Does,
}

impl Encode for Liar {
    fn encoded_len(&self) -> usize {
        self.said
    }

    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        let all = vec![7; self.said];
        match self.does {
            Does::Less => to.put_slice(&all[1..]),
            Does::Nothing => {}
            Does::OneMore => {
                to.put_slice(&all);
                to.put_u8(7);
            }
            Does::TwiceInOne => to.put_slice(&all.repeat(2)),
            Does::MoreOfAll => {
                to.put_slice(&all[1..]);
                to.put_u64_le(7);
                to.put(&all[..]);
                to.put_bytes(7, self.said);
            }
            Does::Fails => {
                to.put_slice(&all);
                return Err(CodecError::new("there is no such message"));
            }
            Does::Panics => {
                to.put_slice(&all[1..]);
                panic!("half way");
            }
        }
        Ok(())
    }
}

impl Liar {
    /// What its call's failure says.
    fn says(self) -> String {
        let Self { said, .. } = self;
        let but = |len: usize| format!("encoded_len() says {said} bytes, and it encodes to {len}");
        match self.does {
            Does::Less => but(said - 1),
            Does::Nothing => but(0),
            Does::OneMore => but(said + 1),
            Does::TwiceInOne => but(2 * said),
            Does::MoreOfAll => but(3 * said + 7),
            Does::Fails => "the message does not encode: there is no such message".to_owned(),
            Does::Panics => "panicked: half way".to_owned(),
        }
    }

    #[track_caller]
    fn is_told<T>(self, outcome: Result<T, Status>) {
        let status = outcome.err().expect("a failure");
        assert_eq!(status.code(), Code::Internal, "{self:?}: {status}");
        assert!(status.message().contains(&self.says()), "{self:?}: {status}");
    }
}

/// All lies of all lengths, and the lengths of what is said of their messages: in an entry, or beyond one.
fn liars() -> impl Iterator<Item = (Liar, MetadataMap)> {
    let said = [0, 1, 200].map(|len| {
        let mut metadata = MetadataMap::new();
        if len > 0 {
            metadata.insert("k", "v".repeat(len)).unwrap();
        }
        metadata
    });
    let liars = LENGTHS.into_iter().flat_map(|said| ALL.map(|does| Liar { said, does }));
    liars.flat_map(move |liar| said.clone().map(|metadata| (liar, metadata)))
}

/// Answers as its requests say: the index of a length, of a lie, and the length of the metadata.
struct Lying;

fn asked(request: &Request<Raw>) -> Liar {
    let asked = &request.get_ref().0;
    Liar { said: LENGTHS[usize::from(asked[0])], does: ALL[usize::from(asked[1])] }
}

fn question(liar: Liar) -> Raw<Vec<u8>> {
    let length = LENGTHS.iter().position(|&len| len == liar.said).unwrap();
    let lie = ALL.iter().position(|&does| does == liar.does).unwrap();
    Raw(vec![length as u8, lie as u8])
}

impl Service for Lying {
    fn name(&self) -> &'static str {
        "codec.Lies"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[LIE, LIES]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 => exchange.unary(|request: Request<Raw>| {
                let mut response = Response::new(asked(&request));
                *response.metadata_mut() = request.metadata().clone();
                Ok(response)
            }),
            _ => exchange.server_streaming(|request: Request<Raw>| {
                let liar = asked(&request);
                Ok(Response::new([Said::Truth(Raw(vec![1; liar.said])), Said::Lie(liar)].map(Ok)))
            }),
        }
    }
}

/// What a stream brings.
enum Said {
    Truth(Raw<Vec<u8>>),
    Lie(Liar),
}

impl Encode for Said {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Truth(truth) => truth.encoded_len(),
            Self::Lie(lie) => lie.encoded_len(),
        }
    }

    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        match self {
            Self::Truth(truth) => truth.encode(to),
            Self::Lie(lie) => lie.encode(to),
        }
    }
}

/// Messages of all lengths go there and back.
#[track_caller]
fn is_served(channel: &Channel) {
    for length in LENGTHS {
        let sent = noise(length, 1);
        let call = channel.unary::<_, Raw>(&channel.method(REVERSE), Raw(sent.clone()).into());
        assert!(call.timeout(PATIENCE).wait().unwrap().get_ref().0 == reverse_of(&sent));
    }
}

fn a_request_that_lies_fails_its_call() {
    let (_server, channel) = site(Bytewise, Handlers::Inline);
    let method = channel.method(REVERSE);
    for (liar, metadata) in liars() {
        let mut request = Request::new(liar);
        *request.metadata_mut() = metadata;
        let call = channel.unary::<_, Raw>(&method, request);
        match liar.does {
            Does::Panics => {
                catch_unwind(AssertUnwindSafe(|| call.wait())).expect_err("the panic is the caller's own");
            }
            _ => liar.is_told(call.wait()),
        }
    }
    is_served(&channel);
}

fn a_reply_that_lies_fails_its_call() {
    for handlers in [Handlers::Inline, Handlers::Pool(1)] {
        let server = Server::builder().handlers(handlers).service(Lying).service(Bytewise);
        let server = LocalServer::start(server);
        let channel = channel_builder().connect(server.path()).wait().unwrap();
        let method = channel.method(LIE);
        for (liar, metadata) in liars() {
            let mut request = Request::new(question(liar));
            *request.metadata_mut() = metadata;
            liar.is_told(channel.unary::<_, Raw>(&method, request).timeout(PATIENCE).wait());
        }
        is_served(&channel);
    }
}

fn a_stream_goes_on_after_a_request_that_lies() {
    let (_server, channel) = site(Bytewise, Handlers::Inline);
    let (mut sender, mut messages) =
        channel.bidi_streaming::<Said, Raw>(&channel.method(crate::BACK)).timeout(PATIENCE).wait().unwrap();
    // More of them than the window would admit, if they were counted.
    for (liar, _) in liars().filter(|(liar, _)| liar.does != Does::Panics) {
        liar.is_told(sender.send(Said::Lie(liar)).wait());
        let truth = vec![1; liar.said];
        sender.send(Said::Truth(Raw(truth.clone()))).wait().unwrap();
        assert!(messages.message().wait().unwrap() == Some(Raw(truth.into())));
    }
    is_served(&channel);
}

fn a_stream_ends_with_a_response_that_lies() {
    let server = LocalServer::start(Server::builder().service(Lying).service(Bytewise));
    let channel = channel_builder().connect(server.path()).wait().unwrap();
    let method = channel.method(LIES);
    for liar in LENGTHS.into_iter().flat_map(|said| ALL.map(|does| Liar { said, does })) {
        let call = channel.server_streaming::<_, Raw>(&method, question(liar).into()).timeout(PATIENCE);
        let mut messages = call.wait().unwrap().into_inner();
        assert!(messages.message().wait().unwrap() == Some(Raw(vec![1; liar.said].into())));
        liar.is_told(messages.message().wait());
    }
    is_served(&channel);
}

fn replies_that_lie_and_wait_for_room_fail_their_calls() {
    const REPLY: &str = "/codec.Room/Reply";
    const SAID: usize = 700_000;
    let reply = |request: Request<Raw>| {
        let mut response = Response::new(match request.get_ref().0[..] {
            [lie] => Said::Lie(Liar { said: SAID, does: ALL[usize::from(lie)] }),
            _ => Said::Truth(Raw(vec![1; SAID])),
        });
        *response.metadata_mut() = request.metadata().clone();
        Ok(response)
    };
    let small = Server::builder().max_region_bytes(4 << 20).max_message_size(1 << 20);
    let server = LocalServer::start(small.unary(REPLY, reply));
    let channel = channel_builder().connect(server.path()).wait().unwrap();
    let method = channel.method(REPLY);
    for (_, metadata) in liars().take(2) {
        let start = |asked: Vec<u8>| {
            let mut request = Request::new(Raw(asked));
            *request.metadata_mut() = metadata.clone();
            channel.unary::<_, Raw>(&method, request).timeout(PATIENCE).start().unwrap()
        };
        // The first of them take all the memory, and nobody reads them yet.
        let truths: Vec<_> = (0..8).map(|_| start(Vec::new())).collect();
        let lies: Vec<_> = (0..ALL.len()).map(|lie| start(vec![lie as u8])).collect();
        for truth in truths {
            assert!(truth.wait().unwrap().get_ref().0 == vec![1; SAID]);
        }
        for (lie, does) in lies.into_iter().zip(ALL) {
            Liar { said: SAID, does }.is_told(lie.wait());
        }
    }
}

fn a_length_beyond_all_memory_is_refused() {
    let server = LocalServer::start(Server::builder().service(Bytewise));
    let all = channel_builder().connect(server.path()).wait().unwrap();
    let again = channel_builder().reconnect(Reconnect::default()).connect(server.path()).wait().unwrap();
    for channel in [all, again] {
        for said in [usize::MAX, usize::MAX / 2, 1 << 50] {
            let method = channel.method(REVERSE);
            for with_metadata in [false, true] {
                let mut request = Request::new(Huge(said));
                if with_metadata {
                    request.metadata_mut().insert("k", "v").unwrap();
                }
                let call = || channel.unary::<_, Raw>(&method, request.clone()).idempotent();
                for outcome in [call().wait(), call().start().and_then(|call| call.wait())] {
                    assert_eq!(outcome.unwrap_err().code(), Code::ResourceExhausted, "{said} bytes");
                }
            }
        }
        is_served(&channel);
    }
}

/// Says any length, and is never asked for so much.
#[derive(Clone)]
struct Huge(usize);

impl Encode for Huge {
    fn encoded_len(&self) -> usize {
        self.0
    }

    fn encode(&self, _: &mut impl BufMut) -> Result<(), CodecError> {
        panic!("there cannot be so much room")
    }
}
