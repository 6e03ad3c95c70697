//! Messages that encode to another length than they say, or panic on the way: written by hand, since
//! generated ones cannot.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mmap_rpc::__private::prost::bytes::{Buf, BufMut};
use mmap_rpc::__private::prost::encoding::{DecodeContext, WireType};
use mmap_rpc::__private::prost::{DecodeError, Message};
use mmap_rpc::server::{Exchange, Handled, Handlers, Service};
use mmap_rpc::{Channel, Code, Request, Response, Server};
use testkit::proto::{Blob, EchoClient};
use testkit::{LocalServer, PATIENCE, noise};

/// Lengths of messages that travel in an entry, in a slot, and in a slot that is read while it is written.
const LENGTHS: [usize; 4] = [50, 5_000, 100_000, 3 << 20];

/// What a message does instead of what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Lie {
    /// It writes less.
    #[default]
    Short,
    /// It wants to write more, and panics for want of room.
    Long,
    /// It panics half way.
    Panic,
}

const LIES: [Lie; 3] = [Lie::Short, Lie::Long, Lie::Panic];

#[derive(Debug, Default)]
struct Liar {
    said: usize,
    lie: Lie,
}

impl Message for Liar {
    fn encode_raw(&self, out: &mut impl BufMut) {
        out.put_bytes(7, self.said / 2);
        match self.lie {
            Lie::Short => {}
            Lie::Long => out.put_bytes(7, self.said),
            Lie::Panic => panic!("half way"),
        }
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: WireType,
        _: &mut impl Buf,
        _: DecodeContext,
    ) -> Result<(), DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.said
    }

    fn clear(&mut self) {}
}

/// Answers each request with a lie: its bytes choose the length and the kind.
struct Liars;

impl Service for Liars {
    fn name(&self) -> &'static str {
        "lies.Liars"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["/lies.Liars/Lie"]
    }

    fn call(&self, _: usize, exchange: Exchange<'_>) -> Handled {
        exchange.unary(|request: Request<Blob>| {
            let data = &request.get_ref().data;
            Ok(Response::new(Liar { said: LENGTHS[usize::from(data[0])], lie: LIES[usize::from(data[1])] }))
        })
    }
}

fn is_served(channel: &Channel) {
    let client = EchoClient::new(channel.clone());
    for length in LENGTHS {
        let data = noise(length, 1);
        let reply = client.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait().unwrap();
        assert!(reply.get_ref().data == data);
    }
}

#[test]
fn a_request_that_lies_fails_its_call_and_nothing_else() {
    let server = LocalServer::default_settings();
    let channel = Channel::connect(server.path()).unwrap();
    let method = channel.method("/testkit.Echo/Echo");
    assert!(method.is_known());
    for said in LENGTHS {
        for round in 0..20 {
            let status = channel
                .unary::<_, Blob>(&method, Request::new(Liar { said, lie: Lie::Short }))
                .wait()
                .unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{said} bytes, round {round}: {status}");
            assert!(status.message().contains("encoded_len"), "{status}");
        }
        for lie in [Lie::Long, Lie::Panic] {
            let call = channel.unary::<_, Blob>(&method, Request::new(Liar { said, lie }));
            catch_unwind(AssertUnwindSafe(|| call.wait())).expect_err("the panic is the caller's own");
        }
        is_served(&channel);
    }
}

#[test]
fn a_reply_that_lies_is_internal_and_the_server_lives_on() {
    for handlers in [Handlers::Inline, Handlers::Pool(1)] {
        let server = LocalServer::start(Server::builder().handlers(handlers).service(Liars));
        let channel = Channel::connect(server.path()).unwrap();
        let method = channel.method("/lies.Liars/Lie");
        for which in 0..LENGTHS.len() as u8 {
            for (lie, says) in (0..).zip(["encoded_len", "panicked", "panicked: half way"]) {
                for _ in 0..10 {
                    let request = Request::new(Blob { data: vec![which, lie].into() });
                    let call = channel.unary::<_, Blob>(&method, request).timeout(PATIENCE);
                    let status = call.wait().unwrap_err();
                    assert_eq!(status.code(), Code::Internal, "{}: {status}", LENGTHS[usize::from(which)]);
                    assert!(status.message().contains(says), "{status}");
                }
            }
            is_served(&channel);
        }
    }
}
