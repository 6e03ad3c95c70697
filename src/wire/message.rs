//! Control messages: the domain types, and their way to and from the generated protobuf types.
//!
//! A [`Message`] travels as one frame. Decoding checks everything that a message can say wrong about itself
//! (`check.rs`), and encoding runs the same checks, so one side never sends what the other refuses.
//! Unknown fields are skipped: a newer peer may say more. An envelope without any known message is an error.

use prost::Message as _;
use thiserror::Error;

use super::metadata::{MAX_METADATA, Metadata};
use super::netstring::{self, NetstringError};

/// What `proto/mmap_rpc.proto` generates. Nothing outside of `wire` sees these types.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub(super) mod proto {
    include!(concat!(env!("OUT_DIR"), "/mmap_rpc.rs"));
}

/// Why a control message can neither be sent nor believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum MessageError {
    /// The bytes are not an envelope.
    #[error("not a control message: {0}")]
    Parse(#[from] prost::DecodeError),
    /// The envelope holds no message that this version knows.
    #[error("the envelope holds no known message")]
    Unknown,
    /// A field is missing, out of range, or contradicts another one.
    #[error("{message}.{field} {problem}")]
    Field {
        /// The message, as the proto file names it.
        message: &'static str,
        /// The field, as the proto file names it.
        field: &'static str,
        /// What is wrong, as the end of a sentence that starts with the field.
        problem: String,
    },
    /// The message does not fit into a frame.
    #[error("{message} does not fit into a frame: {error}")]
    Frame {
        /// The message, as the proto file names it.
        message: &'static str,
        /// Its size and the limit.
        error: NetstringError,
    },
}

/// One control message, or the doorbell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "they are named as in the proto file")]
pub(crate) enum Message {
    ConnectRequest(ConnectRequest),
    ConnectResponse(ConnectResponse),
    Disconnect(Disconnect),
    SegmentAdded(SegmentAdded),
    /// The sender's region shrinks; it has claimed every slot of the segment before.
    SegmentDropped {
        /// Never 0: the base segment lives as long as its connection.
        segment_id: u32,
    },
    /// The sender has unmapped the peer's segment: the id and its handles may be used again.
    SegmentDropAcknowledged {
        /// As in the [`Message::SegmentDropped`] that it answers.
        segment_id: u32,
    },
    RpcRequest(RpcRequest),
    RpcResponse(RpcResponse),
    /// On the socket lane: the caller is no longer interested.
    Cancel {
        /// The call; it is answered all the same.
        call_id: u32,
    },
    /// On the socket lane: the server takes no further requests.
    Goaway,
    /// On the socket lane: a message of a stream.
    StreamMessage {
        call_id: u32,
        message: Span,
    },
    /// On the socket lane: the client sends no further message of this call.
    StreamEnd {
        call_id: u32,
    },
    /// On the socket lane: the sender has read so much of a stream, and takes as much more.
    StreamCredit {
        call_id: u32,
        /// Not zero.
        bytes: u32,
    },
    /// On the socket lane: the server has taken up a call whose reply is a stream.
    StreamHeaders {
        call_id: u32,
        metadata: Metadata,
    },
    /// The empty frame: look at the ring, and at the slots that came back.
    Doorbell,
}

/// Oldest and newest protocol version that a side speaks: `1 <= min <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionRange {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// What one side takes; none of the first three is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Largest message, in bytes.
    pub(crate) max_message_size: u64,
    /// Bytes of the peer's segments that are mapped at once, base segment included.
    pub(crate) max_region_bytes: u64,
    /// Calls in flight at once.
    pub(crate) max_in_flight: u32,
    /// Longest metadata of one message, encoded, in bytes; 0 for none at all.
    pub(crate) max_metadata_size: u32,
    /// What a sender may have under way on one stream, in bytes; 0 for no streams at all.
    pub(crate) stream_window: u32,
}

impl Limits {
    /// Those of a side that takes all that can be said.
    pub(crate) const MOST: Self = Self {
        max_message_size: u64::MAX,
        max_region_bytes: u64::MAX,
        max_in_flight: u32::MAX,
        max_metadata_size: MAX_METADATA,
        stream_window: u32::MAX,
    };

    /// What holds between two sides: the smaller value of each.
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            max_message_size: self.max_message_size.min(other.max_message_size),
            max_region_bytes: self.max_region_bytes.min(other.max_region_bytes),
            max_in_flight: self.max_in_flight.min(other.max_in_flight),
            max_metadata_size: self.max_metadata_size.min(other.max_metadata_size),
            stream_window: self.stream_window.min(other.stream_window),
        }
    }
}

/// The client's first message; its base segment and its doorbell travel with it, if it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectRequest {
    pub(crate) versions: VersionRange,
    /// Bits of features that the client cannot do without.
    pub(crate) required_features: u64,
    /// Bits of features that the client would use.
    pub(crate) offered_features: u64,
    pub(crate) limits: Limits,
    /// Length of the client's base segment: whole pages, not zero. `None` asks the server for a file.
    pub(crate) base_segment_bytes: Option<u64>,
}

