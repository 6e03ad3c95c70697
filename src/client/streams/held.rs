//! A call with streams that is under way: its cell, and the right to its reply.

#[cfg(feature = "tokio")]
use std::future::poll_fn;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::client::awaited::Sight;
use crate::client::calls::Ticket;
use crate::client::core::{Core, Unsent, deadline_exceeded};
#[cfg(feature = "tokio")]
use crate::client::core::{no_space, patience_until};
use crate::client::driver::Stop;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
#[cfg(feature = "tokio")]
use crate::client::patience::Patience;
#[cfg(feature = "tokio")]
use crate::client::space::Registered;
#[cfg(feature = "tokio")]
use crate::connection::SendFailure;
use crate::connection::{Arrived, Flow, send_whole};
use crate::ring::Shape;
use crate::rpc::{Encode, Record, Request, Status};
use crate::sync::{Ordering, fence};

/// The receiving half of a call with streams. Dropped before the reply was taken, it cancels the call.
pub(super) struct Held {
    pub(super) core: Arc<Core>,
    /// `None` once the reply was taken.
    ticket: Option<Ticket>,
    pub(super) flow: Arc<Flow>,
    pub(super) deadline: Option<Instant>,
    pub(super) record: Record,
    /// How a task waits.
    #[cfg(feature = "tokio")]
    patience: Option<Patience<Arc<Core>>>,
}

impl Held {
    fn new(core: &Arc<Core>, unsent: Unsent<'_>, flow: Arc<Flow>, deadline: Option<Instant>) -> Self {
        Self {
            core: core.clone(),
            ticket: Some(unsent.sent()),
            flow,
            deadline,
            record: Record::default(),
            #[cfg(feature = "tokio")]
            patience: None,
        }
    }

    /// Sends the request of a call with streams: its first message, or none.
    pub(super) fn open<M: Encode>(
        core: &Arc<Core>,
        method: Method,
        limit: TimeLimit,
        shape: Shape,
        request: &Request<M>,
    ) -> Result<Self, Status> {
        let (deadline, flow) = (limit.end(), Flow::new(core.link.limits().stream_window));
        let unsent = core.begin_streams(method, deadline, &flow)?;
        let head = unsent.head_of(method, shape)?;
        let (metadata, message) = (request.encoded_metadata(), request.get_ref());
        let (len, mut prepared) = (message.encoded_len(), None);
        unsent
            .once_there_is_space(|| send_whole(&core.link, head, &metadata, message, len, &mut prepared))?;
        Ok(Self::new(core, unsent, flow, deadline))
    }

    /// The same for a task.
    #[cfg(feature = "tokio")]
    pub(super) async fn open_async<M: Encode>(
        core: &Arc<Core>,
        method: Method,
        limit: TimeLimit,
        shape: Shape,
        request: &Request<M>,
    ) -> Result<Self, Status> {
        let (deadline, flow) = (limit.end(), Flow::new(core.link.limits().stream_window));
        let unsent = core.begin_streams(method, deadline, &flow)?;
        let head = unsent.head_of(method, shape)?;
        let (metadata, message) = (request.encoded_metadata(), request.get_ref());
        let (len, mut prepared) = (message.encoded_len(), None);
        let mut attempt = || send_whole(&core.link, head, &metadata, message, len, &mut prepared);
        match attempt() {
            Ok(()) => {}
            Err(SendFailure::Failed(status)) => return Err(status),
            Err(SendFailure::Wait) => {
                let until = patience_until(deadline);
                let mut crowd = Crowd::new(core.clone(), unsent.index());
                poll_fn(|cx| crowd.poll(cx, Some(until), no_space, &mut attempt)).await?;
            }
        }
        Ok(Self::new(core, unsent, flow, deadline))
    }

    pub(super) fn call_id(&self) -> u32 {
        self.held().call_id
    }

    fn held(&self) -> Ticket {
        self.ticket.expect("the reply was not taken")
    }

    /// Whether the reply is there, and with it all messages before it.
    pub(super) fn is_answered(&self) -> bool {
        let is_done = self.core.calls.cell_of(self.held()).is_done();
        if is_done {
            // Pairs with the Release in `deliver`.
            fence(Ordering::Acquire);
        }
        is_done
    }

    /// Waits until `has_come` says so, or the reply is there.
    ///
    /// # Errors
    /// If the deadline passes, or the connection closes, before.
    pub(super) fn wait_until(&mut self, has_come: impl Fn(&Flow) -> bool) -> Result<(), Status> {
        let _entered = self.record.enter();
        let (index, cell) = (self.held().index(), self.core.calls.cell_of(self.held()));
        let mut look = || has_come(&self.flow) || cell.is_done();
        if look() {
            return Ok(());
        }
        let stop = self.core.run_until(index, self.deadline, &mut Sight { cell: index, has_come: &mut look });
        if look() { Ok(()) } else { Err(self.stopped(stop)) }
    }

