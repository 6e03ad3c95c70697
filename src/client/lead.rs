//! The lead: the exclusive right to drive a channel, handed from one calling thread to the next.
//!
//! Blocking threads that share a channel have no thread of their own behind them. One of them, the leader,
//! drives the receiving half for all and delivers every reply to its call cell; the others park, each on the
//! parker of its own cell. When the leader has what it wanted, it hands the lead on:
//!
//! ```text
//!   caller:  take the lead ──yes──► drive until served ──► release, THEN wake one waiter
//!               │ no                                          ▲
//!               ▼                                             │
//!            register ─► served? ─yes─► leave: wake one waiter if nobody leads
//!                 ▲        │ no
//!                 │        ▼
//!                 │     take the lead ──yes──► (as above)
//!                 │        │ no
//!                 └── park ┘
//! ```
//!
//! One word, `state`, holds both whether the lead is held and how many wait. All that matters happens to it
//! by read-modify-write, so there is one order of events and no fence is needed. A caller alone pays two of
//! them per turn and looks at no bit-set.
//!
//! Tasks wait for their calls too, and never lead for others: a task may go unpolled for as long as it likes,
//! and everybody would wait for it. A *driver*, a task that does nothing else, leads for all of them, one on
//! each runtime. It is woken where a thread would be, after the threads, who cannot be sure that its runtime
//! runs: one of them may be what keeps it from running. When there is nothing to receive it *rests*: it gives
//! the lead up, and whatever comes next wakes it, or finds a thread that leads.
//!
//! # Why no waiter is forgotten
//!
//! The danger is a free lead, a parked waiter W that is not served, and nobody who will wake it. Consider the
//! last release R of the lead, in the order of `state`, and where W's registration stands to it:
//!
//! 1. *R before W registers.* W's next step is to take the lead. It is free, or someone took it after R,
//!    who then releases it after R: R was not the last one.
//! 2. *W registers before R.* R counts W, so the releaser wakes someone, Y, whose bit it saw:
//!    - Y is W: done.
//!    - Y waits too, unserved: it wakes and takes the lead, and R was not the last release; or it finds the
//!      lead held, by someone who releases it after R.
//!    - Y is about to leave (its reply came, its deadline passed, its thread unwinds): it had not left before
//!      R, or R would have seen its bit cleared. So it leaves after R, finds the lead free and W counted, and
//!      wakes someone in its turn. Those who can leave grow fewer each time.
//!    - Y has set its bit and is not counted yet: it registers after R, and tries for the lead or leaves.
//!
//!    If the releaser sees no bit, then all the threads that it counted, W among them, are leaving: W is not
//!    parked.
//!
//! A task T that waits is counted as well. Whoever releases the lead, or leaves while it is free, and counts
//! no thread but T, wakes the drivers, and so does T if it finds nobody before it. A driver that is woken
//! takes the lead, or finds it held and knocks: whoever gives the lead up afterwards wakes it again. One that
//! rests has armed the connection before it released the lead, so what comes for T wakes it, and drivers of
//! other runtimes too, in case its own stands still. One that pauses, to let the tasks run that it has woken,
//! is polled again by itself, and wakes those of other runtimes.
//!
//! Waking before releasing breaks the second case: Y may look, find the lead still held, and park again.
//! A wake-up that comes before the park is kept by the parker, and one that comes after its addressee has
//! left makes the next caller with that index look once more than needed.

#[cfg(any(feature = "tokio", mmap_rpc_loom))]
mod tasks;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::connection::Wakers;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, Parker, UnsafeCell};

/// Bit of `state`: someone leads.
const HELD: u64 = 1;

/// One registered thread in `state`; the count fills the bits above [`HELD`].
const WAITER: u64 = 2;

/// One task that waits in `state`; the count fills the upper half.
const TASK: u64 = 1 << 32;

/// How many runtimes have a driver of their own. The tasks of others are served by these, while they run.
pub(crate) const DRIVERS: usize = if cfg!(mmap_rpc_loom) { 2 } else { 1024 };

/// Exclusive right to drive a `T` (the receiving half of a channel), handed from caller thread to caller
/// thread.
pub(crate) struct Lead<T> {
    /// [`HELD`], [`WAITER`] times the number of registered threads, [`TASK`] times that of waiting tasks.
    state: AtomicU64,
    /// A bit per registered thread: set before `state` counts it, cleared before `state` forgets it.
    waiting: Box<[AtomicU64]>,
    /// Where waiter `index` sleeps, be it a thread or a task.
    parkers: Box<[Parker]>,
    /// The wakers of those waiters that are tasks.
    wakers: Wakers,
    /// Those of the drivers.
    drivers: Wakers,
    /// How many drivers there have been at one time. Written by drivers.
    seats: AtomicUsize,
    /// Whether a driver rests, and what comes will wake it. Written by leaders.
    rested: AtomicBool,
    /// Whether a driver has found the lead held. Written by drivers, and taken back by whoever gives it up.
    knocked: AtomicBool,
    /// What the leader drives.
    driver: UnsafeCell<T>,
}

