//! Who waits for space in our own region, and how word of it reaches them.
//!
//! Space comes free in two ways. What the *peer* frees (a returned slot, a ring entry that it has read) is
//! announced by a kick, which this side's driver asks for by arming `want_space`. What *this* side frees (a
//! loan dropped by another thread, a slot that another thread harvested, a segment that was opened) is
//! announced through this latch, which whoever frees looks at.
//!
//! ```text
//!   waiter                               whoever frees
//!   ──────                               ─────────────
//!   waiters += 1                         give the slot back
//!   fence(SeqCst)           ◄────►       fence(SeqCst)
//!   try once more, then sleep            waiters != 0: news = true, wake the driver, which wakes the waiter
//! ```

use crate::sync::{AtomicBool, AtomicUsize, Ordering, fence};

/// The count of waiters, and whether something came free since the driver last looked.
#[derive(Debug)]
pub(crate) struct SpaceNews {
    /// Written by waiters.
    waiters: AtomicUsize,
    /// Set by whoever frees, cleared by the driver.
    news: AtomicBool,
}

impl SpaceNews {
    pub(crate) fn new() -> Self {
        Self { waiters: AtomicUsize::new(0), news: AtomicBool::new(false) }
    }

    /// Counts one more waiter, who must try once more before it sleeps.
    pub(crate) fn register(&self) {
        // Release pairs with the Acquire loads below: who sees the count sees what the waiter wrote before,
        // such as where it sleeps.
        self.waiters.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Counts one waiter less.
    pub(crate) fn leave(&self) {
        // Relaxed: who still sees the old count wakes somebody in vain.
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether anybody waits.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        // Acquire pairs with the Release in `register`.
        self.waiters.load(Ordering::Acquire) != 0
    }

    /// After space was freed: true if the driver is to be woken, because somebody waits.
    pub(crate) fn freed(&self) -> bool {
        fence(Ordering::SeqCst);
        let waited_for = self.any();
        if waited_for {
            // Release pairs with the Acquire in `take_news`: the driver sees what came free.
            self.news.store(true, Ordering::Release);
        }
        waited_for
    }

    /// Whether anything came free since the last call.
    pub(crate) fn take_news(&self) -> bool {
        // Relaxed: a look ahead that spares the exchange; news that it misses come with a wake-up.
        self.news.load(Ordering::Relaxed) && self.news.swap(false, Ordering::Acquire)
    }
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests {
    use super::*;

    #[test]
    fn news_are_for_waiters_and_told_once() {
        let space = SpaceNews::new();
        assert!(!space.freed() && !space.take_news(), "nobody waits");
        space.register();
        assert!(space.freed());
        assert!(space.take_news());
        assert!(!space.take_news());
        space.leave();
        assert!(!space.any());
    }
}
