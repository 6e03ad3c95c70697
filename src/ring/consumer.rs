//! The consuming half: one thread, which copies entries out and says from time to time how far it is.
//!
//! The producers need `rx_head` only when the ring looks full to them, and each look costs a cache line's
//! way between two cores. So it is published a quarter of the ring at a time: a producer in a flood finds at
//! least three quarters free at each look and looks four times a round, and the consumer's store is shared by
//! 64 entries of 256. Half of the ring would let the producer run dry before it sees more; the whole would
//! make the two sides take turns. Before it parks, and at the end of a turn, the consumer publishes the rest.

use std::hint;

use super::record::Record;
use super::{cell_of, seq_of};
use crate::layout::words::{BODY_WORDS, ConsumerView, EntryCell};
use crate::sync::{Ordering, fence};

/// The consuming half of one ring.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// The next position to be read.
    head: u64,
    /// What our `rx_head` says; never above `head`, and behind it by less than a quarter of the ring.
    published: u64,
}

/// The place of the entry that comes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next<'a> {
    cell: &'a EntryCell,
    seq: u32,
}

impl Next<'_> {
    /// Whether the entry has come: what a spinning thread asks.
    ///
    /// Looks at both cache lines of it, so that for a longer message the second one is on its way together
    /// with the first, and not only after it.
    #[inline(always)]
    pub(crate) fn is_there(self) -> bool {
        // Relaxed: its value is not used.
        hint::black_box(self.cell.body[BODY_WORDS - 1].load(Ordering::Relaxed));
        self.has_come()
    }

    #[inline(always)]
    fn has_come(self) -> bool {
        // Relaxed: nothing is read on the strength of it; `pop` loads `seq` again and fences.
        self.cell.seq.load(Ordering::Relaxed) == self.seq
    }
}

/// An entry that was popped.
#[must_use]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Popped {
    /// The private copy; nothing of it has been checked.
    pub(crate) record: Record,
    /// `rx_head` moved: the caller owes the producer a look at its `want_space`, as after
    /// [`Consumer::publish`], at once or at the end of its batch.
    pub(crate) published: bool,
}

impl Consumer {
    /// A consumer for a ring of zeros.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// A consumer for a ring of which both sides are past all entries below `position`.
    pub(super) fn starting_at(position: u64) -> Self {
        Self { head: position, published: position }
    }

    /// Whether the next entry is there: what a parking thread looks at.
    #[inline]
    pub(crate) fn is_ready(&self, view: ConsumerView<'_>) -> bool {
        self.next(view).has_come()
    }

    /// Whether the entry so many after the next one is there.
    #[inline(always)]
    pub(crate) fn has_come(&self, view: ConsumerView<'_>, ahead: u64) -> bool {
        self.place(view, ahead).has_come()
    }

    /// The next entry's place, to be looked at again and again.
    #[inline(always)]
    pub(crate) fn next<'a>(&self, view: ConsumerView<'a>) -> Next<'a> {
        self.place(view, 0)
    }

    #[inline(always)]
    fn place<'a>(&self, view: ConsumerView<'a>, ahead: u64) -> Next<'a> {
        let position = self.head + ahead;
        Next { cell: cell_of(view.entries, position), seq: seq_of(position) }
    }

    /// Copies the next entry out, once, and advances; `None` if it is not there yet.
    ///
    /// Publishes when a quarter of the ring is unpublished, and says so.
    #[inline]
    pub(crate) fn pop(&mut self, view: ConsumerView<'_>) -> Option<Popped> {
        let mut record = Record::nop();
        let published = self.pop_into(view, &mut record)?;
        Some(Popped { record, published })
    }

    /// As [`pop`](Self::pop), into a record that is kept for the purpose: what is not of this entry stays in
    /// it. Returns [`Popped::published`].
    #[inline(always)]
    pub(crate) fn pop_into(&mut self, view: ConsumerView<'_>, record: &mut Record) -> Option<bool> {
        let cell = cell_of(view.entries, self.head);
        // Relaxed, with the fence: std guarantees no more on a mapping that we may only read. The pair is an
        // Acquire load and reads the Release store in `Reservation::commit` (E1).
        if cell.seq.load(Ordering::Relaxed) != seq_of(self.head) {
            return None;
        }
        fence(Ordering::Acquire);
        record.load(cell);
        self.head += 1;
        let quarter = (view.entries.len() as u64 / 4).max(1);
        Some(self.unpublished() >= quarter && self.publish(view))
    }

    /// Tells the producers how far we are; to be called before parking and at the end of a turn.
    ///
    /// True if that is news: the caller then looks whether the peer waits for room, with
    /// [`Kicker::should_kick`](super::Kicker::should_kick) on its `want_space`.
    pub(crate) fn publish(&mut self, view: ConsumerView<'_>) -> bool {
        if self.published == self.head {
            return false;
        }
        // Release pairs with the fence(Acquire) in `Producer::refresh` (E2): our copies are made before the
        // producer writes over the cells.
        view.rx_head.store(self.head, Ordering::Release);
        self.published = self.head;
        true
    }

    /// How many entries were popped since the last publication.
    pub(crate) fn unpublished(&self) -> u64 {
        self.head - self.published
    }

    /// The next position to be read: how many entries have been popped.
    #[cfg(any(test, mmap_rpc_loom))]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }
}
