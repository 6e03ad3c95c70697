//! Whom an answer goes to: a client of the ring lane, or one whose calls are named on its socket.

use std::sync::Arc;
use std::task::Waker;

use crate::connection::{SendFailure, Slot};
use crate::os::{Credentials, SharedFile};
use crate::raw::{Loan, RawBody};
use crate::rpc::{Encode, Letter, Response, Status, Wanted, write_bytes, write_message};
use crate::server::peer::{Answer, Peer};

/// A client whose messages lie in a file, and whose calls and replies are named on the socket.
pub(super) trait SocketPeer: Send + Sync {
    /// Who it is.
    fn credentials(&self) -> Credentials;

    /// What the logs call its connection.
    fn connection_id(&self) -> String;

    /// What a handler asks whether its call is still wanted.
    fn wanted(&self, call_id: u32) -> Wanted;

    /// Whether nobody waits for the answer any more.
    fn is_cancelled(&self, call_id: u32) -> bool;

    /// Leaves the waker of a task that serves a call, to be woken when nobody waits for the answer any more.
    /// The task must look for that afterwards.
    fn watch(&self, call_id: u32, waker: &Waker);

    /// Drops that waker: the call is about to be answered.
    fn forget(&self, call_id: u32);

    /// Whether a reply may be as long.
    ///
    /// # Errors
    /// `ResourceExhausted` naming the limit.
    fn check_reply(&self, len: u64) -> Result<(), Status>;

    /// Answers a call, once, with `len` bytes that `write` puts into the file; or with why it cannot.
    fn answer(&self, call_id: u32, len: u64, write: &dyn Fn(&SharedFile) -> Result<(), Status>);

    /// Answers a call with a failure, once.
    fn fail(&self, call_id: u32, status: &Status);
}

/// A client as the handlers of its calls see it.
#[derive(Clone, Copy)]
pub(super) enum Caller<'a> {
    Ring(&'a Arc<Peer>),
    Socket(&'a Arc<dyn SocketPeer>),
}

/// The same, for a call that waits for a thread.
pub(super) enum OwnedCaller {
    Ring(Arc<Peer>),
    Socket(Arc<dyn SocketPeer>),
}

impl OwnedCaller {
    #[inline]
    pub(super) fn as_ref(&self) -> Caller<'_> {
        match self {
            Self::Ring(peer) => Caller::Ring(peer),
            Self::Socket(peer) => Caller::Socket(peer),
        }
    }
}

impl Caller<'_> {
    pub(super) fn to_owned(self) -> OwnedCaller {
        match self {
            Self::Ring(peer) => OwnedCaller::Ring(peer.clone()),
            Self::Socket(peer) => OwnedCaller::Socket(peer.clone()),
        }
    }

    #[inline(always)]
    pub(super) fn credentials(self) -> Credentials {
        match self {
            Self::Ring(peer) => peer.link.credentials(),
            Self::Socket(peer) => credentials(&**peer),
        }
    }

    pub(super) fn connection_id(self) -> String {
        match self {
            Self::Ring(peer) => peer.link.connection_id().to_owned(),
            Self::Socket(peer) => peer.connection_id(),
        }
    }

    #[inline(always)]
    pub(super) fn is_cancelled(self, call_id: u32) -> bool {
        match self {
            Self::Ring(peer) => peer.calls.is_cancelled(call_id),
            Self::Socket(peer) => is_cancelled(&**peer, call_id),
        }
    }

    /// What a handler asks whether its call is still wanted.
    #[inline(always)]
    pub(super) fn wanted(self, call_id: u32) -> Wanted {
        match self {
            Self::Ring(peer) => peer.listing.call(call_id),
            Self::Socket(peer) => wanted(&**peer, call_id),
        }
    }

    /// Leaves the waker of a task that serves a call, to be woken when nobody waits for the answer any more.
    pub(super) fn watch(self, call_id: u32, waker: &Waker) {
        match self {
            Self::Ring(peer) => peer.calls.watch(call_id, waker),
            Self::Socket(peer) => peer.watch(call_id, waker),
        }
    }

    /// Drops that waker: the call is about to be answered, and its index another call's.
    pub(super) fn forget(self, call_id: u32) {
        match self {
            Self::Ring(peer) => peer.calls.forget(call_id),
            Self::Socket(peer) => peer.forget(call_id),
        }
    }

    /// Answers with a message.
    #[inline(always)]
    pub(super) fn reply<M: Encode>(self, answer: Answer, response: &Response<M>) {
        match self {
            Self::Ring(peer) => peer.reply(answer, response),
            // Their protocol carries no metadata.
            Self::Socket(peer) => reply_on_socket(&**peer, answer.call_id, response.get_ref()),
        }
    }

    /// Answers with bytes.
    pub(super) fn reply_raw(self, answer: Answer, body: RawBody<'static>) {
        match self {
            Self::Ring(peer) => peer.reply_raw(answer, body),
            Self::Socket(peer) => {
                let bytes = body.as_slice();
                let write = |file: &SharedFile| write_bytes(file, bytes, Letter::Reply);
                peer.answer(answer.call_id, bytes.len() as u64, &write);
            }
        }
    }

    /// Answers with a status.
    #[cold]
    pub(super) fn fail(self, answer: Answer, status: &Status) {
        match self {
            Self::Ring(peer) => peer.fail(answer, status),
            Self::Socket(peer) => peer.fail(answer.call_id, status),
        }
    }

    /// Memory for an answer of `len` bytes; see [`Replier::loan`](crate::server::Replier::loan).
    pub(super) fn loan(self, len: usize) -> Result<Loan, Status> {
        match (self, Loan::short(len)) {
            (Self::Ring(_), Some(short)) => Ok(short),
            (Self::Ring(peer), None) => match Slot::claim(peer.link.clone(), len as u64) {
                Ok(slot) => Ok(Loan::of_slot(slot, len)),
                Err(SendFailure::Wait) => Ok(Loan::private(len)),
                Err(SendFailure::Failed(status)) => Err(status),
            },
            (Self::Socket(peer), short) => {
                peer.check_reply(len as u64).map(|()| short.unwrap_or_else(|| Loan::private(len)))
            }
        }
    }
}

// Apart and cold: the lane that makes system calls must not spread through the code of the one that makes
// none.

#[cold]
#[inline(never)]
fn reply_on_socket<M: Encode>(peer: &dyn SocketPeer, call_id: u32, message: &M) {
    let len = message.encoded_len();
    peer.answer(call_id, len as u64, &|file| write_message(file, message, len, Letter::Reply));
}

#[cold]
#[inline(never)]
fn is_cancelled(peer: &dyn SocketPeer, call_id: u32) -> bool {
    peer.is_cancelled(call_id)
}

#[cold]
#[inline(never)]
fn credentials(peer: &dyn SocketPeer) -> Credentials {
    peer.credentials()
}

#[cold]
#[inline(never)]
fn wanted(peer: &dyn SocketPeer, call_id: u32) -> Wanted {
    peer.wanted(call_id)
}
