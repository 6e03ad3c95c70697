//! Runs of slots join and leave: cold, and serialised by the caller's private lock.
//!
//! A run is a number of equal slots in one segment, and owns whole words. It leaves only when every one of
//! its slots is free: whoever has a slot of it, or is about to look whether it may keep one, holds it in
//! place.

use super::allocator::Slab;
use super::bitset;
use crate::layout::words::{HANDLE_WORDS, SlabView};
use crate::sync::Ordering;

impl Slab {
    /// Adds `slot_count` slots of `slot_size` bytes; their handles start at bit 0 of word `first_word`.
    ///
    /// A run owns its words whole: if `slot_count` is not a multiple of 64, the last word's upper bits never
    /// become free. The slots may be claimed before this returns, so whatever maps handles to addresses is
    /// ready before the call.
    ///
    /// # Panics
    /// If the run is empty, has slots of no bytes, leaves the range of handles, overlaps a run, or would add
    /// a class beyond [`MAX_CLASSES`](super::MAX_CLASSES): all numbers are our own.
    pub(crate) fn add_run(&self, view: SlabView<'_>, first_word: usize, slot_size: u64, slot_count: u32) {
        assert!(slot_size > 0 && slot_count > 0, "an empty run");
        for (word, bits) in run_words(first_word, slot_count) {
            assert!(self.slot_size(word) == 0, "word {word} belongs to another run");
            // Relaxed: the Release of the free bits publishes it to whoever takes one of them (edge b).
            self.assigned[word].store(slot_size, Ordering::Relaxed);
            bitset::give(&view.free[word].0, bits);
            // A claimer that finds the word through the list takes a free bit and looks at the size by
            // itself.
            self.classes.add(word, slot_size);
        }
    }

    /// Takes every slot of a run out of circulation and disowns its words, which another run may then have.
    ///
    /// False, and nothing has changed, when one of its slots is claimed or in flight; a slot that was
    /// returned counts as in flight until it is harvested, so a harvest before this is a good idea. A claim
    /// that runs at the same time may find nothing for a moment.
    ///
    /// # Panics
    /// If the run leaves the range of handles.
    pub(crate) fn retire_run(&self, view: SlabView<'_>, first_word: usize, slot_count: u32) -> bool {
        let all_free = run_words(first_word, slot_count).all(|(word, bits)| {
            let taken = bitset::take_all(&view.free[word].0, bits);
            if !taken {
                let before = run_words(first_word, slot_count).take_while(|&(earlier, _)| earlier < word);
                before.for_each(|(earlier, bits)| bitset::give(&view.free[earlier].0, bits));
            }
            taken
        });
        if all_free {
            for (word, _) in run_words(first_word, slot_count) {
                self.classes.remove(word, self.slot_size(word));
                // Relaxed: whoever looks at it with a slot in hand looked before that slot came back to us
                // (edge a), and the next run's free bits come after it in the caller's order.
                self.assigned[word].store(0, Ordering::Relaxed);
            }
        }
        all_free
    }
}

/// The words of a run, each with the bits that name its slots.
fn run_words(first_word: usize, slot_count: u32) -> impl Iterator<Item = (usize, u64)> {
    let words = slot_count.div_ceil(u64::BITS) as usize;
    assert!(first_word + words <= HANDLE_WORDS, "a run beyond the last handle");
    (0..words).map(move |at| {
        let slots = slot_count - at as u32 * u64::BITS;
        (first_word + at, u64::MAX >> (u64::BITS - slots.min(u64::BITS)))
    })
}
