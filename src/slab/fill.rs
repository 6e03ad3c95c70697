//! A fill: a message that is read while it is written.
//!
//! A long message would cross in two steps, the writer's copy and then the reader's. In a fill they overlap:
//! the entry that names the slot is published first, and the writer raises a level as it goes.
//!
//! ```text
//!    a fill line of the writer's region                    the slot
//!   ┌──────────────┬──────────────┐         start        level              start + length
//!   │ level        │ given_up     │           ┌───────────┬───────────────────┐
//!   └──────────────┴──────────────┘           │ is there  │ still to come     │
//!                                             └───────────┴───────────────────┘
//! ```
//!
//! A line serves one message after another and its level never falls: a message starts at the level at which
//! the one before it ended. So a reader who comes late, when the line has gone on to the next message, still
//! sees that its own is complete.
//!
//! The slot is in flight only from the last raise on. A peer that returns it earlier is met by the harvest as
//! one that returns what it does not hold, and nobody can claim the slot while its writer is still in it.
//!
//! # Orderings
//!
//! | edge | released by | acquired by | carries |
//! |---|---|---|---|
//! | g | `level.store` in [`Fill::raise`], [`Fill::finish`], [`Fill::give_up`] | `fence` after the load in [`Filling::look`] | the bytes below it; with the last one `inflight` and `given_up` |
//! | h | `free.fetch_or` in [`Fill::finish`] | `free.fetch_and` in [`Fills::begin`] | `ends` |
//!
//! 1. `inflight` is set BEFORE the last raise: as with `seq`, a quick return must find the bit.
//! 2. `given_up` is stored before the last raise, and its line never used again: the reader learns of both at
//!    once, and no later message can overwrite the word.

use std::array;

use super::allocator::Slab;
use super::bitset;
use crate::error::Violation;
use crate::layout::handle::Handle;
use crate::layout::words::{FILLS, FillLine};
use crate::sync::{AtomicU64, Ordering, fence};

/// The writing side's lines: which of them are free, and at which level each stands.
#[derive(Debug)]
pub(crate) struct Fills {
    /// 1 = free. Written by whoever begins or finishes a fill.
    free: AtomicU64,
    /// Written by the line's holder alone. Private, so that no peer has a say in it.
    ends: [AtomicU64; FILLS],
}

impl Fills {
    /// For lines of zeros.
    pub(crate) fn new() -> Self {
        Self { free: AtomicU64::new((1 << FILLS) - 1), ends: array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Takes a line for a message of `len` bytes; `None` while all are in use. `lines` are our own region's.
    pub(crate) fn begin<'a>(&'a self, lines: &'a [FillLine; FILLS], len: u64) -> Option<Fill<'a>> {
        let bit = bitset::take_lowest(&self.free);
        if bit == 0 {
            return None;
        }
        let line = bit.trailing_zeros() as usize;
        // Relaxed: taking the line acquired what its last holder stored (edge h).
        let start = self.ends[line].load(Ordering::Relaxed);
        Some(Fill { fills: self, shared: &lines[line], line, start, end: start + len })
    }
}

/// One message on its way: the right to its line. Until its entry is published it may simply be
/// [`cancel`](Self::cancel)led; afterwards it ends in [`finish`](Self::finish) or [`give_up`](Self::give_up).
#[must_use]
#[derive(Debug)]
pub(crate) struct Fill<'a> {
    fills: &'a Fills,
    shared: &'a FillLine,
    line: usize,
    start: u64,
    end: u64,
}

impl Fill<'_> {
    /// Which line it is.
    pub(crate) fn line(&self) -> u64 {
        self.line as u64
    }

    /// The level of its first byte.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Says that so many of its bytes have been written. Whoever raises then looks whether the peer sleeps.
    #[inline]
    pub(crate) fn raise(&self, written: u64) {
        debug_assert!(self.start + written < self.end, "the last raise is finish()");
        // Release pairs with the fence in `Filling::look` (edge g).
        self.shared.level.store(self.start + written, Ordering::Release);
    }

    /// All of it is written: the peer has the slot from here on, and the line is free.
    pub(crate) fn finish(self, slab: &Slab, slot: Handle) {
        // First: see the first order in the module's text.
        slab.publish(slot);
        self.raise_to_end();
        // Relaxed: giving the line back releases it (edge h).
        self.fills.ends[self.line].store(self.end, Ordering::Relaxed);
        bitset::give(&self.fills.free, 1 << self.line);
    }

    /// The rest will not come: the peer gives the slot back without having had a message.
    ///
    /// The line is lost with it. Only a handler's own code that panics or lies about its length comes here,
    /// and without lines messages travel as they would without fills.
    pub(crate) fn give_up(self, slab: &Slab, slot: Handle) {
        slab.publish(slot);
        // Relaxed: the Release below publishes it (edge g).
        self.shared.given_up.store(self.end, Ordering::Relaxed);
        self.raise_to_end();
    }

    /// The entry was not published.
    pub(crate) fn cancel(self) {
        bitset::give(&self.fills.free, 1 << self.line);
    }

    fn raise_to_end(&self) {
        // Release pairs with the fence in `Filling::look` (edge g).
        self.shared.level.store(self.end, Ordering::Release);
    }
}

/// How much of a message there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// So many of its bytes; as many as it has, if it is complete.
    Bytes(u64),
    /// What was missing will not come.
    GivenUp,
}

/// The reader's half of one message.
#[derive(Debug)]
pub(crate) struct Filling {
    line: usize,
    start: u64,
    len: u64,
    /// How much there was at the last look.
    seen: u64,
}

impl Filling {
    /// Follows a message of `len` bytes whose entry names this line and start.
    ///
    /// # Errors
    /// If no fill can have these numbers.
    pub(crate) fn admit(line: u64, start: u64, len: u64) -> Result<Self, Violation> {
        let line = usize::try_from(line).ok().filter(|&line| line < FILLS);
        let line = line.ok_or(Violation::Fill("a line that no region has"))?;
        if len == 0 || start.checked_add(len).is_none() {
            return Err(Violation::Fill("its length is zero, or its end beyond any level"));
        }
        Ok(Self { line, start, len, seen: 0 })
    }

    /// How much there was at the last look.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether [`look`](Self::look) would find more than at the last time.
    #[inline]
    pub(crate) fn has_more(&self, peer: &[FillLine; FILLS]) -> bool {
        // Relaxed: nothing is read on the strength of it.
        peer[self.line].level.load(Ordering::Relaxed) != self.start + self.seen
    }

    /// How much there is now. The caller may read as many bytes.
    ///
    /// # Errors
    /// If the peer's level has fallen.
    pub(crate) fn look(&mut self, peer: &[FillLine; FILLS]) -> Result<Level, Violation> {
        let line = &peer[self.line];
        // Relaxed, with the fence: std guarantees no more on a mapping that we may only read. The pair is an
        // Acquire load and reads the Release stores of `Fill` (edge g).
        let level = line.level.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if level < self.start + self.seen {
            return Err(Violation::Fill("its level fell"));
        }
        self.seen = self.len.min(level - self.start);
        // Relaxed: the fence orders it after the load of the level.
        if self.seen == self.len && line.given_up.load(Ordering::Relaxed) == self.start + self.len {
            return Ok(Level::GivenUp);
        }
        Ok(Level::Bytes(self.seen))
    }
}
