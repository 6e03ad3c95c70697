//! What a leader drives the channel for: its own reply, space, or nothing of its own.

use crate::client::calls::{CallTable, Cell, Taken, Ticket};
use crate::client::reading::Follow;
use crate::connection::Coming;
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

    /// Offers a short reply where it was received. True if it is the awaited one, and the caller reads it
    /// there: it does not pass through its cell.
    fn offer(&mut self, _call_id: u32, _code: u32) -> Result<bool, Violation> {
        Ok(false)
    }

    /// Offers a long reply that is still being written. True if it is the awaited one, and was read, all of
    /// it.
    fn follow(&mut self, _call_id: u32, _code: u32, _coming: &mut Coming) -> Result<bool, Violation> {
        Ok(false)
    }
}

/// The reply to a call of the caller's own.
pub(super) struct OwnReply<'a, 'f> {
    calls: &'a CallTable,
    ticket: Ticket,
    cell: &'a Cell,
    /// Who reads the reply where it was received, or while it is still being written; `None` if it is to pass
    /// through its cell.
    reader: Option<&'f mut dyn Follow>,
    /// The reply was received so, with this status code; the cell is to be freed.
    answered: Option<u32>,
}

impl<'a, 'f> OwnReply<'a, 'f> {
    /// One that is read where it was received, if it can be: whoever leads must look, before it gives up the
    /// lead, whether it [was](Self::into_answered).
    #[inline(always)]
    pub(super) fn in_hand(calls: &'a CallTable, ticket: Ticket, reader: &'f mut dyn Follow) -> Self {
        Self { reader: Some(reader), ..Self::in_cell(calls, ticket) }
    }

    /// One that is taken from its cell.
    #[inline(always)]
    pub(super) fn in_cell(calls: &'a CallTable, ticket: Ticket) -> Self {
        Self { calls, ticket, cell: calls.cell_of(ticket), reader: None, answered: None }
    }

    /// Status code and cell of a reply that lies where it was received; else, if there is one, it lies in the
    /// cell.
    #[inline(always)]
    pub(super) fn into_answered(self) -> Option<(u32, Taken<'a>)> {
        // Made here and not where the reply is received: it would be written there, and read in wider words.
        self.answered.map(|code| (code, self.calls.answered(self.ticket, self.cell)))
    }
}

impl Awaited for OwnReply<'_, '_> {
    #[inline(always)]
    fn has_come(&mut self) -> bool {
        self.cell.is_done()
    }

    #[inline(always)]
    fn cell(&self) -> usize {
        self.ticket.index()
    }

    #[inline(always)]
    fn offer(&mut self, call_id: u32, code: u32) -> Result<bool, Violation> {
        if self.reader.is_none() || call_id != self.ticket.call_id {
            return Ok(false);
        }
        self.cell.answer_in_hand()?;
        self.answered = Some(code);
        Ok(true)
    }

    fn follow(&mut self, call_id: u32, code: u32, coming: &mut Coming) -> Result<bool, Violation> {
        let is_ours = call_id == self.ticket.call_id && code == 0;
        let is_read = is_ours && self.reader.as_mut().is_some_and(|reader| reader.follow(coming));
        if is_read { self.offer(call_id, code) } else { Ok(false) }
    }
}

/// Something that comes to the caller's own cell, or beside it.
pub(super) struct Sight<'a> {
    pub(super) cell: usize,
    pub(super) has_come: &'a mut dyn FnMut() -> bool,
}

impl Awaited for Sight<'_> {
    fn has_come(&mut self) -> bool {
        (self.has_come)()
    }

    fn cell(&self) -> usize {
        self.cell
    }
}

/// Space for what could not be sent.
pub(super) struct Space<'a>(pub(super) &'a mut dyn FnMut() -> bool);

impl Awaited for Space<'_> {
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
