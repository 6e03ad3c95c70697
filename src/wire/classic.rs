//! The classic protocol: frames and messages of the published Go project, byte for byte.
//!
//! ```text
//!   frame            = u32le(length) ':' body[length] ','
//!   client to server   body = google.protobuf.Any { type_url, value }
//!   server to client   body = the bare message that answers the request
//! ```
//!
//! One answer for each request, in their order. A message lies in the connection's file from byte 0 on; its
//! frame tells how long it is. Sizes are sent even if they are 0. Strict and without I/O, as the netstrings
//! are: a stream that went wrong once is of no more use.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use prost_types::Any;
use thiserror::Error;

use super::message::proto;
use super::netstring::MAX_BODY;

/// Bytes before a frame's body: its length and the colon.
const HEAD: usize = 5;

const CONNECT: &str = "type.googleapis.com/mmap_rpc.ConnectRequest";
const CALL: &str = "type.googleapis.com/mmap_rpc.RPCRequest";
const DISCONNECT: &str = "type.googleapis.com/mmap_rpc.DisconnectRequest";

/// Why bytes are no classic frame, or a frame holds no message. Each of them closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ClassicError {
    /// More than a frame may hold.
    #[error("a classic frame of {len} bytes exceeds the maximum of {MAX_BODY}")]
    TooLong {
        /// The length as announced.
        len: usize,
    },
    /// The byte after the length, or the one after the body, is not what it has to be.
    #[error("expected {expected:?} {place} of a classic frame, found byte {found:#04x}")]
    Mark {
        /// The byte that belongs there.
        expected: char,
        /// Where.
        place: &'static str,
        /// The byte that came instead.
        found: u8,
    },
    /// The body does not parse.
    #[error("a classic frame holds no message: {0}")]
    Parse(#[from] prost::DecodeError),
    /// A request of no type that there is.
    #[error("a classic request of the unknown type {0:?}")]
    UnknownType(String),
}

