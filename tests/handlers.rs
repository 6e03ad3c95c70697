//! Promise: an async handler waits without being in anybody's way, is dropped once nobody waits for it, and
//! answers as a blocking one does.
#![cfg(feature = "tokio")]

#[path = "handlers/service.rs"]
mod service;
#[path = "handlers/serving.rs"]
mod serving;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::server::{Handlers, ShutdownHandle};
use mmap_rpc::{Channel, Code, Request, Server, ServerBuilder, testing};
use tempfile::TempDir;
use testkit::proto::{
    Blob, EchoClient, EchoServer, Empty, FailRequest, MakeRequest, PanicRequest, SleepRequest,
};
use testkit::{PATIENCE, checksum, connect, eventually, noise, way};
use tokio::runtime::{Builder, Runtime};

use service::{NEVER, Service};

testkit::on_every_way![
    handlers_answer,
    handlers_that_wait_are_in_nobodys_way,
    a_handler_ends_with_the_call_that_was_given_up,
    a_handler_ends_with_its_deadline,
    a_handler_ends_with_its_client,
    a_panic_fails_its_call_alone,
    shutdown_waits_for_handlers,
    handlers_that_outlast_the_grace_are_dropped,
    without_a_runtime_handlers_wait_where_they_are,
];

/// A server of the async service on a thread of its own, whose handlers have a runtime beside it.
struct Site {
    service: Arc<Service>,
    stop: ShutdownHandle,
    dir: TempDir,
    thread: Option<thread::JoinHandle<std::io::Result<()>>>,
    runtime: Option<Runtime>,
}

impl Site {
    fn new() -> Self {
        Self::with(|server| server)
    }

    fn with(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let mut site = Self::without_runtime(|server| settings(server.runtime(handle)));
        site.runtime = Some(runtime);
        site
    }

    fn without_runtime(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let service = Arc::new(Service::default());
        let server = settings(Server::builder()).service(EchoServer::from_arc(service.clone()));
        let server = way::allow_all(server, &path).classic(dir.path().join("classic")).bind(&path).unwrap();
        let stop = server.shutdown_handle();
        let thread = Some(thread::spawn(move || server.run()));
        Self { service, stop, dir, thread, runtime: None }
    }

    fn client(&self) -> EchoClient {
        EchoClient::new(connect(self.dir.path().join("socket")).unwrap())
    }

    /// Waits until so many handlers wait.
    fn expect_waiting(&self, handlers: usize) {
        eventually("handlers wait", || self.service.waiting() == handlers);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.shutdown();
        let ended = self.thread.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("no panic").expect("an orderly end");
        }
    }
}

const FOR_EVER: SleepRequest = SleepRequest { milliseconds: u32::MAX };

fn handlers_answer() {
    for handlers in [Handlers::Inline, Handlers::Pool(2)] {
        let site = Site::with(|server| server.handlers(handlers));
        let client = site.client();
        for (seed, length) in [0, 50, 97, 70_000, 3 << 20].into_iter().enumerate() {
            let sent = Blob { data: noise(length, seed as u64) };
            assert_eq!(client.echo(sent.clone()).wait().unwrap().into_inner(), sent);
            // This one yields in between.
            let sum = client.checksum(sent.clone()).wait().unwrap().into_inner().sum;
            assert_eq!(sum, checksum(&sent.data));
            let make = MakeRequest { length: length as u64, seed: 7 };
            assert_eq!(client.make(make).wait().unwrap().into_inner().data, noise(length, 7));
        }
        client.sleep(SleepRequest { milliseconds: 10 }).wait().unwrap();
        for code in 1..=16 {
            let failed = client.fail(FailRequest { code, text: "as told".into() }).wait().unwrap_err();
            assert_eq!((failed.code() as u32, failed.message()), (code, "as told"));
        }
    }
}

fn handlers_that_wait_are_in_nobodys_way() {
    let site = Site::new();
    let (waiting, client) = (site.client(), site.client());
    let calls: Vec<_> = (0..300).map(|_| waiting.sleep(FOR_EVER).start().unwrap()).collect();
    site.expect_waiting(300);
    for client in [&waiting, &client] {
        for _ in 0..100 {
            client.echo(Blob::default()).wait().unwrap();
            client.sleep(SleepRequest { milliseconds: 0 }).wait().unwrap();
        }
    }
    drop(calls);
    site.expect_waiting(0);
}

fn a_handler_ends_with_the_call_that_was_given_up() {
    let site = Site::new();
    let client = site.client();
    for _ in 0..20 {
        let calls = [0, 1].map(|_| client.sleep(FOR_EVER).start().unwrap());
        site.expect_waiting(2);
        let [first, second] = calls;
        drop(first);
        site.expect_waiting(1);
        client.echo(Blob::default()).wait().unwrap();
        drop(second);
        site.expect_waiting(0);
    }
}

