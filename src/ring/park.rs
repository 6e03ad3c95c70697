//! Parking without a lost wake-up: two fences and an epoch.
//!
//! ```text
//!   sleeper                                waker
//!   ───────                                ─────
//!   word = new odd epoch                   make the condition true (Release: `seq`, `rx_head`, a return bit)
//!   fence(SeqCst)            ◄── F1 ──►    fence(SeqCst)
//!   look at the condition again            read the word
//!   block on the doorbell                  odd, and not the epoch last kicked: ring the doorbell
//!   word = even
//! ```
//!
//! Of the two fences one is first. If it is the waker's, the sleeper's second look sees the condition and it
//! does not block; if it is the sleeper's, the waker sees the epoch and kicks.
//!
//! Why an epoch and not a flag: only the sleeper writes its word, so a waker cannot clear it, and yet the
//! second waker must know that the first has kicked. It compares epochs: a mark that was kicked once is not
//! kicked again, and the next sleep is a new mark. (A waker that clears the mark itself, or remembers
//! "kicked" as a boolean, loses wake-ups: the late clearing or the late boolean falls on the next sleep.)
//!
//! The same two types serve `sleep` (waiting for entries) and `want_space` (waiting for room or slots).
//! An epoch returns after 2³¹ sleeps; a wake-up would be lost only if that very sleep were the first in all
//! this time that anybody had to wake.

use crate::sync::{AtomicU32, Ordering, fence};

/// The sleeper's half: the only writer of its word, one thread at a time.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    /// What the word says. Odd: asleep, or about to be.
    epoch: u32,
}

impl Sleeper {
    /// A sleeper whose word is zero: awake.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Marks the word with a new odd epoch. The caller must look at its condition again before it blocks.
    pub(crate) fn arm(&mut self, word: &AtomicU32) {
        self.epoch = self.epoch.wrapping_add(1) | 1;
        // Relaxed: the fence orders it before the caller's second look (F1).
        word.store(self.epoch, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes the mark back, after a wake-up or when the second look found work. Harmless when awake.
    pub(crate) fn disarm(&mut self, word: &AtomicU32) {
        if self.is_armed() {
            self.epoch = self.epoch.wrapping_add(1);
            // Relaxed: a waker that misses it kicks once in vain.
            word.store(self.epoch, Ordering::Relaxed);
        }
    }

    /// Whether the word carries a mark.
    pub(crate) fn is_armed(&self) -> bool {
        self.epoch & 1 == 1
    }
}

/// The waker's half, shared by all threads that wake this peer.
#[derive(Debug)]
pub(crate) struct Kicker {
    /// The epoch last kicked; even before the first kick. An epoch and not a boolean: see above.
    last: AtomicU32,
}

impl Kicker {
    /// A waker that has kicked nobody yet.
    pub(crate) fn new() -> Self {
        Self { last: AtomicU32::new(0) }
    }

    /// Whether the caller must ring the doorbell now. To be asked after the Release store, or after a batch
    /// of them, that made the sleeper's condition true.
    ///
    /// At least one caller is told so for each sleep that needs it. Normally it is exactly one; a thread that
    /// was overtaken by a whole sleep may kick once more, in vain.
    #[inline]
    pub(crate) fn should_kick(&self, word: &AtomicU32) -> bool {
        // F1: between the caller's stores and this load; pairs with the fence in `Sleeper::arm`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it.
        let epoch = word.load(Ordering::Relaxed);
        epoch & 1 == 1 && self.claim(epoch)
    }

    /// True for the thread that is to kick `epoch`.
    #[cold]
    fn claim(&self, epoch: u32) -> bool {
        // Relaxed: whoever finds its epoch here knows that the thread which put it there is about to kick,
        // and nothing else. The load in front spares a locked instruction while the sleeper is still waking
        // up.
        self.last.load(Ordering::Relaxed) != epoch && self.last.swap(epoch, Ordering::Relaxed) != epoch
    }
}

impl Default for Kicker {
    fn default() -> Self {
        Self::new()
    }
}
