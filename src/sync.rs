//! Atomics, fences and parking: under everything, and the only file that names loom.
//!
//! Two inner modules of equal surface. The real one re-exports `std`; the other one, compiled only into
//! the models (`cfg(mmap_rpc_loom)`), re-exports loom's stand-ins, whose every interleaving the models try.
//! The crate has its own cfg because `cfg(loom)` would reach every dependency.

pub(crate) use imp::*;

#[cfg(not(mmap_rpc_loom))]
mod imp {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    use std::time::Duration;

    use rustix::thread::futex;

    /// Puts one thread to sleep until another one wakes it; a wake-up before the sleep is not lost.
    ///
    /// At most one thread parks at a time; any number may unpark. A futex on one private word, as in
    /// `parking_lot`'s thread parker: nothing is allocated, and an unpark that nobody sleeps for costs one
    /// atomic exchange.
    #[derive(Debug, Default)]
    pub(crate) struct Parker {
        /// `EMPTY`, `PARKED` (written by the sleeper) or `NOTIFIED` (written by wakers).
        state: AtomicU32,
    }

    const EMPTY: u32 = 0;
    const PARKED: u32 = 1;
    const NOTIFIED: u32 = 2;

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
            let timeout = timeout.and_then(|t| rustix::time::Timespec::try_from(t).ok());
            // A failed wait (signal, timeout, or the word already changed) is a spurious return.
            let _ = futex::wait(&self.state, futex::Flags::PRIVATE, PARKED, timeout.as_ref());
            // Acquire as above. A notification that arrives between the wait and here is consumed: the
            // caller looks at its condition after every return.
            self.state.swap(EMPTY, Ordering::Acquire);
        }

        /// Wakes the sleeping thread, or lets the next `park` return at once.
        pub(crate) fn unpark(&self) {
            // Release pairs with the Acquire in `park`.
            if self.state.swap(NOTIFIED, Ordering::Release) == PARKED {
                let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
            }
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
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    use std::time::Duration;

    /// Loom needs a yield in every spin, or it explores the spin for ever.
    pub(crate) fn spin_loop() {
        loom::thread::yield_now();
    }

    /// The same contract over loom's own parking, which reports a lost wake-up as a deadlock.
    #[derive(Debug)]
    pub(crate) struct Parker(loom::sync::Notify);

    impl Default for Parker {
        fn default() -> Self {
            Self(loom::sync::Notify::new())
        }
    }

    impl Parker {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        /// No model relies on a timeout: a wake-up that only a timeout repairs is a lost one.
        pub(crate) fn park(&self, _timeout: Option<Duration>) {
            self.0.wait();
        }

        pub(crate) fn unpark(&self) {
            self.0.notify();
        }
    }
}
