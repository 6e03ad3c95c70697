//! One call's cell: whose it is at each moment, and where its reply is put.
//!
//! ```text
//!          begin            deliver                 take
//!   FREE ────────► PENDING ────► BUSY ────► DONE ────────────► FREE
//!    ▲                │  ▲        ▲
//!    │                │  └► WATCHED   a task waits, and its waker lies in the cell
//!    │  cancel_unsent │           │
//!    └────────────────┤ abandon   │ deliver: drops the reply and frees the cell
//!                     └───► ABANDONED
//! ```
//!
//! | step | who | ordering |
//! |---|---|---|
//! | begin | any caller: it took the cell's free bit | bit Acquire ↔ Release in `free` |
//! | deliver | the leader alone: BUSY makes the cell its own, and the waker | state Acquire ↔ Release in begin, watch, abandon |
//! | with_flow | the leader alone: BUSY, and back to PENDING | state Acquire ↔ Release in begin, Release ↔ Acquire in abandon |
//! | answered | the caller that claimed it, being the leader; as take from there on | none: one thread |
//! | watch, unwatch | the task that claimed it: the waker is its own while PENDING | state Release ↔ Acquire in deliver, rouse; Acquire ↔ Release in rouse |
//! | rouse | anybody: BUSY makes the waker its own, and back to PENDING | state Acquire ↔ Release in watch, Release ↔ Acquire in watch, unwatch |
//! | take | the caller that claimed it; the cell is free when what it took is dropped | state Acquire ↔ Release in deliver |
//! | abandon, cancel_unsent | the caller that claimed it; while BUSY, it waits | as for take |
//!
//! BUSY lasts for a few instructions. Without it, a peer that answers a call before it was sent could have
//! the leader write into a cell that its caller has just given back.
//!
//! The waker could lie beside the parkers of those who lead, as those of tasks do that wait for other things
//! than one reply; here, what delivers the reply finds it with the same step: two atomic changes in the place
//! of seven.

use std::sync::Arc;
#[cfg(any(feature = "tokio", mmap_rpc_loom))]
use std::task::Waker;

use crate::connection::{Flow, Kept};
use crate::error::Violation;
use crate::sync::{AtomicU32, Ordering, UnsafeCell, spin_loop};

const FREE: u32 = 0;
const PENDING: u32 = 1;
const DONE: u32 = 2;
const ABANDONED: u32 = 3;
const BUSY: u32 = 4;
#[cfg(any(feature = "tokio", mmap_rpc_loom))]
const WATCHED: u32 = 5;
/// The half of a state that holds the phase; the other one holds the generation.
pub(super) const PHASE: u32 = 0xffff;

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

/// Where a call's reply is put. Padded so that two callers' cells share no cache line.
#[repr(align(64))]
pub(crate) struct Cell {
    /// Phase in the low half, generation in the high one. Written by the caller and the leader, see above.
    state: AtomicU32,
    /// That of the task that waits: written by the caller while PENDING, taken by whoever makes the cell BUSY
    /// after WATCHED; there is none at all other times.
    #[cfg(any(feature = "tokio", mmap_rpc_loom))]
    waker: UnsafeCell<Option<Waker>>,
    /// Written by the leader before DONE, used by the caller after it; its payload is empty at all
    /// other times.
    reply: UnsafeCell<Reply>,
}

// SAFETY: `reply` is touched by the leader while the phase is BUSY and by the caller after DONE, `waker` by
// the caller while it is PENDING and by who made it BUSY after WATCHED; the phase's Release and Acquire order
// the two.
unsafe impl Sync for Cell {}

/// What a leader has done with a reply.
pub(super) enum Put {
    /// The caller is to be woken, if it sleeps.
    Answered,
    /// The caller is a task, and was woken.
    #[cfg(any(feature = "tokio", mmap_rpc_loom))]
    Woken,
    /// The caller had given up: the cell is the leader's, to be freed.
    Left,
}

