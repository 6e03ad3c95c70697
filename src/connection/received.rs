//! A received payload before anybody has read it: inline bytes, a slot of the peer's region, or a copy of
//! one.
//!
//! [`Arrived`] is what an entry brings, and lives as long as the entry's private copy; [`Received`] is what
//! is kept of it beyond that.

use std::mem;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use prost::{DecodeError, Message};

use crate::connection::link::Link;
use crate::connection::segments::PeerSegment;
use crate::layout::{Handle, copy_from_shared};
use crate::ring::INLINE_BYTES;
use crate::rpc::{InlineBytes, PooledBuf, Private, Short};

const _: () = assert!(INLINE_BYTES == InlineBytes::ROOM);

/// What came with an entry, at the moment when it comes. Dropped, it returns its slot to the owner.
///
/// Small, because it is passed from hand to hand for each message.
pub(crate) enum Arrived<'a> {
    /// Bytes that are in private memory already: those of the entry's copy.
    Inline(&'a [u8]),
    Slot(ReceivedSlot),
}

impl Arrived<'_> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Slot(slot) => slot.len,
        }
    }

    /// The same, for longer; a slot stays where it is.
    #[inline]
    pub(crate) fn keep(self) -> Received {
        match self {
            Self::Inline(bytes) => Received::Inline(InlineBytes::new(bytes)),
            Self::Slot(slot) => Received::Slot(slot),
        }
    }
}

/// What came with an entry, kept. Dropped, it returns its slot to the owner.
pub(crate) enum Received {
    Inline(InlineBytes),
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

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies it to private memory, once, and returns the slot.
    pub(crate) fn into_private(mut self) -> Private {
        self.take_private()
    }

    /// The same; nothing is left here.
    fn take_private(&mut self) -> Private {
        let private = Private::pooled(self.copy());
        self.give_back();
        self.len = 0;
        private
    }

    /// The same, but the slot's return is left to the reply that names the handle.
    pub(crate) fn into_private_and_handle(mut self) -> (Private, Option<Handle>) {
        (Private::pooled(self.copy()), self.handle.take())
    }

    fn give_back(&mut self) {
        // First: once the slot is back, its owner may drop the segment and count its bytes as free.
        self.segment = None;
        if let Some(handle) = self.handle.take() {
            self.link.give_back(handle);
        }
    }

    fn copy(&self) -> PooledBuf {
        // SAFETY: `new` promised `len` mapped bytes, and `copy_from_shared` initialises as many as it copies.
        unsafe { PooledBuf::filled_by(self.len, |dst| copy_from_shared(self.address, dst, self.len)) }
    }
}

impl Drop for ReceivedSlot {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Received {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::Inline(InlineBytes::new(&[]))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(inline) => inline.as_slice().len(),
            Self::Slot(slot) => slot.len,
            Self::Private(private) => private.remaining(),
        }
    }

    /// Takes in what arrived, in place of what was here.
    #[inline]
    pub(crate) fn receive(&mut self, arrived: Arrived<'_>) {
        match (arrived, &mut *self) {
            (Arrived::Inline(bytes), Self::Inline(inline)) => inline.set(bytes),
            (arrived, _) => *self = arrived.keep(),
        }
    }

    /// Drops what is here.
    #[inline]
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Inline(inline) => inline.set(&[]),
            Self::Slot(_) | Self::Private(_) => *self = Self::empty(),
        }
    }

    /// As it was when it came. A slot is taken out; other bytes stay here.
    pub(crate) fn arrived(&mut self) -> Arrived<'_> {
        match self {
            Self::Inline(inline) => Arrived::Inline(inline.as_slice()),
            Self::Private(private) => Arrived::Inline(Buf::chunk(private)),
            slot => match mem::replace(slot, Self::empty()) {
                Self::Slot(slot) => Arrived::Slot(slot),
                Self::Inline(_) | Self::Private(_) => unreachable!("matched above"),
            },
        }
    }

    /// The bytes on private memory, and the slot returned.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Inline(inline) => Bytes::copy_from_slice(inline.as_slice()),
            Self::Slot(slot) => slot.into_private().into_bytes(),
            Self::Private(private) => private.into_bytes(),
        }
    }

    /// Decodes a message from a private copy of it, which inline bytes are already. A slot is returned.
    #[inline]
    pub(crate) fn decode<M: Message + Default>(&mut self) -> Result<M, DecodeError> {
        match self {
            Self::Inline(inline) => M::decode(Short(inline.as_slice())),
            Self::Slot(slot) => M::decode(slot.take_private()),
            Self::Private(private) => M::decode(private),
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
            Self::Inline(inline) => {
                target.copy_from_slice(&inline.as_slice()[start..start + target.len()]);
            }
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
            Self::Inline(inline) => inline.as_slice().to_vec(),
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
            Self::Inline(inline) => inline.as_slice(),
            Self::Private(private) => private.chunk(),
            // SAFETY: mapped for as long as the guard lives; the caller promises that nobody writes.
            Self::Slot(slot) => unsafe { std::slice::from_raw_parts(slot.address, slot.len) },
        }
    }
}
