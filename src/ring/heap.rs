//! A ring on the heap: the same words as in a region, for models, tests and benchmarks.
//!
//! The algorithms borrow words and do not care where they lie. This is their second home, where loom's
//! atomics can live as well.

use std::array;

use super::seq_of;
use crate::layout::words::{ConsumerView, EntryCell, Line64, ProducerView};
use crate::sync::{AtomicU32, AtomicU64};

/// The cells of one ring and the word in which its consumer answers.
#[derive(Debug)]
pub(crate) struct HeapRing {
    entries: Box<[EntryCell]>,
    rx_head: Line64,
}

impl HeapRing {
    /// An empty ring of `capacity` entries.
    ///
    /// # Panics
    /// If `capacity` is not a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self::starting_at(capacity, 0)
    }

    /// A ring of which both sides are past all entries below `position`, which is 0 or at least `capacity`.
    pub(crate) fn starting_at(capacity: usize, position: u64) -> Self {
        assert!(capacity.is_power_of_two());
        let round = position / capacity as u64;
        let cell = |i: usize| {
            // The last position below `position` that lies in this cell, if there is one.
            let this_round = round * capacity as u64 + i as u64;
            let last = if this_round < position {
                Some(this_round)
            } else {
                this_round.checked_sub(capacity as u64)
            };
            EntryCell {
                seq: AtomicU32::new(last.map_or(0, seq_of)),
                head: array::from_fn(|_| AtomicU32::new(0)),
                body: array::from_fn(|_| AtomicU64::new(0)),
            }
        };
        let entries = (0..capacity).map(cell).collect();
        Self { entries, rx_head: Line64(AtomicU64::new(position)) }
    }

    /// What the producers see.
    pub(crate) fn producer_view(&self) -> ProducerView<'_> {
        ProducerView { entries: &self.entries, rx_head: &self.rx_head.0 }
    }

    /// What the consumer sees.
    pub(crate) fn consumer_view(&self) -> ConsumerView<'_> {
        ConsumerView { entries: &self.entries, rx_head: &self.rx_head.0 }
    }
}
