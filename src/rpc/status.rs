//! How a call ended: gRPC's codes, and a text for people.
//!
//! On the wire the code travels in the entry and the payload is the text alone, in UTF-8, so that a short
//! status needs no slot; details and metadata, which few have, precede it.

use std::fmt;

use bytes::Bytes;

use crate::rpc::metadata::MetadataMap;
use crate::wire::Metadata;

/// Longest text of a status on the wire, in bytes.
const MAX_MESSAGE: usize = 4096;

/// What a server that is shutting down says of a call that it has not begun.
pub(crate) const REFUSED: &str = "the server is shutting down";

/// The outcome of a call, with gRPC's names and numbers.
///
/// The set is closed, as gRPC's is: a number outside of it reads as [`Code::Unknown`].
///
/// ```
/// use mmap_rpc::Code;
///
/// assert_eq!(Code::from_u32(4), Code::DeadlineExceeded);
/// assert_eq!(Code::from_u32(99), Code::Unknown);
/// assert_eq!(Code::DeadlineExceeded.to_string(), "DEADLINE_EXCEEDED");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller gave the call up.
    Cancelled = 1,
    /// An error of no known kind, for instance a handler that panicked.
    Unknown = 2,
    /// The request is wrong whatever the state of the server.
    InvalidArgument = 3,
    /// The deadline passed first; the call may still have taken effect.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be created exists.
    AlreadyExists = 6,
    /// The caller is known and not allowed.
    PermissionDenied = 7,
    /// A limit is reached: memory, calls in flight, size of a message.
    ResourceExhausted = 8,
    /// The server's state does not admit the call; trying again does not help.
    FailedPrecondition = 9,
    /// The call lost against a concurrent one; trying again from the start may help.
    Aborted = 10,
    /// The request lies past a valid range, which may grow.
    OutOfRange = 11,
    /// The server does not have this method.
    Unimplemented = 12,
    /// An invariant is broken, or a message does not decode.
    Internal = 13,
    /// The peer cannot be reached, died, or is going away; trying again may help.
    Unavailable = 14,
    /// Data is lost for good.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl Code {
    /// All codes; each stands at the index that is its number.
    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a number; [`Code::Unknown`] for a number that is none.
    pub const fn from_u32(number: u32) -> Self {
        if (number as usize) < Self::ALL.len() { Self::ALL[number as usize] } else { Self::Unknown }
    }

    /// The code that [`Display`](fmt::Display) shows as `name`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// gRPC's number of the code, 0 to 16.
    pub const fn as_u32(self) -> u32 {
        self as u32
    }

    /// gRPC's name of the code, as in its specification.
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

const _: () = {
    let mut number = 0;
    while number < Code::ALL.len() {
        assert!(Code::ALL[number] as usize == number);
        number += 1;
    }
};

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        code.as_u32()
    }
}

/// Why a call failed: a [`Code`] and a text.
///
/// One pointer wide, so that a `Result<Response, Status>` costs the successful path nothing.
///
/// ```
/// use mmap_rpc::{Code, Status};
///
/// let status = Status::not_found("no key \"k\"");
/// assert_eq!(status.code(), Code::NotFound);
/// assert_eq!(status.to_string(), "NOT_FOUND: no key \"k\"");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Status(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: String,
    details: Bytes,
    metadata: MetadataMap,
}

const _: () = assert!(size_of::<Status>() == size_of::<usize>());

/// Writes the constructor of each code.
macro_rules! constructors {
    ($($name:ident $code:ident: $doc:literal;)*) => {
        /// One constructor per code that means a failure.
        impl Status {$(
            #[doc = concat!($doc, " ([`Code::", stringify!($code), "`]).")]
            #[cold]
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(Code::$code, message)
            }
        )*}
    };
}

constructors! {
    cancelled Cancelled: "The caller gave the call up";
    unknown Unknown: "An error of no known kind";
    invalid_argument InvalidArgument: "The request is wrong whatever the state of the server";
    deadline_exceeded DeadlineExceeded: "The deadline passed first";
    not_found NotFound: "What was asked for does not exist";
    already_exists AlreadyExists: "What was to be created exists";
    permission_denied PermissionDenied: "The caller is known and not allowed";
    resource_exhausted ResourceExhausted: "A limit is reached";
    failed_precondition FailedPrecondition: "The server's state does not admit the call";
    aborted Aborted: "The call lost against a concurrent one";
    out_of_range OutOfRange: "The request lies past a valid range";
    unimplemented Unimplemented: "The server does not have this method";
    internal Internal: "An invariant is broken";
    unavailable Unavailable: "The peer cannot be reached, died, or is going away";
    data_loss DataLoss: "Data is lost for good";
    unauthenticated Unauthenticated: "The caller is not known";
}