impl Cell {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            #[cfg(any(feature = "tokio", mmap_rpc_loom))]
            waker: UnsafeCell::new(None),
            reply: UnsafeCell::new(Reply::empty()),
        }
    }

    /// Whether the reply is there.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        // Relaxed: `take` synchronises.
        self.state.load(Ordering::Relaxed) & PHASE == DONE
    }

    /// The call in the cell, if it was given up and its reply is still to come: its generation.
    pub(super) fn abandoned(&self) -> Option<u32> {
        // Relaxed: whoever asks has learned of the call from its caller.
        let state = self.state.load(Ordering::Relaxed);
        (state & PHASE == ABANDONED).then_some(state & !PHASE)
    }

    // ---- the caller ----------------------------------------------------------------------------------

    /// Begins a call in a free cell, which the caller holds the bit of. Returns its generation.
    #[inline]
    pub(super) fn begin(&self) -> u32 {
        // Relaxed: we hold the cell's bit, nobody else changes a FREE cell.
        let generation = (self.state.load(Ordering::Relaxed) & !PHASE).wrapping_add(PHASE + 1);
        // Release pairs with the Acquire in `deliver`: the cell is empty before it is pending.
        self.state.store(generation | PENDING, Ordering::Release);
        generation
    }

    /// Puts a call's streams into a cell in which it has not begun.
    pub(super) fn put_flow(&self, flow: &Arc<Flow>) {
        // SAFETY: the caller holds the cell's bit and the phase is FREE: nobody else touches the reply.
        self.reply.with_mut(|reply| unsafe { (*reply).flow = Some(flow.clone()) });
    }

    /// The cell is about to be given back, by whoever holds it.
    #[inline]
    pub(super) fn end(&self) {
        // Relaxed: the bit's Release publishes it.
        self.state.store(self.state.load(Ordering::Relaxed) & !PHASE | FREE, Ordering::Relaxed);
    }

    /// Marks a call whose reply its own caller has in hand, being the leader: nobody else can change the
    /// cell.
    #[inline]
    pub(crate) fn answer_in_hand(&self) -> Result<(), Violation> {
        // Relaxed: the caller put it to PENDING, and if another leader has been here since, taking the lead
        // after it has acquired that.
        let seen = self.state.load(Ordering::Relaxed);
        if seen & PHASE != PENDING {
            return Err(Violation::Entry("a second reply to one call"));
        }
        // Relaxed: read by this thread, and by leaders after it, who acquire it with the lead.
        self.state.store(seen & !PHASE | DONE, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the reply is there, and seen whole.
    #[inline]
    pub(super) fn is_to_be_taken(&self) -> bool {
        // Acquire pairs with the Release in `deliver`.
        self.state.load(Ordering::Acquire) & PHASE == DONE
    }

    /// The reply of a call that [is to be taken](Self::is_to_be_taken).
    ///
    /// # Safety
    /// The caller holds the call's ticket, has found its reply there, and holds no `&mut` of it.
    #[inline]
    pub(super) unsafe fn reply(&self) -> &Reply {
        // SAFETY: the phase is DONE: the leader is through with the cell, and only the ticket's holder
        // touches it until it is free.
        self.reply.with(|reply| unsafe { &*reply })
    }

    /// The same, to be changed.
    ///
    /// # Safety
    /// The caller holds the call's ticket, has found its reply there, and holds no other reference to it.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the ticket is what makes it exclusive")]
    pub(super) unsafe fn reply_mut(&self) -> &mut Reply {
        // SAFETY: as above.
        self.reply.with_mut(|reply| unsafe { &mut *reply })
    }

    /// Gives up a call that was sent; false if its reply is there. The ticket is used up.
    pub(super) fn abandon(&self, generation: u32) -> bool {
        self.leave(generation, ABANDONED)
    }

    /// Gives up a call that was never sent, and holds its cell alone; false if there is a reply all the same.
    pub(super) fn cancel_unsent(&self, generation: u32) -> bool {
        let left = self.leave(generation, FREE);
        if left {
            // SAFETY: the caller has taken the call from PENDING, so the leader does not touch it any more.
            self.reply.with_mut(|reply| unsafe { (*reply).flow = None });
        }
        left
    }

    /// Takes the call from PENDING to `phase`, unless the leader was faster.
    fn leave(&self, generation: u32, phase: u32) -> bool {
        let (pending, left) = (generation | PENDING, generation | phase);
        loop {
            // Release pairs with the Acquire in `deliver`. Acquire with the Release in `with_flow`: the
            // leader is through with the flow. Relaxed on failure: `take` synchronises.
            match self.state.compare_exchange(pending, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                // The few instructions that the leader takes to hand a message to a stream.
                Err(seen) if seen & PHASE == BUSY || seen == pending => spin_loop(),
                Err(_) => return false,
            }
        }
    }

    // ---- the leader ----------------------------------------------------------------------------------

    /// Has `write` put a reply into the cell, and wakes the task that waits for it. `None` if there is no
    /// such call in flight.
    #[inline]
    pub(super) fn deliver(&self, generation: u32, write: impl FnOnce(&mut Reply)) -> Option<Put> {
        let before = self.own(generation)?;
        if before == ABANDONED {
            // SAFETY: the phase is BUSY, in which only the leader touches the reply, and there is one leader.
            self.reply.with_mut(|reply| unsafe { (*reply).flow = None });
            return Some(Put::Left);
        }
        // SAFETY: as above.
        self.reply.with_mut(|reply| write(unsafe { &mut *reply }));
        #[cfg(any(feature = "tokio", mmap_rpc_loom))]
        if before == WATCHED {
            // SAFETY: the phase is BUSY after WATCHED: the waker is ours.
            let waker = self.waker.with_mut(|waker| unsafe { (*waker).take() });
            self.publish(generation);
            waker.into_iter().for_each(Waker::wake);
            return Some(Put::Woken);
        }
        self.publish(generation);
        Some(Put::Answered)
    }

    #[inline(always)]
    fn publish(&self, generation: u32) {
        // Release publishes the reply to the Acquire of the caller's `take`.
        self.state.store(generation | DONE, Ordering::Release);
    }

    /// Makes the cell of a call in flight BUSY. Returns the phase that it was in.
    #[inline]
    fn own(&self, generation: u32) -> Option<u32> {
        // Relaxed: a guess that the exchange proves.
        let mut seen = self.state.load(Ordering::Relaxed);
        // Bounded: a caller leaves once, and a task that is polled in between waits for us.
        loop {
            match seen ^ generation {
                PENDING | ABANDONED => {}
                #[cfg(any(feature = "tokio", mmap_rpc_loom))]
                WATCHED => {}
                // The few instructions that it takes to rouse a task.
                #[cfg(any(feature = "tokio", mmap_rpc_loom))]
                BUSY => {
                    spin_loop();
                    seen = generation | PENDING;
                    continue;
                }
                _ => return None,
            }
            // Acquire pairs with the Release in `begin`, `watch`, and `leave`.
            let busy = generation | BUSY;
            match self.state.compare_exchange(seen, busy, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(seen ^ generation),
                Err(now) => seen = now,
            }
        }
    }

    /// Has `change` done to the streams of a call in flight.
    pub(super) fn with_flow<R>(
        &self,
        generation: u32,
        change: impl FnOnce(&Flow) -> R,
    ) -> Result<R, NoStreams> {
        let (pending, busy) = (generation | PENDING, generation | BUSY);
        // Acquire as in `own`.
        match self.state.compare_exchange(pending, busy, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {}
            // What was under way when the caller gave up.
            Err(seen) if seen == generation | ABANDONED => return Err(NoStreams::Left),
            Err(_) => return Err(NoStreams::Unknown),
        }
        // SAFETY: the phase is BUSY, in which only the leader touches the reply, and there is one leader.
        let changed = self.reply.with(|reply| unsafe { &(*reply).flow }.as_deref().map(change));
        // Release as in `deliver`: whoever leaves comes after it.
        self.state.store(pending, Ordering::Release);
        changed.ok_or(NoStreams::Unknown)
    }
}

/// Why nothing was done to a call's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoStreams {
    /// The call was given up.
    Left,
    /// There is no such call in flight, or it has none.
    Unknown,
}

