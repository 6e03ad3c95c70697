//! A received payload before anybody has read it: inline bytes, a slot of the peer's region, or a copy of
//! one.
//!
//! [`Arrived`] is what an entry brings, and lives as long as the entry's private copy; [`Received`] is what
//! is kept of it beyond that.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::connection::annotated::Annotated;
use crate::connection::link::Link;
use crate::connection::segments::PeerSegment;
use crate::layout::{Handle, copy_from_shared, copy_to_slot};
use crate::ring::{Inline, InlineBytes};
use crate::rpc::{CodecError, Decode, PooledBuf, Private, Reading, Short};
use crate::wire::Metadata;

/// What came with an entry, at the moment when it is looked at.
///
/// Two addresses and nothing to drop, because it is passed from hand to hand for each message. What is
/// outside of the entry is taken out; whatever is left there is returned by whoever has put it there.
pub(crate) struct Arrived<'a> {
    /// The message, unless it is outside: bytes that are in private memory already.
    pub(crate) inline: Inline<'a>,
    pub(crate) outside: &'a mut Option<Outside>,
}

/// A payload outside of its entry.
pub(crate) enum Outside {
    Slot(ReceivedSlot),
    /// Copied, and the slot returned, before somebody asked for it.
    Private(Private),
    /// With metadata.
    Annotated(Box<Annotated>),
}

impl Outside {
    #[cold]
    pub(super) fn annotated(metadata: Metadata, message: Self) -> Self {
        Self::Annotated(Box::new(Annotated { metadata, message }))
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Slot(slot) => slot.len,
            Self::Private(private) => private.remaining(),
            Self::Annotated(annotated) => annotated.message.len(),
        }
    }

    /// Copied to private memory, once, and the slot returned.
    pub(crate) fn into_private(self) -> Private {
        match self {
            Self::Slot(slot) => slot.into_private(),
            Self::Private(private) => private,
            Self::Annotated(annotated) => annotated.message.into_private(),
        }
    }

    /// The same for the message alone: metadata stay with it, and are private in any case.
    pub(crate) fn made_private(self) -> Self {
        match self {
            Self::Annotated(annotated) => {
                Self::annotated(annotated.metadata, annotated.message.made_private())
            }
            message => Self::Private(message.into_private()),
        }
    }

    fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Slot(slot) => slot.to_vec(),
            Self::Private(private) => private.chunk().to_vec(),
            Self::Annotated(annotated) => annotated.message.to_vec(),
        }
    }

    /// Copies bytes from `start` on, which the caller has checked to be there.
    fn copy_range(&self, start: usize, target: &mut [u8]) {
        match self {
            Self::Private(private) => copy_to_slot(&private.chunk()[start..start + target.len()], target),
            Self::Slot(slot) => slot.copy_range(start, target),
            Self::Annotated(annotated) => annotated.message.copy_range(start, target),
        }
    }

    /// The bytes in place.
    ///
    /// # Safety
    /// The peer must not write to them while the borrow lives.
    unsafe fn as_trusted_slice(&self) -> &[u8] {
        match self {
            Self::Private(private) => private.chunk(),
            // SAFETY: mapped for as long as the guard lives; the caller promises that nobody writes.
            Self::Slot(slot) => unsafe { std::slice::from_raw_parts(slot.address, slot.len) },
            // SAFETY: the caller's promise.
            Self::Annotated(annotated) => unsafe { annotated.message.as_trusted_slice() },
        }
    }
}

