//! The allocator's private state, and what a sender does with a slot: claim, abort, publish.
//!
//! The fast path of a claim is a load of the class order, a load and one read-modify-write of the thread's
//! own word, and a load of that word's size. Everything else is the way round when that word is empty.

use std::array;

use super::bitset;
use super::classes::{Classes, WordList};
use crate::layout::handle::Handle;
use crate::layout::words::{HANDLE_WORDS, SlabView};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What a claim hands out: the slot's handle and size. Plain data; the guard types live higher up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Names the slot.
    pub(crate) handle: Handle,
    /// Bytes in the slot: at least what was asked for.
    pub(crate) slot_size: u64,
}

/// Slots of one word that were claimed together, handed out one by one.
///
/// Dropping it frees nothing: what is not consumed has to be aborted, as every other claim.
#[derive(Debug)]
#[must_use = "claimed slots stay claimed until each is published or aborted"]
pub(crate) struct Batch {
    word: usize,
    bits: u64,
    slot_size: u64,
}

impl Iterator for Batch {
    type Item = Claim;

    #[inline]
    fn next(&mut self) -> Option<Claim> {
        let rest = self.bits & self.bits.checked_sub(1)?;
        let handle = Handle::at(self.word, self.bits.trailing_zeros());
        self.bits = rest;
        Some(Claim { handle, slot_size: self.slot_size })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bits.count_ones() as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batch {}

/// How many slots are where. Racy: a slot that moves while it is counted counts twice or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Slots that a claim could take.
    pub(crate) free: u32,
    /// Slots with the peer, returned but unharvested ones included.
    pub(crate) in_flight: u32,
}

/// A word that threads write at every message, alone on a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct PrivateWord(pub(super) AtomicU64);

/// The private half of the allocator; the shared half, [`SlabView`], comes in with every call.
#[derive(Debug)]
pub(crate) struct Slab {
    /// Which words hold slots of which size.
    pub(super) classes: Classes,
    /// Bytes per slot of each word; 0 = no run owns the word. Written by growth alone.
    pub(super) assigned: [AtomicU64; HANDLE_WORDS],
    /// Parity of each handle as of the last harvest. Written by the holder of `harvesting` alone.
    pub(super) seen: [AtomicU64; HANDLE_WORDS],
    /// Whether a thread harvests, and whether others have come meanwhile. Written by all who harvest.
    pub(super) harvesting: AtomicU32,
    /// 1 = the slot is with the peer.
    pub(super) inflight: [PrivateWord; HANDLE_WORDS],
}

impl Slab {
    /// An allocator without slots, for free and return words that are all zero.
    pub(crate) fn new() -> Slab {
        Slab {
            classes: Classes::new(),
            assigned: array::from_fn(|_| AtomicU64::new(0)),
            seen: array::from_fn(|_| AtomicU64::new(0)),
            harvesting: AtomicU32::new(0),
            inflight: array::from_fn(|_| PrivateWord(AtomicU64::new(0))),
        }
    }

    /// Claims a slot of at least `size` bytes, or says that none is free.
    ///
    /// `hint` is any number that differs between threads, such as an ordinal: it picks the word that this
    /// thread tries first. The smallest class that fits is tried word by word, then the next one up, and no
    /// further: a small message must not eat the last large slot. A size above every class takes the smallest
    /// sufficient slot among the large ones, however large. Classes never spill into large slots, nor do
    /// large requests into classes. Returned slots are not harvested here.
    #[inline]
    pub(crate) fn claim(&self, view: SlabView<'_>, size: u64, hint: usize) -> Option<Claim> {
        self.take(view, size, hint, bitset::take_lowest)?.next()
    }

    /// Claims up to `most` slots (64 at most) of one word and size at once; at least one, or `None`.
    ///
    /// The choice of the word is that of [`claim`](Self::claim); a word that has fewer free than asked for
    /// is good enough.
    pub(crate) fn claim_batch(&self, view: SlabView<'_>, size: u64, hint: usize, most: u32) -> Option<Batch> {
        if most == 0 {
            return None;
        }
        self.take(view, size, hint, |word| bitset::take_up_to(word, most))
    }

    /// Gives back a claimed slot that was not published.
    #[inline]
    pub(crate) fn abort(&self, view: SlabView<'_>, handle: Handle) {
        bitset::give(&view.free[handle.word()].0, handle.mask());
    }

