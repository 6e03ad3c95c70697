//! Interceptors that have to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mmap_rpc::{Code, IncomingCall, Interceptor, OutgoingCall, Request, Status, Verdict};
use testkit::eventually;
use testkit::interop::ECHO_INITIAL;
use testkit::interop::proto::{SimpleRequest, StreamingOutputCallRequest, TestServiceClient};
use tokio::sync::Semaphore;

use crate::site::{KINDS, Site, every_call, runtime, sites, unary};

/// Waits until somebody opens it, with each call that asks for that.
struct Gate {
    open: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// A call that waits, until it is dropped or through.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), waiting: Arc::default() }
    }

    fn another(&self) -> Self {
        Self { open: self.open.clone(), waiting: self.waiting.clone() }
    }

    fn expect_waiting(&self, calls: usize) {
        eventually("calls wait", || self.waiting.load(Ordering::SeqCst) == calls);
    }

    async fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        self.open.acquire().await.unwrap().forget();
    }
}

impl Interceptor<IncomingCall> for Gate {
    fn intercept<'a>(&'a self, call: &'a mut IncomingCall) -> Verdict<'a> {
        if call.metadata().get("x-wait").is_none() {
            return Ok(()).into();
        }
        Verdict::later(async move {
            self.pass().await;
            match call.metadata().get("x-wait") {
                Some("refused") => Err(Status::permission_denied("after a while")),
                Some("panic") => panic!("after a while"),
                Some(_) => {
                    let _ = call.metadata_mut().insert(ECHO_INITIAL, "passed");
                    Ok(())
                }
                None => unreachable!("looked at before"),
            }
        })
    }
}

impl Interceptor<OutgoingCall> for Gate {
    fn intercept<'a>(&'a self, call: &'a mut OutgoingCall) -> Verdict<'a> {
        Verdict::later(async move {
            self.pass().await;
            call.metadata_mut()
                .insert(ECHO_INITIAL, "passed")
                .map_err(|error| Status::internal(error.to_string()))
        })
    }
}

fn asking(word: &'static str) -> impl Interceptor<OutgoingCall> {
    move |call: &mut OutgoingCall| {
        call.metadata_mut().insert("x-wait", word).map_err(|error| Status::internal(error.to_string()))
    }
}

pub(crate) fn interceptors_wait_on_both_sides() {
    let gate = Gate::new();
    for site in sites(|server| server.interceptor(gate.another()).interceptor(Late)) {
        let channel = site.channel().intercepted(Late).intercepted(asking("yes")).intercepted(gate.another());
        for awaited in [false, true] {
            gate.open.add_permits(2 * KINDS.len());
            for (kind, outcome) in every_call(&channel, awaited) {
                outcome.unwrap_or_else(|status| panic!("{kind}, {site:?}: {status}"));
            }
            assert_eq!(gate.open.available_permits(), 0);
        }
        for (word, code) in [("refused", Code::PermissionDenied), ("panic", Code::Internal)] {
            gate.open.add_permits(KINDS.len());
            for (kind, outcome) in every_call(&site.channel().intercepted(asking(word)), false) {
                let status = outcome.unwrap_err();
                assert_eq!(status.code(), code, "{kind}, {site:?}");
                assert!(status.message().contains("after a while"), "{kind}, {site:?}: {status}");
            }
        }
    }
}

/// Pending once, whoever polls.
struct Late;

