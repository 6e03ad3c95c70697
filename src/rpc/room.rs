//! What the memory has in common that messages are encoded into: bytes that find no room there are dropped
//! and counted, where other `BufMut`s panic. The message is not sent then, and its failure says how long it
//! was.

use bytes::{Buf, BufMut};

/// How many bytes found no room.
#[derive(Default)]
pub(crate) struct Excess(usize);

impl Excess {
    /// Drops so many bytes.
    #[cold]
    pub(crate) fn drop(&mut self, count: usize) {
        self.0 = self.0.saturating_add(count);
    }

    /// All bytes that were put somewhere, given those that found room.
    #[inline]
    pub(crate) fn beside(&self, written: usize) -> usize {
        written.saturating_add(self.0)
    }
}

/// `BufMut::put` that looks for room slice by slice.
#[inline]
pub(crate) fn put_slices(to: &mut impl BufMut, mut source: impl Buf) {
    while source.has_remaining() {
        let count = source.chunk().len();
        to.put_slice(source.chunk());
        source.advance(count);
    }
}

/// `BufMut::put_bytes` by slices. The caller has seen that there is room.
pub(crate) fn put_repeated(to: &mut impl BufMut, byte: u8, mut count: usize) {
    let some = [byte; 64];
    while count > 0 {
        let now = count.min(some.len());
        to.put_slice(&some[..now]);
        count -= now;
    }
}
