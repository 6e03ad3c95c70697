//! Where handlers go that have to wait: to a runtime, or, without one, no further.

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
#[cfg(feature = "tokio")]
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Instant;

use crate::rpc::{Status, block_on};
use crate::server::streams::{Outlet, Wanted};

/// What a server runs async handlers on, and how many calls others than its reactors have.
#[derive(Debug, Clone, Default)]
pub(super) struct Executor {
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Handle>,
    /// Calls that a pool or a runtime has and has not answered.
    jobs: Arc<AtomicUsize>,
}

impl Executor {
    /// Takes the runtime of this thread, if it has one and none was set.
    pub(super) fn take_current(&mut self) {
        #[cfg(feature = "tokio")]
        if self.runtime.is_none() {
            self.runtime = tokio::runtime::Handle::try_current().ok();
        }
    }

    /// Takes this runtime.
    #[cfg(feature = "tokio")]
    pub(super) fn set_runtime(&mut self, runtime: tokio::runtime::Handle) {
        self.runtime = Some(runtime);
    }

    /// Has the runtime known to whatever this thread runs, as long as the result lives.
    #[cfg(feature = "tokio")]
    pub(super) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.runtime.as_ref().map(tokio::runtime::Handle::enter)
    }

    /// The same without runtimes: there is nothing to be known.
    #[cfg(not(feature = "tokio"))]
    #[expect(clippy::unused_self, reason = "as with a runtime")]
    pub(super) fn enter(&self) -> Option<()> {
        None
    }

    /// Counts a call that leaves its reactor.
    pub(super) fn count(&self) -> Counted {
        // Relaxed: the reactor that adds one is the one that must not forget it, or waits for the others.
        self.jobs.fetch_add(1, Ordering::Relaxed);
        Counted(self.jobs.clone())
    }

    /// Whether every call that left its reactor has been answered. A connection cannot tell: a call is over
    /// for its client a moment before its answer is sent.
    pub(super) fn is_idle(&self) -> bool {
        // Acquire pairs with the Release in `Counted`: who sees that sees the answers, sent or queued.
        self.jobs.load(Ordering::Acquire) == 0
    }

    /// Has a call served to its end: by the runtime, or else on this thread. `until` is when it ends at the
    /// latest.
    pub(super) fn finish(&self, call: impl Future<Output = ()> + Send + 'static, until: Option<Instant>) {
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            match until {
                None => drop(runtime.spawn(call)),
                Some(until) => drop(runtime.spawn(woken_at(until, call))),
            }
            return;
        }
        block_on(call, until);
    }

    /// Has work done that may block, and that a future of [`finish`](Self::finish) has led to: not where the
    /// runtime polls others.
    pub(super) fn go_on(&self, work: impl FnOnce() + Send + 'static) {
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn_blocking(work));
            return;
        }
        work();
    }
}

/// For handlers that last.
impl Executor {
    /// Has a call with streams served by a task of the runtime, or else by a thread of its own, until that is
    /// done or nobody wants it any more.
    pub(super) fn run_as_task<F: Future<Output = ()> + Send + 'static>(
        &self,
        outlet: Outlet,
        body: impl FnOnce(Outlet) -> F + Send + 'static,
    ) {
        let (wanted, until) = (outlet.wanted(), outlet.deadline());
        #[cfg(feature = "tokio")]
        if self.runtime.is_some() {
            return self.finish(while_wanted(wanted, body(outlet)), until);
        }
        self.spawn(outlet, move |outlet| block_on(while_wanted(wanted, body(outlet)), until));
    }

    /// Has a call with streams served by a thread of its own.
    pub(super) fn run_on_thread<F: Future<Output = ()>>(
        &self,
        outlet: Outlet,
        body: impl FnOnce(Outlet) -> F + Send + 'static,
    ) {
        let until = outlet.deadline();
        self.spawn(outlet, move |outlet| {
            // Unwind safe: the panic has answered the call, and nothing else is left of it.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| block_on(body(outlet), until)));
        });
    }

    fn spawn(&self, outlet: Outlet, work: impl FnOnce(Outlet) + Send + 'static) {
        // If there is no thread, `work` is gone; the call is still here to be answered.
        let outlet = Arc::new(Mutex::new(Some(outlet)));
        let (executor, taken) = (self.clone(), outlet.clone());
        let thread = thread::Builder::new().name("mmap-rpc-stream".into()).spawn(move || {
            let _entered = executor.enter();
            if let Some(outlet) = take(&taken) {
                work(outlet);
            }
        });
        if let Err(error) = thread
            && let Some(outlet) = take(&outlet)
        {
            tracing::error!(%error, "no thread for a call with streams");
            outlet.fail(&Status::resource_exhausted(format!(
                "the server has no thread for the call's handler: {error}; raise its limit of threads (ulimit \
                 -u, sysctl kernel.threads-max), or make the handler async"
            )));
        }
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    // It is there or not.
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Polls what serves a call until it is done or nobody wants it any more.
fn while_wanted(wanted: Wanted, body: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let mut body = Some(Box::pin(body));
    poll_fn(move |cx| {
        let Some(running) = &mut body else { return Poll::Ready(()) };
        // First the waker, then the look: whoever cancels does it the other way round.
        if wanted.poll_unwanted(cx) {
            // Its fields answer the call as they are dropped.
            body = None;
            return Poll::Ready(());
        }
        // Unwind safe: the panic has answered the call, and the body is polled no more.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        let is_over = polled.unwrap_or(Poll::Ready(())).is_ready();
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// Polls a future once more when a time has come.
#[cfg(feature = "tokio")]
async fn woken_at(until: Instant, call: impl Future<Output = ()>) {
    let mut call = pin!(call);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // It sees that itself.
            return call.await;
        }
        // By the runtime's clock, which may run ahead of the one that counts.
        if tokio::time::timeout(left, &mut call).await.is_ok() {
            return;
        }
    }
}

/// One of the calls that others than reactors have.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `is_idle`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}
