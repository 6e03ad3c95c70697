//! Messages on their way out: a claimed slot, and a message prepared inline or in one.

use std::ops::Deref;
use std::ptr;
use std::sync::Arc;

use crate::connection::annotated::prepare_annotated;
use crate::connection::flow::Flow;
use crate::connection::link::Link;
use crate::connection::writer::{encode, encode_short};
use crate::layout::{Handle, copy_to_slot};
use crate::ring::{Descriptor, Entry, INLINE_BYTES, Shape};
use crate::rpc::{Encode, Status};
use crate::slab::Claim;

/// Why a message was not sent.
#[derive(Debug)]
pub(crate) enum SendFailure {
    /// No room in the ring, or no slot, right now: arm `want_space`, try again, then park.
    Wait,
    /// It cannot be sent at all.
    Failed(Status),
}

#[cold]
pub(super) fn too_large(len: u64, max: u64) -> Status {
    Status::resource_exhausted(format!(
        "message of {len} bytes exceeds max_message_size ({max} bytes); raise max_message_size on both sides"
    ))
}

#[cold]
pub(super) fn too_large_for_file(len: u64, max: u64) -> Status {
    Status::resource_exhausted(format!(
        "message of {len} bytes exceeds what the connection's file was made for ({max} bytes); raise \
         max_message_size and max_region_bytes on both sides"
    ))
}

/// A claimed slot that its holder fills. Dropped, it goes back to the free list: that is abort.
///
/// `L` is how the holder keeps the connection: by borrow inside a call, by `Arc` in a public loan.
pub(crate) struct Slot<L: Deref<Target = Link>> {
    link: L,
    /// `None` once the peer has it.
    claim: Option<Claim>,
}

impl<L: Deref<Target = Link>> Slot<L> {
    /// Claims a slot of at least `len` bytes.
    #[inline]
    pub(crate) fn claim(link: L, len: u64) -> Result<Self, SendFailure> {
        let claim = link.claim(len)?;
        Ok(Self { link, claim: Some(claim) })
    }

    /// Whether it belongs to this connection.
    pub(crate) fn is_of(&self, link: &Link) -> bool {
        ptr::eq(&*self.link, link)
    }

    fn held(&self) -> Claim {
        self.claim.expect("a slot that was sent is not used again")
    }

    /// The same slot, held in another way.
    pub(crate) fn held_by<M: Deref<Target = Link>>(mut self, link: M) -> Slot<M> {
        assert!(self.is_of(&link), "a slot belongs to one connection");
        Slot { link, claim: self.claim.take() }
    }

    /// The first `len` bytes of the slot.
    ///
    /// # Panics
    /// If the slot is smaller.
    pub(crate) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        let claim = self.held();
        assert!(len as u64 <= claim.slot_size);
        let (address, _) = self.link.own.place(claim);
        // SAFETY: a claim is exclusive until abort or commit (I1), the slot has `slot_size` mapped bytes, and
        // the mapping stays while any slot of its segment is claimed. Only our process can write there. The
        // bytes are initialised: a memfd starts as zeros.
        unsafe { std::slice::from_raw_parts_mut(address, len) }
    }

    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        let claim = self.held();
        assert!(len as u64 <= claim.slot_size);
        let (address, _) = self.link.own.place(claim);
        // SAFETY: as in `bytes_mut`; the shared borrow of the guard excludes writers.
        unsafe { std::slice::from_raw_parts(address, len) }
    }

    /// The claim, which nobody aborts any more when it is dropped.
    pub(super) fn into_claim(mut self) -> Claim {
        let claim = self.held();
        self.claim = None;
        claim
    }

    pub(super) fn descriptor(&self, len: u64) -> Descriptor {
        let claim = self.held();
        let (_, offset) = self.link.own.place(claim);
        Descriptor { handle: claim.handle.get(), offset, length: len }
    }
}

impl<L: Deref<Target = Link>> Drop for Slot<L> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim {
            self.link.abort(claim.handle);
        }
    }
}

/// Whom an entry is for and what it says, apart from its payload.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Head {
    Request {
        method: u32,
        call_id: u32,
        deadline_us: u32,
        shape: Shape,
    },
    Reply {
        call_id: u32,
        code: u32,
        released: Option<Handle>,
    },
    /// A message of a stream.
    Message {
        call_id: u32,
    },
    /// Metadata and nothing else.
    Headers {
        call_id: u32,
    },
}

impl Head {
    /// The entry of a message that travels in it, still without a byte of it.
    #[inline(always)]
    pub(crate) fn inline(self) -> Entry {
        match self {
            Self::Request { method, call_id, deadline_us, shape } => {
                Entry::request_inline(method, call_id, deadline_us, &[]).with_shape(shape)
            }
            Self::Reply { call_id, code, released } => {
                Entry::reply_inline(call_id, code, released.map(Handle::get), &[])
            }
            Self::Message { call_id } => Entry::message_inline(call_id),
            Self::Headers { call_id } => Entry::headers_inline(call_id),
        }
    }

    /// The entry of these bytes, at most [`INLINE_BYTES`] of them.
    #[inline(always)]
    pub(crate) fn inline_with(self, payload: &[u8]) -> Entry {
        let mut entry = self.inline();
        entry.inline_mut()[..payload.len()].copy_from_slice(payload);
        entry.set_inline_length(payload.len());
        entry
    }

