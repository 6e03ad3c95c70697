//! A received payload on private memory: what typed messages are decoded from.
//!
//! Decoding reads each field several times and trusts what it read, so it never runs on bytes that the
//! peer may still write. The copy is made once; long `bytes` fields of the message then share it.

use bytes::{Buf, Bytes};

use crate::rpc::pool::PooledBuf;

/// Below this length a `bytes` field is copied out: sharing would keep a whole receive buffer alive for it.
pub(super) const SHARE_FROM: usize = 1024;

/// Short private bytes, read from front to back. What a slice as such does as well, except that it makes a
/// `bytes` field of two allocations.
///
/// One that is shared from the start, and not when it is first cloned, would save another allocation for
/// messages that are passed on, and costs every other one a locked instruction.
pub(crate) struct Short<'a>(pub(crate) &'a [u8]);

impl Buf for Short<'_> {
    #[inline]
    fn remaining(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.0
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.0 = &self.0[count..];
    }

    #[inline]
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Bytes::copy_from_slice(bytes)
    }
}

/// A private payload that came in a slot, read from front to back.
pub(crate) struct Private {
    storage: Storage,
    /// Bytes already consumed.
    start: usize,
}

enum Storage {
    Pooled(PooledBuf),
    /// After the first large `bytes` field: the rest shares the same buffer. Or bytes that never were in one.
    Shared(Bytes),
}

impl Private {
    pub(crate) fn pooled(buf: PooledBuf) -> Self {
        Self { storage: Storage::Pooled(buf), start: 0 }
    }

    /// A copy of bytes that are private already.
    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self { storage: Storage::Shared(Bytes::copy_from_slice(bytes)), start: 0 }
    }

    /// Has it be what `fill` puts into its buffer, which is empty then.
    ///
    /// # Panics
    /// If the buffer is shared.
    pub(super) fn refill<R>(&mut self, fill: impl FnOnce(&mut PooledBuf) -> R) -> R {
        let Storage::Pooled(buf) = &mut self.storage else { panic!("a shared buffer is filled again") };
        buf.clear();
        self.start = 0;
        fill(buf)
    }

    fn rest(&self) -> &[u8] {
        let all = match &self.storage {
            Storage::Pooled(buf) => buf.as_slice(),
            Storage::Shared(bytes) => bytes,
        };
        &all[self.start..]
    }

    /// Everything that has not been consumed, as shared bytes; no copy unless it is small.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        let rest = self.remaining();
        self.copy_to_bytes(rest)
    }
}

impl Buf for Private {
    #[inline]
    fn remaining(&self) -> usize {
        self.rest().len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.rest()
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "advanced past the end of a payload");
        self.start += count;
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.remaining(), "read past the end of a payload");
        if len < SHARE_FROM {
            let bytes = Bytes::copy_from_slice(&self.rest()[..len]);
            self.start += len;
            return bytes;
        }
        let storage = std::mem::replace(&mut self.storage, Storage::Shared(Bytes::new()));
        let shared = match storage {
            Storage::Shared(bytes) => bytes,
            Storage::Pooled(buf) => Bytes::from_owner(buf),
        };
        let bytes = shared.slice(self.start..self.start + len);
        self.storage = Storage::Shared(shared);
        self.start += len;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(bytes: &[u8]) -> Private {
        let mut buffer = PooledBuf::with_room_for(bytes.len());
        // SAFETY: all `bytes.len()` bytes are copied in.
        unsafe {
            buffer.extend_by(bytes.len(), |dst| dst.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()))
        };
        Private::pooled(buffer)
    }

    #[test]
    fn large_fields_share_the_buffer_and_small_ones_do_not() {
        let source: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let mut payload = pooled(&source);
        let base = payload.chunk().as_ptr() as usize;
        payload.advance(10);
        let large = payload.copy_to_bytes(5000);
        assert_eq!(large.as_ptr() as usize, base + 10);
        let small = payload.copy_to_bytes(100);
        assert_ne!(small.as_ptr() as usize, base + 5010);
        let rest = payload.into_bytes();
        assert_eq!([&large[..], &small, &rest].concat(), source[10..]);
    }

    #[test]
    fn a_short_payload_is_read_to_its_end() {
        let mut payload = Short(&[3; 5]);
        assert_eq!(payload.remaining(), 5);
        payload.advance(1);
        assert_eq!(payload.copy_to_bytes(4), &[3u8; 4][..]);
        assert!(!payload.has_remaining());
    }

    #[test]
    #[should_panic(expected = "past the end")]
    fn reading_past_the_end_panics() {
        pooled(b"abc").advance(4);
    }
}
