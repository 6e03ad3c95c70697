//! The producing half: takes positions and fills them, from any number of threads.
//!
//! `tail` and `cached_head` are private, so a peer can corrupt neither. A position is taken by
//! compare-exchange after the room check, never by adding first: a position that is taken exists, and must
//! be filled.

use std::mem;

use crossbeam_utils::CachePadded;

use super::record::Record;
use super::{cell_of, seq_of};
use crate::error::Violation;
use crate::layout::prefetch_for_write;
use crate::layout::words::{EntryCell, ProducerView};
use crate::sync::{AtomicU64, Ordering, fence};

/// How many entries ahead one is asked for that will be written. The nearer ones are where the peer's reader
/// looks next, and would be taken away again.
const AHEAD: u64 = 4;

/// Why no position was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReserveError {
    /// There is no room, or other threads took it, position after position, for a whole round of the ring.
    /// Nothing is wrong: whoever wants to wait arms `want_space`, asks [`Producer::has_room`] again, and
    /// sleeps.
    Full,
    /// The peer's `rx_head` is a lie: the connection must close.
    Violation(Violation),
}

impl From<Violation> for ReserveError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// The producing half of one ring; all threads of the process share it.
#[derive(Debug)]
pub(crate) struct Producer {
    /// The next position to be taken. Changed only by compare-exchange from one position to the next.
    tail: CachePadded<AtomicU64>,
    /// A position that the peer's consumer has published; at most what it has published by now.
    cached_head: CachePadded<AtomicU64>,
}

impl Producer {
    /// A producer for a ring of zeros.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// A producer for a ring of which both sides are past all entries below `position`.
    pub(super) fn starting_at(position: u64) -> Self {
        Self {
            tail: CachePadded::new(AtomicU64::new(position)),
            cached_head: CachePadded::new(AtomicU64::new(position)),
        }
    }

    /// Takes the next position. The caller fills it at once: until then the consumer stands before a hole.
    ///
    /// Looks at the peer's memory only when the ring seems full.
    #[inline]
    pub(crate) fn reserve<'a>(&self, view: ProducerView<'a>) -> Result<Reservation<'a>, ReserveError> {
        let capacity = view.entries.len() as u64;
        // Relaxed: the compare-exchange proves the value current before anything rests on it.
        let mut tail = self.tail.load(Ordering::Relaxed);
        // Each lost compare-exchange is a position that another thread took, so the bound is met only after
        // as many of them as the ring has entries.
        for _ in 0..=capacity {
            // Acquire pairs with the Release store in `refresh` (E3): the cells below it have been read.
            if !fits(tail, self.cached_head.load(Ordering::Acquire), capacity) {
                let head;
                (head, tail) = self.refresh(view)?;
                if !fits(tail, head, capacity) {
                    return Err(ReserveError::Full);
                }
            }
            // Relaxed: the position itself carries nothing; E1 makes it visible to whoever reads the entry,
            // and through E2 to whoever checks `rx_head`.
            match self.tail.compare_exchange(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(position) => {
                    prefetch_for_write(cell_of(view.entries, position + AHEAD));
                    return Ok(Reservation { cell: cell_of(view.entries, position), position });
                }
                Err(current) => tail = current,
            }
        }
        Err(ReserveError::Full)
    }

    /// Whether a position could be taken now; others may be quicker. What a thread asks after it has armed
    /// `want_space` and before it sleeps.
    #[cfg(any(test, mmap_rpc_loom))]
    pub(crate) fn has_room(&self, view: ProducerView<'_>) -> Result<bool, Violation> {
        let (head, tail) = self.refresh(view)?;
        Ok(fits(tail, head, view.entries.len() as u64))
    }

    /// The next position to be taken: how many have been taken so far.
    #[cfg(any(test, mmap_rpc_loom))]
    pub(crate) fn position(&self) -> u64 {
        // Relaxed: a number to look at; nothing is read on the strength of it.
        self.tail.load(Ordering::Relaxed)
    }

    /// Looks at how far the peer has read, and returns that with a tail read after it.
    ///
    /// The order of the three loads is what makes the check exact. `cached` comes first: it was stored by a
    /// thread that had seen the peer's word at that value, so this later load cannot see less. `tail` comes
    /// last: the peer could publish `head` only after all positions below it had been taken and filled.
    #[cold]
    fn refresh(&self, view: ProducerView<'_>) -> Result<(u64, u64), Violation> {
        // Acquire pairs with the Release store below, in another thread (E3).
        let cached = self.cached_head.load(Ordering::Acquire);
        // Relaxed, with the fence: std guarantees no more on a mapping that we may only read. The pair is an
        // Acquire load and reads the Release store in `Consumer::publish` (E2).
        let head = view.rx_head.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        // Relaxed: the fence orders it after the load of `head`.
        let tail = self.tail.load(Ordering::Relaxed);
        if !(cached..=tail).contains(&head) {
            return Err(Violation::RingHead { published: head, low: cached, high: tail });
        }
        // Release pairs with both Acquire loads of `cached_head` (E3). A slower thread may put an older value
        // back: it is still one that the peer had published, only less room.
        self.cached_head.store(head, Ordering::Release);
        Ok((head, tail))
    }
}

/// Whether position `tail` has room behind a consumer at `head`. A tail older than the head wraps round to a
/// huge distance, which is "no": the slow path then reads it again.
#[inline(always)]
fn fits(tail: u64, head: u64, capacity: u64) -> bool {
    tail.wrapping_sub(head) < capacity
}

/// A position that is taken and must be filled: the consumer waits before a hole for ever.
///
/// Dropped unfilled, as by a panic, it fills itself with a NOP. To forget it stops the connection.
#[must_use = "a position that is taken must be filled"]
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    cell: &'a EntryCell,
    position: u64,
}

impl Reservation<'_> {
    /// Which position it is.
    #[cfg(any(test, mmap_rpc_loom))]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Fills the position and hands it to the consumer. Whoever sends then looks whether the peer sleeps,
    /// with [`Kicker::should_kick`](super::Kicker::should_kick), once per batch.
    #[inline]
    pub(crate) fn commit(self, record: &Record) {
        self.fill(record);
        mem::forget(self);
    }

    #[inline(always)]
    fn fill(&self, record: &Record) {
        record.store(self.cell);
        // Release pairs with the fence(Acquire) in `Consumer::pop` (E1).
        self.cell.seq.store(seq_of(self.position), Ordering::Release);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.fill(&Record::nop());
    }
}
