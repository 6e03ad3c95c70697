//! What can be wrong with a header: one variant per check, each naming what it found.

use std::fmt;

use thiserror::Error;

use super::ENTRY_BYTES;
use crate::layout::geometry::{GeometryError, PAGE};
use crate::layout::words::HANDLE_WORDS;

/// A part of a segment, for error texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Header,
    Ring,
    Control,
    Ret,
    Free,
    /// The slots of the class with this index.
    Slots(usize),
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Ring => f.write_str("ring"),
            Self::Control => f.write_str("control words"),
            Self::Ret => f.write_str("return words"),
            Self::Free => f.write_str("free words"),
            Self::Slots(class) => write!(f, "slots of class {class}"),
        }
    }
}

/// The check that a header did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum HeaderError {
    /// Not a region at all.
    #[error("wrong magic {0:02x?}")]
    Magic([u8; 8]),
    /// Made by another version; nothing after this field has been looked at.
    #[error("layout version {theirs}, this side speaks {ours}")]
    Version {
        /// What the header says.
        theirs: u32,
        /// This code's version.
        ours: u32,
    },
    /// The region relies on something that this code does not know.
    #[error("unknown feature bits {0:#x}")]
    Features(u64),
    /// The stated length is not that of the file.
    #[error("stated length {stated}, actual length {actual}")]
    Length {
        /// What the header says.
        stated: u64,
        /// Bytes of the segment.
        actual: u64,
    },
    /// The length is not a whole number of pages.
    #[error("length {0} is not a multiple of {PAGE}")]
    PartialPage(u64),
    /// Entries have another size.
    #[error("entry size {0}, expected {ENTRY_BYTES}")]
    EntrySize(u32),
    /// Another number of bit-set words.
    #[error("{0} handle words, expected {HANDLE_WORDS}")]
    HandleWords(u32),
    /// A capacity or class that no plan would have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A class shares a bit-set word with the class before it, or its first handle is inside a word.
    #[error("class {class}: first handle {first} does not start a free word")]
    FirstHandle {
        /// Index of the class.
        class: usize,
        /// What the header says.
        first: u32,
    },
    /// A section's words would be misaligned.
    #[error("{section} at offset {offset}: not {align}-aligned")]
    Alignment {
        /// Which one.
        section: Section,
        /// What the header says.
        offset: u64,
        /// What divides every good offset.
        align: u64,
    },
    /// A section ends past the segment.
    #[error("{section} at offset {offset}: does not lie inside the segment")]
    Range {
        /// Which one.
        section: Section,
        /// What the header says.
        offset: u64,
    },
    /// Two sections share bytes.
    #[error("{first} and {second} overlap")]
    Overlap {
        /// The one that starts first.
        first: Section,
        /// The one that starts inside it.
        second: Section,
    },
    /// An unused byte is not zero.
    #[error("unused byte {0} is not zero")]
    Unused(usize),
}
