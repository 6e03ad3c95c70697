//! What the callers of one channel share, and how a call passes through it.
//!
//! A caller claims a cell, sends its request, and waits: if nobody leads, it leads and drives the connection
//! for everybody; else it parks until its cell is served or the lead is free. A channel has no thread of its
//! own, so an idle one costs nothing.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use crossbeam_utils::CachePadded;

use crate::client::awaited::{Awaited, OwnReply, Space};
use crate::client::calls::{CallTable, Ticket};
use crate::client::cancels::Cancels;
use crate::client::driver::{Driver, Stop, has_passed};
#[cfg(feature = "tokio")]
use crate::client::drivers::Drivers;
use crate::client::lead::Lead;
#[cfg(feature = "tokio")]
use crate::client::looking::Looking;
use crate::client::method::Method;
use crate::client::reading::{ReadReply, Reader};
use crate::client::space::SpaceWaiters;
use crate::client::streams::Places;
use crate::connection::{Link, SendFailure};
use crate::ring::Entry;
use crate::rpc::Status;
use crate::sync::AtomicBool;

/// How long a caller that gives up waits for room to say so. After that others say it, when they call.
const CANCEL_PATIENCE: Duration = Duration::from_millis(100);

/// How often a caller that does not lead makes way for other threads before it sleeps: who leads may only be
/// waiting for the processor, and to be woken costs several calls' time.
const YIELDS: u32 = 32;

/// One connection as its callers share it.
pub(crate) struct Core {
    pub(crate) link: Arc<Link>,
    pub(crate) calls: CallTable,
    pub(crate) lead: Lead<Driver>,
    pub(crate) space: SpaceWaiters,
    /// The numbers above those of the cells.
    pub(super) sender_places: Places,
    cancels: Cancels,
    /// The server takes no further requests.
    pub(super) draining: AtomicBool,
    /// Tells this channel's methods from those of others.
    pub(super) id: u32,
    /// The drivers that lead for the tasks that wait.
    #[cfg(feature = "tokio")]
    pub(super) drivers: Drivers,
    /// Which of the tasks look for their replies themselves. Padded, because they write it, and all read what
    /// is beside it.
    #[cfg(feature = "tokio")]
    pub(super) looking: CachePadded<Looking>,
}

impl Core {
    pub(crate) fn new(link: Arc<Link>, driver: Driver) -> Arc<Self> {
        let cells = link.limits().max_in_flight as usize;
        #[cfg(feature = "tokio")]
        let poller = driver.poller().clone();
        Arc::new_cyclic(|_core| Self {
            link,
            calls: CallTable::new(cells),
            // Twice: the sending halves of calls with streams wait beside the others.
            lead: Lead::new(driver, 2 * cells),
            space: SpaceWaiters::new(2 * cells),
            sender_places: Places::new(cells, cells),
            cancels: Cancels::new(cells),
            draining: AtomicBool::new(false),
            id: Method::next_channel(),
            #[cfg(feature = "tokio")]
            drivers: Drivers::new(_core.clone(), poller),
            #[cfg(feature = "tokio")]
            looking: CachePadded::default(),
        })
    }

    /// Looks a method up by name.
    pub(crate) fn method(&self, name: &'static str) -> Method {
        let id = self.link.methods().iter().position(|known| known == name);
        Method::new(self.id, id.map(|id| id as u32), name)
    }

    /// Waits for the reply of a call that was sent, and reads it.
    #[inline]
    pub(super) fn wait<R>(
        &self,
        ticket: Ticket,
        deadline: Option<Instant>,
        read: &impl ReadReply<R>,
    ) -> Result<R, Status> {
        let Some(mut leader) = self.lead.try_lead_directly() else {
            let mut own = OwnReply::in_cell(&self.calls, ticket);
            let stop = self.run_among_others(ticket.index(), deadline, &mut own);
            return self.collect(ticket, stop, read);
        };
        let mut reader = Reader::new(read, deadline);
        let mut own = OwnReply::in_hand(&self.calls, ticket, &mut reader);
        let stop = leader.drive(self, deadline, &mut own);
        let Some((code, cell)) = own.into_answered() else {
            drop(leader);
            return self.collect(ticket, stop, read);
        };
        let result = reader.finish(code, leader.received());
        // The lead first: who comes next needs it more than a cell.
        drop(leader);
        drop(cell);
        result
    }

    /// [`wait`](Self::wait) for a task, which cannot: if the reply is there, or comes in a moment, reads it.
    #[cfg(feature = "tokio")]
    pub(super) fn wait_briefly<R>(
        &self,
        ticket: Ticket,
        deadline: Option<Instant>,
        beside_others: bool,
        read: &impl ReadReply<R>,
    ) -> Option<Result<R, Status>> {
        let mut leader = self.lead.try_lead_directly()?;
        let mut reader = Reader::new(read, deadline);
        let mut own = OwnReply::in_hand(&self.calls, ticket, &mut reader);
        let stop = leader.glance(self, &mut own, beside_others);
        if let Some((code, cell)) = own.into_answered() {
            let result = reader.finish(code, leader.received());
            drop(leader);
            drop(cell);
            return Some(result);
        }
        drop(leader);
        stop.map(|stop| self.collect(ticket, stop, read))
    }

    /// Takes what the waiting has brought out of the call's cell.
    #[inline]
    pub(super) fn collect<R>(
        &self,
        ticket: Ticket,
        stop: Stop,
        read: &impl ReadReply<R>,
    ) -> Result<R, Status> {
        match self.calls.take(ticket) {
            Some(mut reply) => read.read_with(reply.code, reply.payload.arrived()),
            None => Err(self.unanswered(ticket, stop)),
        }
    }

