//! Where everything lies in a base segment: a plan made from capacity and classes, or read from a header.
//!
//! A [`Geometry`] is private memory. It comes from [`Geometry::plan`] or from `Header::validate`, and from
//! both with the same promise: every section is aligned for its words, lies inside the segment, and
//! touches no other one; every handle belongs to at most one class.

use std::ops::{Deref, Range};

use thiserror::Error;

use crate::layout::handle::Handle;
use crate::layout::header::HEADER_BYTES;
use crate::layout::offset::SlotBounds;
use crate::layout::words::{Control, EntryCell, FreeWord, HANDLE_WORDS, MAX_HANDLES};

/// Size classes that a header has room for.
pub(crate) const MAX_CLASSES: usize = 16;

/// Entries that a ring may have, powers of two only.
pub(crate) const RING_CAPACITY: std::ops::RangeInclusive<u32> = 2..=65536;

/// Unit of mapping; slots of at least this size start on one.
pub(crate) const PAGE: u64 = 4096;

/// Unit of slot sizes: a cache line.
pub(crate) const SLOT_ALIGN: u64 = 64;

/// Bytes of the control section.
pub(crate) const CONTROL_BYTES: u64 = size_of::<Control>() as u64;
/// Bytes of the return words: packed, because their one writing side also reads them.
pub(crate) const RET_BYTES: u64 = HANDLE_WORDS as u64 * 8;
/// Bytes of the free words, each on its own cache line.
pub(crate) const FREE_BYTES: u64 = (HANDLE_WORDS * size_of::<FreeWord>()) as u64;

/// Bytes of a ring of `capacity` entries.
pub(crate) const fn ring_bytes(capacity: u32) -> u64 {
    capacity as u64 * size_of::<EntryCell>() as u64
}

/// Why a set of classes or a ring capacity cannot be laid out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum GeometryError {
    /// Not a power of two, or outside [`RING_CAPACITY`].
    #[error("ring capacity {0} is not a power of two from 2 to 65536")]
    RingCapacity(u32),
    /// No class, or more than [`MAX_CLASSES`].
    #[error("{0} size classes, expected 1 to 16")]
    ClassCount(usize),
    /// Zero, not a multiple of 64, or from 4096 up not a multiple of 4096.
    #[error("class {class}: slot size {size} is no multiple of 64, or of 4096 from there up")]
    SlotSize {
        /// Index of the class.
        class: usize,
        /// Its slot size.
        size: u64,
    },
    /// Sizes must ascend, so that spilling means going one class up.
    #[error("class {class}: slot size {size} is not above the class before it")]
    SlotOrder {
        /// Index of the class.
        class: usize,
        /// Its slot size.
        size: u64,
    },
    /// A class without slots.
    #[error("class {class}: no slots")]
    SlotCount {
        /// Index of the class.
        class: usize,
    },
    /// The class does not fit into the handles that are left.
    #[error("class {class}: {count} slots from handle {first} do not fit into {MAX_HANDLES} handles")]
    Handles {
        /// Index of the class.
        class: usize,
        /// The handle of its first slot.
        first: u32,
        /// Its slot count.
        count: u32,
    },
    /// The segment would be larger than a mapping can be.
    #[error("class {class}: the segment exceeds the address space")]
    TooLarge {
        /// The class that went past it.
        class: usize,
    },
}

/// Equal-sized slots, and the handles that name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    /// Bytes per slot: a multiple of 64; of 4096 from there up.
    pub(crate) slot_size: u64,
    /// Number of slots, at least 1.
    pub(crate) slot_count: u32,
    /// Handle of slot 0: a multiple of 64, because each class has bit-set words of its own.
    pub(crate) first_handle: u32,
    /// Offset of slot 0 in the segment.
    pub(crate) offset: u64,
}

impl Class {
    /// The bit-set words that hold this class's bits.
    pub(crate) fn words(&self) -> Range<usize> {
        let first = (self.first_handle / 64) as usize;
        first..first + self.slot_count.div_ceil(64) as usize
    }

    /// The bits of `word` that name slots of this class: all ones, but for the last word and strangers.
    pub(crate) fn mask(&self, word: usize) -> u64 {
        let words = self.words();
        match self.slot_count % 64 {
            _ if !words.contains(&word) => 0,
            rest if rest != 0 && word + 1 == words.end => (1 << rest) - 1,
            _ => u64::MAX,
        }
    }

    /// The bytes of slot `handle`, if it is one of this class.
    pub(crate) fn slot(&self, handle: Handle) -> Option<SlotBounds> {
        let index = handle.get().checked_sub(self.first_handle).filter(|i| *i < self.slot_count)?;
        let start = self.offset + u64::from(index) * self.slot_size;
        Some(SlotBounds { start, end: start + self.slot_size })
    }

    /// Bytes of all slots, unless that overflows.
    pub(crate) fn len_checked(&self) -> Option<u64> {
        self.slot_size.checked_mul(u64::from(self.slot_count))
    }

    /// The alignment that `offset` must have.
    pub(crate) fn align(&self) -> u64 {
        if self.slot_size < PAGE { SLOT_ALIGN } else { PAGE }
    }

