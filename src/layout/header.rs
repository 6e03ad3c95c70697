//! The header: what a region says about itself, written once, judged once on a private copy.
//!
//! Little-endian, fixed widths, every field aligned to its own size:
//!
//! ```text
//!  offset size field
//!       0    8 magic "mmaprpc\0"
//!       8    4 layout version = 1
//!      12    4 entry size = 128
//!      16    8 feature bits
//!      24    8 total length of the segment in bytes
//!      32    8 ring offset
//!      40    8 control offset
//!      48    8 ret offset
//!      56    8 free offset
//!      64    4 ring capacity
//!      68    4 handle words = 128
//!      72    4 class count
//!      76    4 zero
//!      80  512 class table: 16 records of
//!              0    8 slot size
//!              8    8 offset of slot 0
//!             16    4 slot count
//!             20    4 first handle
//!             24    8 zero
//!     592 3504 zero
//! ```
//!
//! Records past the class count are zero as well. A reader refuses anything else in the unused bytes, so
//! that a later version can give them a meaning.

mod error;

pub(crate) use error::{HeaderError, Section};

use crate::layout::geometry::{
    self, CONTROL_BYTES, Class, Classes, FREE_BYTES, Geometry, MAX_CLASSES, PAGE, RET_BYTES, SLOT_ALIGN,
    ring_bytes,
};
use crate::layout::words::{CONTROL_LINE, EntryCell, HANDLE_WORDS};

/// Bytes of the header section.
pub(crate) const HEADER_BYTES: usize = 4096;

/// The first eight bytes of every region.
pub(crate) const MAGIC: [u8; 8] = *b"mmaprpc\0";

/// The arrangement of bytes that this code writes and reads.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// Feature bits that this code understands: none is defined yet.
pub(crate) const KNOWN_FEATURES: u64 = 0;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + 8;
const AT_ENTRY_SIZE: usize = AT_VERSION + 4;
const AT_FEATURES: usize = AT_ENTRY_SIZE + 4;
const AT_TOTAL: usize = AT_FEATURES + 8;
const AT_RING: usize = AT_TOTAL + 8;
const AT_CONTROL: usize = AT_RING + 8;
const AT_RET: usize = AT_CONTROL + 8;
const AT_FREE: usize = AT_RET + 8;
const AT_RING_CAPACITY: usize = AT_FREE + 8;
const AT_HANDLE_WORDS: usize = AT_RING_CAPACITY + 4;
const AT_CLASS_COUNT: usize = AT_HANDLE_WORDS + 4;
const AT_ZERO: usize = AT_CLASS_COUNT + 4;
const AT_CLASSES: usize = AT_ZERO + 4;

const CLASS_SLOT_SIZE: usize = 0;
const CLASS_OFFSET: usize = CLASS_SLOT_SIZE + 8;
const CLASS_SLOT_COUNT: usize = CLASS_OFFSET + 8;
const CLASS_FIRST_HANDLE: usize = CLASS_SLOT_COUNT + 4;
const CLASS_ZERO: usize = CLASS_FIRST_HANDLE + 4;
const CLASS_BYTES: usize = CLASS_ZERO + 8;

const AT_END: usize = AT_CLASSES + MAX_CLASSES * CLASS_BYTES;

const ENTRY_BYTES: u32 = size_of::<EntryCell>() as u32;

const _: () = {
    assert!(AT_FEATURES == 16 && AT_RING == 32 && AT_RING_CAPACITY == 64 && AT_CLASSES == 80);
    assert!(CLASS_BYTES == 32 && AT_END == 592 && AT_END <= HEADER_BYTES);
    // Eight-byte fields are aligned, also in every record.
    assert!(AT_FEATURES.is_multiple_of(8) && AT_CLASSES.is_multiple_of(8));
    assert!(CLASS_OFFSET.is_multiple_of(8) && CLASS_BYTES.is_multiple_of(8));
    // The section after the header starts on a page.
    assert!(HEADER_BYTES as u64 == PAGE);
};

