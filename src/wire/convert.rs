//! Domain messages to generated types and back, field by field.
//!
//! Only what the domain types cannot express is refused here: an absent sub-message, or two alternatives
//! set at once. Ranges are for `check.rs`.

use super::check::field_error;
use super::message::proto::{self, envelope::Message as Wire};
use super::message::{
    ConnectRequest, ConnectResponse, Disconnect, Failure, Limits, Memory, Message, MessageError, RpcRequest,
    RpcResponse, SegmentAdded, Span, VersionRange,
};
use super::metadata::Metadata;

impl Message {
    /// `None` is the doorbell: no envelope at all.
    pub(super) fn to_wire(&self) -> Option<Wire> {
        Some(match self {
            Self::ConnectRequest(m) => Wire::ConnectRequest(m.to_wire()),
            Self::ConnectResponse(m) => Wire::ConnectResponse(m.to_wire()),
            Self::Disconnect(m) => {
                Wire::DisconnectRequest(proto::DisconnectRequest { connection_id: m.connection_id.clone() })
            }
            Self::SegmentAdded(m) => Wire::SegmentAdded(m.to_wire()),
            &Self::SegmentDropped { segment_id } => {
                Wire::SegmentDropped(proto::SegmentDropped { segment_id })
            }
            &Self::SegmentDropAcknowledged { segment_id } => {
                Wire::SegmentDropAcknowledged(proto::SegmentDropAcknowledged { segment_id })
            }
            Self::RpcRequest(m) => Wire::RpcRequest(m.to_wire()),
            Self::RpcResponse(m) => Wire::RpcResponse(m.to_wire()),
            &Self::Cancel { call_id } => Wire::CancelRequest(proto::CancelRequest { call_id }),
            Self::Goaway => Wire::Goaway(proto::Goaway {}),
            &Self::StreamMessage { call_id, message: Span { segment_id, offset, size } } => {
                Wire::StreamMessage(proto::StreamMessage { call_id, size, offset, segment_id })
            }
            &Self::StreamEnd { call_id } => Wire::StreamEnd(proto::StreamEnd { call_id }),
            &Self::StreamCredit { call_id, bytes } => {
                Wire::StreamCredit(proto::StreamCredit { call_id, bytes })
            }
            Self::StreamHeaders { call_id, metadata } => {
                Wire::StreamHeaders(proto::StreamHeaders { call_id: *call_id, metadata: metadata.to_wire() })
            }
            Self::Doorbell => return None,
        })
    }

    pub(super) fn from_wire(wire: Wire) -> Result<Self, MessageError> {
        Ok(match wire {
            Wire::ConnectRequest(m) => Self::ConnectRequest(ConnectRequest::from_wire(m)?),
            Wire::ConnectResponse(m) => Self::ConnectResponse(ConnectResponse::from_wire(m)?),
            Wire::DisconnectRequest(m) => Self::Disconnect(Disconnect { connection_id: m.connection_id }),
            Wire::SegmentAdded(m) => Self::SegmentAdded(SegmentAdded::from_wire(m)),
            Wire::SegmentDropped(m) => Self::SegmentDropped { segment_id: m.segment_id },
            Wire::SegmentDropAcknowledged(m) => Self::SegmentDropAcknowledged { segment_id: m.segment_id },
            Wire::RpcRequest(m) => Self::RpcRequest(RpcRequest::from_wire(m)),
            Wire::RpcResponse(m) => Self::RpcResponse(RpcResponse::from_wire(m)?),
            Wire::CancelRequest(m) => Self::Cancel { call_id: m.call_id },
            Wire::Goaway(_) => Self::Goaway,
            Wire::StreamMessage(m) => Self::StreamMessage {
                call_id: m.call_id,
                message: Span { segment_id: m.segment_id, offset: m.offset, size: m.size },
            },
            Wire::StreamEnd(m) => Self::StreamEnd { call_id: m.call_id },
            Wire::StreamCredit(m) => Self::StreamCredit { call_id: m.call_id, bytes: m.bytes },
            Wire::StreamHeaders(m) => {
                Self::StreamHeaders { call_id: m.call_id, metadata: Metadata::from_wire(m.metadata) }
            }
        })
    }
}

impl Limits {
    fn to_wire(self) -> proto::Limits {
        proto::Limits {
            max_message_size: self.max_message_size,
            max_region_bytes: self.max_region_bytes,
            max_in_flight: self.max_in_flight,
            max_metadata_size: self.max_metadata_size,
            stream_window: self.stream_window,
        }
    }

    fn from_wire(message: &'static str, wire: Option<proto::Limits>) -> Result<Self, MessageError> {
        let wire = wire.ok_or_else(|| field_error(message, "limits", "is missing"))?;
        Ok(Self {
            max_message_size: wire.max_message_size,
            max_region_bytes: wire.max_region_bytes,
            max_in_flight: wire.max_in_flight,
            max_metadata_size: wire.max_metadata_size,
            stream_window: wire.stream_window,
        })
    }
}

impl ConnectRequest {
    fn to_wire(&self) -> proto::ConnectRequest {
        proto::ConnectRequest {
            min_version: self.versions.min,
            max_version: self.versions.max,
            required_features: self.required_features,
            offered_features: self.offered_features,
            limits: Some(self.limits.to_wire()),
            base_segment_bytes: self.base_segment_bytes.unwrap_or(0),
        }
    }

