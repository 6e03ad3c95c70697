//! A message that travels inside its entry: where the entry was copied to, and kept for longer.

use super::entry::INLINE_BYTES;

/// The message of an entry, in the private copy of that.
///
/// It knows all of the room that it lies in, so that it is kept by a copy of fixed size: cheaper than to look
/// how long it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inline<'a> {
    bytes: &'a [u8; INLINE_BYTES],
    length: usize,
}

impl<'a> Inline<'a> {
    /// No message, or an empty one.
    pub(crate) const EMPTY: Inline<'static> = Inline { bytes: &[0; INLINE_BYTES], length: 0 };

    /// The first `length` of these bytes.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8; INLINE_BYTES], length: usize) -> Self {
        Self { bytes, length }
    }

    /// The message.
    ///
    /// # Panics
    /// If it is longer than its room: admission has checked it.
    #[inline(always)]
    pub(crate) fn as_slice(self) -> &'a [u8] {
        &self.bytes[..self.length]
    }

    /// The same, for longer than its entry. What lies behind the message comes along, and stays private.
    #[inline(always)]
    pub(crate) fn keep(self) -> InlineBytes {
        InlineBytes { bytes: *self.bytes, length: self.length }
    }
}

/// A message that came inside its entry and is kept.
#[derive(Clone, Copy)]
pub(crate) struct InlineBytes {
    bytes: [u8; INLINE_BYTES],
    length: usize,
}

impl InlineBytes {
    #[inline(always)]
    pub(crate) fn as_inline(&self) -> Inline<'_> {
        Inline { bytes: &self.bytes, length: self.length }
    }

    /// As [`Inline::as_slice`].
    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.as_inline().as_slice()
    }
}