/// Whether the first bytes of a fresh connection are classic: `None` if more of them are needed.
///
/// A netstring begins with a digit, and then comes another one or its colon. A classic frame that began so
/// would be longer than 12 KiB, which no first request is.
pub(crate) fn is_classic(first: &[u8]) -> Option<bool> {
    match first {
        [b'0'..=b'9', b'0'..=b'9' | b':', ..] => Some(false),
        [_, _, _, _, mark, ..] => Some(*mark == b':'),
        _ => None,
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClassicRequest {
    /// A connection: an id and a file.
    Connect,
    /// A call; the request is the file's first `size` bytes.
    Call { connection_id: String, method: String, size: u64 },
    /// The end of a connection.
    Disconnect { connection_id: String },
}

impl ClassicRequest {
    /// Appends it to `out` as one frame.
    ///
    /// # Errors
    /// [`ClassicError::TooLong`] for a method's name of more than 60 KiB.
    pub(crate) fn encode_frame(&self, out: &mut Vec<u8>) -> Result<(), ClassicError> {
        let (type_url, value) = match self.clone() {
            Self::Connect => (CONNECT, Vec::new()),
            Self::Call { connection_id, method, size } => {
                let fully_qualified_method_name = method;
                let size = Some(size);
                let call =
                    proto::RpcRequest { connection_id, fully_qualified_method_name, size, ..<_>::default() };
                (CALL, call.encode_to_vec())
            }
            Self::Disconnect { connection_id } => {
                (DISCONNECT, proto::DisconnectRequest { connection_id }.encode_to_vec())
            }
        };
        encode_frame(&Any { type_url: type_url.into(), value }, out)
    }

    /// Reads the body of one frame.
    ///
    /// # Errors
    /// [`ClassicError::Parse`] or [`ClassicError::UnknownType`].
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ClassicError> {
        let Any { type_url, value } = Any::decode(body)?;
        match type_url.as_str() {
            CONNECT => proto::ConnectRequest::decode(&value[..]).map(|_| Self::Connect),
            CALL => proto::RpcRequest::decode(&value[..]).map(|call| Self::Call {
                size: call.size(),
                connection_id: call.connection_id,
                method: call.fully_qualified_method_name,
            }),
            DISCONNECT => proto::DisconnectRequest::decode(&value[..])
                .map(|bye| Self::Disconnect { connection_id: bye.connection_id }),
            _ => return Err(ClassicError::UnknownType(type_url)),
        }
        .map_err(Into::into)
    }
}

/// The answer to [`ClassicRequest::Connect`]: id and path of the file, or why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicConnected(pub(crate) Result<(String, String), String>);

impl ClassicConnected {
    /// Appends it to `out` as one frame.
    ///
    /// # Errors
    /// [`ClassicError::TooLong`].
    pub(crate) fn encode_frame(&self, out: &mut Vec<u8>) -> Result<(), ClassicError> {
        let mut answer = proto::ConnectResponse::default();
        match self.0.clone() {
            Ok((id, file)) => (answer.connection_id, answer.mmap_filename) = (id, file),
            Err(error) => answer.error = error,
        }
        encode_frame(&answer, out)
    }

    /// Reads the body of one frame.
    ///
    /// # Errors
    /// [`ClassicError::Parse`].
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ClassicError> {
        let answer = proto::ConnectResponse::decode(body)?;
        Ok(Self(match answer.error.is_empty() {
            true => Ok((answer.connection_id, answer.mmap_filename)),
            false => Err(answer.error),
        }))
    }
}

/// The answer to [`ClassicRequest::Call`], which it names once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicReply {
    pub(crate) connection_id: String,
    pub(crate) method: String,
    /// How many of the file's first bytes are the reply, or why there is none.
    pub(crate) outcome: Result<u64, String>,
}

impl ClassicReply {
    /// Appends it to `out` as one frame.
    ///
    /// # Errors
    /// [`ClassicError::TooLong`].
    pub(crate) fn encode_frame(&self, out: &mut Vec<u8>) -> Result<(), ClassicError> {
        let (size, error) = match &self.outcome {
            Ok(size) => (*size, String::new()),
            Err(error) => (0, error.clone()),
        };
        let answer = proto::RpcResponse {
            connection_id: self.connection_id.clone(),
            fully_qualified_method_name: self.method.clone(),
            size: Some(size),
            error,
            ..<_>::default()
        };
        encode_frame(&answer, out)
    }

    /// Reads the body of one frame.
    ///
    /// # Errors
    /// [`ClassicError::Parse`].
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ClassicError> {
        let answer = proto::RpcResponse::decode(body)?;
        let size = answer.size();
        Ok(Self {
            connection_id: answer.connection_id,
            method: answer.fully_qualified_method_name,
            outcome: if answer.error.is_empty() { Ok(size) } else { Err(answer.error) },
        })
    }
}

/// Appends the answer to [`ClassicRequest::Disconnect`] to `out`: an empty message.
pub(crate) fn encode_farewell(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\0\0\0\0:,");
}

fn encode_frame(body: &impl Message, out: &mut Vec<u8>) -> Result<(), ClassicError> {
    let len = body.encoded_len();
    if len > MAX_BODY {
        return Err(ClassicError::TooLong { len });
    }
    out.reserve(HEAD + len + 1);
    out.extend_from_slice(&(len as u32).to_le_bytes());
    out.push(b':');
    body.encode(out).expect("a Vec takes every write");
    out.push(b',');
    Ok(())
}

/// Cuts a stream of bytes into the bodies of its frames.
///
/// It buffers what was fed and not yet taken. A caller that takes frames until `None` after each `feed`
/// bounds that by one read plus one incomplete frame.
#[derive(Debug, Default)]
pub(crate) struct ClassicDecoder {
    bytes: BytesMut,
}

impl ClassicDecoder {
    /// Takes in the next bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that were fed and not yet taken as frames.
    pub(crate) fn buffered(&self) -> usize {
        self.bytes.len()
    }

    /// The body of the next frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream's first error, and the same one ever after: nothing that is wrong is ever taken out.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, ClassicError> {
        let Some(len) = self.frame()? else { return Ok(None) };
        self.bytes.advance(HEAD);
        let body = self.bytes.split_to(len).freeze();
        self.bytes.advance(1);
        Ok(Some(body))
    }

    /// Whether [`next_frame`](Self::next_frame) would return one.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn has_frame(&self) -> Result<bool, ClassicError> {
        Ok(self.frame()?.is_some())
    }

    /// The length of the first frame's body, if the frame is complete.
    fn frame(&self) -> Result<Option<usize>, ClassicError> {
        let Some(len) = self.bytes.first_chunk().map(|&len| u32::from_le_bytes(len) as usize) else {
            return Ok(None);
        };
        if len > MAX_BODY {
            return Err(ClassicError::TooLong { len });
        }
        let marked = |at: usize, expected, place| match self.bytes.get(at) {
            Some(&found) if found != expected as u8 => Err(ClassicError::Mark { expected, place, found }),
            found => Ok(found.is_some()),
        };
        let complete =
            marked(HEAD - 1, ':', "after the length")? && marked(HEAD + len, ',', "after the body")?;
        Ok(complete.then_some(len))
    }
}