    /// Gives up a call that waiting has not brought the reply of.
    #[cold]
    fn unanswered(&self, ticket: Ticket, stop: Stop) -> Status {
        self.give_up_at_once(ticket);
        match stop {
            Stop::Closed => self.link.closed_status(),
            Stop::Done | Stop::Deadline => deadline_exceeded(),
        }
    }

    /// Abandons a call that was sent, and tells the server if it is still at it. Waits a little for room to
    /// do so if nobody else would find it.
    pub(crate) fn give_up(&self, ticket: Ticket) {
        if self.give_up_at_once(ticket)
            && let Some(mut leader) = self.lead.try_lead_directly()
        {
            let until = Instant::now() + CANCEL_PATIENCE;
            let mut told = || {
                self.flush_cancels();
                !self.cancels.any()
            };
            leader.drive(self, Some(until), &mut Space(&mut told));
        }
    }

    /// The same for one who must not wait. True if the server is to be told once there is room.
    pub(crate) fn give_up_at_once(&self, ticket: Ticket) -> bool {
        let untold = self.link.is_same_process()
            && self.calls.abandon(ticket)
            && self.cancels.send(&self.link, ticket);
        if untold {
            self.lead.wake_drivers();
        }
        untold
    }

    /// Says something of a stream, now or once there is room.
    pub(super) fn tell(&self, entry: Entry) {
        if self.link.is_same_process() && self.cancels.send_other(&self.link, entry) {
            self.lead.wake_drivers();
        }
    }

    /// Tells the server of calls that were given up, if there was no room for that before.
    #[inline]
    pub(super) fn flush_cancels(&self) {
        if self.cancels.any() {
            self.cancels.flush(&self.link, &self.calls);
        }
    }

    /// Retries `attempt` until it succeeds, fails for good, or `until` has passed: then it fails with
    /// `too_late`. `index` is the caller's number.
    #[cold]
    pub(super) fn wait_for_space<T>(
        &self,
        index: usize,
        until: Option<Instant>,
        too_late: fn() -> Status,
        mut attempt: impl FnMut() -> Result<T, SendFailure>,
    ) -> Result<T, Status> {
        let _registered = self.space.register(&self.link.space, index);
        // A leader that is parked has not heard of us: it must arm `want_space`.
        self.link.nudge();
        let mut outcome = None;
        let mut retry = || match attempt() {
            Err(SendFailure::Wait) => false,
            Err(SendFailure::Failed(status)) => {
                outcome = Some(Err(status));
                true
            }
            Ok(value) => {
                outcome = Some(Ok(value));
                true
            }
        };
        let stop = self.run_until(index, until, &mut Space(&mut retry));
        match (outcome, stop) {
            (Some(outcome), _) => outcome,
            (None, Stop::Closed) => Err(self.link.closed_status()),
            (None, _) => Err(too_late()),
        }
    }

    /// Leads, or waits to be served or to lead, until what the caller awaits has come, the deadline passes,
    /// or the connection closes. `index` is the caller's cell.
    pub(super) fn run_until<A: Awaited>(
        &self,
        index: usize,
        deadline: Option<Instant>,
        awaited: &mut A,
    ) -> Stop {
        // The whole cost for a caller that is alone: it never registers.
        match self.lead.try_lead_directly() {
            Some(mut leader) => leader.drive(self, deadline, awaited),
            None => self.run_among_others(index, deadline, awaited),
        }
    }

    /// [`run_until`](Self::run_until) for a caller that has found another one leading.
    fn run_among_others<A: Awaited>(&self, index: usize, deadline: Option<Instant>, awaited: &mut A) -> Stop {
        for _ in 0..YIELDS {
            thread::yield_now();
            if awaited.has_come() {
                return Stop::Done;
            }
            if let Some(mut leader) = self.lead.try_lead_directly() {
                return leader.drive(self, deadline, awaited);
            }
            // Each may have lasted as long as a thread may run.
            if has_passed(deadline) {
                break;
            }
        }
        let mut waiting = self.lead.register(index);
        loop {
            if awaited.has_come() {
                return Stop::Done;
            }
            if self.link.is_closed() {
                return Stop::Closed;
            }
            waiting = match waiting.try_lead() {
                Ok(mut leader) => return leader.drive(self, deadline, awaited),
                Err(waiting) => waiting,
            };
            let timeout = match deadline.map(|deadline| deadline.checked_duration_since(Instant::now())) {
                None => None,
                Some(Some(left)) => Some(left),
                Some(None) => return Stop::Deadline,
            };
            waiting.park(timeout);
        }
    }

    /// Wakes everybody who waits for anything, for news that concerns all.
    #[cold]
    pub(super) fn wake_all(&self) {
        self.lead.wake_all();
        #[cfg(feature = "tokio")]
        self.calls.rouse_all();
    }

    /// Wakes everybody who waits for space.
    pub(crate) fn wake_space_waiters(&self) {
        self.space.for_each(|index| self.lead.wake(index));
    }
}

#[cfg(feature = "tokio")]
impl Drop for Core {
    fn drop(&mut self) {
        // They end.
        self.lead.wake_drivers();
    }
}

#[cold]
pub(super) fn of_the_parent() -> Status {
    Status::unavailable("the channel belongs to the parent process; connect again after fork")
}

#[cold]
pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the deadline passed before the reply came")
}
