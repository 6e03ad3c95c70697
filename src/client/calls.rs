//! The calls in flight: one cell each, from before the request is sent until its one terminal entry is
//! popped.
//!
//! ```text
//!          claim            deliver                 take
//!   FREE ────────► PENDING ────► BUSY ────► DONE ────────────► FREE
//!    ▲  cancel_unsent │ abandon   ▲
//!    └────────────────┤           │ deliver: drops the reply and frees the cell
//!                     └───► ABANDONED
//! ```
//!
//! | step | who | ordering |
//! |---|---|---|
//! | claim | any caller: it took the cell's free bit | bit Acquire ↔ Release in `free` |
//! | deliver | the leader alone: BUSY makes the cell its own | state Acquire ↔ Release in claim, abandon |
//! | with_flow | the leader alone: BUSY, and back to PENDING | state Acquire ↔ Release in claim, Release ↔ Acquire in abandon |
//! | answered | the caller that claimed it, being the leader; as take from there on | none: one thread |
//! | take | the caller that claimed it; the cell is free when what it took is dropped | state Acquire ↔ Release in deliver |
//! | abandon, cancel_unsent | the caller that claimed it; while BUSY, it waits | as for take |
//!
//! BUSY lasts for a few instructions of the leader's. Without it, a peer that answers a call before it was
//! sent could have the leader write into a cell that its caller has just given back.
//!
//! A call id is the cell's index with a generation above it, so a late or forged reply meets either the call
//! it was meant for or a violation.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use crate::connection::{Flow, Kept, call_index};
use crate::error::Violation;
use crate::sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell, spin_loop};

const FREE: u32 = 0;
const PENDING: u32 = 1;
const DONE: u32 = 2;
const ABANDONED: u32 = 3;
const BUSY: u32 = 4;
const PHASE: u32 = 0xffff;

/// A reply as the leader found it.
pub(crate) struct Reply {
    /// Status code as the peer wrote it.
    pub(crate) code: u32,
    pub(crate) payload: Kept,
    /// The streams of the call, if it has any: put here by the caller before the call is pending, and used by
    /// the leader until then.
    pub(crate) flow: Option<Arc<Flow>>,
}

impl Reply {
    fn empty() -> Self {
        Self { code: 0, payload: Kept::empty(), flow: None }
    }
}

/// One cell per call that may be in flight.
pub(crate) struct CallTable {
    /// One bit per cell, 1 = free.
    free: Box<[AtomicU64]>,
    /// Cells by the word of their bits: made when the first of them is claimed, because an idle channel uses
    /// few of the thousand that it may.
    blocks: Box<[OnceLock<Box<[Cell]>>]>,
    capacity: usize,
}

/// Where a call's reply is put. Padded so that two callers' cells share no cache line.
#[repr(align(64))]
pub(crate) struct Cell {
    /// Phase in the low half, generation in the high one. Written by the caller and the leader, see above.
    state: AtomicU32,
    /// Written by the leader before DONE, used by the caller after it; its payload is empty at all
    /// other times.
    reply: UnsafeCell<Reply>,
}

// SAFETY: `reply` is touched by the leader while the phase is BUSY and by the caller after DONE; the phase's
// Release and Acquire order the two.
unsafe impl Sync for CallTable {}

