//! A received payload on private memory: what typed messages are decoded from.
//!
//! Decoding reads each field several times and trusts what it read, so it never runs on bytes that the
//! peer may still write. The copy is made once; `bytes` fields of the message then share it.

use bytes::{Buf, Bytes};

use crate::rpc::pool::PooledBuf;

/// Below this length a `bytes` field is copied out: sharing would keep a whole receive buffer alive for it.
const SHARE_FROM: usize = 1024;

/// Room for a payload that came inside its ring entry, in bytes.
pub(crate) const INLINE_BYTES: usize = 96;

/// A private payload, read from front to back.
pub(crate) struct Private {
    storage: Storage,
    /// Bytes already consumed.
    start: usize,
}

enum Storage {
    Inline {
        bytes: [u8; INLINE_BYTES],
        len: u8,
    },
    Pooled(PooledBuf),
    /// After the first large `bytes` field: the rest shares the same buffer.
    Shared(Bytes),
}

impl Private {
    /// Takes over the bytes of an entry.
    ///
    /// # Panics
    /// If `len` is larger than [`INLINE_BYTES`]: admission has checked it.
    pub(crate) fn inline(bytes: [u8; INLINE_BYTES], len: usize) -> Self {
        assert!(len <= INLINE_BYTES);
        Self { storage: Storage::Inline { bytes, len: len as u8 }, start: 0 }
    }

    pub(crate) fn pooled(buf: PooledBuf) -> Self {
        Self { storage: Storage::Pooled(buf), start: 0 }
    }

    fn rest(&self) -> &[u8] {
        let all = match &self.storage {
            Storage::Inline { bytes, len } => &bytes[..usize::from(*len)],
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
            Storage::Inline { .. } => unreachable!("an inline payload is shorter than SHARE_FROM"),
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
        // SAFETY: all `bytes.len()` bytes are copied in.
        Private::pooled(unsafe {
            PooledBuf::filled_by(bytes.len(), |dst| {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), dst, bytes.len());
            })
        })
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
    fn an_inline_payload_ends_at_its_length() {
        let mut payload = Private::inline([3; INLINE_BYTES], 5);
        assert_eq!(payload.remaining(), 5);
        assert_eq!(payload.copy_to_bytes(5), &[3u8; 5][..]);
        assert!(!payload.has_remaining());
    }

    #[test]
    #[should_panic(expected = "past the end")]
    fn reading_past_the_end_panics() {
        pooled(b"abc").advance(4);
    }
}
