//! Where handlers run.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};

use crate::connection::{Arrived, Coming, Received};
use crate::ring::Inline;
use crate::rpc::{Record, Status};
use crate::server::builder::Handlers;
use crate::server::caller::{Caller, OwnedCaller};
use crate::server::exchange::Held;
use crate::server::executor::{Counted, Executor};
use crate::server::incoming::{Incoming, OwnedIncoming};
use crate::server::router::Router;

/// A call that waits for a thread of the pool.
struct Job {
    caller: OwnedCaller,
    call: OwnedIncoming,
    payload: Received,
    /// Dropped last: the answer is sent, or waits in a backlog.
    _counted: Counted,
}

impl Job {
    fn run(self, router: &Arc<Router>, executor: &Executor) {
        let Self { caller, call, payload, _counted } = self;
        payload.arrived(|payload| {
            let record = Record::default();
            let mut held = Held::new(caller.as_ref(), executor, call.as_ref(), payload, record);
            let _handled = router.call(held.exchange());
        });
    }
}

/// Takes calls to their handlers.
pub(super) struct Dispatch {
    router: Arc<Router>,
    /// `None` if handlers run where the call came in.
    pool: Option<Sender<Job>>,
    executor: Executor,
}

impl Dispatch {
    /// Starts the pool's threads, if there is a pool.
    pub(super) fn start(
        router: Arc<Router>,
        handlers: Handlers,
        executor: Executor,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let Handlers::Pool(threads) = handlers else {
            return Ok((Self { router, pool: None, executor }, Vec::new()));
        };
        // Unbounded, and yet bounded: each connection has at most `max_in_flight` calls in it.
        let (sender, receiver) = unbounded::<Job>();
        let workers = (0..threads.max(1)).map(|number| {
            let (router, receiver, executor) = (router.clone(), receiver.clone(), executor.clone());
            let work = move || {
                let _entered = executor.enter();
                receiver.iter().for_each(|job| job.run(&router, &executor));
            };
            thread::Builder::new().name(format!("mmap-rpc-pool-{number}")).spawn(work)
        });
        let workers = workers.collect::<io::Result<_>>()?;
        Ok((Self { router, pool: Some(sender), executor }, workers))
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Has a call fail, without any handler.
    #[cold]
    pub(super) fn refuse(
        &self,
        caller: Caller<'_>,
        call: Incoming<'_>,
        payload: Arrived<'_>,
        status: &Status,
    ) {
        let mut held = Held::new(caller, &self.executor, call, payload, Record::default());
        let _handled = held.exchange().fail(status);
    }

    /// Has the handler's thread, if that is this one, read the request while it comes, and runs the handler.
    /// False if it has not: then the call begins anew, once the request has come.
    #[cold]
    pub(super) fn follow(&self, caller: Caller<'_>, call: Incoming<'_>, coming: &mut Coming) -> bool {
        if self.pool.is_some() || !self.router.follows(call.method) {
            return false;
        }
        let request = Arrived { inline: Inline::EMPTY, outside: &mut None };
        let held = Held::new(caller, &self.executor, call, request, Record::default());
        let _handled = self.router.route(held.following(coming).exchange());
        coming.is_read()
    }

    /// Runs the handler, or has a thread of the pool run it.
    #[inline(always)]
    pub(super) fn call(&self, caller: Caller<'_>, call: Incoming<'_>, payload: Arrived<'_>) {
        match &self.pool {
            None => {
                let mut held = Held::new(caller, &self.executor, call, payload, Record::default());
                let _handled = self.router.call(held.exchange());
            }
            // The receivers live as long as the threads, which end when this sender is dropped.
            Some(pool) => pool
                .send(Job {
                    caller: caller.to_owned(),
                    call: call.to_owned(),
                    payload: payload.keep(),
                    _counted: self.executor.count(),
                })
                .unwrap_or_else(|refused| refused.into_inner().run(&self.router, &self.executor)),
        }
    }
}
