//! The error kind that several layers share: what a peer can do wrong.
//!
//! All other errors live with the operation that returns them.

use thiserror::Error;

/// A check that a peer's bytes did not pass.
///
/// Every violation closes the connection it happened on, and nothing else: memory, other connections and
/// the process stay as they were. The text names the check and is what the log shows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A parity bit flipped for a slot that was not with the peer.
    #[error("forged return: the peer returned slots {bits:#018x} of word {word} that it does not hold")]
    ForgedReturn {
        /// Index of the bit-set word.
        word: usize,
        /// The bits that flipped although their slots were not in flight.
        bits: u64,
    },
    /// A reply released a slot that was not with the peer.
    #[error("forged release: handle {handle} is not in flight")]
    ForgedRelease {
        /// The handle that the reply named.
        handle: u32,
    },
    /// The peer's consumer position left the window between what it last published and our tail.
    #[error("ring head out of range: peer published {published}, expected {low}..={high}")]
    RingHead {
        /// What the peer's `rx_head` word held.
        published: u64,
        /// The last position it had published before.
        low: u64,
        /// Our own tail.
        high: u64,
    },
    /// An entry failed admission.
    #[error("bad ring entry: {0}")]
    Entry(&'static str),
    /// A descriptor points outside the slot that its handle names.
    #[error("descriptor out of range: handle {handle}, offset {offset}, length {length}: {check}")]
    Descriptor {
        /// The handle as the peer wrote it.
        handle: u32,
        /// The offset as the peer wrote it.
        offset: u64,
        /// The length as the peer wrote it.
        length: u64,
        /// Which check failed.
        check: &'static str,
    },
    /// A message that is read while it is written does not come as its entry says.
    #[error("bad fill: {0}")]
    Fill(&'static str),
    /// A frame on the control channel was not a netstring, or too large.
    #[error("malformed control frame: {0}")]
    Frame(String),
    /// A control message did not parse, or its fields contradict each other.
    #[error("bad control message: {0}")]
    Message(String),
    /// A control message came in a state that does not admit it.
    #[error("unexpected control message: {0}")]
    State(String),
    /// A descriptor came that was not asked for, or one that was announced did not come.
    #[error("file descriptors: {0}")]
    Descriptors(String),
    /// A segment is not what its announcement says: seals, size, holes or header.
    #[error("bad segment: {0}")]
    Segment(String),
    /// The peer exceeds a limit that it agreed to.
    #[error("limit exceeded: {0}")]
    Limit(String),
}