// SAFETY: only the leader touches `driver`, there is one at a time, and taking the lead acquires what the
// last leader released; so sharing a `Lead` moves `&mut T` between threads, for which `T: Send` is enough.
unsafe impl<T: Send> Sync for Lead<T> {}

impl<T> Lead<T> {
    /// A free lead over `driver`, for waiters numbered `0..waiters`: one number per call cell.
    pub(crate) fn new(driver: T, waiters: usize) -> Self {
        Self {
            state: AtomicU64::new(0),
            waiting: (0..waiters.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            parkers: (0..waiters).map(|_| Parker::new()).collect(),
            wakers: Wakers::new(waiters),
            drivers: Wakers::new(DRIVERS),
            seats: AtomicUsize::new(0),
            rested: AtomicBool::new(false),
            knocked: AtomicBool::new(false),
            driver: UnsafeCell::new(driver),
        }
    }

    /// Takes the lead without registering: the whole cost for a caller that is alone.
    ///
    /// Never blocks. Whoever gets `None` registers and tries again before it parks.
    #[inline]
    pub(crate) fn try_lead_directly(&self) -> Option<Leader<'_, T>> {
        self.take().then(|| Leader::new(self, None))
    }

    /// Registers waiter `index`, the number of its call cell, exclusively its own.
    ///
    /// Look then whether the call is served, [`try_lead`](Waiting::try_lead), [`park`](Waiting::park), and
    /// repeat.
    ///
    /// # Panics
    /// If `index` is not below the number of waiters.
    pub(crate) fn register(&self, index: usize) -> Waiting<'_, T> {
        assert!(index < self.parkers.len(), "waiter {index} of {}", self.parkers.len());
        // Relaxed: the count below publishes the bit.
        let before = self.waiting[index / 64].fetch_or(mask(index), Ordering::Relaxed);
        debug_assert!(before & mask(index) == 0, "waiter {index} registered twice");
        // Release: whoever counts this waiter (Acquire in `release` and `leave`) sees its bit as well.
        self.state.fetch_add(WAITER, Ordering::Release);
        Waiting { lead: self, index }
    }

    /// Wakes waiter `index`, whose call cell has just been served; the caller is the leader.
    ///
    /// The waiter may have left already, and the number may have a new owner, who then looks in vain once.
    pub(crate) fn wake(&self, index: usize) {
        if self.parkers[index].unpark() {
            self.wakers.wake(index);
        }
    }

    /// Wakes every waiter, for news that concerns them all: the connection is closed.
    ///
    /// Whoever is about to park without having seen the news is woken too, registered or not. A task whose
    /// waker lies elsewhere either [enters](Self::enter_task) before this, and its waker is seen afterwards,
    /// or sees the news.
    pub(crate) fn wake_all(&self) {
        // AcqRel pairs with that in `enter_task`, one way or the other.
        self.state.fetch_add(0, Ordering::AcqRel);
        (0..self.parkers.len()).for_each(|index| self.wake(index));
        self.wake_drivers();
    }

    /// Whether some thread leads at this moment. A hint: the answer may be old when it arrives.
    pub(crate) fn is_led(&self) -> bool {
        // Relaxed: nobody concludes anything from it about other memory.
        self.state.load(Ordering::Relaxed) & HELD != 0
    }

    /// Whether waiter `index` is registered. A hint, for the leader: it may register or leave at any moment.
    #[inline]
    pub(crate) fn is_waiting(&self, index: usize) -> bool {
        // Relaxed: nobody concludes anything from it about other memory.
        self.waiting[index / 64].load(Ordering::Relaxed) & mask(index) != 0
    }

    /// Whether anybody waits to be served or to lead. A hint, for the leader.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        // Relaxed: nobody concludes anything from it about other memory.
        self.state.load(Ordering::Relaxed) >= WAITER
    }

    /// Takes the lead if it is free.
    #[inline]
    fn take(&self) -> bool {
        // The look ahead spares the leader's cache line; Relaxed, because a waiter that finds the lead held
        // reads this after its own registration in the same word, so the holder it sees will count it.
        // Acquire pairs with the Release in `release`: the last leader's work on the driver is seen.
        !self.is_led() && self.state.fetch_or(HELD, Ordering::Acquire) & HELD == 0
    }

    /// Gives up the lead, and `registration` with it, and hands it to one waiter if there is any.
    #[inline]
    fn release(&self, registration: Option<usize>) {
        let own = match registration {
            Some(index) => HELD + self.strike(index),
            None => HELD,
        };
        // Release: the next leader sees what this one did to the driver. Acquire pairs with `register`.
        let before = self.state.fetch_sub(own, Ordering::AcqRel);
        if before > own {
            self.wake_one(before - own);
        }
    }

    /// Ends the registration of a waiter that does not lead, and passes on the wake-up that it may hold.
    fn leave(&self, index: usize) {
        let own = self.strike(index);
        // Release: whoever counts one waiter fewer sees the bit cleared. Acquire pairs with `register`.
        let before = self.state.fetch_sub(own, Ordering::AcqRel);
        if before & HELD == 0 && before > own {
            self.wake_one(before - own);
        }
    }

    /// Clears the bit of waiter `index` and returns what `state` still counts for it.
    fn strike(&self, index: usize) -> u64 {
        // Relaxed: the caller's change of `state` publishes it.
        self.waiting[index / 64].fetch_and(!mask(index), Ordering::Relaxed);
        WAITER
    }

    /// Hands the lead to one of those that `state` counted: to any thread, since any leader drives the
    /// channel for all; to the drivers if only tasks wait.
    #[cold]
    fn wake_one(&self, counted: u64) {
        if counted % TASK < WAITER {
            // Relaxed: the Acquire on `state` has made visible what leaders wrote before.
            let knocked = self.take_knock();
            if knocked || !self.rested.load(Ordering::Relaxed) {
                self.wake_drivers();
            }
            return;
        }
        for (word, bits) in self.waiting.iter().enumerate() {
            // Relaxed: the caller's Acquire on `state` has made visible the bits that count.
            let bits = bits.load(Ordering::Relaxed);
            if bits != 0 {
                return self.wake(word * 64 + bits.trailing_zeros() as usize);
            }
        }
    }

    /// What comes wakes no driver any more: the leader is about to sleep itself, or to take back that it
    /// would. True if a driver rested, which has armed the connection.
    pub(crate) fn end_rest(&self) -> bool {
        // Relaxed, both: ordered by `state`, like all that leaders write.
        let rested = self.rested.load(Ordering::Relaxed);
        if rested {
            self.rested.store(false, Ordering::Relaxed);
        }
        rested
    }

    /// Whether a driver has knocked since. For whoever has just given the lead up.
    fn take_knock(&self) -> bool {
        // Relaxed: the Acquire on `state` has made visible what drivers wrote before they found it held.
        self.knocked.load(Ordering::Relaxed) && self.knocked.swap(false, Ordering::Relaxed)
    }

    /// Wakes the drivers.
    #[cold]
    pub(crate) fn wake_drivers(&self) {
        // Relaxed: what a driver did to `state` after it came has been acquired, or it looks after this.
        (0..self.seats.load(Ordering::Relaxed)).for_each(|number| self.drivers.wake(number));
    }
}

