//! Callers that wait for ring room or slots: a bit per call cell, beside the count in
//! [`SpaceNews`].

use crate::connection::SpaceNews;
use crate::sync::{AtomicU64, Ordering, fence};

/// The callers that could not send for want of space.
pub(crate) struct SpaceWaiters {
    /// One bit per call cell.
    bits: Box<[AtomicU64]>,
}

/// A registered waiter; dropping it deregisters.
#[must_use]
pub(crate) struct Registered<'a> {
    waiters: &'a SpaceWaiters,
    news: &'a SpaceNews,
    index: usize,
}

impl SpaceWaiters {
    pub(crate) fn new(cells: usize) -> Self {
        Self { bits: (0..cells.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Registers the caller of cell `index`, as long as the result lives. It must then try once more before
    /// it parks.
    pub(crate) fn register<'a>(&'a self, news: &'a SpaceNews, index: usize) -> Registered<'a> {
        self.enter(news, index);
        Registered { waiters: self, news, index }
    }

    /// The same for one who says itself when it [leaves](Self::leave).
    pub(crate) fn enter(&self, news: &SpaceNews, index: usize) {
        // Relaxed: the count publishes the bit.
        self.bits[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
        news.register();
    }

    /// Deregisters one who has entered.
    pub(crate) fn leave(&self, news: &SpaceNews, index: usize) {
        self.bits[index / 64].fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
        news.leave();
    }

    /// Calls `wake` with the cell of everybody who waits and was counted when the caller looked, or who has
    /// not seen what the caller did before this.
    pub(crate) fn for_each(&self, mut wake: impl FnMut(usize)) {
        // Pairs with the one in `SpaceNews::register`: whoever registers sees in its last try what was done,
        // or its bit is seen here. Credits and ends of calls have no count that they look at.
        fence(Ordering::SeqCst);
        for (word, bits) in self.bits.iter().enumerate() {
            // Relaxed: the Acquire of the count has made visible the bits that it counts.
            let mut bits = bits.load(Ordering::Relaxed);
            while bits != 0 {
                wake(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waiters.leave(self.news, self.index);
    }
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_registered_are_woken() {
        let (waiters, news) = (SpaceWaiters::new(130), SpaceNews::new());
        let woken = |waiters: &SpaceWaiters| {
            let mut woken = Vec::new();
            waiters.for_each(|index| woken.push(index));
            woken
        };
        let first = waiters.register(&news, 3);
        let second = waiters.register(&news, 129);
        assert_eq!(woken(&waiters), [3, 129]);
        drop(first);
        assert_eq!(woken(&waiters), [129]);
        assert!(news.any());
        drop(second);
        assert!(woken(&waiters).is_empty() && !news.any());
    }
}
