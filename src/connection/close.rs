//! How a connection ends, and why: set once, read by every call that fails because of it.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::connection::link::Link;
use crate::connection::send::SendFailure;
use crate::error::Violation;
use crate::rpc::Status;
use crate::wire::{Disconnect, Message};

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

impl Link {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_set()
    }

    /// Whether it is closed because the peer broke the protocol: nothing more is believed.
    pub(crate) fn broken(&self) -> bool {
        self.closed.reason().is_some_and(CloseReason::is_violation)
    }

    /// What calls on a closed connection return.
    #[cold]
    pub(crate) fn closed_status(&self) -> Status {
        match self.closed.reason() {
            Some(reason) => reason.status(),
            None => CloseReason::Local.status(),
        }
    }

    #[cold]
    pub(super) fn closed_failure(&self) -> SendFailure {
        SendFailure::Failed(self.closed_status())
    }

    /// Closes because the peer broke the protocol, and says which check it failed.
    #[cold]
    pub(crate) fn violated(&self, violation: Violation) -> SendFailure {
        self.close(CloseReason::Violation(violation));
        self.closed_failure()
    }

    /// Ends the connection: later sends fail, the peer sees the socket hang up. The first reason stays.
    #[cold]
    pub(crate) fn close(&self, reason: CloseReason) {
        let (farewell, is_violation, why) =
            (reason == CloseReason::Local, reason.is_violation(), reason.to_string());
        if !self.closed.set(reason) {
            return;
        }
        let (connection, peer_pid) = (&self.connection_id, self.credentials.pid);
        if is_violation {
            tracing::warn!(%connection, peer_pid, why, "connection closed");
        } else {
            tracing::debug!(%connection, peer_pid, why, "connection closed");
        }
        // Relaxed: the peer's driver, parked or not, learns the end from the socket; this spares it a wait.
        self.own_control().closed.0.store(1, Ordering::Relaxed);
        if farewell {
            // A courtesy: the hang-up that follows says the same.
            let _ = self.post(&Message::Disconnect(Disconnect { connection_id: self.connection_id.clone() }));
        }
        self.socket.shutdown();
        // Our own driver may be parked.
        self.nudge();
    }

    /// Whether the peer has said that it is through with this connection. A hint; the socket says so too.
    pub(crate) fn peer_has_closed(&self) -> bool {
        // What it sent before it said so may still be in the socket, if that is where it sends.
        // Relaxed: nothing is read on the strength of it.
        !self.is_socket_lane() && self.peer_control().closed.0.load(Ordering::Relaxed) != 0
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // A child that drops its inherited handle must not end its parent's connection.
        if self.is_same_process() {
            self.close(CloseReason::Local);
        }
    }
}
