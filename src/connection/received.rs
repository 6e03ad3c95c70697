//! A received payload before anybody has read it: inline bytes, a slot of the peer's region, or a copy of
//! one.

use std::sync::Arc;

use bytes::Buf;

use crate::connection::link::Link;
use crate::connection::segments::PeerSegment;
use crate::layout::{Handle, copy_from_shared};
use crate::ring::INLINE_BYTES;
use crate::rpc::{PooledBuf, Private};

/// What came with an entry. Dropped, it returns its slot to the owner.
pub(crate) enum Received {
    Inline {
        bytes: [u8; INLINE_BYTES],
        len: u8,
    },
    Slot(ReceivedSlot),
    /// Copied, and the slot returned, before somebody asked for it.
    Private(Private),
}

/// A slot of the peer's region that is ours to read until it is given back.
pub(crate) struct ReceivedSlot {
    link: Arc<Link>,
    /// Keeps a segment mapped even if a lying peer announces its drop; `None` for the base segment, which the
    /// link itself keeps.
    segment: Option<Arc<PeerSegment>>,
    address: *const u8,
    len: usize,
    /// `None` once it has been given back.
    handle: Option<Handle>,
}

// SAFETY: the address points into a mapping that the guard keeps alive, and the bytes behind it are reached
// only through `copy_from_shared`, which any thread may do, or through an unsafe borrow whose contract covers
// threads.
unsafe impl Send for ReceivedSlot {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for ReceivedSlot {}

impl ReceivedSlot {
    /// # Safety
    /// `address` must point to `len` bytes of a mapping that `segment`, or without one `link`, keeps mapped.
    pub(crate) unsafe fn new(
        link: Arc<Link>,
        segment: Option<Arc<PeerSegment>>,
        address: *const u8,
        len: usize,
        handle: Handle,
    ) -> Self {
        Self { link, segment, address, len, handle: Some(handle) }
    }

    fn copy(&self) -> PooledBuf {
        // SAFETY: `new` promised `len` mapped bytes, and `copy_from_shared` initialises as many as it copies.
        unsafe { PooledBuf::filled_by(self.len, |dst| copy_from_shared(self.address, dst, self.len)) }
    }
}

impl Drop for ReceivedSlot {
    fn drop(&mut self) {
        // First: once the slot is back, its owner may drop the segment and count its bytes as free.
        self.segment = None;
        if let Some(handle) = self.handle {
            self.link.give_back(handle);
        }
    }
}

impl Received {
    /// A payload that came inside its entry.
    pub(crate) fn inline(message: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        bytes[..message.len()].copy_from_slice(message);
        Self::Inline { bytes, len: message.len() as u8 }
    }

    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self::Inline { bytes: [0; INLINE_BYTES], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Slot(slot) => slot.len,
            Self::Private(private) => private.remaining(),
        }
    }

    /// Copies it to private memory, once, and returns its slot.
    #[inline]
    pub(crate) fn into_private(self) -> Private {
        match self {
            Self::Inline { bytes, len } => Private::inline(bytes, usize::from(len)),
            Self::Slot(slot) => Private::pooled(slot.copy()),
            Self::Private(private) => private,
        }
    }

    /// The same bytes without a slot of the peer's.
    pub(crate) fn without_slot(self) -> Self {
        match self {
            Self::Slot(slot) => Self::Private(Private::pooled(slot.copy())),
            other => other,
        }
    }

    /// The same, but the slot's return is left to the reply that names the handle.
    #[inline]
    pub(crate) fn into_private_and_handle(self) -> (Private, Option<Handle>) {
        match self {
            Self::Inline { bytes, len } => (Private::inline(bytes, usize::from(len)), None),
            Self::Slot(mut slot) => {
                let private = Private::pooled(slot.copy());
                (private, slot.handle.take())
            }
            Self::Private(private) => (private, None),
        }
    }

    /// Copies bytes from `start` on into `target`; each shared byte is read once.
    ///
    /// # Panics
    /// If the range is not inside the payload.
    pub(crate) fn copy_range(&self, start: usize, target: &mut [u8]) {
        let end = start.checked_add(target.len()).filter(|&end| end <= self.len());
        assert!(end.is_some(), "range {start}..+{} of a payload of {} bytes", target.len(), self.len());
        match self {
            Self::Inline { bytes, .. } => target.copy_from_slice(&bytes[start..start + target.len()]),
            Self::Private(private) => target.copy_from_slice(&private.chunk()[start..start + target.len()]),
            Self::Slot(slot) => {
                // SAFETY: the range was checked against `len`, which `new` promised to be mapped.
                unsafe { copy_from_shared(slot.address.add(start), target.as_mut_ptr(), target.len()) }
            }
        }
    }

    /// The payload, copied to a vector of its own.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Inline { bytes, len } => bytes[..usize::from(*len)].to_vec(),
            Self::Private(private) => private.chunk().to_vec(),
            Self::Slot(slot) => {
                let mut copy = Vec::with_capacity(slot.len);
                // SAFETY: `new` promised `len` mapped bytes; the vector has room for as many, nobody else
                // sees it yet, and `copy_from_shared` initialises what it copies.
                unsafe {
                    copy_from_shared(slot.address, copy.as_mut_ptr(), slot.len);
                    copy.set_len(slot.len);
                }
                copy
            }
        }
    }

    /// The payload in place.
    ///
    /// # Safety
    /// The peer must not write to the payload's bytes while the borrow lives.
    pub(crate) unsafe fn as_trusted_slice(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, len } => &bytes[..usize::from(*len)],
            Self::Private(private) => private.chunk(),
            // SAFETY: mapped for as long as the guard lives; the caller promises that nobody writes.
            Self::Slot(slot) => unsafe { std::slice::from_raw_parts(slot.address, slot.len) },
        }
    }
}