    #[inline]
    pub(super) fn slot(self, slot: Descriptor) -> Entry {
        match self {
            Self::Request { method, call_id, deadline_us, shape } => {
                Entry::request_slot(method, call_id, deadline_us, slot).with_shape(shape)
            }
            Self::Reply { call_id, code, released } => {
                Entry::reply_slot(call_id, code, released.map(Handle::get), slot)
            }
            Self::Message { call_id } => Entry::message_slot(call_id, slot),
            Self::Headers { call_id } => Entry::headers_slot(call_id, slot),
        }
    }
}

/// A message that is encoded and waits for a place in the ring.
pub(crate) struct Prepared<L: Deref<Target = Link>> {
    pub(super) entry: Entry,
    pub(super) slot: Option<Slot<L>>,
}

impl<L: Deref<Target = Link>> Prepared<L> {
    /// A payload of at most [`INLINE_BYTES`].
    #[inline]
    pub(crate) fn inline(head: Head, payload: &[u8]) -> Self {
        Self { entry: head.inline_with(payload), slot: None }
    }

    /// A payload that lies in the first `len` bytes of a slot.
    pub(crate) fn in_slot(head: Head, slot: Slot<L>, len: u64) -> Self {
        slot.link.last_sent.note(slot.held().handle, len);
        Self { entry: head.slot(slot.descriptor(len)), slot: Some(slot) }
    }

    /// Publishes it. On failure nothing is lost: it can be sent again.
    ///
    /// # Panics
    /// If its slot was sent before.
    #[inline]
    pub(crate) fn send(&mut self, link: &Link) -> Result<(), SendFailure> {
        if let Some(lane) = &link.lane {
            return self.send_on_socket(link, lane);
        }
        let handle = self.slot.as_ref().map(|slot| slot.held().handle);
        link.push(&self.entry, handle)?;
        if let Some(slot) = &mut self.slot {
            slot.claim = None;
        }
        Ok(())
    }
}

impl Prepared<&Link> {
    /// The same message, kept beyond the borrow of its connection.
    pub(crate) fn owned(self, link: &Arc<Link>) -> Prepared<Arc<Link>> {
        Prepared { entry: self.entry, slot: self.slot.map(|slot| slot.held_by(link.clone())) }
    }
}

/// Encodes a message of `len` bytes straight into a slot. A shorter one goes into its entry, with
/// [`encode_inline`].
#[inline]
pub(crate) fn prepare<L: Deref<Target = Link>, M: Encode>(
    link: L,
    head: Head,
    message: &M,
    len: usize,
) -> Result<Prepared<L>, SendFailure> {
    let mut slot = Slot::claim(link, len as u64)?;
    encode(message, slot.bytes_mut(len)).map_err(SendFailure::Failed)?;
    Ok(Prepared::in_slot(head, slot, len as u64))
}

/// Encodes a message of `len` bytes, at most [`INLINE_BYTES`], into its entry. The entry lies where it is
/// sent from: short messages are too many to be handed around.
#[inline]
pub(crate) fn encode_inline<M: Encode>(entry: &mut Entry, message: &M, len: usize) -> Result<(), Status> {
    encode_short(message, &mut entry.inline_mut()[..len])?;
    entry.set_inline_length(len);
    Ok(())
}

/// Sends a message of `len` bytes behind encoded metadata, if there are any, and not while it is encoded.
/// What an attempt that had to wait has done already is in `prepared`.
pub(crate) fn send_whole<L: Deref<Target = Link> + Clone, M: Encode>(
    link: &L,
    head: Head,
    metadata: &[u8],
    message: &M,
    len: usize,
    prepared: &mut Option<Prepared<L>>,
) -> Result<(), SendFailure> {
    if prepared.is_none() {
        *prepared = Some(if !metadata.is_empty() {
            prepare_annotated(link.clone(), head, metadata, message, len)?
        } else if len <= INLINE_BYTES {
            let mut entry = head.inline();
            encode_inline(&mut entry, message, len).map_err(SendFailure::Failed)?;
            Prepared { entry, slot: None }
        } else {
            prepare(link.clone(), head, message, len)?
        });
    }
    prepared.as_mut().expect("made above").send(link)
}

/// Sends a message of a call's stream; [`SendFailure::Wait`] for credit as for space. What an attempt that
/// had to wait has done already is in `prepared`.
pub(crate) fn send_in_flow<L: Deref<Target = Link> + Clone, M: Encode>(
    link: &L,
    flow: &Flow,
    call_id: u32,
    message: &M,
    prepared: &mut Option<Prepared<L>>,
) -> Result<(), SendFailure> {
    let len = message.encoded_len();
    if !flow.spend(len) {
        return Err(SendFailure::Wait);
    }
    let sent = send_whole(link, Head::Message { call_id }, &[], message, len, prepared);
    if sent.is_err() {
        flow.unspend(len);
    }
    sent
}

/// Copies bytes to where they will travel, as [`prepare`] does with a message.
pub(crate) fn prepare_bytes<L: Deref<Target = Link>>(
    link: L,
    head: Head,
    payload: &[u8],
) -> Result<Prepared<L>, SendFailure> {
    if payload.len() <= INLINE_BYTES {
        return Ok(Prepared::inline(head, payload));
    }
    let mut slot = Slot::claim(link, payload.len() as u64)?;
    copy_to_slot(payload, slot.bytes_mut(payload.len()));
    Ok(Prepared::in_slot(head, slot, payload.len() as u64))
}
