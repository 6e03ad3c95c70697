//! What becomes of a reply.

use std::panic;
use std::thread;
use std::time::Instant;

use crate::client::reconnect::received;
use crate::connection::{Arrived, Coming};
use crate::ring::Inline;
use crate::rpc::{CodecError, Decode, Response, Status};

/// What came of a reply that was read while it came: `None` if it was not. A decoder may have panicked.
pub(super) type Followed<R> = Option<thread::Result<Result<R, Status>>>;

/// Reads the reply of a call.
pub(super) trait ReadReply<R> {
    /// Reads one that is no failure.
    fn read(&self, payload: Arrived<'_>) -> Result<R, Status>;

    /// Reads one while it comes, if that can be, and until then.
    fn follow(&self, _coming: &mut Coming, _deadline: Option<Instant>) -> Followed<R> {
        None
    }

    /// Reads one with a status code.
    #[inline(always)]
    fn read_with(&self, code: u32, payload: Arrived<'_>) -> Result<R, Status> {
        match code {
            0 => self.read(payload),
            code => Err(failure(code, payload)),
        }
    }
}

impl<R, F: Fn(Arrived<'_>) -> Result<R, Status>> ReadReply<R> for F {
    #[inline(always)]
    fn read(&self, payload: Arrived<'_>) -> Result<R, Status> {
        self(payload)
    }
}

/// Decodes a reply of one message.
pub(super) struct ReadMessage;

impl<M: Decode> ReadReply<Response<M>> for ReadMessage {
    #[inline(always)]
    fn read(&self, mut payload: Arrived<'_>) -> Result<Response<M>, Status> {
        let metadata = payload.take_metadata();
        match payload.decode() {
            Ok(message) => Ok(Response::received(message, metadata)),
            Err(error) => Err(undecodable(&error)),
        }
    }

    #[cold]
    fn follow(&self, coming: &mut Coming, deadline: Option<Instant>) -> Followed<Response<M>> {
        let response = |message| Response::received(message, None);
        let read = coming.decode(deadline)?;
        Some(read.map(|decoded| decoded.map(response).map_err(|error| undecodable(&error))))
    }
}

/// Reads a successful reply while it comes: a [`Reader`], whatever it makes of it.
pub(super) trait Follow {
    /// True if the reply was read, all of it.
    fn follow(&mut self, coming: &mut Coming) -> bool;
}

/// A caller who reads its reply where it is received.
pub(super) struct Reader<'r, T, R> {
    read: &'r T,
    deadline: Option<Instant>,
    followed: Followed<R>,
}

impl<'r, T: ReadReply<R>, R> Reader<'r, T, R> {
    #[inline(always)]
    pub(super) fn new(read: &'r T, deadline: Option<Instant>) -> Self {
        Self { read, deadline, followed: None }
    }

    /// What came of the reply: it was read while it came, or is inside the entry.
    #[inline(always)]
    pub(super) fn finish(self, code: u32, inline: Inline<'_>) -> Result<R, Status> {
        match self.followed {
            None => self.read.read_with(code, Arrived { inline, outside: &mut None }),
            Some(Ok(result)) => result,
            Some(Err(panic)) => panic::resume_unwind(panic),
        }
    }
}

impl<T: ReadReply<R>, R> Follow for Reader<'_, T, R> {
    fn follow(&mut self, coming: &mut Coming) -> bool {
        self.followed = self.read.follow(coming, self.deadline);
        self.followed.is_some()
    }
}

#[cold]
fn undecodable(error: &CodecError) -> Status {
    Status::internal(format!("the reply does not decode: {error}"))
}

#[cold]
pub(super) fn failure(code: u32, mut payload: Arrived<'_>) -> Status {
    let metadata = payload.take_metadata();
    received(Status::decode_payload(code, &payload.into_vec()).with_metadata(metadata))
}
