//! Why a connection ended: set once, read by every call that fails because of it.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Violation;
use crate::rpc::Status;

/// The first reason a connection had to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The socket hung up: the peer has exited, crashed or closed.
    PeerGone,
    /// The peer said farewell.
    Disconnected,
    /// This side closed.
    Local,
    /// The peer broke the protocol.
    Violation(Violation),
    /// The operating system refused something that the connection cannot do without.
    Os(String),
}

impl CloseReason {
    pub(crate) fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }

    /// What a call that it cuts short returns.
    pub(crate) fn status(&self) -> Status {
        Status::unavailable(self.to_string())
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerGone => f.write_str("the peer is gone: its end of the connection closed"),
            Self::Disconnected => f.write_str("the peer closed the connection"),
            Self::Local => f.write_str("the connection was closed on this side"),
            Self::Violation(violation) => write!(f, "the peer broke the protocol: {violation}"),
            Self::Os(error) => write!(f, "the operating system refused: {error}"),
        }
    }
}

/// The latch that holds it.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    flag: AtomicBool,
    reason: OnceLock<CloseReason>,
}

impl Closed {
    /// One load on the path of every call.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Acquire pairs with the Release in `set`: who sees the flag sees the reason.
        self.flag.load(Ordering::Acquire)
    }

    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.reason.get()
    }

    /// Sets the reason; true for the first caller only.
    pub(crate) fn set(&self, reason: CloseReason) -> bool {
        let first = self.reason.set(reason).is_ok();
        self.flag.store(true, Ordering::Release);
        first
    }
}
