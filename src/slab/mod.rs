//! The slab allocator: who may write which slot, as bits.
//!
//! A region is cut into slots of a few sizes; a slot is named by its
//! [`Handle`](crate::layout::handle::Handle), and a slot's state is one bit in each of a few words. Nothing
//! here knows where a slot's bytes lie, so the same code runs over boxed atomics in the models and over the
//! mapping in production.
//!
//! ```text
//!              claim                    publish                     peer flips its `ret` bit
//!    ┌──────┐ ───────► ┌────────────────┐ ───────► ┌───────────┐ ────────────────► ┌──────────┐
//!    │ free │          │ claimed (loan) │          │ in flight │                   │ returned │
//!    └──────┘ ◄─────── └────────────────┘          └───────────┘                   └──────────┘
//!      ▲  ▲    abort                                  │  release: a reply names the slot   │ harvest
//!      │  └───────────────────────────────────────────┘                                   │
//!      └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | bit | lives in | 1 means | set by | cleared by |
//! |---|---|---|---|---|
//! | `free` | our region, a cache line per word | claimable | add_run, abort, harvest, release | claim, retire_run |
//! | `inflight` | private, a cache line per word | with the peer | publish | harvest, release |
//! | `ret` | the PEER's region | parity of its returns | the peer, by exchange | the peer, by exchange |
//! | `seen` | private, under the harvest lock | the parity accounted for | harvest | harvest |
//!
//! # Invariants
//!
//! - I1: a slot has at most one writer, and no write overlaps a read.
//! - I2: per word `free & inflight == 0`; at rest free + claimed + in flight = all slots of the word's run.
//! - I3: a slot that the peer returned or a reply released becomes claimable.
//! - I4: for ANY contents of the peer's words no claimed slot is handed out again and no index leaves range.
//! - I5: every loop is bounded.
//! - I6: a descriptor that passed admission lies in its segment: the slot size of a claim is the size of the
//!   run that the slot belongs to at that moment, not of one that was retired.
//!
//! # Orderings
//!
//! | edge | released by | acquired by | carries |
//! |---|---|---|---|
//! | a | `free.fetch_or` in abort, harvest, release | `free.fetch_and` in claim, retire_run | the last holder's accesses end before the next one's begin |
//! | b | `free.fetch_or` in add_run | `free.fetch_and` in claim | `assigned`, and the caller's table of addresses |
//! | c | the peer's `ret.fetch_xor` in [`give_back`] | `fence` after the load of `ret` in harvest | the peer's reads of the slot; and, through d, `inflight` |
//! | d | the store of the entry's `seq` (ring) | the peer's fence after its load of `seq` (ring) | the slot's bytes, and that `inflight` is set |
//! | e | `harvesting`, given back | `harvesting`, taken | `seen` |
//! | f | the class table's `order` and list lengths, in add_run | their loads in claim | sizes and word numbers |
//! | g | `harvesting.fetch_or` of who finds it held | `harvesting.fetch_and` of its holder | what the one could see of `ret`, the other sees |
//!
//! Three orders within one thread matter:
//!
//! 1. `inflight` is set BEFORE `seq` is stored. Otherwise a peer that is quick to return a slot flips a bit
//!    that we still believe to be at home, and an honest connection is closed.
//! 2. `ret` is read BEFORE `inflight`. Whoever sees the flip then sees, through c and d, the bit that was set
//!    before the slot was sent. An `inflight` read earlier may be older than the flip that it judges.
//! 3. `inflight` is cleared and `seen` is stored BEFORE `free` is set. A claimable slot may be claimed,
//!    published and returned at once; a late clear would wipe out the new publication's bit. (`seen` is read
//!    under the harvest lock alone; storing it first means that a claimable slot's records are complete
//!    without an argument about that lock.)
//!
//! Each bit is taken by one read-modify-write, and a path frees only what it took: a slot that is returned by
//! a flip AND by a reply is freed once, and the second of the two is a violation.
//!
//! # Limits
//!
//! A flip of a slot that we hold as a loan is noticed only if a harvest runs before the loan is published;
//! after that it counts as the slot's return. The peer then gives up its own message: we have finished
//! writing it, so nothing of ours is harmed. Flips in words that no run owns are not looked at.

mod allocator;
mod bitset;
mod classes;
mod fill;
mod growth;
mod returns;

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests;

pub(crate) use allocator::{Claim, Slab};
pub(crate) use classes::MAX_CLASS_SIZE;
pub(crate) use fill::{Fill, Filling, Fills, Level};
pub(crate) use returns::{Harvest, give_back};
