//! The ring: entries from one process to the other, in order, without a lock.
//!
//! One ring per direction. It lies in the producer's region, so the consumer maps it read-only and answers
//! with one word of its own, `rx_head`. Any number of the producer's threads push; one thread of the peer
//! pops.
//!
//! ```text
//!     OUR region (we write, the peer only reads)                     the PEER's region
//!
//!                 head (private to the consumer)                     ┌─────────────────┐
//!                   ▼                                                │ rx_head         │ where the
//!  ┌───────┬───────┬───────┬───────┬───────┬───────┬───────┬───────┐ │ (behind head, by│ consumer says
//!  │  old  │  old  │ ready │ ready │ taken │ ready │  old  │  old  │ │ at most 1/4 of  │ it is
//!  └───────┴───────┴───────┴───────┴───────┴───────┴───────┴───────┘ │ the ring)       │
//!                                                     ▲              │ sleep, …        │ see `park`
//!                            tail (private to the producers)         └─────────────────┘
//!
//!  One entry: 128 bytes, little-endian, at an address divisible by 64.
//!
//!       0        4     5      6          8         12       16            20       24       28        32
//!       ┌────────┬─────┬──────┬──────────┬─────────┬────────┬─────────────┬────────┬────────┬─────────┐
//!       │ seq    │kind │flags │ meta_len │ call_id │ code   │ deadline_us │ handle │ length │ zero    │
//!       └────────┴─────┴──────┴──────────┴─────────┴────────┴─────────────┴────────┴────────┴─────────┘
//!         word        head[0]              head[1]   head[2]  head[3]       head[4]  head[5]  head[6]
//!
//!      32                                   64                                                      128
//!       ┌───────────────────────────────────┬─────────────────────────────────────────────────────────┐
//!       │ inline bytes 0..32                │ inline bytes 32..96: touched only by longer messages    │
//!       ├────────────┬────────────┬─────────┼─────────────────────────────────────────────────────────┤
//!       │ offset u64 │ length u64 │  (a message in a slot: flag SLOT; with FILL: two more words)      │
//!       └────────────┴────────────┴─────────┴─────────────────────────────────────────────────────────┘
//! ```
//!
//! Positions are `u64` and never wrap; entry `position` lies in cell `position mod capacity`, and its `seq`
//! is the low 32 bits of `position + 1`. A cell's last `seq` differs from the awaited one by the capacity, so
//! a stale cell is never taken for a new one, and a ring of zeros is an empty ring.
//!
//! # Ordering edges
//!
//! Everything that is not in this table is `Relaxed`, and says beside it why that suffices.
//!
//! | | writer, Release side | reader, Acquire side | what it carries |
//! |---|---|---|---|
//! | E1 | [`Reservation::commit`]: store `seq` | [`Consumer::pop`]: load `seq`, `fence(Acquire)` | the entry's head and body; the slot's bytes; the slot's `inflight` bit |
//! | E2 | [`Consumer::publish`]: store `rx_head` | slow path of [`Producer::reserve`]: load `rx_head`, `fence(Acquire)` | the consumer's copy is made: the cell may be overwritten; with E1, that `tail` passed this position |
//! | E3 | slow path: store `cached_head` | [`Producer::reserve`]: load `cached_head` | E2, for the threads that did not look themselves; and that `rx_head` is never again seen below it |
//! | F1 | [`Kicker::should_kick`]: `fence(SeqCst)` between the Release store of E1 or E2 and the load of the epoch | [`Sleeper::arm`]: `fence(SeqCst)` between the store of the epoch and the next look at the condition | at least one of the two sees the other |
//!
//! E2 makes the range check on a peer's `rx_head` exact: `tail` is read again after it, and `cached_head`
//! before it, so an honest peer is always inside and whoever is outside lied.

#[cfg(not(mmap_rpc_loom))]
mod backoff;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod entry;
#[cfg(not(mmap_rpc_loom))]
mod pace;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod spin;

pub(crate) mod consumer;
pub(crate) mod heap;
#[cfg(not(mmap_rpc_loom))]
pub(crate) mod inline;
pub(crate) mod park;
pub(crate) mod producer;
pub(crate) mod record;

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests;

#[cfg(not(mmap_rpc_loom))]
pub(crate) use backoff::Backoff;
pub(crate) use consumer::{Consumer, Next};
#[cfg(not(mmap_rpc_loom))]
pub(crate) use entry::{Body, Descriptor, Entry, FillStart, INLINE_BYTES, Kind, Shape};
pub(crate) use heap::HeapRing;
#[cfg(not(mmap_rpc_loom))]
pub(crate) use inline::{Inline, InlineBytes};
#[cfg(not(mmap_rpc_loom))]
pub(crate) use pace::Pace;
pub(crate) use park::{Kicker, Sleeper};
pub(crate) use producer::{Producer, ReserveError};
pub(crate) use record::Record;
#[cfg(not(mmap_rpc_loom))]
pub(crate) use spin::{AdaptiveSpin, SPIN_BUDGET, UNKNOWN_CPU, WAKING_SPIN_BUDGET, glance, spin_until};

use crate::layout::words::EntryCell;

/// The cell that holds the entry of `position`.
#[inline(always)]
fn cell_of(entries: &[EntryCell], position: u64) -> &EntryCell {
    debug_assert!(entries.len().is_power_of_two());
    &entries[position as usize & (entries.len() - 1)]
}

/// The `seq` of the entry of `position`, once it is filled.
#[inline(always)]
fn seq_of(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}