/// What the server brings for messages to lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Its own region; base segment and doorbell travel with the message.
    BaseSegment {
        /// Length: whole pages, not zero.
        bytes: u64,
    },
    /// Both regions, in a file.
    File {
        /// Absolute.
        path: String,
    },
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectResponse {
    /// The connection stands.
    Accepted {
        /// Names the connection in logs: 1 to 64 visible ASCII characters.
        connection_id: String,
        /// The version that the connection speaks, not zero.
        version: u32,
        /// The features that the connection uses.
        features: u64,
        limits: Limits,
        memory: Memory,
        /// Full names, each once; a method's id is its index.
        methods: Vec<String>,
    },
    /// No connection, and no descriptors.
    Refused {
        /// The reason, for people; not empty.
        error: String,
        /// What the server speaks, so that both ends can name both versions.
        versions: VersionRange,
    },
}

/// An orderly farewell: the sender opens no further call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disconnect {
    /// For logs; may be empty.
    pub(crate) connection_id: String,
}

/// The sender's region grows; the segment travels with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentAdded {
    /// Never 0, which is the base segment.
    pub(crate) segment_id: u32,
    /// Length: whole pages, at least `slot_size * slot_count`.
    pub(crate) bytes: u64,
    /// Not zero.
    pub(crate) slot_size: u64,
    /// Not zero.
    pub(crate) slot_count: u32,
    /// A multiple of 64; no handle of the segment leaves `u32`. The region's own maximum is not known here.
    pub(crate) first_handle: u32,
}

/// Where a message lies in its sender's region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// 0 is the base segment.
    pub(crate) segment_id: u32,
    /// From the start of the segment. `offset + size` does not overflow.
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A call on the socket lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcRequest {
    /// For logs; may be empty.
    pub(crate) connection_id: String,
    /// Full name of the method, `/package.Service/Method`.
    pub(crate) method: String,
    pub(crate) call_id: u32,
    /// Time left, in microseconds; 0 if the caller waits for ever.
    pub(crate) timeout_us: u32,
    pub(crate) request: Span,
    pub(crate) metadata: Metadata,
    /// Whether the reply may be a stream, or the request is one.
    pub(crate) streaming: bool,
    /// Whether the request's messages follow, and none is here; only with `streaming`.
    pub(crate) messages_follow: bool,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// gRPC's status code, not zero.
    pub(crate) code: u32,
    /// For people; may be empty.
    pub(crate) text: String,
}

/// A reply on the socket lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcResponse {
    /// For logs; may be empty.
    pub(crate) connection_id: String,
    /// The request's method; may be empty.
    pub(crate) method: String,
    pub(crate) call_id: u32,
    /// Where the reply lies, or why there is none.
    pub(crate) reply: Result<Span, Failure>,
    pub(crate) metadata: Metadata,
}

impl Message {
    /// Appends the message to `out` as one frame.
    ///
    /// # Errors
    /// [`MessageError::Field`] if the peer would refuse it, [`MessageError::Frame`] if it is longer than
    /// [`netstring::MAX_BODY`] (a server with thousands of methods). `out` is then unchanged.
    pub(crate) fn encode_frame(&self, out: &mut Vec<u8>) -> Result<(), MessageError> {
        self.check()?;
        let envelope = proto::Envelope { message: self.to_wire() };
        netstring::encode_with(envelope.encoded_len(), out, |out| envelope.encode_raw(out))
            .map_err(|error| MessageError::Frame { message: self.name(), error })
    }

    /// Reads the body of one frame.
    ///
    /// Allocates at most a small multiple of the body, which a frame bounds.
    ///
    /// # Errors
    /// All but [`MessageError::Frame`]; each of them closes the connection.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, MessageError> {
        if body.is_empty() {
            return Ok(Self::Doorbell);
        }
        let wire = proto::Envelope::decode(body)?.message.ok_or(MessageError::Unknown)?;
        let message = Self::from_wire(wire)?;
        message.check()?;
        Ok(message)
    }

    /// Descriptors that travel with the message, exactly.
    pub(crate) fn descriptors(&self) -> usize {
        match self {
            Self::ConnectRequest(ConnectRequest { base_segment_bytes: Some(_), .. })
            | Self::ConnectResponse(ConnectResponse::Accepted {
                memory: Memory::BaseSegment { .. }, ..
            }) => 2,
            Self::SegmentAdded(_) => 1,
            _ => 0,
        }
    }

    /// The message, as the proto file names it; for logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ConnectRequest(_) => "ConnectRequest",
            Self::ConnectResponse(_) => "ConnectResponse",
            Self::Disconnect(_) => "DisconnectRequest",
            Self::SegmentAdded(_) => "SegmentAdded",
            Self::SegmentDropped { .. } => "SegmentDropped",
            Self::SegmentDropAcknowledged { .. } => "SegmentDropAcknowledged",
            Self::RpcRequest(_) => "RPCRequest",
            Self::RpcResponse(_) => "RPCResponse",
            Self::Cancel { .. } => "CancelRequest",
            Self::Goaway => "Goaway",
            Self::StreamMessage { .. } => "StreamMessage",
            Self::StreamEnd { .. } => "StreamEnd",
            Self::StreamCredit { .. } => "StreamCredit",
            Self::StreamHeaders { .. } => "StreamHeaders",
            Self::Doorbell => "doorbell",
        }
    }
}