impl Arrived<'_> {
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.outside.as_ref().map_or(self.inline.as_slice().len(), Outside::len)
    }

    /// Takes out the metadata that came with it, if any did. One word wide, because mostly none does.
    #[inline(always)]
    pub(crate) fn take_metadata(&mut self) -> Option<Box<Metadata>> {
        // Looked at first: mostly there is nothing outside at all.
        match self.outside {
            Some(Outside::Annotated(_)) => Some(self.take_annotation()),
            _ => None,
        }
    }

    #[cold]
    fn take_annotation(&mut self) -> Box<Metadata> {
        let Some(Outside::Annotated(annotated)) = self.outside.take() else {
            unreachable!("the caller has looked")
        };
        let Annotated { metadata, message } = *annotated;
        *self.outside = Some(message);
        Box::new(metadata)
    }

    /// Has it bring these metadata, instead of those that were taken out.
    #[cold]
    pub(crate) fn put_metadata(&mut self, metadata: Metadata) {
        if metadata.is_empty() {
            return;
        }
        let copied = || Outside::Private(Private::copied(self.inline.as_slice()));
        *self.outside = Some(Outside::annotated(metadata, self.outside.take().unwrap_or_else(copied)));
    }

    /// Decodes a message from a private copy of it, which inline bytes are already. A slot is returned.
    #[inline(always)]
    pub(crate) fn decode<M: Decode>(self) -> Result<M, CodecError> {
        match self.outside.take() {
            None => M::decode(Short(self.inline.as_slice())),
            Some(outside) => M::decode(Reading::whole(outside.into_private())),
        }
    }

    /// Returns the slot of a message that is not read at once: it is copied to private memory.
    #[inline]
    pub(crate) fn return_slot(&mut self) {
        if let Some(outside) = self.outside.take() {
            *self.outside = Some(outside.made_private());
        }
    }

    /// The bytes in a vector of their own.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self.outside.take() {
            None => self.inline.as_slice().to_vec(),
            Some(outside) => outside.to_vec(),
        }
    }

    /// The same, for longer; a slot stays where it is.
    #[inline(always)]
    pub(crate) fn keep(self) -> Received {
        match self.outside.take() {
            None => Received::Inline(self.inline.keep()),
            Some(outside) => Received::Outside(outside),
        }
    }
}

/// What came with an entry, kept. Dropped, it returns its slot to the owner.
pub(crate) enum Received {
    Inline(InlineBytes),
    Outside(Outside),
}

/// A place for what comes, used again and again: a call's cell has one.
pub(crate) struct Kept {
    /// The payload, if there is none outside.
    inline: InlineBytes,
    outside: Option<Outside>,
}

