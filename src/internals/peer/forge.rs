//! Files and frames that no honest side would make.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use crate::layout::{Geometry, Header};
use crate::wire::{
    Disconnect, Limits, Message, Metadata, RpcRequest, RpcResponse, SegmentAdded, Span, VersionRange,
};

/// One of the seals that admission insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Seal {
    Shrink,
    Grow,
    FutureWrite,
    Seal,
}

impl Seal {
    const ALL: [Self; 4] = [Self::Shrink, Self::Grow, Self::FutureWrite, Self::Seal];

    fn flag(self) -> SealFlags {
        match self {
            Self::Shrink => SealFlags::SHRINK,
            Self::Grow => SealFlags::GROW,
            Self::FutureWrite => SealFlags::FUTURE_WRITE,
            Self::Seal => SealFlags::SEAL,
        }
    }
}

/// A memory file to pass off as a segment.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// Its length.
    pub bytes: u64,
    /// How many of them are allocated; the rest is a hole.
    pub allocated: u64,
    /// What it starts with.
    pub head: Vec<u8>,
    /// The seal that it lacks.
    pub missing: Option<Seal>,
}

impl FileSpec {
    /// A faultless file of zeros.
    pub fn of(bytes: u64) -> Self {
        Self { bytes, allocated: bytes, head: Vec::new(), missing: None }
    }

    /// A faultless base segment.
    pub fn base() -> Self {
        Self { head: honest_header(), ..Self::of(Geometry::standard().total_len) }
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make(&self) -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("forged", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, self.bytes)?;
        if self.allocated > 0 {
            rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, self.allocated)?;
        }
        let mut file = std::fs::File::from(fd);
        file.write_all(&self.head)?;
        let fd = OwnedFd::from(file);
        for seal in Seal::ALL.into_iter().filter(|seal| Some(*seal) != self.missing) {
            rustix::fs::fcntl_add_seals(&fd, seal.flag())?;
        }
        Ok(fd)
    }
}

/// The header that an honest side's base segment starts with: 4096 bytes.
pub fn honest_header() -> Vec<u8> {
    Header::encode(&Geometry::standard(), 0).to_vec()
}

/// Any body as a well-formed frame.
pub fn netstring(body: &[u8]) -> Vec<u8> {
    [format!("{}:", body.len()).as_bytes(), body, b","].concat()
}

/// A well-formed control message, to be sent where it does not belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frame {
    ConnectRequest,
    Refusal,
    Disconnect,
    SegmentAdded {
        id: u32,
        bytes: u64,
        slot_size: u64,
        slot_count: u32,
        first_handle: u32,
    },
    SegmentDropped(u32),
    SegmentDropAcknowledged(u32),
    /// A call on the socket lane.
    Call {
        connection_id: &'static str,
        method: &'static str,
        segment_id: u32,
        offset: u64,
        size: u64,
    },
    /// A call with streams on that lane, without a message; whether others follow.
    Stream {
        method: &'static str,
        call_id: u32,
        messages_follow: bool,
    },
    /// An empty message of one.
    StreamMessage(u32),
    StreamEnd(u32),
    StreamCredit(u32, u32),
    StreamHeaders(u32),
    Cancel(u32),
    Goaway,
    RpcRequest,
    RpcResponse,
    Doorbell,
}

impl Frame {
    /// Its bytes.
    ///
    /// # Panics
    /// If the message contradicts itself: that takes [`netstring`] and bytes made by hand.
    pub fn encode(self) -> Vec<u8> {
        let versions = VersionRange { min: 1, max: 1 };
        let limits = Limits {
            max_message_size: 1 << 20,
            max_region_bytes: 1 << 24,
            max_in_flight: 16,
            max_metadata_size: 0,
            stream_window: 0,
        };
        let (connection_id, span) = (String::new(), Span { segment_id: 0, offset: 0, size: 1 });
        let message = match self {
            Self::ConnectRequest => Message::ConnectRequest(crate::wire::ConnectRequest {
                versions,
                required_features: 0,
                offered_features: 0,
                limits,
                base_segment_bytes: Some(4096),
            }),
            Self::Refusal => Message::ConnectResponse(crate::wire::ConnectResponse::Refused {
                error: "no".into(),
                versions,
            }),
            Self::Disconnect => Message::Disconnect(Disconnect { connection_id }),
            Self::SegmentAdded { id, bytes, slot_size, slot_count, first_handle } => {
                Message::SegmentAdded(SegmentAdded {
                    segment_id: id,
                    bytes,
                    slot_size,
                    slot_count,
                    first_handle,
                })
            }
            Self::SegmentDropped(segment_id) => Message::SegmentDropped { segment_id },
            Self::SegmentDropAcknowledged(segment_id) => Message::SegmentDropAcknowledged { segment_id },
            Self::Call { connection_id, method, segment_id, offset, size } => {
                Message::RpcRequest(RpcRequest {
                    connection_id: connection_id.into(),
                    method: method.into(),
                    call_id: 1,
                    timeout_us: 0,
                    request: Span { segment_id, offset, size },
                    metadata: Metadata::default(),
                    streaming: false,
                    messages_follow: false,
                })
            }
            Self::Stream { method, call_id, messages_follow } => Message::RpcRequest(RpcRequest {
                connection_id,
                method: method.into(),
                call_id,
                timeout_us: 0,
                request: Span::default(),
                metadata: Metadata::default(),
                streaming: true,
                messages_follow,
            }),
            Self::StreamMessage(call_id) => Message::StreamMessage { call_id, message: Span::default() },
            Self::StreamEnd(call_id) => Message::StreamEnd { call_id },
            Self::StreamCredit(call_id, bytes) => Message::StreamCredit { call_id, bytes },
            Self::StreamHeaders(call_id) => Message::StreamHeaders { call_id, metadata: Metadata::default() },
            Self::Cancel(call_id) => Message::Cancel { call_id },
            Self::Goaway => Message::Goaway,
            Self::RpcRequest => Message::RpcRequest(RpcRequest {
                connection_id,
                method: "/a.B/C".into(),
                call_id: 1,
                timeout_us: 0,
                request: span,
                metadata: Metadata::default(),
                streaming: false,
                messages_follow: false,
            }),
            Self::RpcResponse => Message::RpcResponse(RpcResponse {
                connection_id,
                method: String::new(),
                call_id: 1,
                reply: Ok(span),
                metadata: Metadata::default(),
            }),
            Self::Doorbell => Message::Doorbell,
        };
        let mut bytes = Vec::new();
        message.encode_frame(&mut bytes).expect("a message without contradictions");
        bytes
    }
}
