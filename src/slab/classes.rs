//! The table of size classes: which words hold slots of a size.
//!
//! It is written rarely, under the caller's growth lock, and read at every claim without one. A reader may
//! therefore see a mixture of old and new: a word number that has left the list, or a class whose entry
//! serves another size by now. That is harmless, because a claimer looks at the word's own size again once it
//! holds a slot of it; the worst is a claim that finds nothing while the table changes.

use std::array;

use crate::layout::words::HANDLE_WORDS;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Size classes that exist at one time.
pub(crate) const MAX_CLASSES: usize = if HANDLE_WORDS < 15 { HANDLE_WORDS } else { 15 };

/// Bytes of the largest slot that forms a class; runs of larger slots are dedicated to single messages.
pub(crate) const MAX_CLASS_SIZE: u64 = 1 << 20;

/// Bits of one place in `order`.
const PLACE: u32 = 4;
/// Ends `order`; it is no class's index.
const END: u64 = 0xf;
/// An order of no classes.
const NONE: u64 = u64::MAX;

const _: () = assert!(MAX_CLASSES <= END as usize && (MAX_CLASSES + 1) * PLACE as usize <= 64);

const _: () = assert!(HANDLE_WORDS <= 1 << 8, "a word's number is a byte");

/// The numbers of the words that hold slots of one class.
#[derive(Debug)]
pub(super) struct WordList {
    len: AtomicU32,
    /// Below [`HANDLE_WORDS`], stale or not: nothing else is ever stored.
    numbers: [AtomicU8; HANDLE_WORDS],
}

impl WordList {
    fn new() -> Self {
        Self { len: AtomicU32::new(0), numbers: array::from_fn(|_| AtomicU8::new(0)) }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // Acquire pairs with the Release in `push`: the numbers below this length have been written.
        self.len.load(Ordering::Acquire) as usize
    }

    /// The word number in place `at`, which is below a length once read.
    #[inline]
    pub(super) fn number(&self, at: usize) -> usize {
        // Relaxed: after the Acquire of the length; a number that is replaced meanwhile is stale, not wrong.
        self.numbers[at].load(Ordering::Relaxed) as usize
    }

    /// The number that a thread with this hint starts with.
    #[inline(always)]
    pub(super) fn own(&self, hint: usize) -> Option<usize> {
        let len = self.len();
        (len != 0).then(|| self.number(place(hint, len)))
    }

    /// All numbers, from the hint's own on and round.
    pub(super) fn numbers_from(&self, hint: usize) -> impl Iterator<Item = usize> + '_ {
        let len = self.len();
        let start = if len == 0 { 0 } else { place(hint, len) };
        (start..len).chain(0..start).map(|at| self.number(at))
    }

    fn push(&self, number: usize) {
        let len = self.len.load(Ordering::Relaxed); // only growth writes it, and growth is serialised
        self.numbers[len as usize].store(number as u8, Ordering::Relaxed); // published by the length
        // Release pairs with the Acquire in `len`.
        self.len.store(len + 1, Ordering::Release);
    }

    /// Swaps the last number into the place of `number`. Returns how many are left.
    fn remove(&self, number: usize) -> usize {
        let len = self.len.load(Ordering::Relaxed) as usize; // as in `push`
        let Some(at) = (0..len).find(|&at| self.number(at) == number) else {
            return len;
        };
        // Relaxed, both: a reader that sees one without the other tries a stale number, or one less.
        self.numbers[at].store(self.number(len - 1) as u8, Ordering::Relaxed);
        self.len.store(len as u32 - 1, Ordering::Relaxed);
        len - 1
    }
}

/// Maps a hint to a place below `len`, which is not zero.
#[inline(always)]
fn place(hint: usize, len: usize) -> usize {
    // A division costs as much as the claim itself, and thread ordinals are mostly small.
    if hint < len { hint } else { hint % len }
}

/// A class as a claimer found it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    index: usize,
    /// Bytes per slot.
    pub(super) slot_size: u64,
}

/// All classes, and the list of large slots.
#[derive(Debug)]
pub(super) struct Classes {
    /// Indices of the existing classes, smallest size first, four bits each, then [`END`]: one load is one
    /// consistent snapshot.
    order: AtomicU64,
    /// Bytes per slot of the class with the same index.
    sizes: [AtomicU64; MAX_CLASSES],
    lists: [WordList; MAX_CLASSES],
    /// Words of runs whose slots exceed [`MAX_CLASS_SIZE`]: of any sizes, in any order.
    large: WordList,
}

impl Classes {
    pub(super) fn new() -> Self {
        Self {
            order: AtomicU64::new(NONE),
            sizes: array::from_fn(|_| AtomicU64::new(0)),
            lists: array::from_fn(|_| WordList::new()),
            large: WordList::new(),
        }
    }

