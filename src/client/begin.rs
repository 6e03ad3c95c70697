//! How a call begins: it takes a cell, and its request waits for space if there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::calls::Ticket;
use crate::client::core::{Core, deadline_exceeded, of_the_parent};
use crate::client::method::Method;
#[cfg(feature = "tokio")]
use crate::connection::Link;
use crate::connection::{Flow, Head, SendFailure, Slot};
use crate::raw::Loan;
use crate::ring::Shape;
use crate::rpc::Status;
use crate::sync::Ordering;

/// How long a call without a deadline waits for room or slots before it gives up.
pub(super) const SPACE_PATIENCE: Duration = Duration::from_secs(30);

impl Core {
    /// Checks that a call can be made at all and takes a cell for it.
    ///
    /// Inline, as all of the way to the ring: what would be handed on in memory is written in parts and read
    /// whole, for which the processor waits.
    #[inline(always)]
    pub(super) fn begin(&self, method: Method, deadline: Option<Instant>) -> Result<Unsent<'_>, Status> {
        self.check(method)?;
        let ticket = self.claim()?;
        Ok(Unsent { core: self, ticket, deadline })
    }

    /// The same for a call with streams.
    pub(super) fn begin_streams(
        &self,
        method: Method,
        deadline: Option<Instant>,
        flow: &Arc<Flow>,
    ) -> Result<Unsent<'_>, Status> {
        self.check(method)?;
        if self.link.limits().stream_window == 0 {
            return Err(Status::unimplemented(
                "one of the sides takes no streams: its stream_window is zero",
            ));
        }
        let claim = || self.calls.claim_for_streams(flow);
        let ticket = claim().map_or_else(|| self.claim_after_reaping(claim), Ok)?;
        Ok(Unsent { core: self, ticket, deadline })
    }

    /// What is done before any call.
    #[inline(always)]
    fn check(&self, method: Method) -> Result<(), Status> {
        self.check_open()?;
        self.flush_cancels();
        method.check(self.id)
    }

    /// A cell for a call.
    #[inline(always)]
    fn claim(&self) -> Result<Ticket, Status> {
        match self.calls.claim() {
            Some(ticket) => Ok(ticket),
            None => self.claim_after_reaping(|| self.calls.claim()),
        }
    }

    /// A cell when all seem to be in flight. Calls that were given up hold theirs until somebody takes their
    /// replies out of the ring, and if nobody waits for a call then nobody does, except here.
    #[cold]
    fn claim_after_reaping(&self, claim: impl Fn() -> Option<Ticket>) -> Result<Ticket, Status> {
        let mut ticket = None;
        if let Some(mut leader) = self.lead.try_lead_directly() {
            leader.reap(self, || {
                ticket = claim();
                ticket.is_some()
            });
        }
        ticket.ok_or_else(|| self.too_many())
    }

    /// Whether this process has the connection's memory: a forked child has not, and must not touch it.
    #[inline]
    pub(super) fn check_process(&self) -> Result<(), Status> {
        if self.link.is_same_process() { Ok(()) } else { Err(of_the_parent()) }
    }

    /// Whether requests may be sent now.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Status> {
        self.check_process()?;
        if self.link.is_closed() {
            return Err(self.link.closed_status());
        }
        // Relaxed: a request that slips through is refused by the server.
        if self.draining.load(Ordering::Relaxed) {
            return Err(Status::unavailable("the server is shutting down and takes no further calls"));
        }
        Ok(())
    }

    #[cold]
    fn too_many(&self) -> Status {
        Status::resource_exhausted(format!(
            "{} calls are in flight on this channel, the agreed max_in_flight; raise max_in_flight on both \
             sides, or wait for replies before starting more",
            self.calls.capacity()
        ))
    }

    /// A slot for a raw message, once there is one.
    pub(crate) fn loan(&self, len: usize) -> Result<Loan, Status> {
        self.check_open()?;
        if let Some(short) = Loan::short(len) {
            return Ok(short);
        }
        let claim = || Slot::claim(self.link.clone(), len as u64);
        let slot = match claim() {
            Ok(slot) => slot,
            Err(SendFailure::Failed(status)) => return Err(status),
            Err(SendFailure::Wait) => {
                // Whoever waits needs a cell to be woken at.
                let ticket = self.claim()?;
                Unsent { core: self, ticket, deadline: None }.once_there_is_space(claim)?
            }
        };
        Ok(Loan::of_slot(slot, len))
    }
}

