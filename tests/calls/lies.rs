//! Messages that encode to another length than they say, or panic on the way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Code, Request, Server};
use testkit::lies::{LIE, Liar, Liars, Lie};
use testkit::proto::{Blob, EchoClient};
use testkit::{LocalServer, PATIENCE, noise};

/// Lengths of messages that travel in an entry, in a slot, and in a slot that is read while it is written.
const LENGTHS: [usize; 4] = [50, 5_000, 100_000, 3 << 20];

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
    let channel = Channel::connect(server.path()).wait().unwrap();
    let method = channel.method("/testkit.Echo/Echo");
    assert!(method.is_known());
    for said in LENGTHS {
        let call = |lie| channel.unary::<_, Blob>(&method, Request::new(Liar { said, lie }));
        for round in 0..20 {
            for lie in [Lie::Short, Lie::Long] {
                let status = call(lie).wait().unwrap_err();
                assert_eq!(status.code(), Code::Internal, "{said} bytes, round {round}: {status}");
                assert!(status.message().contains("encoded_len"), "{status}");
            }
        }
        let panics = catch_unwind(AssertUnwindSafe(|| call(Lie::Panic).wait()));
        panics.expect_err("the panic is the caller's own");
        is_served(&channel);
    }
}

#[test]
fn a_reply_that_lies_is_internal_and_the_server_lives_on() {
    for handlers in [Handlers::Inline, Handlers::Pool(1)] {
        let server = LocalServer::start(Server::builder().handlers(handlers).service(Liars(&LENGTHS)));
        let channel = Channel::connect(server.path()).wait().unwrap();
        let method = channel.method(LIE);
        for which in 0..LENGTHS.len() as u8 {
            for (lie, says) in (0..).zip(["encoded_len", "encoded_len", "panicked: half way"]) {
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
