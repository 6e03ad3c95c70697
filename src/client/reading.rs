//! What becomes of a reply.

use std::thread;

use crate::client::reconnect::received;
use crate::connection::{Arrived, Coming};
use crate::rpc::{CodecError, Decode, Response, Status};

/// What came of a reply that was read while it came: `None` if it was not. A decoder may have panicked.
pub(super) type Followed<R> = Option<thread::Result<Result<R, Status>>>;

/// Reads the reply of a call.
pub(super) trait ReadReply<R> {
    /// Reads one that is no failure.
    fn read(&self, payload: Arrived<'_>) -> Result<R, Status>;

    /// Reads one while it comes, if that can be.
    fn follow(&self, _coming: &mut Coming) -> Followed<R> {
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
    fn follow(&self, coming: &mut Coming) -> Followed<Response<M>> {
        let response = |message| Response::received(message, None);
        Some(coming.decode()?.map(|decoded| decoded.map(response).map_err(|error| undecodable(&error))))
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
