//! The calls in flight: one cell each, from before the request is sent until its one terminal entry is
//! popped. What happens to a cell in between: see [`cell`].
//!
//! A call id is the cell's index with a generation above it, so a late or forged reply meets either the call
//! it was meant for or a violation.

mod cell;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use crate::connection::{Flow, call_index};
use crate::error::Violation;
use crate::sync::{AtomicU64, Ordering};

pub(crate) use cell::{Cell, Reply};
use cell::{NoStreams, PHASE, Put};

/// One cell per call that may be in flight.
pub(crate) struct CallTable {
    /// One bit per cell, 1 = free.
    free: Box<[AtomicU64]>,
    /// Cells by the word of their bits: made when the first of them is claimed, because an idle channel uses
    /// few of the thousand that it may.
    blocks: Box<[OnceLock<Box<[Cell]>>]>,
    capacity: usize,
}

/// A call in flight: the right to its cell. Must be taken or abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) call_id: u32,
}

impl Ticket {
    #[inline]
    pub(crate) fn index(self) -> usize {
        call_index(self.call_id)
    }
}

/// Whose reply the leader has just delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The caller of this cell waits for it.
    To(usize),
    /// The task that waits for it, which was woken.
    #[cfg(any(feature = "tokio", mmap_rpc_loom))]
    Woken,
    /// Nobody waits any more.
    ToNobody,
    /// There is no such call in flight, or it has no streams.
    Unknown,
}

impl CallTable {
    /// A table for `capacity` calls at once.
    pub(crate) fn new(capacity: usize) -> Self {
        let bits = |word: usize| match capacity - word * 64 {
            64.. => u64::MAX,
            rest => (1 << rest) - 1,
        };
        let words = capacity.div_ceil(64);
        let table = Self {
            free: (0..words).map(|word| AtomicU64::new(bits(word))).collect(),
            blocks: (0..words).map(|_| OnceLock::new()).collect(),
            capacity,
        };
        if cfg!(mmap_rpc_loom) {
            // The models' atomics are made before their threads.
            (0..words).for_each(|word| _ = table.block(word));
        }
        table
    }

    /// The cells of a word, made if they are not there yet.
    #[inline]
    fn block(&self, word: usize) -> &[Cell] {
        self.blocks[word]
            .get_or_init(|| (word * 64..self.capacity.min(word * 64 + 64)).map(|_| Cell::new()).collect())
    }

    /// A cell that may never have been claimed: then there is none.
    #[inline]
    fn find(&self, index: usize) -> Option<&Cell> {
        self.blocks.get(index / 64)?.get()?.get(index % 64)
    }

