//! Futures that a thread waits for.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What unparks this thread.
fn waker() -> Waker {
    let make = || Waker::from(Arc::new(Unpark(thread::current())));
    thread_local! {
        /// Made once: a thread may wait for each message of a stream.
        static WAKER: OnceCell<Waker> = const { OnceCell::new() };
    }
    // In a thread that ends, its own may be gone.
    WAKER.try_with(|waker| waker.get_or_init(make).clone()).unwrap_or_else(|_| make())
}

/// Runs a future on this thread. Once `until` has passed it is polled once more, to see that itself.
pub(crate) fn block_on<T>(call: impl Future<Output = T>, until: Option<Instant>) -> T {
    let waker = waker();
    let (mut cx, mut call) = (Context::from_waker(&waker), pin!(call));
    loop {
        if let Poll::Ready(outcome) = call.as_mut().poll(&mut cx) {
            return outcome;
        }
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(left) if !left.is_zero() => thread::park_timeout(left),
            _ => thread::park(),
        }
    }
}
