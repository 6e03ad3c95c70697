//! A call with streams that is under way: its cell, and the right to its reply.

#[cfg(feature = "tokio")]
use std::future::poll_fn;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::client::awaited::Sight;
use crate::client::begin::Unsent;
#[cfg(feature = "tokio")]
use crate::client::begin::{no_space, patience_until};
use crate::client::calls::Ticket;
use crate::client::core::{Core, deadline_exceeded};
#[cfg(feature = "tokio")]
use crate::client::crowd::Crowd;
use crate::client::driver::Stop;
#[cfg(feature = "tokio")]
use crate::client::patience::Patience;
use crate::client::streams::open::Unopened;
use crate::connection::{Arrived, Flow, SendFailure, send_whole};
use crate::rpc::{Encode, Record, Status};
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
    patience: Option<Patience<Arc<Core>, usize>>,
}

impl Held {
    fn new(core: &Arc<Core>, unsent: Unsent<'_>, flow: Arc<Flow>) -> Self {
        Self {
            core: core.clone(),
            deadline: unsent.deadline(),
            ticket: Some(unsent.sent()),
            flow,
            record: Record::default(),
            #[cfg(feature = "tokio")]
            patience: None,
        }
    }

    /// Sends the request of a call with streams: its first message, or none.
    pub(super) fn open<M: Encode>(core: &Arc<Core>, call: &Unopened<'_, M>) -> Result<Self, Status> {
        let Begun { unsent, flow, attempt } = begin(core, call)?;
        unsent.once_there_is_space(attempt)?;
        Ok(Self::new(core, unsent, flow))
    }

    /// The same for a task.
    #[cfg(feature = "tokio")]
    pub(super) async fn open_async<M: Encode>(
        core: &Arc<Core>,
        call: &Unopened<'_, M>,
    ) -> Result<Self, Status> {
        let Begun { unsent, flow, mut attempt } = begin(core, call)?;
        match attempt() {
            Ok(()) => {}
            Err(SendFailure::Failed(status)) => return Err(status),
            Err(SendFailure::Wait) => {
                let until = Some(patience_until(unsent.deadline()));
                let mut crowd = Crowd::new(&**core, unsent.index(), until, no_space);
                poll_fn(|cx| crowd.poll(cx, &mut attempt)).await?;
            }
        }
        Ok(Self::new(core, unsent, flow))
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
    /// If the deadline passes, or the connection closes, before; and in a forked child.
    pub(super) fn wait_until(&mut self, has_come: impl Fn(&Flow) -> bool) -> Result<(), Status> {
        self.core.check_process()?;
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
        self.core.check_process()?;
        let index = self.held().index();
        let cell = self.core.calls.cell_of(self.held());
        let mut look = || has_come(&self.flow) || cell.is_done();
        let mut found = look();
        if !found
            && self.patience.is_none()
            && let Some(mut leader) = self.core.lead.try_lead_directly()
        {
            // What comes in a moment does not go through the runtime.
            leader.glance(&self.core, &mut Sight { cell: index, has_come: &mut look }, false);
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
        self.flow.fail(status.clone());
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

/// A call that has its cell, and what sends its request: to be called until there is space.
struct Begun<'a, A> {
    unsent: Unsent<'a>,
    flow: Arc<Flow>,
    attempt: A,
}

/// Takes a cell for a call with streams.
fn begin<'a, M: Encode>(
    core: &'a Arc<Core>,
    call: &'a Unopened<'_, M>,
) -> Result<Begun<'a, impl FnMut() -> Result<(), SendFailure> + use<'a, M>>, Status> {
    let flow = Flow::new(core.link.limits().stream_window);
    let unsent = core.begin_streams(call.method, call.limit.end(), &flow)?;
    let head = unsent.head_of(call.method, call.shape)?;
    let (metadata, message) = (call.request.encoded_metadata(), call.request.get_ref());
    let (len, mut prepared) = (message.encoded_len(), None);
    let attempt = move || send_whole(&core.link, head, &metadata, message, len, &mut prepared);
    Ok(Begun { unsent, flow, attempt })
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.core.check_process().is_err() {
            // The call goes on, in the parent.
            return;
        }
        // Before the cell is another call's.
        #[cfg(feature = "tokio")]
        drop(self.patience.take());
        if let Some(ticket) = self.ticket.take() {
            // First: the server's answer may have the other half look whether the call is over.
            self.flow.fail(Status::cancelled("the call was given up: its receiving half was dropped"));
            self.core.give_up_at_once(ticket);
            // The other half may be waiting for credit; if it leads, what wakes it is the bell.
            self.core.wake_space_waiters();
            self.core.link.nudge();
        }
        // The call is over: nothing is granted any more.
        let _ = self.flow.stop_reading();
    }
}