    /// The classes whose slots hold at least `size` bytes, smallest first.
    #[inline(always)]
    pub(super) fn fitting(&self, size: u64) -> impl Iterator<Item = Class> + '_ {
        // Acquire pairs with the Release in `reorder`: the sizes of these classes have been written.
        let order = Places(self.order.load(Ordering::Acquire));
        // Relaxed: after that Acquire; an entry that changed hands meanwhile fails the claimer's own check.
        order
            .map(|index| Class { index, slot_size: self.sizes[index].load(Ordering::Relaxed) })
            .skip_while(move |class| class.slot_size < size)
    }

    #[inline]
    pub(super) fn list(&self, class: Class) -> &WordList {
        &self.lists[class.index]
    }

    pub(super) fn large(&self) -> &WordList {
        &self.large
    }

    /// The words that serve `size` bytes: those of the smallest class that fits, else the large ones.
    pub(super) fn serving(&self, size: u64) -> &WordList {
        self.fitting(size).next().map_or(&self.large, |class| self.list(class))
    }

    /// Files a word under its slot size. The caller holds the growth lock.
    ///
    /// # Panics
    /// If this would be one class more than [`MAX_CLASSES`].
    pub(super) fn add(&self, word: usize, slot_size: u64) {
        if slot_size > MAX_CLASS_SIZE {
            return self.large.push(word);
        }
        match self.find(slot_size) {
            Some(index) => self.lists[index].push(word),
            None => {
                let free = |index: &usize| self.places().all(|used| used != *index);
                let index = (0..MAX_CLASSES).find(free).expect("more size classes than MAX_CLASSES");
                self.sizes[index].store(slot_size, Ordering::Relaxed); // published by `reorder`
                self.lists[index].push(word);
                self.reorder(self.places().chain([index]));
            }
        }
    }

    /// Strikes a word off its list; a class without words ceases. The caller holds the growth lock.
    pub(super) fn remove(&self, word: usize, slot_size: u64) {
        if slot_size > MAX_CLASS_SIZE {
            self.large.remove(word);
        } else if let Some(index) = self.find(slot_size)
            && self.lists[index].remove(word) == 0
        {
            self.reorder(self.places().filter(|&other| other != index));
        }
    }

    fn find(&self, slot_size: u64) -> Option<usize> {
        self.places().find(|&index| self.sizes[index].load(Ordering::Relaxed) == slot_size)
    }

    /// The existing classes, for the holder of the growth lock; Relaxed, since only that holder writes.
    fn places(&self) -> Places {
        Places(self.order.load(Ordering::Relaxed))
    }

    fn reorder(&self, indices: impl Iterator<Item = usize>) {
        let mut indices: Vec<usize> = indices.collect();
        indices.sort_unstable_by_key(|&index| self.sizes[index].load(Ordering::Relaxed));
        let order = indices.iter().rev().fold(NONE, |order, &index| order << PLACE | index as u64);
        // Release pairs with the Acquire in `fitting`.
        self.order.store(order, Ordering::Release);
    }
}

/// Walks the places of one value of `order`.
#[derive(Debug, Clone, Copy)]
struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let index = (self.0 & END) as usize;
        // Ends come in from above, so that the walk ends after sixteen steps whatever the value.
        self.0 = self.0 >> PLACE | END << (u64::BITS - PLACE);
        (index < MAX_CLASSES).then_some(index)
    }
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests {
    use super::*;

    fn sizes(classes: &Classes, size: u64) -> Vec<u64> {
        classes.fitting(size).map(|class| class.slot_size).collect()
    }

    #[test]
    fn classes_are_sorted_by_size_whatever_the_order_of_their_coming() {
        let classes = Classes::new();
        assert_eq!(sizes(&classes, 0), []);
        for (word, size) in [(5, 4096), (1, 256), (9, 65536), (2, 256), (3, 1024)] {
            classes.add(word, size);
        }
        assert_eq!(sizes(&classes, 0), [256, 1024, 4096, 65536]);
        assert_eq!(sizes(&classes, 257), [1024, 4096, 65536]);
        assert_eq!(sizes(&classes, 65536), [65536]);
        assert_eq!(sizes(&classes, 65537), []);
        let small = classes.serving(1);
        assert_eq!(small.numbers_from(0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(small.numbers_from(3).collect::<Vec<_>>(), [2, 1], "the hint wraps");
    }

    #[test]
    fn a_class_without_words_ceases_and_its_entry_serves_another_size() {
        let classes = Classes::new();
        for index in 0..MAX_CLASSES {
            classes.add(index, 64 << index);
        }
        for round in 0..100 {
            classes.remove(3, 512 + round);
            classes.add(3, 513 + round);
            assert_eq!(sizes(&classes, 0).len(), MAX_CLASSES);
            assert_eq!(sizes(&classes, 512)[0], 513 + round);
        }
    }

    #[test]
    #[should_panic(expected = "more size classes")]
    fn one_class_too_many_is_refused() {
        let classes = Classes::new();
        for index in 0..=MAX_CLASSES {
            classes.add(index, 64 + index as u64);
        }
    }

    #[test]
    fn large_words_form_one_list_apart() {
        let classes = Classes::new();
        classes.add(0, 256);
        classes.add(7, MAX_CLASS_SIZE + 1);
        classes.add(8, MAX_CLASS_SIZE * 1000);
        assert_eq!(sizes(&classes, 0), [256]);
        assert_eq!(classes.serving(257).numbers_from(0).collect::<Vec<_>>(), [7, 8]);
        classes.remove(7, MAX_CLASS_SIZE + 1);
        assert_eq!(classes.large().numbers_from(9).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn a_full_list_can_be_emptied_in_any_order() {
        let list = WordList::new();
        (0..HANDLE_WORDS).for_each(|number| list.push(number));
        assert_eq!(list.remove(HANDLE_WORDS), HANDLE_WORDS, "an unknown number changes nothing");
        for left in (0..HANDLE_WORDS).rev() {
            let number = (left * 37) % HANDLE_WORDS;
            let number = if list.numbers_from(0).any(|n| n == number) { number } else { list.number(0) };
            assert_eq!(list.remove(number), left);
        }
        assert_eq!(list.numbers_from(5).count(), 0);
    }
}
