//! Handles: the dense numbers that name slots on the wire.

use crate::layout::words::MAX_HANDLES;

/// A slot's number within its region, known to be below [`MAX_HANDLES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle(u32);

impl Handle {
    /// Checks a number that a peer wrote.
    pub(crate) fn new(raw: u32) -> Option<Self> {
        (raw < MAX_HANDLES).then_some(Self(raw))
    }

    /// The handle of bit `bit` in word `word`.
    ///
    /// # Panics
    /// If the pair is out of range: both come from our own bit-sets.
    #[inline]
    pub(crate) fn at(word: usize, bit: u32) -> Self {
        assert!(bit < 64 && word < (MAX_HANDLES / 64) as usize);
        Self(word as u32 * 64 + bit)
    }

    #[inline]
    pub(crate) fn get(self) -> u32 {
        self.0
    }

    /// Index of the bit-set word that holds this slot's bit.
    #[inline]
    pub(crate) fn word(self) -> usize {
        (self.0 / 64) as usize
    }

    /// The slot's bit within its word, as a mask.
    #[inline]
    pub(crate) fn mask(self) -> u64 {
        1 << (self.0 % 64)
    }

    /// The slot's bit within its word, as an index.
    #[inline]
    pub(crate) fn bit(self) -> u32 {
        self.0 % 64
    }
}