impl Cell {
    /// Whether the reply is there.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        // Relaxed: `take` synchronises.
        self.state.load(Ordering::Relaxed) & PHASE == DONE
    }
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
        self.blocks[word].get_or_init(|| {
            let cell = |_| Cell { state: AtomicU32::new(FREE), reply: UnsafeCell::new(Reply::empty()) };
            (word * 64..self.capacity.min(word * 64 + 64)).map(cell).collect()
        })
    }

    /// A cell that may never have been claimed: then there is none.
    #[inline]
    fn find(&self, index: usize) -> Option<&Cell> {
        self.blocks.get(index / 64)?.get()?.get(index % 64)
    }

    /// The cell of a call.
    #[inline]
    pub(crate) fn cell_of(&self, ticket: Ticket) -> &Cell {
        self.cell(ticket.index())
    }

    /// A cell that has been claimed.
    #[inline]
    fn cell(&self, index: usize) -> &Cell {
        self.find(index).expect("was claimed")
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a free cell. `None` when every cell is in flight.
    #[inline]
    pub(crate) fn claim(&self) -> Option<Ticket> {
        self.claim_index().map(|index| self.begin(index))
    }

    /// The same for a call with streams.
    pub(crate) fn claim_for_streams(&self, flow: &Arc<Flow>) -> Option<Ticket> {
        let index = self.claim_index()?;
        let cell = &self.block(index / 64)[index % 64];
        // SAFETY: we hold the cell's bit and the phase is FREE: nobody else touches the reply.
        cell.reply.with_mut(|reply| unsafe { (*reply).flow = Some(flow.clone()) });
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
        let state = &self.block(index / 64)[index % 64].state;
        // Relaxed: we hold the cell's bit, nobody else changes a FREE cell.
        let generation = (state.load(Ordering::Relaxed) & !PHASE).wrapping_add(PHASE + 1);
        // Release pairs with the Acquire in `deliver`: the cell is empty before it is pending.
        state.store(generation | PENDING, Ordering::Release);
        Ticket { call_id: generation | index as u32 }
    }

    #[inline]
    fn free(&self, cell: &Cell, index: usize) {
        let state = &cell.state;
        // Relaxed: the bit's Release publishes it.
        state.store(state.load(Ordering::Relaxed) & !PHASE | FREE, Ordering::Relaxed);
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
        let generation = call_id & !PHASE;
        // Acquire pairs with the Release in `begin` and in `abandon`. A caller that leaves meanwhile does so
        // once, so this ends after two rounds.
        let own = |from| {
            let busy = generation | BUSY;
            cell.state.compare_exchange(generation | from, busy, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        if own(PENDING) {
            // SAFETY: the phase is BUSY, in which only the leader touches the reply, and there is one leader.
            cell.reply.with_mut(|reply| write(unsafe { &mut *reply }));
            // Release publishes the reply to the Acquire of the caller's `take`.
            cell.state.store(generation | DONE, Ordering::Release);
            return Ok(Delivered::To(index));
        }
        if own(ABANDONED) {
            // SAFETY: as above.
            cell.reply.with_mut(|reply| unsafe { (*reply).flow = None });
            self.free(cell, index);
            return Ok(Delivered::ToNobody);
        }
        Err(unknown())
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
        let generation = call_id & !PHASE;
        let (pending, busy) = (generation | PENDING, generation | BUSY);
        // Acquire as in `deliver`.
        match cell.state.compare_exchange(pending, busy, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {}
            // What was under way when the caller gave up.
            Err(seen) if seen == generation | ABANDONED => return Ok(Delivered::ToNobody),
            Err(_) => return Ok(Delivered::Unknown),
        }
        // SAFETY: the phase is BUSY, in which only the leader touches the reply, and there is one leader.
        let changed = cell.reply.with(|reply| match unsafe { &(*reply).flow } {
            Some(flow) => change(flow).map(|()| Delivered::To(index)),
            None => Ok(Delivered::Unknown),
        });
        // Release as in `deliver`: whoever leaves comes after it.
        cell.state.store(pending, Ordering::Release);
        changed
    }

    /// Marks a call whose reply its own caller has in hand, being the leader: nobody else can change `cell`,
    /// the call's. It is free when the result is dropped.
    ///
    /// # Errors
    /// If the call has its reply already.
    #[inline]
    pub(crate) fn answered<'a>(&'a self, ticket: Ticket, cell: &'a Cell) -> Result<Taken<'a>, Violation> {
        let state = &cell.state;
        // Relaxed: the caller put it to PENDING, and if another leader has been here since, taking the lead
        // after it has acquired that.
        let seen = state.load(Ordering::Relaxed);
        if seen & PHASE != PENDING {
            return Err(Violation::Entry("a second reply to one call"));
        }
        // Relaxed: read by this thread, and by leaders after it, who acquire it with the lead.
        state.store(seen & !PHASE | DONE, Ordering::Relaxed);
        Ok(Taken { table: self, cell, index: ticket.index() })
    }

    /// The reply, if it is there, where it lies; the ticket is then used up.
    #[inline]
    pub(crate) fn take(&self, ticket: Ticket) -> Option<Taken<'_>> {
        let cell = self.cell(ticket.index());
        // Acquire pairs with the Release in `deliver`.
        if cell.state.load(Ordering::Acquire) & PHASE != DONE {
            return None;
        }
        Some(Taken { table: self, cell, index: ticket.index() })
    }

    /// Gives up a call that was sent. True if its reply is still to come: the peer is to be told. The cell
    /// stays reserved until then. The ticket is used up.
    pub(crate) fn abandon(&self, ticket: Ticket) -> bool {
        let abandoned = self.leave(ticket, ABANDONED);
        if !abandoned {
            self.drop_reply(ticket);
        }
        abandoned
    }

    /// The id of the call that was given up in a cell, if its reply is still to come.
    pub(crate) fn abandoned(&self, index: usize) -> Option<u32> {
        // Relaxed: whoever asks has learned of the call from its caller.
        let state = self.find(index)?.state.load(Ordering::Relaxed);
        (state & PHASE == ABANDONED).then_some(state & !PHASE | index as u32)
    }

    /// Gives up a call that was never sent. The ticket is used up.
    pub(crate) fn cancel_unsent(&self, ticket: Ticket) {
        if self.leave(ticket, FREE) {
            let cell = self.cell(ticket.index());
            // SAFETY: the caller has taken the call from PENDING, so the leader does not touch it any more.
            cell.reply.with_mut(|reply| unsafe { (*reply).flow = None });
            self.free(cell, ticket.index());
        } else {
            // A lying peer has answered what it never saw.
            self.drop_reply(ticket);
        }
    }

    /// Takes the call from PENDING to `phase`, unless the leader was faster.
    fn leave(&self, ticket: Ticket, phase: u32) -> bool {
        let generation = ticket.call_id & !PHASE;
        let (pending, left) = (generation | PENDING, generation | phase);
        let state = &self.cell(ticket.index()).state;
        loop {
            // Release pairs with the Acquire in `deliver`. Acquire with the Release in `with_flow`: the
            // leader is through with the flow. Relaxed on failure: `take` synchronises.
            match state.compare_exchange(pending, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                // The few instructions that the leader takes to hand a message to a stream.
                Err(seen) if seen & PHASE == BUSY || seen == pending => spin_loop(),
                Err(_) => return false,
            }
        }
    }

    /// Drops what the leader delivered.
    fn drop_reply(&self, ticket: Ticket) {
        drop(self.take(ticket));
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
        // SAFETY: the phase was DONE: the leader is through with the cell, and only the ticket's holder, who
        // has become this, touches it until it is free. Nobody holds a `&mut` while this is borrowed.
        self.cell.reply.with(|reply| unsafe { &*reply })
    }
}

impl DerefMut for Taken<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Reply {
        // SAFETY: as above; this is borrowed mutably, so nobody holds another reference.
        self.cell.reply.with_mut(|reply| unsafe { &mut *reply })
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
