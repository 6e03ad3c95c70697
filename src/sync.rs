//! Atomics, fences and parking: under everything, and the only file that names loom.
//!
//! Two inner modules of equal surface. The real one re-exports `std`; the other one, compiled only into
//! the models (`cfg(mmap_rpc_loom)`), re-exports loom's stand-ins, whose every interleaving the models try.
//! The crate has its own cfg because `cfg(loom)` would reach every dependency.

use std::time::Duration;

pub(crate) use imp::*;

/// Puts one thread to sleep until another one wakes it, or says that a task is to be woken; a wake-up before
/// that is not lost.
///
/// One thread or task at a time waits; any number may wake it. As in `parking_lot`'s thread parker nothing is
/// allocated, and an unpark that nobody sleeps for costs one atomic exchange.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    /// `EMPTY`, `PARKED` and `WATCHED` (written by who waits) or `NOTIFIED` (written by wakers).
    state: AtomicU32,
    bed: imp::Bed,
}

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;
const WATCHED: u32 = 3;

impl Parker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sleeps until a wake-up comes, or `timeout` has passed. May return without either.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        // Acquire pairs with the Release in `unpark`: what the waker wrote before is seen after.
        if self.state.swap(PARKED, Ordering::Acquire) == NOTIFIED {
            self.state.store(EMPTY, Ordering::Relaxed);
            return;
        }
        self.bed.sleep_while(&self.state, PARKED, timeout);
        // Acquire as above. A notification that arrives between the wait and here is consumed: the caller
        // looks at its condition after every return.
        self.state.swap(EMPTY, Ordering::Acquire);
    }

    /// Wakes the sleeping thread, or lets the next `park` or `watch` return at once. True if it is a task
    /// that waits: then the caller wakes it.
    pub(crate) fn unpark(&self) -> bool {
        // Release pairs with the Acquire in `park` and `watch`, Acquire with the Release in `watch`.
        let before = self.state.swap(NOTIFIED, Ordering::AcqRel);
        if before == PARKED {
            self.bed.wake(&self.state);
        }
        before == WATCHED
    }
}

/// For tasks.
#[cfg(any(feature = "tokio", mmap_rpc_loom))]
impl Parker {
    /// Says that a task waits, whose waker has been left where the wakers look. False if a wake-up came
    /// before: then its condition is to be looked at once more, and this called again.
    #[must_use]
    pub(crate) fn watch(&self) -> bool {
        // Acquire pairs with the Release in `unpark`, as in `park`; Release with the Acquire there: whoever
        // finds a task here finds its waker.
        self.state.swap(WATCHED, Ordering::AcqRel) != NOTIFIED
    }

    /// No task waits any more. True if nobody has woken it: its waker is still where the wakers look.
    #[must_use]
    pub(crate) fn unwatch(&self) -> bool {
        // Acquire as in `park`.
        self.state.swap(EMPTY, Ordering::Acquire) == WATCHED
    }
}

#[cfg(not(mmap_rpc_loom))]
mod imp {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    use std::time::Duration;

    use rustix::thread::futex;

    pub(crate) use atomic_waker::AtomicWaker;
    pub(crate) use crossbeam_queue::SegQueue;

    /// What a thread sleeps in: a futex on one private word.
    #[derive(Debug, Default)]
    pub(super) struct Bed;

    impl Bed {
        pub(super) fn sleep_while(&self, word: &AtomicU32, value: u32, timeout: Option<Duration>) {
            let timeout = timeout.and_then(|t| rustix::time::Timespec::try_from(t).ok());
            // A failed wait (signal, timeout, or the word already changed) is a spurious return.
            let _ = futex::wait(word, futex::Flags::PRIVATE, value, timeout.as_ref());
        }

        pub(super) fn wake(&self, word: &AtomicU32) {
            let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
        }
    }

    /// A cell whose accesses are closures, so that loom's twin can watch them.
    #[derive(Debug, Default)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(mmap_rpc_loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    use std::time::Duration;

    /// Loom needs a yield in every spin, or it explores the spin for ever.
    pub(crate) fn spin_loop() {
        loom::thread::yield_now();
    }

    /// Room for what a model pushes.
    const QUEUED: usize = 4;

    /// As in the `crossbeam-queue` crate, for one that pushes, and with no more order between its users than
    /// what one of them pushes and another one pops.
    #[derive(Debug)]
    pub(crate) struct SegQueue<T> {
        /// How often.
        pushed: AtomicUsize,
        /// Of the real locks, which loom knows nothing of: its states order them.
        places: [(AtomicU32, std::sync::Mutex<Option<T>>); QUEUED],
    }

    const VACANT: u32 = 0;
    const FULL: u32 = 1;
    const POPPED: u32 = 2;

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> Self {
            let place = |_| (AtomicU32::new(VACANT), std::sync::Mutex::new(None));
            Self { pushed: AtomicUsize::new(0), places: std::array::from_fn(place) }
        }

        pub(crate) fn push(&self, value: T) {
            let (state, place) = &self.places[self.pushed.fetch_add(1, Ordering::Relaxed)];
            *place.lock().expect("held by nobody who panics") = Some(value);
            state.store(FULL, Ordering::Release);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.places.iter().find_map(|(state, place)| {
                // A look ahead, which may be at what was there before.
                if state.load(Ordering::Acquire) != FULL {
                    return None;
                }
                let popped = state.compare_exchange(FULL, POPPED, Ordering::Acquire, Ordering::Relaxed);
                popped.ok().and_then(|_| place.lock().expect("as above").take())
            })
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.places.iter().all(|(state, _)| state.load(Ordering::Acquire) != FULL)
        }
    }

    /// As in the `atomic-waker` crate.
    #[derive(Debug, Default)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn register(&self, waker: &std::task::Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }

        pub(crate) fn take(&self) -> Option<std::task::Waker> {
            self.0.take_waker()
        }
    }

    /// The same over loom's own parking, which reports a lost wake-up as a deadlock.
    #[derive(Debug)]
    pub(super) struct Bed(loom::sync::Notify);

    impl Default for Bed {
        fn default() -> Self {
            Self(loom::sync::Notify::new())
        }
    }

    impl Bed {
        /// No model relies on a timeout: a wake-up that only a timeout repairs is a lost one.
        pub(super) fn sleep_while(&self, _word: &AtomicU32, _value: u32, _timeout: Option<Duration>) {
            self.0.wait();
        }

        pub(super) fn wake(&self, _word: &AtomicU32) {
            self.0.notify();
        }
    }
}
