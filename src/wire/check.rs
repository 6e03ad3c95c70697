//! What a message can say wrong about itself, in both directions.
//!
//! Each check needs the message alone. What depends on more (the size of the descriptor that came along, the
//! handles in use, the limits that were agreed) is checked where that is known.

use std::collections::HashSet;

use super::message::{
    ConnectRequest, ConnectResponse, Failure, Limits, Memory, Message, MessageError, RpcRequest, RpcResponse,
    SegmentAdded, Span, VersionRange,
};
use super::metadata::{MAX_METADATA, Metadata};

/// Segments are whole pages of this many bytes, whatever the size of the machine's own.
pub(crate) const PAGE: u64 = 4096;

/// Handles come in bit-set words of 64.
const HANDLES_PER_WORD: u32 = 64;

/// Longest connection id, in bytes: a UUID takes 36.
pub(crate) const MAX_CONNECTION_ID: usize = 64;

/// Longest full name of a method, in bytes.
pub(crate) const MAX_METHOD_NAME: usize = 512;

/// Longest error text, in bytes.
pub(crate) const MAX_ERROR_TEXT: usize = 4096;

/// Longest path of a file, in bytes: what the kernel takes, but for the NUL at its end.
const MAX_PATH: usize = 4095;

#[cold]
pub(super) fn field_error(
    message: &'static str,
    field: &'static str,
    problem: impl Into<String>,
) -> MessageError {
    MessageError::Field { message, field, problem: problem.into() }
}

