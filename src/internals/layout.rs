//! Headers of regions, and what a reader concludes from them, as plain numbers.

use std::mem::offset_of;

use crate::layout::words::{Control, FILLS, FillLine};
use crate::layout::{Geometry, Handle, Header, RawOffset};

/// The control words in their order: name, offset in the control section, size in bytes.
pub fn control_words() -> Vec<(String, u64, u64)> {
    let word = |name: &str, at: usize, bytes: u64| (name.to_owned(), at as u64, bytes);
    let mut words = vec![
        word("rx_head", offset_of!(Control, rx_head), 8),
        word("sleep", offset_of!(Control, sleep), 4),
        word("cpu", offset_of!(Control, cpu), 4),
        word("want_space", offset_of!(Control, want_space), 4),
        word("closed", offset_of!(Control, closed), 4),
    ];
    for line in 0..FILLS {
        let at = offset_of!(Control, fills) + line * size_of::<FillLine>();
        words.push(word(&format!("level {line}"), at + offset_of!(FillLine, level), 8));
        words.push(word(&format!("given_up {line}"), at + offset_of!(FillLine, given_up), 8));
    }
    words
}

/// Bytes of a header.
pub const HEADER_BYTES: usize = crate::layout::HEADER_BYTES;

/// The header of a region with these (slot size, slot count) classes, and the region's length in bytes;
/// `None` if it cannot be laid out.
pub fn plan(ring_capacity: u32, classes: &[(u64, u32)]) -> Option<([u8; HEADER_BYTES], u64)> {
    let geometry = Geometry::plan(ring_capacity, classes).ok()?;
    Some((Header::encode(&geometry, 0), geometry.total_len))
}

/// A header that passed every check.
#[derive(Debug, Clone)]
pub struct Layout(Header);

/// Slots of one size, as the header states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeClass {
    /// Bytes per slot.
    pub slot_size: u64,
    /// Number of slots.
    pub slot_count: u32,
    /// Handle of the first slot.
    pub first_handle: u32,
    /// Where the first slot starts in the segment, in bytes.
    pub offset: u64,
}

impl Layout {
    /// Judges a header for a segment of `actual_len` bytes.
    ///
    /// # Errors
    /// The check that it did not pass.
    pub fn validate(bytes: &[u8; HEADER_BYTES], actual_len: u64) -> Result<Self, String> {
        Header::validate(bytes, actual_len).map(Self).map_err(|error| error.to_string())
    }

    /// The header once more, from what was understood of it.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        Header::encode(&self.0.geometry, self.0.features)
    }

    /// Length of the segment, in bytes.
    pub fn total_len(&self) -> u64 {
        self.0.geometry.total_len
    }

    /// Entries in the ring.
    pub fn ring_capacity(&self) -> u32 {
        self.0.geometry.ring_capacity
    }

    /// Where the ring, the control words, the return words and the free words start, in bytes.
    pub fn section_offsets(&self) -> [u64; 4] {
        let geometry = &self.0.geometry;
        [geometry.ring_offset, geometry.control_offset, geometry.ret_offset, geometry.free_offset]
    }

    /// The size classes, in the header's order.
    pub fn classes(&self) -> Vec<SizeClass> {
        let plain = |class: &crate::layout::Class| SizeClass {
            slot_size: class.slot_size,
            slot_count: class.slot_count,
            first_handle: class.first_handle,
            offset: class.offset,
        };
        self.0.geometry.classes.iter().map(plain).collect()
    }

    /// First and one past the last byte of the slot that a handle names, if it names one.
    pub fn slot(&self, handle: u32) -> Option<(u64, u64)> {
        let slot = self.0.geometry.slot(Handle::new(handle)?)?;
        Some((slot.start, slot.end))
    }

    /// Which bits of bit-set word `word` name slots, class by class.
    pub fn slot_bits(&self, word: usize) -> Vec<u64> {
        self.0.geometry.classes.iter().map(|class| class.mask(word)).collect()
    }

    /// Start and length of `length` bytes at `offset`, if all of them lie inside the slot of `handle`.
    ///
    /// # Errors
    /// The check that the descriptor did not pass.
    pub fn admit(&self, handle: u32, offset: u64, length: u64) -> Result<(u64, u64), &'static str> {
        let slot = Handle::new(handle).and_then(|handle| self.0.geometry.slot(handle));
        let checked = RawOffset(offset).check(length, slot.ok_or("no such slot")?)?;
        Ok((checked.start(), checked.len()))
    }
}
