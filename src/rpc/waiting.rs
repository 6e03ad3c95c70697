//! Futures that a thread waits for.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// Runs a future on this thread. Once `until` has passed it is polled once more, to see that itself.
pub(crate) fn block_on<T>(call: impl Future<Output = T>, until: Option<Instant>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
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