    /// The rules that hold for a class by itself and after `before`, wherever its slots lie.
    pub(crate) fn check(&self, class: usize, before: Option<&Class>) -> Result<(), GeometryError> {
        let (size, count, first) = (self.slot_size, self.slot_count, self.first_handle);
        if size == 0 || !size.is_multiple_of(self.align()) {
            return Err(GeometryError::SlotSize { class, size });
        }
        if before.is_some_and(|b| size <= b.slot_size) {
            return Err(GeometryError::SlotOrder { class, size });
        }
        if count == 0 {
            return Err(GeometryError::SlotCount { class });
        }
        if first.checked_add(count).is_none_or(|end| end > MAX_HANDLES) {
            return Err(GeometryError::Handles { class, first, count });
        }
        Ok(())
    }
}

/// The classes of a segment, in ascending order of slot size; reads as a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Classes {
    len: usize,
    array: [Class; MAX_CLASSES],
}

impl Classes {
    pub(crate) const fn new() -> Self {
        let none = Class { slot_size: 0, slot_count: 0, first_handle: 0, offset: 0 };
        Self { len: 0, array: [none; MAX_CLASSES] }
    }

    /// # Panics
    /// If there are [`MAX_CLASSES`] already: callers have checked the count.
    pub(crate) fn push(&mut self, class: Class) {
        self.array[self.len] = class;
        self.len += 1;
    }
}

impl Deref for Classes {
    type Target = [Class];

    fn deref(&self) -> &[Class] {
        &self.array[..self.len]
    }
}

impl PartialEq for Classes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Classes {}

/// The offsets of a base segment's sections, in bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Entries in the ring: a power of two.
    pub(crate) ring_capacity: u32,
    /// Where the ring starts.
    pub(crate) ring_offset: u64,
    /// Where the control words start.
    pub(crate) control_offset: u64,
    /// Where the return words start.
    pub(crate) ret_offset: u64,
    /// Where the free words start.
    pub(crate) free_offset: u64,
    /// The size classes, smallest first.
    pub(crate) classes: Classes,
    /// Bytes of the whole segment: a multiple of [`PAGE`], at most `isize::MAX`.
    pub(crate) total_len: u64,
}

impl Geometry {
    /// Lays out a ring of `ring_capacity` entries, and `(slot size, slot count)` for each class.
    pub(crate) fn plan(ring_capacity: u32, classes: &[(u64, u32)]) -> Result<Self, GeometryError> {
        check_ring_capacity(ring_capacity)?;
        check_class_count(classes.len())?;
        // Each section starts where its predecessor ends. None of these sums can overflow.
        let ring_offset = HEADER_BYTES as u64;
        let control_offset = ring_offset + ring_bytes(ring_capacity);
        let ret_offset = control_offset + CONTROL_BYTES;
        let free_offset = ret_offset + RET_BYTES;
        let mut end = (free_offset + FREE_BYTES).next_multiple_of(PAGE);
        let mut first_handle = 0;
        let mut table = Classes::new();
        for (index, &(slot_size, slot_count)) in classes.iter().enumerate() {
            let mut class = Class { slot_size, slot_count, first_handle, offset: 0 };
            class.check(index, table.last())?;
            let too_large = GeometryError::TooLarge { class: index };
            class.offset = end.next_multiple_of(class.align());
            end = class
                .len_checked()
                .and_then(|len| class.offset.checked_add(len))
                .filter(|end| *end <= MAX_TOTAL)
                .ok_or(too_large)?;
            // The next class starts on a fresh word. Checked above: at most MAX_HANDLES.
            first_handle += slot_count.next_multiple_of(64);
            table.push(class);
        }
        Ok(Self {
            ring_capacity,
            ring_offset,
            control_offset,
            ret_offset,
            free_offset,
            classes: table,
            total_len: end.next_multiple_of(PAGE),
        })
    }

    /// The base segment of an ordinary connection: 256 entries, and a few slots of the smaller classes; 64
    /// KiB in all.
    ///
    /// It is small, because a thousand idle connections must cost little. More slots, and larger ones, are
    /// added as segments of their own once somebody needs them.
    pub(crate) fn standard() -> Self {
        let classes = [(256, 16), (1 << 10, 4), (4 << 10, 2)];
        Self::plan(256, &classes).expect("the standard classes can be laid out")
    }

    /// The bytes of the slot that a handle names, if it names one.
    pub(crate) fn slot(&self, handle: Handle) -> Option<SlotBounds> {
        self.classes.iter().find_map(|class| class.slot(handle))
    }
}

/// The largest segment: pointer arithmetic ends at `isize::MAX`, and a page is kept for rounding up.
const MAX_TOTAL: u64 = isize::MAX as u64 - PAGE;

/// The capacity is a mask, so a power of two.
pub(crate) fn check_ring_capacity(capacity: u32) -> Result<(), GeometryError> {
    let good = capacity.is_power_of_two() && RING_CAPACITY.contains(&capacity);
    good.then_some(()).ok_or(GeometryError::RingCapacity(capacity))
}

/// The header's table has [`MAX_CLASSES`] records; a region without slots carries inline messages only
/// and is never planned.
pub(crate) fn check_class_count(count: usize) -> Result<(), GeometryError> {
    (1..=MAX_CLASSES).contains(&count).then_some(()).ok_or(GeometryError::ClassCount(count))
}

#[cfg(test)]
pub(crate) mod tests;