/// A call whose request has not been sent. Dropped, it leaves nothing behind.
pub(super) struct Unsent<'a> {
    core: &'a Core,
    ticket: Ticket,
    deadline: Option<Instant>,
}

#[cfg(feature = "tokio")]
impl<'a> Unsent<'a> {
    pub(super) fn core(&self) -> &'a Core {
        self.core
    }

    pub(super) fn link(&self) -> &'a Arc<Link> {
        &self.core.link
    }

    /// The number of the call's cell.
    pub(super) fn index(&self) -> usize {
        self.ticket.index()
    }
}

impl Unsent<'_> {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the request's entry begins with.
    #[inline(always)]
    pub(super) fn head(&self, method: Method) -> Result<Head, Status> {
        self.head_of(method, Shape::Unary)
    }

    /// The same for a call with streams.
    #[inline(always)]
    pub(super) fn head_of(&self, method: Method, shape: Shape) -> Result<Head, Status> {
        let deadline_us = self.deadline.map_or(Ok(0), remaining_us)?;
        let (method, call_id) = (method.id(), self.ticket.call_id);
        Ok(Head::Request { method, call_id, deadline_us, shape })
    }

    /// Makes an attempt that takes space, again and again until there is some.
    #[inline]
    pub(super) fn once_there_is_space<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, SendFailure>,
    ) -> Result<T, Status> {
        match attempt() {
            Ok(value) => Ok(value),
            Err(failure) => self.wait_after(failure, attempt),
        }
    }

    /// The same after a request could not be sent.
    #[cold]
    pub(super) fn again(
        &self,
        failure: SendFailure,
        method: Method,
        mut send: impl FnMut(Head) -> Result<(), SendFailure>,
    ) -> Result<(), Status> {
        self.wait_after(failure, || send(self.head(method).map_err(SendFailure::Failed)?))
    }

    #[cold]
    fn wait_after<T>(
        &self,
        failure: SendFailure,
        attempt: impl FnMut() -> Result<T, SendFailure>,
    ) -> Result<T, Status> {
        match failure {
            SendFailure::Wait => {
                let until = patience_until(self.deadline);
                self.core.wait_for_space(self.ticket.index(), Some(until), no_space, attempt)
            }
            SendFailure::Failed(status) => Err(status),
        }
    }

    #[inline]
    pub(super) fn sent(self) -> Ticket {
        let ticket = self.ticket;
        std::mem::forget(self);
        ticket
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.core.calls.cancel_unsent(self.ticket);
    }
}

/// When a caller that waits for space gives up.
#[cold]
pub(super) fn patience_until(deadline: Option<Instant>) -> Instant {
    let patience = Instant::now() + SPACE_PATIENCE;
    deadline.map_or(patience, |deadline| deadline.min(patience))
}

/// Time until a deadline as it travels: whole microseconds, at least one, saturating.
fn remaining_us(deadline: Instant) -> Result<u32, Status> {
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(u32::try_from(left.as_micros()).unwrap_or(u32::MAX).max(1)),
        _ => Err(deadline_exceeded()),
    }
}

#[cold]
pub(super) fn no_space() -> Status {
    Status::resource_exhausted(
        "no slot or ring entry came free in time: the peer holds what was sent; raise max_region_bytes on \
         both sides, or the call's timeout",
    )
}