impl<C: Send> Interceptor<C> for Late {
    fn intercept<'a>(&'a self, _: &'a mut C) -> Verdict<'a> {
        Verdict::later(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }
}

pub(crate) fn others_are_served_meanwhile() {
    for (is_async, pool) in [(true, false), (false, false), (false, true)] {
        let gate = Gate::new();
        let site = Site::of(is_async, pool, true, |server| server.interceptor(gate.another()));
        let channel = site.channel();
        let waiting = TestServiceClient::with_interceptor(channel.clone(), asking("yes"));
        let calls: Vec<_> =
            (0..4).map(|_| waiting.unary_call(SimpleRequest::default()).start().unwrap()).collect();
        gate.expect_waiting(4);
        for (kind, outcome) in every_call(&channel, false) {
            outcome.unwrap_or_else(|status| panic!("{kind}: {status}"));
        }
        gate.open.add_permits(4);
        for call in calls {
            assert_eq!(call.wait().unwrap().metadata().get(ECHO_INITIAL), Some("passed"));
        }
        gate.expect_waiting(0);
    }
}

pub(crate) fn a_call_that_is_given_up_is_looked_at_no_more() {
    let gate = Gate::new();
    let site = Site::new(|server| server.interceptor(gate.another()));
    let client = TestServiceClient::with_interceptor(site.channel(), asking("yes"));
    let call = client.unary_call(SimpleRequest::default()).start().unwrap();
    gate.expect_waiting(1);
    drop(call);
    gate.expect_waiting(0);

    let (sender, reply) = client.streaming_input_call().wait().unwrap();
    gate.expect_waiting(1);
    drop((sender, reply));
    gate.expect_waiting(0);

    // On the client the task that is dropped, or goes on to something else.
    let own = Gate::new();
    let client = TestServiceClient::with_interceptor(site.channel(), own.another());
    runtime().block_on(async {
        let call = client.unary_call(SimpleRequest::default());
        let ended = tokio::time::timeout(Duration::from_millis(20), async { call.await }).await;
        assert!(ended.is_err());
    });
    own.expect_waiting(0);
    assert_eq!(gate.waiting.load(Ordering::SeqCst), 0, "never sent");
}

pub(crate) fn the_deadline_ends_the_wait() {
    let (server, client) = (Gate::new(), Gate::new());
    let site = Site::new(|settings| settings.interceptor(server.another()));
    let channel = site.channel();
    for (gate, channel) in
        [(&server, channel.intercepted(asking("yes"))), (&client, channel.intercepted(client.another()))]
    {
        let stub = TestServiceClient::new(channel);
        let (begun, short) = (Instant::now(), Duration::from_millis(30));
        let call = || stub.unary_call(SimpleRequest::default()).timeout(short);
        let many = || stub.streaming_output_call(StreamingOutputCallRequest::default()).timeout(short);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (call().wait().unwrap_err(), many().wait().unwrap_err()));
            // Whoever waits for ever is let go, to fail below.
            let ended = wait_for(|| waiting.is_finished());
            gate.open.add_permits(if ended { 0 } else { 2 });
            let waited = waiting.join().unwrap();
            assert_eq!((waited.0.code(), waited.1.code()), (Code::DeadlineExceeded, Code::DeadlineExceeded));
        });
        let awaited = runtime().block_on(async { (call().await.unwrap_err(), many().await.unwrap_err()) });
        assert_eq!((awaited.0.code(), awaited.1.code()), (Code::DeadlineExceeded, Code::DeadlineExceeded));
        assert!(begun.elapsed() >= short * 4);
        gate.expect_waiting(0);
    }
}

/// Whether something comes to hold.
fn wait_for(holds: impl Fn() -> bool) -> bool {
    let until = Instant::now() + testkit::PATIENCE;
    while !holds() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    holds()
}

pub(crate) fn without_a_runtime_the_thread_waits() {
    let gate = Gate::new();
    let site = Site::of(false, false, false, |server| server.interceptor(gate.another()));
    let client = TestServiceClient::with_interceptor(site.channel(), asking("yes"));
    let first = client.unary_call(SimpleRequest::default()).start().unwrap();
    let second = client.unary_call(SimpleRequest::default()).start().unwrap();
    gate.expect_waiting(1);
    gate.open.add_permits(2);
    first.wait().unwrap();
    second.wait().unwrap();
    unary(&site.channel()).unwrap();
}

/// What is kept while an interceptor waits is the message, wherever it lies.
pub(crate) fn large_requests_wait_too() {
    let gate = Gate::new();
    let site = Site::new(|server| server.interceptor(gate.another()));
    let channel = site.channel().intercepted(asking("yes"));
    let method = channel.method(KINDS[4]);
    for size in [0, 50, 96, 97, 5_000, 40_000, 3 << 20] {
        let bytes = testkit::noise(size, size as u64);
        let call = channel.raw(&method, &bytes[..]).start().unwrap();
        gate.expect_waiting(1);
        gate.open.add_permits(1);
        assert!(call.wait().unwrap().to_vec() == bytes, "{size} bytes");
    }
    let client = TestServiceClient::new(channel);
    gate.open.add_permits(1);
    let payload = Some(testkit::interop::payload(2 << 20));
    let request = Request::new(SimpleRequest { payload, response_size: 7, ..Default::default() });
    let response = client.unary_call(request).wait().unwrap().into_inner();
    assert_eq!(response.payload.unwrap().body.len(), 7);
}