/// For tasks.
#[cfg(any(feature = "tokio", mmap_rpc_loom))]
impl Cell {
    /// Leaves the waker of the task that waits for the reply. False if the reply is there, or comes at this
    /// moment: then it is to be looked for once more. For the caller, whose call has no streams.
    #[must_use]
    pub(crate) fn watch(&self, waker: &Waker) -> bool {
        let Some(generation) = self.take_back() else { return false };
        // SAFETY: the phase is PENDING, in which only the caller touches the waker, and there is one caller.
        self.waker.with_mut(|place| unsafe {
            match &mut *place {
                Some(old) => old.clone_from(waker),
                place => *place = Some(waker.clone()),
            }
        });
        // Release pairs with the Acquire of whoever takes the waker. Relaxed on failure: `take` synchronises.
        let (pending, watched) = (generation | PENDING, generation | WATCHED);
        if self.state.compare_exchange(pending, watched, Ordering::Release, Ordering::Relaxed).is_ok() {
            return true;
        }
        // SAFETY: the leader has gone on from PENDING, so it does not touch the waker; nor does who rouses.
        self.waker.with_mut(|place| unsafe { *place = None });
        false
    }

    /// No task waits for the reply any more. For the caller.
    pub(crate) fn unwatch(&self) {
        if self.take_back().is_some() {
            // SAFETY: the phase is PENDING, in which only the caller touches the waker.
            self.waker.with_mut(|place| unsafe { *place = None });
        }
    }

    /// Makes the waker the caller's own. Returns the call's generation, or `None` if the reply is there.
    fn take_back(&self) -> Option<u32> {
        // Acquire, as below: who has roused us (Release in `rouse`) is through with the waker.
        let seen = self.state.load(Ordering::Acquire);
        let generation = seen & !PHASE;
        let (watched, pending) = (generation | WATCHED, generation | PENDING);
        match seen & PHASE {
            PENDING => return Some(generation),
            DONE => return None,
            _ => {}
        }
        loop {
            match self.state.compare_exchange(watched, pending, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(generation),
                Err(now) if now == pending => return Some(generation),
                // The few instructions that the leader takes to put the reply down, or somebody to rouse us.
                Err(now) if now & PHASE == BUSY => spin_loop(),
                Err(_) => return None,
            }
        }
    }

    /// Wakes the task that waits, if there is any, though its reply is not there.
    pub(super) fn rouse(&self) {
        // Relaxed: what the task did before has been acquired, or it looks later at what we have changed.
        let seen = self.state.load(Ordering::Relaxed);
        if seen & PHASE != WATCHED {
            return;
        }
        // Acquire pairs with the Release in `watch`: the waker is whole.
        let busy = seen & !PHASE | BUSY;
        if self.state.compare_exchange(seen, busy, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            // SAFETY: the phase is BUSY after WATCHED, and it is we who made it so: the waker is ours.
            let waker = self.waker.with_mut(|waker| unsafe { (*waker).take() });
            // Release pairs with the Acquire in `take_back`: we are through with the waker.
            self.state.store(seen & !PHASE | PENDING, Ordering::Release);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}
