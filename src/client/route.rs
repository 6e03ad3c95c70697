//! What carries the calls of a channel: one connection, one after the other, or a pool of classic ones.

use std::sync::Arc;
use std::time::Instant;

use crate::client::classic::{Lease, Pool};
use crate::client::core::Core;
use crate::client::intercepted::Intercepted;
use crate::client::method::Method;
use crate::client::reading::ReadReply;
use crate::client::reconnect::Reconnecting;
use crate::connection::{Arrived, Outside};
use crate::raw::RawBody;
use crate::ring::Inline;
use crate::rpc::{Encode, Letter, MetadataMap, Request, Status, write_bytes, write_message};

/// A channel's connection, or connections.
#[derive(Clone)]
pub(super) enum Route {
    Ring(Arc<Core>),
    Classic(Arc<Pool>),
    /// One connection after the other.
    Again(Arc<Reconnecting>),
    /// Another channel, whose calls are looked at first.
    Intercepted(Arc<Intercepted>),
}

// Apart and cold: the lane that makes system calls must not spread through the code of the one that makes
// none.

/// Sends a message over a classic connection.
#[cold]
#[inline(never)]
pub(super) fn start_classic<'a, M: Encode>(
    pool: &'a Pool,
    method: Method,
    deadline: Option<Instant>,
    request: &Request<M>,
) -> Result<Lease<'a>, Status> {
    check_no_metadata(request.metadata())?;
    let message = request.get_ref();
    let len = message.encoded_len();
    pool.start(method, deadline, len, &|file| write_message(file, message, len, Letter::Request))
}

fn check_no_metadata(metadata: &MetadataMap) -> Result<(), Status> {
    if metadata.is_empty() {
        return Ok(());
    }
    Err(Status::unimplemented("the classic protocol carries no metadata; call without"))
}

/// Sends bytes over a classic connection.
#[cold]
#[inline(never)]
pub(super) fn start_classic_raw<'a>(
    pool: &'a Pool,
    method: Method,
    deadline: Option<Instant>,
    body: &RawBody<'_>,
    metadata: &MetadataMap,
) -> Result<Lease<'a>, Status> {
    check_no_metadata(metadata)?;
    body.check_private()?;
    let bytes = body.as_slice();
    pool.start(method, deadline, bytes.len(), &|file| write_bytes(file, bytes, Letter::Request))
}

/// Waits for the reply to a call over a classic connection, and reads it.
#[cold]
#[inline(never)]
pub(super) fn wait_classic<R>(lease: Lease<'_>, read: &impl ReadReply<R>) -> Result<R, Status> {
    let mut message = lease.reply()?.map(Outside::Private);
    read.read(Arrived { inline: Inline::EMPTY, outside: &mut message })
}