/// A header that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where everything lies: as trustworthy as a plan of our own.
    pub(crate) geometry: Geometry,
    /// A subset of [`KNOWN_FEATURES`].
    pub(crate) features: u64,
}

impl Header {
    /// The bytes that describe `geometry`; unused ones are zero.
    pub(crate) fn encode(geometry: &Geometry, features: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, AT_MAGIC, MAGIC);
        put(&mut bytes, AT_VERSION, LAYOUT_VERSION.to_le_bytes());
        put(&mut bytes, AT_ENTRY_SIZE, ENTRY_BYTES.to_le_bytes());
        put(&mut bytes, AT_FEATURES, features.to_le_bytes());
        put(&mut bytes, AT_TOTAL, geometry.total_len.to_le_bytes());
        put(&mut bytes, AT_RING, geometry.ring_offset.to_le_bytes());
        put(&mut bytes, AT_CONTROL, geometry.control_offset.to_le_bytes());
        put(&mut bytes, AT_RET, geometry.ret_offset.to_le_bytes());
        put(&mut bytes, AT_FREE, geometry.free_offset.to_le_bytes());
        put(&mut bytes, AT_RING_CAPACITY, geometry.ring_capacity.to_le_bytes());
        put(&mut bytes, AT_HANDLE_WORDS, (HANDLE_WORDS as u32).to_le_bytes());
        put(&mut bytes, AT_CLASS_COUNT, (geometry.classes.len() as u32).to_le_bytes());
        for (index, class) in geometry.classes.iter().enumerate() {
            let at = AT_CLASSES + index * CLASS_BYTES;
            put(&mut bytes, at + CLASS_SLOT_SIZE, class.slot_size.to_le_bytes());
            put(&mut bytes, at + CLASS_OFFSET, class.offset.to_le_bytes());
            put(&mut bytes, at + CLASS_SLOT_COUNT, class.slot_count.to_le_bytes());
            put(&mut bytes, at + CLASS_FIRST_HANDLE, class.first_handle.to_le_bytes());
        }
        bytes
    }

    /// Judges a header for a segment of `actual_len` bytes.
    ///
    /// `bytes` is a private copy (see `read_header`): the peer can change the original at any time. The
    /// order of sections is free; a header passes if its sections are aligned, inside and disjoint.
    pub(crate) fn validate(bytes: &[u8; HEADER_BYTES], actual_len: u64) -> Result<Self, HeaderError> {
        let magic: [u8; 8] = get(bytes, AT_MAGIC);
        if magic != MAGIC {
            return Err(HeaderError::Magic(magic));
        }
        let theirs = get_u32(bytes, AT_VERSION);
        if theirs != LAYOUT_VERSION {
            return Err(HeaderError::Version { theirs, ours: LAYOUT_VERSION });
        }
        let features = get_u64(bytes, AT_FEATURES);
        if features & !KNOWN_FEATURES != 0 {
            return Err(HeaderError::Features(features & !KNOWN_FEATURES));
        }
        let stated = get_u64(bytes, AT_TOTAL);
        if stated != actual_len {
            return Err(HeaderError::Length { stated, actual: actual_len });
        }
        if !stated.is_multiple_of(PAGE) {
            return Err(HeaderError::PartialPage(stated));
        }
        let entry_size = get_u32(bytes, AT_ENTRY_SIZE);
        if entry_size != ENTRY_BYTES {
            return Err(HeaderError::EntrySize(entry_size));
        }
        let handle_words = get_u32(bytes, AT_HANDLE_WORDS);
        if handle_words != HANDLE_WORDS as u32 {
            return Err(HeaderError::HandleWords(handle_words));
        }
        let ring_capacity = get_u32(bytes, AT_RING_CAPACITY);
        geometry::check_ring_capacity(ring_capacity)?;
        let geometry = Geometry {
            ring_capacity,
            ring_offset: get_u64(bytes, AT_RING),
            control_offset: get_u64(bytes, AT_CONTROL),
            ret_offset: get_u64(bytes, AT_RET),
            free_offset: get_u64(bytes, AT_FREE),
            classes: read_classes(bytes)?,
            total_len: stated,
        };
        check_sections(&geometry)?;
        check_unused(bytes, geometry.classes.len())?;
        Ok(Self { geometry, features })
    }
}

