//! What a call sends, tried as often as it takes until there is room for it, whoever waits in between.

use std::sync::Arc;

use prost::Message;

use crate::connection::{Filled, Head, Link, Prepared, SendFailure, encode_inline, prepare};
use crate::raw::RawBody;
use crate::ring::INLINE_BYTES;

/// Sends a message of `len` bytes. What an attempt that had to wait has done already is in `prepared`.
#[inline(always)]
pub(super) fn send_message<'a, M: Message>(
    link: &'a Arc<Link>,
    head: Head,
    message: &M,
    len: usize,
    prepared: &mut Option<Prepared<&'a Link>>,
) -> Result<(), SendFailure> {
    if len <= INLINE_BYTES {
        let mut entry = head.inline();
        encode_inline(&mut entry, message, len).map_err(SendFailure::Failed)?;
        return link.push(&entry, None);
    }
    if prepared.is_none() {
        if let Some(filled) = Filled::begin(link, head, len)? {
            return filled.send(message, || {}).map_err(SendFailure::Failed);
        }
        *prepared = Some(prepare(link, head, message, len)?);
    }
    prepared.as_mut().expect("made above").send(link)
}

/// Sends bytes, in the same way.
#[inline(always)]
pub(super) fn send_bytes(
    link: &Arc<Link>,
    head: Head,
    body: &mut RawBody<'_>,
    prepared: &mut Option<Prepared<Arc<Link>>>,
) -> Result<(), SendFailure> {
    if let Some(bytes) = body.inline() {
        return link.push(&head.inline_with(bytes), None);
    }
    if prepared.is_none() {
        *prepared = Some(body.prepare(link, head)?);
    }
    prepared.as_mut().expect("made above").send(link)
}