impl Status {
    /// A status of any code.
    ///
    /// The text may have any length here; its first 4 KiB reach the peer.
    #[cold]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (message, details, metadata) = (message.into(), Bytes::new(), MetadataMap::new());
        Self(Box::new(Inner { code, message, details, metadata }))
    }

    /// A status with something for programs beside the text for people: by custom an encoded
    /// `google.rpc.Status`.
    ///
    /// Together with the metadata it may be as long as
    /// [`max_metadata_size`](crate::ServerBuilder::max_metadata_size) says; longer ones do not reach the
    /// peer.
    #[cold]
    pub fn with_details(code: Code, message: impl Into<String>, details: impl Into<Bytes>) -> Self {
        let mut status = Self::new(code, message);
        status.0.details = details.into();
        status
    }

    /// The status of a success, which gRPC allows to have a text ([`Code::Ok`]).
    pub fn ok(message: impl Into<String>) -> Self {
        Self::new(Code::Ok, message)
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text for people; may be empty.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What there is for programs; may be empty.
    pub fn details(&self) -> &Bytes {
        &self.0.details
    }

    /// What the handler says with the failure: the call's trailing metadata.
    pub fn metadata(&self) -> &MetadataMap {
        &self.0.metadata
    }

    /// The same, to be added to before the handler returns it.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.0.metadata
    }

    /// Details and metadata as they travel before the text; empty if there are none.
    #[cold]
    pub(crate) fn encoded_metadata(&self) -> Vec<u8> {
        let (trailing, details) = (self.0.metadata.to_pairs(), self.0.details.clone());
        Metadata { initial: Vec::new(), trailing, details }.encode()
    }

    /// The same status, with what came before its text. What was said at the beginning of the call counts as
    /// said at its end.
    #[cold]
    pub(crate) fn with_metadata(mut self, metadata: Option<Box<Metadata>>) -> Self {
        let Some(mut metadata) = metadata else { return self };
        metadata.initial.append(&mut metadata.trailing);
        self.0.details = metadata.details;
        self.0.metadata = MetadataMap::from_pairs(metadata.initial);
        self
    }

    /// Appends what travels beside the code: the text, cut to 4 KiB where a character starts.
    #[cold]
    pub(crate) fn encode_payload(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(cut(self.message()).as_bytes());
    }

    /// The status that an entry's code and payload stand for, whatever the peer wrote there.
    ///
    /// Bytes that are not UTF-8 become replacement characters; the text is never longer than 4 KiB.
    #[cold]
    pub(crate) fn decode_payload(code: u32, bytes: &[u8]) -> Self {
        // Cut before the conversion, so that a large payload costs nothing, and after it, because each
        // replaced byte grows to three.
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_MESSAGE)]);
        Self::new(Code::from_u32(code), cut(&text))
    }
}

/// At most the first [`MAX_MESSAGE`] bytes of `text`, whole characters only.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE)]
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())?;
        if !self.message().is_empty() {
            write!(f, ": {}", self.message())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("code", &self.code()).field("message", &self.message()).finish()
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn over_the_wire(status: &Status) -> Status {
        let mut payload = Vec::new();
        status.encode_payload(&mut payload);
        assert!(payload.len() <= MAX_MESSAGE && str::from_utf8(&payload).is_ok());
        Status::decode_payload(status.code().as_u32(), &payload)
    }

    #[test]
    fn names_follow_grpc() {
        let spelled = |code: Code| {
            let mut words = String::new();
            for (at, letter) in format!("{code:?}").char_indices() {
                if at > 0 && letter.is_uppercase() {
                    words.push('_');
                }
                words.push(letter.to_ascii_uppercase());
            }
            words
        };
        for code in Code::ALL {
            assert_eq!(code.to_string(), spelled(code));
        }
        assert_eq!((Code::Cancelled.as_u32(), Code::Unauthenticated.as_u32()), (1, 16));
        assert_eq!(Code::from_u32(16), Code::Unauthenticated);
        assert_eq!(Code::from_u32(17), Code::Unknown);
        assert_eq!(Code::from_u32(u32::MAX), Code::Unknown);
    }

    #[test]
    fn constructors_set_their_code() {
        let made = [
            Status::ok("x"),
            Status::cancelled("x"),
            Status::unknown("x"),
            Status::invalid_argument("x"),
            Status::deadline_exceeded("x"),
            Status::not_found("x"),
            Status::already_exists("x"),
            Status::permission_denied("x"),
            Status::resource_exhausted("x"),
            Status::failed_precondition("x"),
            Status::aborted("x"),
            Status::out_of_range("x"),
            Status::unimplemented("x"),
            Status::internal("x"),
            Status::unavailable("x"),
            Status::data_loss("x"),
            Status::unauthenticated("x"),
        ];
        assert_eq!(made.each_ref().map(Status::code), Code::ALL);
        assert!(made.iter().all(|status| status.message() == "x"));
    }

    #[test]
    fn shows_code_and_text() {
        let status = Status::unavailable("peer died");
        assert_eq!(status.to_string(), "UNAVAILABLE: peer died");
        assert_eq!(format!("{status:?}"), r#"Status { code: Unavailable, message: "peer died" }"#);
        assert_eq!(Status::internal("").to_string(), "INTERNAL");
    }

    #[test]
    fn long_text_is_cut_where_a_character_starts() {
        // 4095 bytes, then a character of two that straddles the limit.
        let text = "a".repeat(MAX_MESSAGE - 1) + "é";
        assert_eq!(over_the_wire(&Status::internal(text)).message(), "a".repeat(MAX_MESSAGE - 1));
        let text = "a".repeat(MAX_MESSAGE);
        assert_eq!(over_the_wire(&Status::internal(text.clone())).message(), text);
    }

    #[test]
    fn hostile_payload_becomes_bounded_text() {
        let status = Status::decode_payload(77, &[b'a', 0xff, b'b']);
        assert_eq!((status.code(), status.message()), (Code::Unknown, "a\u{fffd}b"));
        let status = Status::decode_payload(14, &vec![0xff; 1 << 20]);
        assert_eq!(status.message(), "\u{fffd}".repeat(MAX_MESSAGE / 3));
    }

    proptest! {
        #[test]
        fn short_status_survives_the_wire(code in 0u32..17, message in ".{0,300}") {
            let status = Status::new(Code::from_u32(code), message);
            prop_assert_eq!(over_the_wire(&status), status);
        }

        #[test]
        fn any_payload_decodes(code: u32, bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(Status::decode_payload(code, &bytes).message().len() <= MAX_MESSAGE);
        }
    }
}