fn a_handler_ends_with_its_deadline() {
    let site = Site::new();
    let client = site.client();
    let begun = Instant::now();
    let late = client.sleep(FOR_EVER).timeout(Duration::from_millis(50)).wait().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    site.expect_waiting(0);
    // The server ends it by itself, whether or not the client gives it up.
    let call = client.sleep(FOR_EVER).timeout(Duration::from_millis(50)).start().unwrap();
    site.expect_waiting(1);
    site.expect_waiting(0);
    assert_eq!(call.wait().unwrap_err().code(), Code::DeadlineExceeded);
}

fn a_handler_ends_with_its_client() {
    let site = Site::new();
    for _ in 0..5 {
        let client = site.client();
        let calls: Vec<_> = (0..3).map(|_| client.sleep(FOR_EVER).start().unwrap()).collect();
        site.expect_waiting(3);
        // Without a word to each call: their replies are nobody's.
        std::mem::forget(calls);
        drop(client);
        site.expect_waiting(0);
        site.client().echo(Blob::default()).wait().unwrap();
    }
}

fn a_panic_fails_its_call_alone() {
    let site = Site::new();
    let client = site.client();
    let neighbour = client.sleep(SleepRequest { milliseconds: 50 }).start().unwrap();
    for text in ["at once", "after a while"] {
        let failed = client.panic(PanicRequest { text: text.into() }).wait().unwrap_err();
        assert_eq!(failed.code(), Code::Internal);
        assert!(failed.message().contains(text), "{failed}");
    }
    neighbour.wait().unwrap();
}

fn shutdown_waits_for_handlers() {
    let site = Site::with(|server| server.grace(PATIENCE));
    let client = site.client();
    let call = client.sleep(SleepRequest { milliseconds: 100 }).start().unwrap();
    site.expect_waiting(1);
    site.stop.shutdown();
    call.wait().unwrap();
}

fn handlers_that_outlast_the_grace_are_dropped() {
    let mut site = Site::with(|server| server.grace(Duration::from_millis(20)));
    let client = site.client();
    let call = client.sleep(FOR_EVER).start().unwrap();
    site.expect_waiting(1);
    site.stop.shutdown();
    assert_eq!(call.wait().unwrap_err().code(), Code::Unavailable);
    site.thread.take().unwrap().join().unwrap().unwrap();
    site.thread = Some(thread::spawn(|| Ok(())));
    site.expect_waiting(0);
}

fn without_a_runtime_handlers_wait_where_they_are() {
    let site = Site::without_runtime(|server| server.handlers(Handlers::Pool(2)));
    assert!(site.runtime.is_none());
    let client = site.client();
    assert_eq!(client.count(Empty {}).wait().unwrap().into_inner().sleeping, 0);
    // Woken by another thread.
    let sum = client.checksum(Blob { data: noise(1000, 3) }).wait().unwrap().into_inner().sum;
    assert_eq!(sum, checksum(&noise(1000, 3)));
    let never = MakeRequest { length: 0, seed: NEVER };
    let late = client.make(never).timeout(Duration::from_millis(30)).wait().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    site.expect_waiting(0);
}

/// A classic client is served by the same handlers, and their futures end with it.
#[test]
fn classic_clients_are_served_by_async_handlers() {
    let site = Site::new();
    let connect = || Channel::connect_classic(site.dir.path().join("socket")).client::<EchoClient>().wait();
    let client = connect().unwrap();
    let sent = Blob { data: noise(5000, 1) };
    assert_eq!(client.echo(sent.clone()).wait().unwrap().into_inner(), sent);
    client.sleep(SleepRequest { milliseconds: 20 }).wait().unwrap();
    let call = client.sleep(FOR_EVER).start().unwrap();
    site.expect_waiting(1);
    drop(call);
    site.expect_waiting(0);
}

/// A handler that calls another server hands its own deadline on: both calls end, and the inner handler with
/// them, though the inner call has no limit of its own.
#[test]
fn a_deadline_is_inherited() {
    let site = Site::new();
    let inner = site.client();
    let outer = Server::builder().unary("/outer.Outer/Sleep", move |request: Request<Empty>| {
        assert!(request.remaining().is_some_and(|left| left <= PATIENCE));
        inner.sleep(FOR_EVER).deadline(request.deadline()).wait()
    });
    let pair = testing::pair(outer).unwrap();
    let (channel, begun) = (pair.channel(), Instant::now());
    let sleep = channel.method("/outer.Outer/Sleep");
    let call = channel.unary::<Empty, Empty>(&sleep, Empty {}.into()).timeout(Duration::from_millis(80));
    assert_eq!(call.wait().unwrap_err().code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() >= Duration::from_millis(80));
    site.expect_waiting(0);
    // The earlier of two limits holds, and one that has passed sends nothing.
    let client = site.client();
    let past = client.echo(Blob::default()).deadline(begun).timeout(PATIENCE).wait();
    assert_eq!(past.unwrap_err().code(), Code::DeadlineExceeded);
    client.echo(Blob::default()).deadline(None).wait().unwrap();
}