    /// The same for a task.
    #[cfg(feature = "tokio")]
    pub(super) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        has_come: impl Fn(&Flow) -> bool,
    ) -> Poll<Result<(), Status>> {
        let index = self.held().index();
        let cell = self.core.calls.cell_of(self.held());
        let mut look = || has_come(&self.flow) || cell.is_done();
        let mut found = look();
        if !found
            && self.patience.is_none()
            && let Some(mut leader) = self.core.lead.try_lead_directly()
        {
            // What comes in a moment does not go through the runtime.
            leader.glance(&self.core, &mut Sight { cell: index, has_come: &mut look });
            drop(leader);
            found = look();
        }
        loop {
            if found {
                // The drivers need not count on this task until it waits again.
                self.patience = None;
                return Poll::Ready(Ok(()));
            }
            let core = &self.core;
            let patience = self.patience.get_or_insert_with(|| Patience::new(core.clone(), index));
            let stop = ready!(patience.poll(cx, self.deadline));
            found = look();
            match stop {
                _ if found => {}
                Ok(Stop::Done) => {}
                Ok(stop) => return Poll::Ready(Err(self.stopped(stop))),
                Err(status) => return Poll::Ready(Err(status)),
            }
        }
    }

    #[cold]
    fn stopped(&mut self, stop: Stop) -> Status {
        let status = match stop {
            Stop::Closed => self.core.link.closed_status(),
            Stop::Done | Stop::Deadline => deadline_exceeded(),
        };
        self.record.end(Some(&status));
        status
    }

    /// Takes the reply, which is there.
    pub(super) fn take<R>(
        &mut self,
        read: impl FnOnce(u32, Arrived<'_>) -> Result<R, Status>,
    ) -> Result<R, Status> {
        let ticket = self.held();
        // Before the cell is another call's.
        #[cfg(feature = "tokio")]
        drop(self.patience.take());
        let mut reply = self.core.calls.take(ticket).expect("looked at before");
        self.ticket = None;
        let code = reply.code;
        let outcome = read(code, reply.payload.arrived());
        self.record.end(outcome.as_ref().err());
        outcome
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Before the cell is another call's.
        #[cfg(feature = "tokio")]
        drop(self.patience.take());
        if let Some(ticket) = self.ticket.take() {
            // First: the server's answer may have the other half look whether the call is over.
            self.flow.finish();
            self.core.give_up_at_once(ticket);
            // The other half may be waiting for credit; if it leads, what wakes it is the bell.
            self.core.wake_space_waiters();
            self.core.link.nudge();
        }
        // The call is over: nothing is granted any more.
        let _ = self.flow.stop_reading();
    }
}

/// A task that waits for space.
#[cfg(feature = "tokio")]
pub(super) struct Crowd {
    /// Ends first.
    patience: Patience<Arc<Core>>,
    core: Arc<Core>,
    index: usize,
}

#[cfg(feature = "tokio")]
impl Crowd {
    /// Registers the waiter of that number.
    pub(super) fn new(core: Arc<Core>, index: usize) -> Self {
        // Kept by number instead: what is registered borrows the channel, which this owns.
        std::mem::forget(Self::register(&core, index));
        // A leader that is parked has not heard of us: it must arm `want_space`.
        core.link.nudge();
        Self { patience: Patience::new(core.clone(), index), core, index }
    }

    fn register(core: &Core, index: usize) -> Registered<'_> {
        core.space.register(&core.link.space, index)
    }

    /// Makes an attempt again whenever there may be space.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
        too_late: impl Fn() -> Status,
        mut attempt: impl FnMut() -> Result<T, SendFailure>,
    ) -> Poll<Result<T, Status>> {
        loop {
            match attempt() {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(SendFailure::Failed(status)) => return Poll::Ready(Err(status)),
                Err(SendFailure::Wait) => {}
            }
            match ready!(self.patience.poll(cx, until)) {
                Ok(Stop::Done) => {}
                Ok(Stop::Closed) => return Poll::Ready(Err(self.core.link.closed_status())),
                Ok(Stop::Deadline) => return Poll::Ready(Err(too_late())),
                Err(status) => return Poll::Ready(Err(status)),
            }
        }
    }
}

#[cfg(feature = "tokio")]
impl Drop for Crowd {
    fn drop(&mut self) {
        self.patience.end();
        self.core.space.leave(&self.core.link.space, self.index);
    }
}
