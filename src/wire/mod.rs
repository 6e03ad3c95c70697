//! The words of the control plane: netstring frames, and the messages inside them.
//!
//! Nothing here reads or writes a socket, and nothing here knows the layout of a region: bytes come in,
//! checked domain types go out. A type that exists has passed its checks; what a state admits is for the
//! connection to say. `docs/protocol.md` has the fields and a session in hex.

mod check;
mod classic;
mod convert;
mod message;
mod metadata;
pub(crate) mod netstring;

#[cfg(test)]
mod classic_tests;
#[cfg(test)]
mod message_props;
#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod netstring_tests;

pub(crate) use check::{MAX_CONNECTION_ID, MAX_ERROR_TEXT};
pub(crate) use classic::{
    ClassicConnected, ClassicDecoder, ClassicError, ClassicReply, ClassicRequest, encode_farewell, is_classic,
};
pub(crate) use message::{
    ConnectRequest, ConnectResponse, Disconnect, Failure, Limits, Memory, Message, MessageError, RpcRequest,
    RpcResponse, SegmentAdded, Span, VersionRange,
};
pub(crate) use metadata::{MAX_METADATA, Metadata, Pair, check_key, check_text};
pub(crate) use netstring::{Decoder, MAX_BODY};
