//! Messages with metadata, on their way out and in: the metadata come first, and the entry says how long they
//! are. Few messages have any, so that nothing of this is on the way of the others.

use std::ops::Deref;

use crate::connection::link::Link;
use crate::connection::received::{Outside, ReceivedSlot};
use crate::connection::send::{Head, Prepared, SendFailure, Slot, prepare_bytes};
use crate::connection::writer::{encode, encode_short};
use crate::error::Violation;
use crate::layout::copy_to_slot;
use crate::ring::INLINE_BYTES;
use crate::rpc::{Encode, Private, Status};
use crate::wire::Metadata;

/// A message that came with metadata.
pub(crate) struct Annotated {
    pub(super) metadata: Metadata,
    pub(super) message: Outside,
}

#[cold]
fn too_long(len: usize, max: u32) -> Status {
    Status::resource_exhausted(format!(
        "metadata of {len} bytes exceeds max_metadata_size ({max} bytes); raise max_metadata_size on both sides"
    ))
}

/// Encodes a message of `len` bytes behind encoded metadata, to where both will travel.
///
/// # Errors
/// As for every message, and for metadata that are longer than was agreed.
#[cold]
pub(crate) fn prepare_annotated<L: Deref<Target = Link>, M: Encode>(
    link: L,
    head: Head,
    metadata: &[u8],
    message: &M,
    len: usize,
) -> Result<Prepared<L>, SendFailure> {
    let write = |room: &mut [u8]| match room.len() {
        short if short <= INLINE_BYTES => encode_short(message, room),
        _ => encode(message, room),
    };
    prepare_behind(link, head, metadata, len, write)
}

/// Copies bytes behind encoded metadata, if there are any, as [`prepare_annotated`] does with a message.
#[cold]
pub(crate) fn prepare_bytes_behind<L: Deref<Target = Link>>(
    link: L,
    head: Head,
    metadata: &[u8],
    bytes: &[u8],
) -> Result<Prepared<L>, SendFailure> {
    if metadata.is_empty() {
        return prepare_bytes(link, head, bytes);
    }
    prepare_behind(link, head, metadata, bytes.len(), |room| {
        copy_to_slot(bytes, room);
        Ok(())
    })
}

fn prepare_behind<L: Deref<Target = Link>>(
    link: L,
    head: Head,
    metadata: &[u8],
    len: usize,
    write: impl FnOnce(&mut [u8]) -> Result<(), Status>,
) -> Result<Prepared<L>, SendFailure> {
    let max = link.limits().max_metadata_size;
    if metadata.len() > max as usize {
        return Err(SendFailure::Failed(too_long(metadata.len(), max)));
    }
    // Saturating: a message written by hand can say any length, and this one is refused below.
    let all = metadata.len().saturating_add(len);
    let fill = |room: &mut [u8]| {
        let (first, rest) = room.split_at_mut(metadata.len());
        copy_to_slot(metadata, first);
        write(rest)
    };
    let mut prepared = if all <= INLINE_BYTES {
        let mut entry = head.inline();
        fill(&mut entry.inline_mut()[..all]).map_err(SendFailure::Failed)?;
        entry.set_inline_length(all);
        Prepared { entry, slot: None }
    } else {
        let mut slot = Slot::claim(link, all as u64)?;
        fill(slot.bytes_mut(all)).map_err(SendFailure::Failed)?;
        Prepared::in_slot(head, slot, all as u64)
    };
    prepared.entry = prepared.entry.with_metadata(metadata.len());
    Ok(prepared)
}

/// Takes the metadata off what an entry brought inside it.
///
/// # Errors
/// If they are longer than was agreed, or none that may be sent.
#[cold]
pub(super) fn take_off_inline(link: &Link, bytes: &[u8], meta_len: usize) -> Result<Outside, Violation> {
    let (metadata, message) = bytes.split_at_checked(meta_len).ok_or(Violation::Entry(LONGER))?;
    let metadata = admit(link, metadata)?;
    Ok(Outside::annotated(metadata, Outside::Private(Private::copied(message))))
}

/// Takes the metadata off what lies in a slot.
///
/// # Errors
/// As for [`take_off_inline`].
#[cold]
pub(super) fn take_off_slot(
    link: &Link,
    mut slot: ReceivedSlot,
    meta_len: usize,
) -> Result<Outside, Violation> {
    if meta_len > slot.len() {
        return Err(Violation::Entry(LONGER));
    }
    let metadata = admit(link, &slot.take_first(meta_len))?;
    Ok(Outside::annotated(metadata, Outside::Slot(slot)))
}

const LONGER: &str = "metadata longer than what it is part of";

fn admit(link: &Link, bytes: &[u8]) -> Result<Metadata, Violation> {
    check_length(link, bytes.len())?;
    Metadata::decode(bytes).map_err(|problem| Violation::Message(format!("Metadata {problem}")))
}

/// Whether metadata may be as long.
fn check_length(link: &Link, len: usize) -> Result<(), Violation> {
    let max = link.limits().max_metadata_size;
    if len <= max as usize {
        return Ok(());
    }
    Err(Violation::Limit(format!("metadata of {len} bytes, more than the agreed max_metadata_size ({max})")))
}

/// Joins metadata that came on their own to their message.
///
/// # Errors
/// If they are longer than was agreed.
#[cold]
pub(super) fn join(
    link: &Link,
    metadata: Metadata,
    message: Option<Outside>,
) -> Result<Option<Outside>, Violation> {
    if metadata.is_empty() {
        return Ok(message);
    }
    check_length(link, metadata.encoded_len())?;
    let message = message.unwrap_or_else(|| Outside::Private(Private::copied(&[])));
    Ok(Some(Outside::annotated(metadata, message)))
}