/// Reads the class table, and checks what can be said of it without looking at offsets.
fn read_classes(bytes: &[u8; HEADER_BYTES]) -> Result<Classes, HeaderError> {
    let count = get_u32(bytes, AT_CLASS_COUNT) as usize;
    geometry::check_class_count(count)?;
    let mut classes = Classes::new();
    for index in 0..count {
        let at = AT_CLASSES + index * CLASS_BYTES;
        let class = Class {
            slot_size: get_u64(bytes, at + CLASS_SLOT_SIZE),
            slot_count: get_u32(bytes, at + CLASS_SLOT_COUNT),
            first_handle: get_u32(bytes, at + CLASS_FIRST_HANDLE),
            offset: get_u64(bytes, at + CLASS_OFFSET),
        };
        class.check(index, classes.last())?;
        // The range itself has been checked, so `words` cannot overflow.
        let next_free_word = classes.last().map_or(0, |before| before.words().end);
        if !class.first_handle.is_multiple_of(64) || class.words().start < next_free_word {
            return Err(HeaderError::FirstHandle { class: index, first: class.first_handle });
        }
        classes.push(class);
    }
    Ok(classes)
}

/// Checks that all sections are aligned, inside the segment, and disjoint.
fn check_sections(geometry: &Geometry) -> Result<(), HeaderError> {
    let line = SLOT_ALIGN;
    let mut sections = vec![
        (Section::Header, 0, Some(HEADER_BYTES as u64), PAGE),
        (Section::Ring, geometry.ring_offset, Some(ring_bytes(geometry.ring_capacity)), line),
        (Section::Control, geometry.control_offset, Some(CONTROL_BYTES), CONTROL_LINE as u64),
        (Section::Ret, geometry.ret_offset, Some(RET_BYTES), line),
        (Section::Free, geometry.free_offset, Some(FREE_BYTES), line),
    ];
    for (index, class) in geometry.classes.iter().enumerate() {
        sections.push((Section::Slots(index), class.offset, class.len_checked(), class.align()));
    }
    let mut ranges = Vec::with_capacity(sections.len());
    for (section, offset, len, align) in sections {
        if !offset.is_multiple_of(align) {
            return Err(HeaderError::Alignment { section, offset, align });
        }
        let end = len.and_then(|len| offset.checked_add(len)).filter(|end| *end <= geometry.total_len);
        ranges.push((offset, end.ok_or(HeaderError::Range { section, offset })?, section));
    }
    // No section is empty, so in ascending order it is enough to compare neighbours.
    ranges.sort_by_key(|(start, ..)| *start);
    match ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(HeaderError::Overlap { first: pair[0].2, second: pair[1].2 }),
        None => Ok(()),
    }
}

/// Checks that every byte without a meaning is zero.
fn check_unused(bytes: &[u8; HEADER_BYTES], classes: usize) -> Result<(), HeaderError> {
    let record = |index: usize| AT_CLASSES + index * CLASS_BYTES;
    let tails = (0..classes).flat_map(|index| record(index) + CLASS_ZERO..record(index + 1));
    let mut unused = (AT_ZERO..AT_CLASSES).chain(tails).chain(record(classes)..HEADER_BYTES);
    unused.find(|at| bytes[*at] != 0).map_or(Ok(()), |at| Err(HeaderError::Unused(at)))
}

fn put<const N: usize>(bytes: &mut [u8; HEADER_BYTES], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

fn get<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn get_u32(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn get_u64(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

#[cfg(test)]
mod tests;
