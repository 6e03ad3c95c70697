//! Messages that encode to another length than they say, or panic on the way, on either side of a classic
//! connection: the call fails, and the connection goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Code, Server};
use testkit::lies::{LIE, LIES, Liar, Liars, Lie};
use testkit::proto::{Blob, EchoClient};
use testkit::{PATIENCE, noise};

use crate::Site;

/// Lengths of messages that are gathered, and that are written in pieces.
const LENGTHS: [usize; 3] = [50, 100_000, 3 << 20];

#[track_caller]
fn assert_well(channel: &Channel) {
    let data = noise(100_000, 1);
    let client = EchoClient::new(channel.clone());
    assert!(
        client.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait().unwrap().get_ref().data == data
    );
}

#[test]
fn a_reply_that_lies_is_internal() {
    for handlers in [Handlers::Inline, Handlers::Pool(1)] {
        let site = Site::with(Server::builder().service(Liars(&LENGTHS)).handlers(handlers));
        let channel = Channel::connect_classic(site.server.path()).wait().unwrap();
        let method = channel.method(LIE);
        for length in 0..LENGTHS.len() as u8 {
            for lie in 0..LIES.len() as u8 {
                let request = Blob { data: vec![length, lie].into() };
                let call = channel.unary::<Blob, Blob>(&method, request.into());
                let status = call.timeout(PATIENCE).wait().unwrap_err();
                assert_eq!(status.code(), Code::Internal, "{status}");
                assert_well(&channel);
            }
        }
        assert_eq!(site.count(), 1, "one connection survived all of that");
    }
}

#[test]
fn a_request_that_lies_is_never_sent() {
    let site = Site::new();
    let channel = Channel::connect_classic(site.server.path()).wait().unwrap();
    let method = channel.method("/testkit.Echo/Echo");
    for said in LENGTHS {
        let ask = |lie| channel.unary::<Liar, Blob>(&method, Liar { said, lie }.into()).wait();
        for lie in [Lie::Short, Lie::Long] {
            let status = ask(lie).unwrap_err();
            assert!(status.code() == Code::Internal && status.message().contains("encoded_len"), "{status}");
        }
        // The panic is the caller's own.
        assert!(catch_unwind(AssertUnwindSafe(|| ask(Lie::Panic))).is_err());
    }
    assert_eq!(site.server.service.begun(), 0);
    assert_well(&channel);
    assert_eq!(site.count(), 1, "one connection survived all of that");
}