    /// The cell of a call.
    #[inline]
    pub(crate) fn cell_of(&self, ticket: Ticket) -> &Cell {
        self.find(ticket.index()).expect("was claimed")
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a free cell. `None` when every cell is in flight.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<Ticket> {
        self.claim_index().map(|index| self.begin(index))
    }

    /// The same for a call with streams.
    pub(crate) fn claim_for_streams(&self, flow: &Arc<Flow>) -> Option<Ticket> {
        let index = self.claim_index()?;
        self.block(index / 64)[index % 64].put_flow(flow);
        Some(self.begin(index))
    }

    #[inline]
    fn claim_index(&self) -> Option<usize> {
        for (word, bits) in self.free.iter().enumerate() {
            // Relaxed: only a guess at which bit to try.
            let mut seen = bits.load(Ordering::Relaxed);
            while seen != 0 {
                let bit = seen.trailing_zeros();
                // Acquire pairs with the Release in `free`: the last holder is done with the cell.
                let before = bits.fetch_and(!(1 << bit), Ordering::Acquire);
                if before & (1 << bit) != 0 {
                    return Some(word * 64 + bit as usize);
                }
                // Bounded: every round somebody else took a bit of a snapshot of 64.
                seen &= before & !(1 << bit);
            }
        }
        None
    }

    #[inline]
    fn begin(&self, index: usize) -> Ticket {
        let generation = self.block(index / 64)[index % 64].begin();
        Ticket { call_id: generation | index as u32 }
    }

    #[inline]
    fn free(&self, cell: &Cell, index: usize) {
        cell.end();
        // Release pairs with the Acquire in `claim`.
        self.free[index / 64].fetch_or(1 << (index % 64), Ordering::Release);
    }

    /// Hands a reply to the call that it answers: `write` puts it into the call's cell, if there is one. For
    /// the leader only.
    #[inline]
    pub(crate) fn deliver(
        &self,
        call_id: u32,
        write: impl FnOnce(&mut Reply),
    ) -> Result<Delivered, Violation> {
        let index = call_index(call_id);
        let unknown = || Violation::Entry("a reply to a call that is not in flight");
        let cell = self.find(index).ok_or_else(unknown)?;
        match cell.deliver(call_id & !PHASE, write).ok_or_else(unknown)? {
            Put::Answered => Ok(Delivered::To(index)),
            #[cfg(any(feature = "tokio", mmap_rpc_loom))]
            Put::Woken => Ok(Delivered::Woken),
            Put::Left => {
                self.free(cell, index);
                Ok(Delivered::ToNobody)
            }
        }
    }

    /// Has `change` done to the streams of a call in flight. For the leader only.
    ///
    /// # Errors
    /// Those of `change`.
    pub(crate) fn with_flow(
        &self,
        call_id: u32,
        change: impl FnOnce(&Flow) -> Result<(), Violation>,
    ) -> Result<Delivered, Violation> {
        let index = call_index(call_id);
        let Some(cell) = self.find(index) else { return Ok(Delivered::Unknown) };
        match cell.with_flow(call_id & !PHASE, change) {
            Ok(changed) => changed.map(|()| Delivered::To(index)),
            Err(NoStreams::Left) => Ok(Delivered::ToNobody),
            Err(NoStreams::Unknown) => Ok(Delivered::Unknown),
        }
    }

    /// The call in `cell`, whose reply its own caller [has in hand](Cell::answer_in_hand). The cell is free
    /// when the result is dropped.
    ///
    /// # Panics
    /// If it has not.
    #[inline]
    pub(crate) fn answered<'a>(&'a self, ticket: Ticket, cell: &'a Cell) -> Taken<'a> {
        assert!(cell.is_to_be_taken(), "a call without its reply");
        Taken { table: self, cell, index: ticket.index() }
    }

    /// The reply, if it is there, where it lies; the ticket is then used up.
    #[inline]
    pub(crate) fn take(&self, ticket: Ticket) -> Option<Taken<'_>> {
        let cell = self.cell_of(ticket);
        cell.is_to_be_taken().then(|| Taken { table: self, cell, index: ticket.index() })
    }

    /// Gives up a call that was sent. True if its reply is still to come: the peer is to be told. The cell
    /// stays reserved until then. The ticket is used up.
    pub(crate) fn abandon(&self, ticket: Ticket) -> bool {
        let abandoned = self.cell_of(ticket).abandon(ticket.call_id & !PHASE);
        if !abandoned {
            self.drop_reply(ticket);
        }
        abandoned
    }

    /// The id of the call that was given up in a cell, if its reply is still to come.
    pub(crate) fn abandoned(&self, index: usize) -> Option<u32> {
        self.find(index)?.abandoned().map(|generation| generation | index as u32)
    }

    /// Gives up a call that was never sent. The ticket is used up.
    pub(crate) fn cancel_unsent(&self, ticket: Ticket) {
        let cell = self.cell_of(ticket);
        if cell.cancel_unsent(ticket.call_id & !PHASE) {
            self.free(cell, ticket.index());
        } else {
            // A lying peer has answered what it never saw.
            self.drop_reply(ticket);
        }
    }

    /// Drops what the leader delivered.
    fn drop_reply(&self, ticket: Ticket) {
        drop(self.take(ticket));
    }
}

/// For tasks.
#[cfg(any(feature = "tokio", mmap_rpc_loom))]
impl CallTable {
    /// Wakes all tasks that wait for replies, for news that concerns them all. They must have entered the
    /// [lead](crate::client::lead) before whoever calls this has changed its state, or look at the news
    /// afterwards.
    pub(crate) fn rouse_all(&self) {
        self.blocks.iter().filter_map(OnceLock::get).flatten().for_each(Cell::rouse);
    }
}

/// A reply that was taken and still lies in its cell, which is freed with it.
pub(crate) struct Taken<'a> {
    table: &'a CallTable,
    cell: &'a Cell,
    index: usize,
}

impl Deref for Taken<'_> {
    type Target = Reply;

    #[inline]
    fn deref(&self) -> &Reply {
        // SAFETY: this is what became of the ticket, once the reply was found there, and it is borrowed:
        // nobody holds a `&mut`.
        unsafe { self.cell.reply() }
    }
}

impl DerefMut for Taken<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Reply {
        // SAFETY: as above; this is borrowed mutably, so nobody holds another reference.
        unsafe { self.cell.reply_mut() }
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.payload.clear();
        // Looked at first: mostly there is none, and to drop nothing is work as well.
        if self.flow.is_some() {
            self.flow = None;
        }
        self.table.free(self.cell, self.index);
    }
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests;