    fn from_wire(wire: proto::ConnectRequest) -> Result<Self, MessageError> {
        Ok(Self {
            versions: VersionRange { min: wire.min_version, max: wire.max_version },
            required_features: wire.required_features,
            offered_features: wire.offered_features,
            limits: Limits::from_wire("ConnectRequest", wire.limits)?,
            base_segment_bytes: (wire.base_segment_bytes != 0).then_some(wire.base_segment_bytes),
        })
    }
}

impl ConnectResponse {
    fn to_wire(&self) -> proto::ConnectResponse {
        match self {
            Self::Accepted { connection_id, version, features, limits, memory, methods } => {
                let (base_segment_bytes, mmap_filename) = match memory {
                    Memory::BaseSegment { bytes } => (*bytes, String::new()),
                    Memory::File { path } => (0, path.clone()),
                };
                proto::ConnectResponse {
                    connection_id: connection_id.clone(),
                    mmap_filename,
                    version: *version,
                    features: *features,
                    limits: Some(limits.to_wire()),
                    base_segment_bytes,
                    methods: methods.clone(),
                    ..Default::default()
                }
            }
            Self::Refused { error, versions } => proto::ConnectResponse {
                error: error.clone(),
                min_version: versions.min,
                max_version: versions.max,
                ..Default::default()
            },
        }
    }

    fn from_wire(wire: proto::ConnectResponse) -> Result<Self, MessageError> {
        const NAME: &str = "ConnectResponse";
        if wire.error.is_empty() {
            let memory = match (wire.base_segment_bytes, wire.mmap_filename) {
                (bytes, path) if path.is_empty() => Memory::BaseSegment { bytes },
                (0, path) => Memory::File { path },
                _ => return Err(field_error(NAME, "mmap_filename", "is set together with a base segment")),
            };
            return Ok(Self::Accepted {
                connection_id: wire.connection_id,
                version: wire.version,
                features: wire.features,
                limits: Limits::from_wire(NAME, wire.limits)?,
                memory,
                methods: wire.methods,
            });
        }
        let versions = VersionRange { min: wire.min_version, max: wire.max_version };
        let refused = Self::Refused { error: wire.error.clone(), versions };
        // A refusal says nothing but its error and its versions: all else is a contradiction.
        if refused.to_wire() != wire {
            return Err(field_error(
                NAME,
                "error",
                "is set together with what only an accepted connection has",
            ));
        }
        Ok(refused)
    }
}

impl SegmentAdded {
    fn to_wire(self) -> proto::SegmentAdded {
        proto::SegmentAdded {
            segment_id: self.segment_id,
            bytes: self.bytes,
            slot_size: self.slot_size,
            slot_count: self.slot_count,
            first_handle: self.first_handle,
        }
    }

    fn from_wire(wire: proto::SegmentAdded) -> Self {
        Self {
            segment_id: wire.segment_id,
            bytes: wire.bytes,
            slot_size: wire.slot_size,
            slot_count: wire.slot_count,
            first_handle: wire.first_handle,
        }
    }
}

impl RpcRequest {
    fn to_wire(&self) -> proto::RpcRequest {
        proto::RpcRequest {
            connection_id: self.connection_id.clone(),
            fully_qualified_method_name: self.method.clone(),
            size: Some(self.request.size),
            offset: self.request.offset,
            call_id: self.call_id,
            segment_id: self.request.segment_id,
            timeout_us: self.timeout_us,
            metadata: self.metadata.to_wire(),
            streaming: self.streaming,
            messages_follow: self.messages_follow,
        }
    }

    fn from_wire(wire: proto::RpcRequest) -> Self {
        let request = Span { segment_id: wire.segment_id, offset: wire.offset, size: wire.size() };
        Self {
            connection_id: wire.connection_id,
            method: wire.fully_qualified_method_name,
            call_id: wire.call_id,
            timeout_us: wire.timeout_us,
            request,
            metadata: Metadata::from_wire(wire.metadata),
            streaming: wire.streaming,
            messages_follow: wire.messages_follow,
        }
    }
}

impl RpcResponse {
    fn to_wire(&self) -> proto::RpcResponse {
        let (span, status_code, error) = match &self.reply {
            Ok(span) => (*span, 0, String::new()),
            Err(failure) => (Span::default(), failure.code, failure.text.clone()),
        };
        proto::RpcResponse {
            connection_id: self.connection_id.clone(),
            fully_qualified_method_name: self.method.clone(),
            size: Some(span.size),
            error,
            offset: span.offset,
            call_id: self.call_id,
            segment_id: span.segment_id,
            status_code,
            metadata: self.metadata.to_wire(),
        }
    }

    fn from_wire(wire: proto::RpcResponse) -> Result<Self, MessageError> {
        let contradicts = |field, with| Err(field_error("RPCResponse", field, format!("is set {with}")));
        let span = Span { segment_id: wire.segment_id, offset: wire.offset, size: wire.size() };
        let reply = match wire.status_code {
            0 if wire.error.is_empty() => Ok(span),
            0 => return contradicts("error", "without a status_code"),
            code if span == Span::default() => Err(Failure { code, text: wire.error }),
            _ => return contradicts("status_code", "together with a reply"),
        };
        Ok(Self {
            connection_id: wire.connection_id,
            method: wire.fully_qualified_method_name,
            call_id: wire.call_id,
            reply,
            metadata: Metadata::from_wire(wire.metadata),
        })
    }
}
