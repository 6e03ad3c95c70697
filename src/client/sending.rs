//! What a call sends, tried as often as it takes until there is room for it, whoever waits in between.

use std::sync::Arc;

use crate::connection::{
    Filled, Head, Link, Prepared, SendFailure, encode_inline, prepare, prepare_annotated,
    prepare_bytes_behind,
};
use crate::raw::RawBody;
use crate::ring::INLINE_BYTES;
use crate::rpc::{Encode, MetadataMap, Request};

/// Sends a message of `len` bytes. What an attempt that had to wait has done already is in `prepared`.
#[inline(always)]
pub(super) fn send_message<'a, M: Encode>(
    link: &'a Arc<Link>,
    head: Head,
    request: &Request<M>,
    len: usize,
    prepared: &mut Option<Prepared<&'a Link>>,
) -> Result<(), SendFailure> {
    let message = request.get_ref();
    if !request.metadata().is_empty() {
        return send_annotated(link, head, request, len, prepared);
    }
    if len <= INLINE_BYTES {
        let mut entry = head.inline();
        encode_inline(&mut entry, message, len).map_err(SendFailure::Failed)?;
        return link.push(&entry, None);
    }
    if prepared.is_none() {
        if let Some(filled) = Filled::begin(link, head, len)? {
            return filled.send(message, || {}).map_err(SendFailure::Failed);
        }
        *prepared = Some(prepare(&**link, head, message, len)?);
    }
    prepared.as_mut().expect("made above").send(link)
}

#[cold]
fn send_annotated<'a, M: Encode>(
    link: &'a Arc<Link>,
    head: Head,
    request: &Request<M>,
    len: usize,
    prepared: &mut Option<Prepared<&'a Link>>,
) -> Result<(), SendFailure> {
    if prepared.is_none() {
        let metadata = request.encoded_metadata();
        *prepared = Some(prepare_annotated(&**link, head, &metadata, request.get_ref(), len)?);
    }
    prepared.as_mut().expect("made above").send(link)
}

/// Sends bytes, in the same way.
#[inline(always)]
pub(super) fn send_bytes(
    link: &Arc<Link>,
    head: Head,
    body: &mut RawBody<'_>,
    metadata: &MetadataMap,
    prepared: &mut Option<Prepared<Arc<Link>>>,
) -> Result<(), SendFailure> {
    if !metadata.is_empty() {
        return send_annotated_bytes(link, head, body, metadata, prepared);
    }
    if let Some(bytes) = body.inline() {
        return link.push(&head.inline_with(bytes), None);
    }
    if prepared.is_none() {
        *prepared = Some(body.prepare(link, head)?);
    }
    prepared.as_mut().expect("made above").send(link)
}

#[cold]
fn send_annotated_bytes(
    link: &Arc<Link>,
    head: Head,
    body: &RawBody<'_>,
    metadata: &MetadataMap,
    prepared: &mut Option<Prepared<Arc<Link>>>,
) -> Result<(), SendFailure> {
    if prepared.is_none() {
        let metadata = metadata.encoded();
        *prepared = Some(prepare_bytes_behind(link.clone(), head, &metadata, body.as_slice())?);
    }
    prepared.as_mut().expect("made above").send(link)
}
