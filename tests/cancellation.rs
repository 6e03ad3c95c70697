//! Promise: a blocking handler that asks whether it is still wanted learns soon that it is not, whichever way
//! its call came, and from whichever thread it asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::server::Handlers;
use mmap_rpc::{Call, Channel, Code, Request, Response, Server, Status};
use testkit::proto::{Blob, Empty};
use testkit::{LocalServer, PATIENCE, connect, eventually};

testkit::on_every_way![
    a_handler_learns_that_its_call_was_dropped_and_others_do_not,
    a_handler_learns_that_its_deadline_has_passed,
    a_handler_learns_that_its_client_is_gone,
    a_request_that_outlives_its_call_is_not_wanted,
    other_threads_may_ask,
];

/// Works until nobody wants it any more.
const WORK: &str = "/t.T/Work";
/// Gives its request away and answers.
const KEEP: &str = "/t.T/Keep";
/// Has other threads work.
const SHARE: &str = "/t.T/Share";

/// Handlers that ran until they were not wanted, and those that run.
#[derive(Default)]
struct Seen {
    working: AtomicU64,
    cancelled: AtomicU64,
    kept: Mutex<Option<Request<Blob>>>,
}

impl Seen {
    /// Loops as a handler that computes does, for `PATIENCE` at most.
    fn work(&self, request: &Request<Blob>) -> Result<Response<Empty>, Status> {
        let begun = Instant::now();
        self.working.fetch_add(1, Ordering::SeqCst);
        while !request.is_cancelled() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_micros(100));
        }
        if begun.elapsed() < PATIENCE {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        self.working.fetch_sub(1, Ordering::SeqCst);
        Ok(Response::new(Empty {}))
    }

    fn working(&self) -> u64 {
        self.working.load(Ordering::SeqCst)
    }

    fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::SeqCst)
    }
}

fn site(handlers: Handlers) -> (LocalServer, Arc<Seen>, tempfile::TempDir) {
    let seen = Arc::new(Seen::default());
    let [work, keep, share] = [0; 3].map(|_| seen.clone());
    let dir = tempfile::tempdir().unwrap();
    let builder = Server::builder()
        .handlers(handlers)
        .classic(dir.path().join("classic"))
        .unary(WORK, move |request: Request<Blob>| work.work(&request))
        .unary(KEEP, move |request: Request<Blob>| {
            assert!(!request.is_cancelled());
            *keep.kept.lock().unwrap() = Some(request);
            Ok(Response::new(Empty {}))
        })
        .unary(SHARE, move |request: Request<Blob>| {
            let (seen, another) = (&share, request.clone());
            thread::scope(|scope| {
                scope.spawn(move || seen.work(&another));
                scope.spawn(|| seen.work(&request));
            });
            Ok(Response::new(Empty {}))
        });
    (LocalServer::start(builder), seen, dir)
}

fn call<'a>(channel: &'a Channel, name: &'static str) -> Call<'a, Blob, Empty> {
    channel.unary(&channel.method(name), Blob { data: vec![7; 64].into() }.into())
}

fn a_handler_learns_that_its_call_was_dropped_and_others_do_not() {
    let (server, seen, _dir) = site(Handlers::Pool(3));
    let channel = connect(server.path()).unwrap();
    let other = call(&channel, WORK).start().unwrap();
    for round in 1..=20 {
        let dropped = call(&channel, WORK).start().unwrap();
        eventually("both work", || seen.working() == 2);
        drop(dropped);
        eventually("one is through", || seen.working() == 1);
        assert_eq!(seen.cancelled(), round);
        // The index of the call that was dropped is another one's now.
        call(&channel, KEEP).timeout(PATIENCE).wait().unwrap();
    }
    drop(other);
    eventually("both are through", || seen.working() == 0);
}

fn a_handler_learns_that_its_deadline_has_passed() {
    for handlers in [Handlers::Pool(1), Handlers::Inline] {
        let (server, seen, _dir) = site(handlers);
        let channel = connect(server.path()).unwrap();
        let begun = Instant::now();
        let late = call(&channel, WORK).timeout(Duration::from_millis(50)).wait().unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);
        eventually("the handler is through", || seen.cancelled() == 1);
        assert!(begun.elapsed() >= Duration::from_millis(50));
        call(&channel, KEEP).timeout(PATIENCE).wait().unwrap();
    }
}

fn a_handler_learns_that_its_client_is_gone() {
    let (server, seen, _dir) = site(Handlers::Pool(2));
    for round in 1..=5 {
        let channel = connect(server.path()).unwrap();
        let calls = [0; 2].map(|_| call(&channel, WORK).start().unwrap());
        eventually("two work", || seen.working() == 2);
        // Without a word to each call.
        std::mem::forget(calls);
        drop(channel);
        eventually("both are through", || seen.cancelled() == 2 * round);
    }
}

fn a_request_that_outlives_its_call_is_not_wanted() {
    let (server, seen, _dir) = site(Handlers::Inline);
    let channel = connect(server.path()).unwrap();
    call(&channel, KEEP).timeout(PATIENCE).wait().unwrap();
    let kept = seen.kept.lock().unwrap().take().unwrap();
    assert!(kept.is_cancelled() && kept.clone().is_cancelled());
    drop(channel);
    drop(server);
    assert!(kept.is_cancelled());
}

fn other_threads_may_ask() {
    let (server, seen, _dir) = site(Handlers::Pool(1));
    let channel = connect(server.path()).unwrap();
    let shared = call(&channel, SHARE).start().unwrap();
    eventually("two threads work", || seen.working() == 2);
    drop(shared);
    eventually("both are through", || seen.cancelled() == 2);
}

#[test]
fn a_classic_clients_end_is_seen_and_a_call_that_is_answered_is_over() {
    let (server, seen, _dir) = site(Handlers::Pool(2));
    let channel = Channel::connect_classic(server.path()).wait().unwrap();
    for round in 1..=5 {
        call(&channel, KEEP).timeout(PATIENCE).wait().unwrap();
        let kept = seen.kept.lock().unwrap().take().unwrap();
        // On the same connection, which is idle.
        let dropped = call(&channel, WORK).start().unwrap();
        eventually("it works", || seen.working() == 1);
        assert!(kept.is_cancelled());
        drop(dropped);
        eventually("it is through", || seen.cancelled() == round);
        assert!(kept.is_cancelled());
    }
}

#[test]
fn a_callers_own_request_is_never_cancelled() {
    let request = Request::new(Blob::default());
    assert!(!request.is_cancelled() && !request.clone().is_cancelled());
}
