//! Where handlers run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};

use crate::connection::{Arrived, Received};
use crate::server::builder::Handlers;
use crate::server::caller::{Caller, OwnedCaller};
use crate::server::exchange::{Incoming, serve};
use crate::server::router::Router;

/// A call that waits for a thread of the pool.
struct Job {
    caller: OwnedCaller,
    call: Incoming,
    payload: Received,
    /// Dropped last: the answer is sent, or waits in a backlog.
    _counted: Counted,
}

impl Job {
    fn run(self, router: &Router) {
        let Self { caller, call, payload, _counted } = self;
        payload.arrived(|payload| serve(caller.as_ref(), call, payload, |exchange| router.call(exchange)));
    }
}

/// One of the calls that the pool has.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(jobs: &Arc<AtomicUsize>) -> Self {
        // Relaxed: the reactor that adds one is the one that must not forget it, or waits for the others.
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(jobs.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `is_idle`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Takes calls to their handlers.
pub(super) struct Dispatch {
    router: Arc<Router>,
    /// `None` if handlers run where the call came in.
    pool: Option<Sender<Job>>,
    /// Calls that the pool has and has not answered.
    jobs: Arc<AtomicUsize>,
}

impl Dispatch {
    /// Starts the pool's threads, if there is a pool.
    pub(super) fn start(router: Arc<Router>, handlers: Handlers) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let jobs = Arc::default();
        let Handlers::Pool(threads) = handlers else {
            return Ok((Self { router, pool: None, jobs }, Vec::new()));
        };
        // Unbounded, and yet bounded: each connection has at most `max_in_flight` calls in it.
        let (sender, receiver) = unbounded::<Job>();
        let workers = (0..threads.max(1)).map(|number| {
            let (router, receiver) = (router.clone(), receiver.clone());
            let work = move || receiver.iter().for_each(|job| job.run(&router));
            thread::Builder::new().name(format!("mmap-rpc-pool-{number}")).spawn(work)
        });
        let workers = workers.collect::<io::Result<_>>()?;
        Ok((Self { router, pool: Some(sender), jobs }, workers))
    }

    /// Whether the pool has answered every call that it was given. A connection cannot tell: a call is over
    /// for its client a moment before its answer is sent.
    pub(super) fn is_idle(&self) -> bool {
        // Acquire pairs with the Release in `Counted`: who sees that sees the answers, sent or queued.
        self.jobs.load(Ordering::Acquire) == 0
    }

    /// Runs the handler, or has a thread of the pool run it.
    #[inline(always)]
    pub(super) fn call(&self, caller: Caller<'_>, call: Incoming, payload: Arrived<'_>) {
        match &self.pool {
            None => serve(caller, call, payload, |exchange| self.router.call(exchange)),
            // The receivers live as long as the threads, which end when this sender is dropped.
            Some(pool) => pool
                .send(Job {
                    caller: caller.to_owned(),
                    call,
                    payload: payload.keep(),
                    _counted: Counted::new(&self.jobs),
                })
                .unwrap_or_else(|refused| refused.into_inner().run(&self.router)),
        }
    }
}
