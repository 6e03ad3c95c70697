//! What a leader drives the channel for: its own reply, space, or nothing of its own.

use crate::client::calls::{CallTable, Taken, Ticket};
use crate::error::Violation;

/// The cell of a leader that waits for no reply.
const NO_CELL: usize = usize::MAX;

/// What the leading caller waits for.
pub(super) trait Awaited {
    /// Whether it has come.
    fn has_come(&mut self) -> bool;

    /// The caller's cell: of its own reply, nobody is to be told.
    fn cell(&self) -> usize {
        NO_CELL
    }

    /// Offers a short reply where it was received. True if it is the awaited one, which is read then and
    /// there and spares its cell.
    fn offer(&mut self, _call_id: u32, _code: u32, _payload: &[u8]) -> Result<bool, Violation> {
        Ok(false)
    }
}

/// The reply to a call of the caller's own.
pub(super) struct OwnReply<'a, F> {
    calls: &'a CallTable,
    ticket: Ticket,
    read: F,
    /// The reply was read where it came, and its cell is to be freed.
    answered: Option<Taken<'a>>,
}

impl<'a, F: FnMut(u32, &[u8])> OwnReply<'a, F> {
    /// `read` is called with status code and payload if the reply need not go through its cell.
    pub(super) fn new(calls: &'a CallTable, ticket: Ticket, read: F) -> Self {
        Self { calls, ticket, read, answered: None }
    }

    /// Whether `read` has been called; else the reply, if there is one, lies in its cell.
    pub(super) fn was_read(&self) -> bool {
        self.answered.is_some()
    }
}

impl<F: FnMut(u32, &[u8])> Awaited for OwnReply<'_, F> {
    #[inline]
    fn has_come(&mut self) -> bool {
        self.calls.is_done(self.ticket)
    }

    fn cell(&self) -> usize {
        self.ticket.index()
    }

    #[inline]
    fn offer(&mut self, call_id: u32, code: u32, payload: &[u8]) -> Result<bool, Violation> {
        if call_id != self.ticket.call_id {
            return Ok(false);
        }
        // Before the payload is read: decoding may panic, and leaves no cell behind.
        self.answered = Some(self.calls.answered(self.ticket)?);
        (self.read)(code, payload);
        Ok(true)
    }
}

/// Space for what could not be sent.
pub(super) struct Space<F>(pub(super) F);

impl<F: FnMut() -> bool> Awaited for Space<F> {
    fn has_come(&mut self) -> bool {
        (self.0)()
    }
}

/// Whatever there is: a leader that has come to take replies out of the ring.
pub(super) struct Nothing;

impl Awaited for Nothing {
    fn has_come(&mut self) -> bool {
        false
    }
}