impl Kept {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self { inline: Inline::EMPTY.keep(), outside: None }
    }

    /// Takes in what arrived. For one that is empty.
    #[inline]
    pub(crate) fn receive(&mut self, arrived: Arrived<'_>) {
        self.inline = arrived.inline.keep();
        self.outside = arrived.outside.take();
    }

    /// What came, to be read once.
    #[inline]
    pub(crate) fn arrived(&mut self) -> Arrived<'_> {
        Arrived { inline: self.inline.as_inline(), outside: &mut self.outside }
    }

    /// A copy of what came, without its metadata.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        match &self.outside {
            None => self.inline.as_slice().to_vec(),
            Some(outside) => outside.to_vec(),
        }
    }

    /// Drops what is outside. Inline bytes stay until the next ones come, and nobody looks at them.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.outside = None;
    }
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

    /// The connection that it came over.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Copies it to private memory, once, and returns the slot.
    pub(crate) fn into_private(self) -> Private {
        Private::pooled(self.copy())
    }

    /// The same, but the slot's return is left to the reply that names the handle.
    pub(crate) fn into_private_and_handle(mut self) -> (Private, Option<Handle>) {
        let copy = Private::pooled(self.copy());
        // On the socket lane slots go back by their own words alone.
        if self.link.is_socket_lane() {
            self.give_back();
        }
        (copy, self.handle.take())
    }

    /// Returns the slot, of which nothing more is read. Nothing happens if that was done before.
    pub(super) fn give_back(&mut self) {
        // First: once the slot is back, its owner may drop the segment and count its bytes as free.
        self.segment = None;
        if let Some(handle) = self.handle.take() {
            self.link.give_back(handle);
        }
    }

    /// Copies the first `count` bytes, which are none of the message: it begins behind them.
    ///
    /// # Panics
    /// If there are fewer.
    pub(super) fn take_first(&mut self, count: usize) -> Vec<u8> {
        assert!(count <= self.len, "taken past the end of a payload");
        let mut first = vec![0; count];
        self.copy_range(0, &mut first);
        // SAFETY: `new` promised `len` mapped bytes, of which these are a part.
        self.address = unsafe { self.address.add(count) };
        self.len -= count;
        first
    }

    /// Copies bytes from `start` on.
    ///
    /// # Panics
    /// If the payload has fewer.
    fn copy_range(&self, start: usize, target: &mut [u8]) {
        assert!(start.checked_add(target.len()).is_some_and(|end| end <= self.len));
        // SAFETY: `new` promised `len` mapped bytes, of which the range is a part.
        unsafe { copy_from_shared(self.address.add(start), target.as_mut_ptr(), target.len()) };
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len);
        // SAFETY: `new` promised `len` mapped bytes; the vector has room for as many, nobody else sees it
        // yet, and `copy_from_shared` initialises what it copies.
        unsafe {
            copy_from_shared(self.address, copy.as_mut_ptr(), self.len);
            copy.set_len(self.len);
        }
        copy
    }

    /// Copies `count` bytes from `from` on to the end of `copy`.
    ///
    /// # Panics
    /// If the payload has fewer, or the buffer no room for them.
    pub(super) fn copy_range_to(&self, copy: &mut PooledBuf, from: usize, count: usize) {
        assert!(from <= self.len && count <= self.len - from, "copied past the end of a payload");
        // SAFETY: `new` promised `len` mapped bytes, of which the range is a part, and `copy_from_shared`
        // initialises as many as it copies.
        unsafe { copy.extend_by(count, |dst| copy_from_shared(self.address.add(from), dst, count)) }
    }

    fn copy(&self) -> PooledBuf {
        let mut copy = PooledBuf::with_room_for(self.len);
        self.copy_range_to(&mut copy, 0, self.len);
        copy
    }
}

impl Drop for ReceivedSlot {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Received {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(inline) => inline.as_slice().len(),
            Self::Outside(outside) => outside.len(),
        }
    }

    /// As it was when it came.
    pub(crate) fn arrived<R>(self, read: impl FnOnce(Arrived<'_>) -> R) -> R {
        match self {
            Self::Inline(inline) => read(Arrived { inline: inline.as_inline(), outside: &mut None }),
            Self::Outside(outside) => read(Arrived { inline: Inline::EMPTY, outside: &mut Some(outside) }),
        }
    }

    /// The bytes on private memory, and the slot returned.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Inline(inline) => Bytes::copy_from_slice(inline.as_slice()),
            Self::Outside(outside) => outside.into_private().into_bytes(),
        }
    }

    /// Copies bytes from `start` on into `target`; each shared byte is read once.
    ///
    /// # Panics
    /// If the range is not inside the payload.
    #[inline]
    pub(crate) fn copy_range(&self, start: usize, target: &mut [u8]) {
        let end = start.checked_add(target.len()).filter(|&end| end <= self.len());
        assert!(end.is_some(), "range {start}..+{} of a payload of {} bytes", target.len(), self.len());
        match self {
            Self::Inline(inline) => copy_to_slot(&inline.as_slice()[start..start + target.len()], target),
            Self::Outside(outside) => outside.copy_range(start, target),
        }
    }

    /// The payload, copied to a vector of its own.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Inline(inline) => inline.as_slice().to_vec(),
            Self::Outside(outside) => outside.to_vec(),
        }
    }

    /// The payload in place.
    ///
    /// # Safety
    /// The peer must not write to the payload's bytes while the borrow lives.
    pub(crate) unsafe fn as_trusted_slice(&self) -> &[u8] {
        match self {
            Self::Inline(inline) => inline.as_slice(),
            // SAFETY: the caller's promise.
            Self::Outside(outside) => unsafe { outside.as_trusted_slice() },
        }
    }
}
