//! `testing::pair` is the real thing in one process: shared regions, limits and ends as between two, and
//! nothing left behind.

mod watch;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::server::{Exchange, Handled, Handlers, Service as AnyService};
use mmap_rpc::testing::{self, PairError};
use mmap_rpc::{Channel, Code, Request, Response, Server};
use testkit::echo::{self, Service};
use testkit::proto::{Blob, EchoClient, Empty, SleepRequest};
use testkit::{PATIENCE, noise};
use watch::{alone, eventually, holdings, nothing_left_since};

fn pair(builder: mmap_rpc::ServerBuilder) -> (testing::Pair, Arc<Service>) {
    let service = Arc::new(Service::default());
    (testing::pair(echo::serve(builder, service.clone())).unwrap(), service)
}

#[test]
fn messages_of_all_sizes_go_through_regions_that_are_gone_afterwards() {
    let _alone = alone();
    let before = holdings();
    let (pair, _) = pair(Server::builder().reactors(2));
    // Two regions, each mapped by its writer and its reader.
    assert!(holdings().mappings >= before.mappings + 4, "{:?}", holdings());
    let channels = [pair.channel(), pair.connect(Channel::builder()).unwrap()];
    for length in [0, 1, 96, 97, 5_000, 100_000, 3 << 20] {
        for channel in &channels {
            let sent = Blob { data: noise(length, length as u64) };
            let reply = EchoClient::new(channel.clone()).echo(sent.clone()).timeout(PATIENCE).wait();
            assert!(reply.unwrap().into_inner() == sent, "{length} bytes");
        }
    }
    drop((pair, channels));
    nothing_left_since(before);
}

#[test]
fn each_side_knows_the_other_as_this_process() {
    let _alone = alone();
    let own = std::process::id();
    let server = Server::builder().unary("/a.B/Caller", |request: Request<Empty>| {
        Ok(Response::new(SleepRequest { milliseconds: request.peer().unwrap().pid }))
    });
    let pair = testing::pair(server).unwrap();
    assert_eq!(pair.channel().peer().pid, own);
    let channel = pair.channel();
    let call = channel.unary::<_, SleepRequest>(&channel.method("/a.B/Caller"), Request::new(Empty {}));
    assert_eq!(call.timeout(PATIENCE).wait().unwrap().get_ref().milliseconds, own);
}

#[test]
fn a_further_client_has_limits_of_its_own() {
    let _alone = alone();
    let (pair, _) = pair(Server::builder());
    let small = EchoClient::new(pair.connect(Channel::builder().max_message_size(100)).unwrap());
    let message = || Blob { data: noise(200, 1) };
    let status = small.echo(message()).timeout(PATIENCE).wait().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    EchoClient::new(pair.channel()).echo(message()).timeout(PATIENCE).wait().unwrap();
}

#[test]
fn a_call_that_runs_is_finished_and_later_ones_are_unavailable() {
    let _alone = alone();
    let (pair, service) = pair(Server::builder().handlers(Handlers::Pool(1)));
    let client = EchoClient::new(pair.channel());
    let running = client.sleep(SleepRequest { milliseconds: 100 }).timeout(PATIENCE).start().unwrap();
    assert!(eventually(|| service.sleeping() == 1));
    let ending = thread::spawn(move || drop(pair));
    running.wait().unwrap();
    ending.join().unwrap();
    let status = client.count(Empty {}).timeout(PATIENCE).wait().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[test]
fn nobody_connects_to_a_server_that_has_ended() {
    let _alone = alone();
    let (pair, _) = pair(Server::builder());
    pair.shutdown_handle().shutdown();
    let client = EchoClient::new(pair.channel());
    assert!(eventually(|| client.count(Empty {}).timeout(PATIENCE).wait().is_err()));
    // It may still be ending: then a channel comes about, and is told so.
    let begun = Instant::now();
    let refused = || matches!(pair.connect(Channel::builder()), Err(PairError::Client(_)));
    assert!(eventually(refused));
    assert!(begun.elapsed() < Duration::from_secs(4), "hung up on, not left to the handshake's timeout");
}

#[test]
fn settings_that_do_not_fit_together_are_the_servers_fault() {
    let _alone = alone();
    let error = testing::pair(Server::builder()).unwrap_err();
    assert!(matches!(error, PairError::Server(_)), "{error:?}");
    assert!(error.to_string().contains("the server has no methods"), "{error}");
}

#[test]
fn a_handler_that_panics_fails_its_call_and_nothing_else() {
    let _alone = alone();
    let server = Server::builder()
        .unary("/a.B/Panic", |_: Request<Empty>| -> Result<Response<Empty>, _> { panic!("out of cheese") })
        .unary("/a.B/Echo", |request: Request<Blob>| Ok(Response::new(request.into_inner())));
    let pair = testing::pair(server).unwrap();
    let channel = pair.channel();
    let call = channel.unary::<_, Empty>(&channel.method("/a.B/Panic"), Request::new(Empty {}));
    let status = call.timeout(PATIENCE).wait().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("out of cheese"), "{status}");
    let call = channel.unary::<_, Blob>(&channel.method("/a.B/Echo"), Request::new(Blob::default()));
    call.timeout(PATIENCE).wait().unwrap();
}

/// A service that breaks the server: it panics outside of any handler.
struct Broken;

impl AnyService for Broken {
    fn name(&self) -> &'static str {
        "a.Broken"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["/a.Broken/Call"]
    }

    fn call(&self, _: usize, _: Exchange<'_>) -> Handled {
        panic!("the reactor is gone")
    }
}

/// A pair whose server has panicked.
fn broken_pair() -> testing::Pair {
    let pair = testing::pair(Server::builder().service(Broken)).unwrap();
    let channel = pair.channel();
    let method = channel.method("/a.Broken/Call");
    let call = || channel.unary::<_, Empty>(&method, Request::new(Empty {})).timeout(PATIENCE).wait();
    // The first one is answered on the way out of the panic.
    assert_eq!(call().unwrap_err().code(), Code::Internal);
    assert_eq!(call().unwrap_err().code(), Code::Unavailable);
    pair
}

#[test]
fn a_server_that_panics_fails_its_calls_and_the_test() {
    let _alone = alone();
    let pair = broken_pair();
    let panic = panic::catch_unwind(AssertUnwindSafe(|| drop(pair))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the reactor is gone"));
}

#[test]
fn a_test_that_panics_already_keeps_its_own_words() {
    let _alone = alone();
    let panic = panic::catch_unwind(|| {
        let _pair = broken_pair();
        panic!("the test's own words")
    });
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"the test's own words"));
}
