//! How slots come back: the reader's flip, the owner's harvest, and the release by a reply.
//!
//! The reader flips the slot's parity bit in its OWN region; the owner compares the peer's word with the
//! parity it last saw. What differs has been returned, provided that it was in flight: anything else is a
//! lie, and closes the connection. The peer's word is read once per harvest, and whatever it holds, it
//! selects among bits that we know to be in flight.

use super::allocator::Slab;
use super::bitset;
use super::classes::WordList;
use crate::error::Violation;
use crate::layout::handle::Handle;
use crate::layout::words::{HANDLE_WORDS, SlabView};
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};

/// What a harvest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a busy harvest freed nothing"]
pub(crate) enum Harvest {
    /// Another thread harvests at this moment; its harvest may or may not cover the latest flips.
    Busy,
    /// So many slots became free, and waiters for slots may be woken.
    Freed(u32),
}

/// Returns a slot to its owner: flips its bit in the READER's own return words.
///
/// The caller has finished reading the slot. After a flip, or several, it looks at the owner's `want_space`.
#[inline]
pub(crate) fn give_back(own_ret: &[AtomicU64], handle: Handle) {
    // A read-modify-write, because other readers flip bits of the same word: a load and a store would undo
    // theirs. Release pairs with the fence in `harvest_word`: our reads end before the next write begins.
    own_ret[handle.word()].fetch_xor(handle.mask(), Ordering::Release);
}

impl Slab {
    /// Frees all slots that the peer has returned.
    ///
    /// # Errors
    /// [`Violation::ForgedReturn`] if the peer flipped a bit of a slot that it does not hold. The connection
    /// is dead then: the slots of that word are not freed, nor accounted for any more.
    pub(crate) fn harvest(&self, view: SlabView<'_>) -> Result<Harvest, Violation> {
        self.harvest_words(view, (0..HANDLE_WORDS).filter(|&word| self.slot_size(word) != 0))
    }

    /// Like [`harvest`](Self::harvest), but looks only at the words that serve `size` bytes: the first thing
    /// to do when a claim of that size found nothing. Slots of the class one up are not looked at.
    ///
    /// # Errors
    /// As for [`harvest`](Self::harvest).
    pub(crate) fn harvest_for(&self, view: SlabView<'_>, size: u64) -> Result<Harvest, Violation> {
        let words: &WordList = self.classes.serving(size);
        self.harvest_words(view, words.numbers_from(0))
    }

    /// Frees a slot that a reply names as released.
    ///
    /// # Errors
    /// [`Violation::ForgedRelease`] if the slot is not in flight; nothing changes then.
    pub(crate) fn release(&self, view: SlabView<'_>, handle: Handle) -> Result<(), Violation> {
        // One read-modify-write, so that a flip of the same slot, harvested at this moment, frees it or we
        // do, never both. Relaxed: popping the reply acquired what the peer had read, and the bit itself was
        // set before the request that the reply answers (edge d).
        let old = self.inflight[handle.word()].0.fetch_and(!handle.mask(), Ordering::Relaxed);
        if old & handle.mask() == 0 {
            return Err(Violation::ForgedRelease { handle: handle.get() });
        }
        // After the bit is cleared: see the third order in the module's text.
        bitset::give(&view.free[handle.word()].0, handle.mask());
        Ok(())
    }

    fn harvest_words(
        &self,
        view: SlabView<'_>,
        words: impl Iterator<Item = usize>,
    ) -> Result<Harvest, Violation> {
        let Some(_lock) = HarvestLock::try_new(&self.harvesting) else {
            return Ok(Harvest::Busy);
        };
        let mut freed = 0;
        for word in words {
            freed += self.harvest_word(view, word)?;
        }
        Ok(Harvest::Freed(freed))
    }

    /// Harvests one word; the caller holds the harvest lock. Returns the number of slots freed.
    fn harvest_word(&self, view: SlabView<'_>, word: usize) -> Result<u32, Violation> {
        // Relaxed, and a fence below: std promises no more on memory that is mapped read-only.
        let ret = view.ret[word].load(Ordering::Relaxed);
        let diff = ret ^ self.seen[word].load(Ordering::Relaxed); // ours alone: the lock is edge e
        if diff == 0 {
            return Ok(0);
        }
        // Pairs with the Release in `give_back`. It stands between the reads of `ret` and of `inflight`, so
        // that the second is at least as new as the publication of each slot that an honest peer returned.
        fence(Ordering::Acquire);
        // Relaxed: that fence orders it after the publication; the Release below hands it to the next claim.
        let old = self.inflight[word].0.fetch_and(!diff, Ordering::Relaxed);
        if diff & !old != 0 {
            return Err(Violation::ForgedReturn { word, bits: diff & !old });
        }
        self.seen[word].store(ret, Ordering::Relaxed); // handed on by the lock
        // Last: from here on the slots may be claimed and published anew.
        bitset::give(&view.free[word].0, diff);
        Ok(diff.count_ones())
    }
}

/// The right to harvest. Nobody waits for it: who finds it taken goes on without.
struct HarvestLock<'a>(&'a AtomicBool);

impl<'a> HarvestLock<'a> {
    fn try_new(taken: &'a AtomicBool) -> Option<Self> {
        // Acquire pairs with the Release in `drop`: `seen` is what the last harvest left. Relaxed on failure:
        // nothing is read then.
        let free = taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        free.then(|| Self(taken))
    }
}

impl Drop for HarvestLock<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `try_new`.
        self.0.store(false, Ordering::Release);
    }
}