/// The message that is checked: makes errors that name it.
#[derive(Clone, Copy)]
struct Of(&'static str);

impl Of {
    fn require(
        self,
        holds: bool,
        field: &'static str,
        problem: impl FnOnce() -> String,
    ) -> Result<(), MessageError> {
        if holds { Ok(()) } else { Err(field_error(self.0, field, problem())) }
    }

    fn not_zero(self, field: &'static str, value: u64) -> Result<(), MessageError> {
        self.require(value != 0, field, || "is zero or missing".into())
    }

    fn whole_pages(self, field: &'static str, bytes: u64) -> Result<(), MessageError> {
        self.not_zero(field, bytes)?;
        self.require(bytes.is_multiple_of(PAGE), field, || format!("is {bytes}, not a multiple of {PAGE}"))
    }

    fn versions(self, versions: VersionRange) -> Result<(), MessageError> {
        let VersionRange { min, max } = versions;
        self.not_zero("min_version", min.into())?;
        self.not_zero("max_version", max.into())?;
        self.require(min <= max, "min_version", || format!("is {min}, above max_version {max}"))
    }

    fn limits(self, limits: Limits) -> Result<(), MessageError> {
        self.not_zero("limits.max_message_size", limits.max_message_size)?;
        self.not_zero("limits.max_region_bytes", limits.max_region_bytes)?;
        self.not_zero("limits.max_in_flight", limits.max_in_flight.into())?;
        let longest = limits.max_metadata_size;
        self.require(longest <= MAX_METADATA, "limits.max_metadata_size", || {
            format!("is {longest}, more than {MAX_METADATA}")
        })
    }

    fn not_longer(self, field: &'static str, text: &str, max: usize) -> Result<(), MessageError> {
        self.require(text.len() <= max, field, || format!("has {} bytes, more than {max}", text.len()))
    }

    /// The id goes to logs: nothing in it may break a line or a terminal.
    fn connection_id(self, id: &str) -> Result<(), MessageError> {
        self.not_longer("connection_id", id, MAX_CONNECTION_ID)?;
        self.require(id.bytes().all(|byte| byte.is_ascii_graphic()), "connection_id", || {
            "holds other than visible ASCII characters".into()
        })
    }

    /// `/package.Service/Method`: the shape that gRPC gives to paths.
    fn method(self, field: &'static str, name: &str) -> Result<(), MessageError> {
        self.not_longer(field, name, MAX_METHOD_NAME)?;
        let parts = name.strip_prefix('/').and_then(|rest| rest.split_once('/'));
        let well_formed = parts.is_some_and(|(service, method)| {
            !service.is_empty() && !method.is_empty() && !method.contains('/')
        });
        self.require(well_formed, field, || {
            format!("is {name:?}, not of the form \"/package.Service/Method\"")
        })
    }

    fn error_text(self, text: &str) -> Result<(), MessageError> {
        self.not_longer("error", text, MAX_ERROR_TEXT)
    }

    fn memory(self, memory: &Memory) -> Result<(), MessageError> {
        match memory {
            Memory::BaseSegment { bytes } => self.whole_pages("base_segment_bytes", *bytes),
            Memory::File { path } => {
                self.not_longer("mmap_filename", path, MAX_PATH)?;
                self.require(path.starts_with('/') && !path.contains('\0'), "mmap_filename", || {
                    format!("is {path:?}, not an absolute path")
                })
            }
        }
    }

    fn metadata(self, metadata: &Metadata) -> Result<(), MessageError> {
        metadata.check().map_err(|problem| field_error(self.0, "metadata", problem))
    }

    fn span(self, Span { offset, size, .. }: Span) -> Result<(), MessageError> {
        self.require(offset.checked_add(size).is_some(), "offset", || {
            format!("is {offset}: together with size {size} it overflows")
        })
    }
}

impl Message {
    pub(super) fn check(&self) -> Result<(), MessageError> {
        let of = Of(self.name());
        match self {
            Self::ConnectRequest(m) => connect_request(of, m),
            Self::ConnectResponse(m) => connect_response(of, m),
            Self::Disconnect(m) => of.connection_id(&m.connection_id),
            Self::SegmentAdded(m) => segment_added(of, *m),
            Self::SegmentDropped { segment_id } | Self::SegmentDropAcknowledged { segment_id } => {
                of.not_zero("segment_id", (*segment_id).into())
            }
            Self::RpcRequest(m) => rpc_request(of, m),
            Self::RpcResponse(m) => rpc_response(of, m),
            Self::StreamMessage { message, .. } => of.span(*message),
            Self::StreamCredit { bytes, .. } => of.not_zero("bytes", (*bytes).into()),
            Self::StreamHeaders { metadata, .. } => of.metadata(metadata),
            Self::Cancel { .. } | Self::StreamEnd { .. } | Self::Goaway | Self::Doorbell => Ok(()),
        }
    }
}

fn connect_request(of: Of, m: &ConnectRequest) -> Result<(), MessageError> {
    of.versions(m.versions)?;
    of.limits(m.limits)?;
    m.base_segment_bytes.map_or(Ok(()), |bytes| of.whole_pages("base_segment_bytes", bytes))
}

fn connect_response(of: Of, m: &ConnectResponse) -> Result<(), MessageError> {
    match m {
        ConnectResponse::Accepted { connection_id, version, features: _, limits, memory, methods } => {
            of.require(!connection_id.is_empty(), "connection_id", || "is empty".into())?;
            of.connection_id(connection_id)?;
            of.not_zero("version", (*version).into())?;
            of.limits(*limits)?;
            of.memory(memory)?;
            // A name that came twice would have two ids.
            let mut names = HashSet::with_capacity(methods.len());
            for name in methods {
                of.method("methods", name)?;
                of.require(names.insert(name), "methods", || format!("names {name:?} twice"))?;
            }
            Ok(())
        }
        ConnectResponse::Refused { error, versions } => {
            of.require(!error.is_empty(), "error", || "is empty".into())?;
            of.error_text(error)?;
            of.versions(*versions)
        }
    }
}

fn segment_added(of: Of, m: SegmentAdded) -> Result<(), MessageError> {
    of.not_zero("segment_id", m.segment_id.into())?;
    of.not_zero("slot_size", m.slot_size)?;
    of.not_zero("slot_count", m.slot_count.into())?;
    of.whole_pages("bytes", m.bytes)?;
    let slots = m.slot_size.checked_mul(m.slot_count.into());
    of.require(slots.is_some(), "slot_size", || {
        format!("is {}: {} such slots overflow", m.slot_size, m.slot_count)
    })?;
    of.require(slots <= Some(m.bytes), "bytes", || {
        format!("is {}, less than {} slots of {} bytes", m.bytes, m.slot_count, m.slot_size)
    })?;
    of.require(m.first_handle.is_multiple_of(HANDLES_PER_WORD), "first_handle", || {
        format!("is {}, not a multiple of {HANDLES_PER_WORD}", m.first_handle)
    })?;
    of.require(m.first_handle.checked_add(m.slot_count).is_some(), "first_handle", || {
        format!("is {}: {} handles from there overflow", m.first_handle, m.slot_count)
    })
}

fn rpc_request(of: Of, m: &RpcRequest) -> Result<(), MessageError> {
    of.connection_id(&m.connection_id)?;
    of.method("fully_qualified_method_name", &m.method)?;
    of.require(!m.messages_follow || m.streaming, "messages_follow", || "is set without streaming".into())?;
    of.require(!m.messages_follow || m.request == Span::default(), "messages_follow", || {
        "is set together with a message".into()
    })?;
    of.metadata(&m.metadata)?;
    of.span(m.request)
}

fn rpc_response(of: Of, m: &RpcResponse) -> Result<(), MessageError> {
    of.connection_id(&m.connection_id)?;
    if !m.method.is_empty() {
        of.method("fully_qualified_method_name", &m.method)?;
    }
    of.metadata(&m.metadata)?;
    match &m.reply {
        Ok(span) => of.span(*span),
        Err(Failure { code, text }) => {
            of.not_zero("status_code", (*code).into())?;
            of.error_text(text)
        }
    }
}
