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
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// What a harvest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a busy harvest freed nothing"]
pub(crate) enum Harvest {
    /// Another thread harvests at this moment. It has been told, and looks at all words once more before it
    /// is through: what that frees is among what it frees.
    Busy,
    /// So many slots became free, and waiters for slots are to be woken: one of them may have found this
    /// thread at it, and have gone to sleep.
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
        self.harvest_words(view, self.words())
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
        let Some(mut lock) = HarvestLock::try_new(&self.harvesting) else {
            return Ok(Harvest::Busy);
        };
        let mut freed = 0;
        for word in words {
            freed += self.harvest_word(view, word)?;
        }
        // Each round answers at least one thread that has found us here, and goes its way since.
        while lock.was_asked() {
            for word in self.words() {
                freed += self.harvest_word(view, word)?;
            }
        }
        Ok(Harvest::Freed(freed))
    }

    /// The words that have slots.
    fn words(&self) -> impl Iterator<Item = usize> {
        (0..HANDLE_WORDS).filter(|&word| self.slot_size(word) != 0)
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

/// Bit of `harvesting`: a thread harvests.
const HELD: u32 = 1;

/// Bit of `harvesting`: others came meanwhile. The holder looks at all words once more.
const ASKED: u32 = 2;

/// The right to harvest. Nobody waits for it: who finds it taken asks its holder to look again, and goes on.
///
/// Without that a return is lost: the holder has read its word before the flip, the peer has looked whether
/// anybody waits before a thread says so, and that thread, whose second look would find the flip, does not
/// look because the holder is at it.
struct HarvestLock<'a> {
    state: &'a AtomicU32,
    /// Whether it has been given back.
    is_over: bool,
}

impl<'a> HarvestLock<'a> {
    fn try_new(state: &'a AtomicU32) -> Option<Self> {
        // Acquire pairs with the Release in `was_asked` and in `drop`: `seen` is what the last harvest left.
        // Relaxed on failure: nothing is read then.
        let is_free = state.compare_exchange(0, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Release pairs with the Acquire in `was_asked`: what the holder reads from there on is no older than
        // what this thread has seen, and comes after its fences. Acquire as above, for the holder may have
        // gone in between.
        let is_ours = is_free || state.fetch_or(HELD | ASKED, Ordering::AcqRel) & HELD == 0;
        is_ours.then(|| Self { state, is_over: false })
    }

    /// Gives the right back, unless somebody has asked for another look since the last call.
    fn was_asked(&mut self) -> bool {
        // Release pairs with the Acquire in `try_new`.
        let given_back = self.state.compare_exchange(HELD, 0, Ordering::Release, Ordering::Relaxed).is_ok();
        self.is_over = given_back;
        if !given_back {
            // Acquire pairs with the Release of all who have asked, in `try_new`.
            self.state.fetch_and(!ASKED, Ordering::Acquire);
        }
        !given_back
    }
}

impl Drop for HarvestLock<'_> {
    fn drop(&mut self) {
        // After a violation: the connection closes, and with it all wait in vain.
        if !self.is_over {
            // Release pairs with the Acquire in `try_new`.
            self.state.store(0, Ordering::Release);
        }
    }
}