impl<T> fmt::Debug for Lead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").field("state", &self.state).field("waiters", &self.parkers.len()).finish()
    }
}

/// The bit of waiter `index` within its word.
fn mask(index: usize) -> u64 {
    1 << (index % 64)
}

/// A registered waiter. Dropping it leaves: it deregisters and passes on the wake-up that it may hold.
#[must_use = "dropping it leaves at once"]
#[derive(Debug)]
pub(crate) struct Waiting<'a, T> {
    lead: &'a Lead<T>,
    index: usize,
}

impl<'a, T> Waiting<'a, T> {
    /// Tries for the lead; who leads no longer waits, so the registration goes into the [`Leader`].
    ///
    /// # Errors
    /// Gives the registration back if another thread leads.
    pub(crate) fn try_lead(self) -> Result<Leader<'a, T>, Self> {
        if self.lead.take() {
            let leader = Leader::new(self.lead, Some(self.index));
            std::mem::forget(self);
            return Ok(leader);
        }
        Err(self)
    }

    /// Sleeps until this waiter is woken, or `timeout` has passed. May return without either.
    ///
    /// Only after the call was found not served, and [`try_lead`](Self::try_lead) failed, since the last
    /// return of this function.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.lead.parkers[self.index].park(timeout);
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.lead.leave(self.index);
    }
}

/// The lead. Dropping it, also by a panic, releases the lead and then wakes one waiter.
///
/// After a panic the driver is left as it was: whether it is still fit for use is for the driver to say.
#[must_use = "dropping it gives up the lead at once"]
#[derive(Debug)]
pub(crate) struct Leader<'a, T> {
    lead: &'a Lead<T>,
    /// The leader's number, if it had to register first.
    registration: Option<usize>,
    /// Shared between threads only where a `&mut T` may be.
    exclusive: PhantomData<&'a mut T>,
}

impl<'a, T> Leader<'a, T> {
    #[inline]
    fn new(lead: &'a Lead<T>, registration: Option<usize>) -> Self {
        Self { lead, registration, exclusive: PhantomData }
    }
}

impl<T> Deref for Leader<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this leader is the only one, and it is borrowed, so nobody holds a `&mut T`.
        self.lead.driver.with(|driver| unsafe { &*driver })
    }
}

impl<T> DerefMut for Leader<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this leader is the only one, and it is borrowed mutably, so nobody holds another reference.
        self.lead.driver.with_mut(|driver| unsafe { &mut *driver })
    }
}

impl<T> Drop for Leader<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lead.release(self.registration);
    }
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests;