    /// Marks a claimed slot as being with the peer. The caller stores the `seq` of the entry that names it
    /// AFTER this, and does not touch the slot again.
    #[inline]
    pub(crate) fn publish(&self, handle: Handle) {
        // Relaxed: the Release store of `seq` that follows publishes it to whoever can see the slot returned
        // (edges d and c), and the harvest that cleared the bit before came to us through the claim (edge a).
        let old = self.inflight[handle.word()].0.fetch_or(handle.mask(), Ordering::Relaxed);
        debug_assert!(old & handle.mask() == 0, "published twice: {handle:?}");
    }

    /// Counts free and in-flight slots; racy.
    pub(crate) fn counts(&self, view: SlabView<'_>) -> Counts {
        let mut counts = Counts::default();
        for word in (0..HANDLE_WORDS).filter(|&word| self.slot_size(word) != 0) {
            // Relaxed: each is a number to look at, nothing is concluded from it.
            counts.free += view.free[word].0.load(Ordering::Relaxed).count_ones();
            counts.in_flight += self.inflight[word].0.load(Ordering::Relaxed).count_ones();
        }
        counts
    }

    /// How many bit-set words have slots of the class that serves `size` bytes.
    pub(crate) fn words_serving(&self, size: u64) -> usize {
        self.classes.serving(size).len()
    }

    /// Bytes per slot of a word's run; 0 when no run owns it.
    ///
    /// Relaxed: exact for whoever holds a slot of the word. Taking the slot's bit came after the store of
    /// this size (edge b), and the store of the next one comes after that bit is given back (edge a).
    #[inline]
    pub(crate) fn slot_size(&self, word: usize) -> u64 {
        self.assigned[word].load(Ordering::Relaxed)
    }

    /// The fast path: the smallest class that fits, and in it the thread's own word.
    #[inline(always)]
    fn take(
        &self,
        view: SlabView<'_>,
        size: u64,
        hint: usize,
        grab: impl Fn(&AtomicU64) -> u64,
    ) -> Option<Batch> {
        if let Some(class) = self.classes.fitting(size).next()
            && let Some(word) = self.classes.list(class).own(hint)
            && let Some(batch) = self.take_in(view, word, class.slot_size, &grab)
        {
            return Some(batch);
        }
        self.take_elsewhere(view, size, hint, grab)
    }

    /// The way round: every word of the class, then those of the class one up; or the large slots.
    #[cold]
    #[inline(never)]
    fn take_elsewhere(
        &self,
        view: SlabView<'_>,
        size: u64,
        hint: usize,
        grab: impl Fn(&AtomicU64) -> u64,
    ) -> Option<Batch> {
        let mut classes = self.classes.fitting(size).take(2).peekable();
        if classes.peek().is_none() {
            return self.take_large(view, size, grab);
        }
        classes.find_map(|class| {
            let mut words = self.classes.list(class).numbers_from(hint);
            words.find_map(|word| self.take_in(view, word, class.slot_size, &grab))
        })
    }

    /// Takes from one word, which was found under `slot_size`.
    #[inline(always)]
    fn take_in(
        &self,
        view: SlabView<'_>,
        word: usize,
        slot_size: u64,
        grab: impl Fn(&AtomicU64) -> u64,
    ) -> Option<Batch> {
        let free = &view.free[word].0;
        let bits = grab(free);
        if bits == 0 {
            return None;
        }
        // The number may be stale, and the word serve another size by now. While we hold a slot its run
        // cannot be retired, so this second look is final.
        if self.slot_size(word) != slot_size {
            bitset::give(free, bits);
            return None;
        }
        Some(Batch { word, bits, slot_size })
    }

    /// Best fit among the large slots. A lost race starts over, as often as there are words.
    fn take_large(&self, view: SlabView<'_>, size: u64, grab: impl Fn(&AtomicU64) -> u64) -> Option<Batch> {
        let list = self.classes.large();
        for _ in 0..=list.len() {
            let (slot_size, word) = self.smallest_large(view, list, size)?;
            let taken = self.take_in(view, word, slot_size, &grab);
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    fn smallest_large(&self, view: SlabView<'_>, list: &WordList, size: u64) -> Option<(u64, usize)> {
        // Relaxed: a guess at which word to ask, like the load before every taking.
        let has_free = |word: usize| view.free[word].0.load(Ordering::Relaxed) != 0;
        let sized = list.numbers_from(0).map(|word| (self.slot_size(word), word));
        sized.filter(|&(slot_size, word)| slot_size >= size.max(1) && has_free(word)).min()
    }
}
