//! The same for calls that are awaited.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::Guard;
use tokio::time::{sleep, timeout};

use crate::client::attempt::BACKLOG_PAUSE;
use crate::client::connect::ConnectError;
use crate::client::core::Core;
use crate::client::drivers::current_runtime;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::reconnect::call::Course;
use crate::client::reconnect::connecting::turn::{Advance, Turn};
use crate::client::reconnect::connecting::{Decision, Reconnecting};
use crate::rpc::Status;

/// What an attempt has come to, and whether its request was sent.
pub(in crate::client) struct Attempted<R> {
    pub(in crate::client) outcome: Result<R, Status>,
    pub(in crate::client) was_sent: bool,
}

/// A call that can be made on one connection after the other.
pub(in crate::client) trait Movable: Send {
    type Reply;

    fn attempt(
        &mut self,
        core: Arc<Core>,
        method: Method,
        limit: TimeLimit,
    ) -> impl Future<Output = Attempted<Self::Reply>> + Send;

    /// Whether what it sends lies in the memory of one connection.
    fn is_bound(&self) -> bool;
}

impl Reconnecting {
    /// Makes a call, and waits for its reply.
    pub(in crate::client) async fn call<M: Movable>(
        &self,
        method: Method,
        limit: TimeLimit,
        mut call: M,
    ) -> Result<M::Reply, Status> {
        let mut course = Course::new(self, Instant::now(), Some(limit));
        let bound = call.is_bound();
        loop {
            let core = self.acquire_for_task(&course).await?;
            let method = self.method_on(&core, method)?;
            let Attempted { outcome, was_sent } = call.attempt(core.clone(), method, course.limit()).await;
            let status = match outcome {
                Ok(reply) => {
                    self.hear(course.begun);
                    return Ok(reply);
                }
                Err(status) if bound => {
                    return Err(if was_sent { course.at_last(&core, status) } else { status });
                }
                Err(status) => status,
            };
            if let Some(status) = course.after(&core, status, was_sent) {
                return Err(status);
            }
        }
    }

    /// As [`connected`](Self::connected).
    pub(in crate::client) async fn connected_for_task(
        &self,
        method: Method,
        limit: TimeLimit,
    ) -> Result<(Arc<Core>, Method), Status> {
        let core = self.acquire_for_task(&Course::new(self, Instant::now(), Some(limit))).await?;
        let method = self.method_on(&core, method)?;
        Ok((core, method))
    }

    /// Waits until the state may be another one, so long at most.
    pub(in crate::client) async fn await_news(&self, left: Duration) {
        _ = timeout(left, self.told.notified()).await;
    }

    async fn acquire_for_task(&self, course: &Course) -> Result<Arc<Core>, Status> {
        let mut now = course.begun;
        loop {
            if let Some(core) = self.ready(now)?.and_then(Guard::into_inner) {
                return Ok(core);
            }
            current_runtime()?;
            // Before the look: what changes after it is heard of.
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            match self.decide_for_task(course)? {
                Decision::Look => {}
                Decision::Connect(turn) => turn.take_for_task(course.until(self)).await,
                // By the runtime's clock, which may run ahead of the one that counts: whoever is woken looks.
                Decision::Wait(until) => {
                    _ = timeout(until.saturating_duration_since(Instant::now()), told).await;
                }
            }
            now = Instant::now();
        }
    }
}

impl Turn<'_> {
    async fn take_for_task(mut self, until: Instant) {
        let outcome = self.connect_for_task(until).await;
        self.settle(outcome);
    }

    async fn connect_for_task(&mut self, until: Instant) -> Result<Option<Arc<Core>>, ConnectError> {
        let attempt = self.attempt();
        loop {
            match self.advance(&attempt, until)? {
                Advance::Connected(core) => return Ok(Some(core)),
                Advance::TooLate => return Ok(None),
                Advance::Full => sleep(BACKLOG_PAUSE).await,
                Advance::Greeting(left) => {
                    if let Ok(ready) = timeout(left, self.greeting().ready()).await {
                        ready?;
                    }
                }
            }
        }
    }
}
