//! What becomes of a connection without a call of its own on it.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::core::Core;
use crate::client::method::Method;
use crate::connection::CloseReason;
use crate::rpc::{Code, REFUSED, Status};
use crate::sync::Ordering;

/// What callers read where a server has [refused](REFUSED) a call.
const TOLD: &str = "the server is shutting down and has refused the call";

impl Core {
    /// Whether calls can begin on it, as far as is known.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        // Relaxed: a request that slips through is refused by the server.
        !self.link.is_closed() && !self.draining.load(Ordering::Relaxed)
    }

    /// The server has refused a call. The news for everybody may be behind that.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// A method that was looked up by name elsewhere: its number may be another one here.
    #[inline]
    pub(super) fn method_here(&self, method: Method) -> Method {
        match self.link.methods().get(method.id() as usize) {
            Some(name) if name == method.name() => Method::new(self.id, Some(method.id()), method.name()),
            _ => self.method(method.name()),
        }
    }

    /// Takes in what has come, the news of the server's end for instance. Whoever leads does so anyhow; here
    /// that is waited for where there is such news, and nowhere else.
    #[cold]
    pub(in crate::client) fn look(&self) {
        if !self.link.is_same_process() {
            return;
        }
        let mut begun = None;
        while !self.link.is_closed() {
            if let Some(mut leader) = self.lead.try_lead_directly() {
                return leader.look_around(self);
            }
            if !self.link.socket().has_hung_up() {
                return;
            }
            if begun.get_or_insert_with(Instant::now).elapsed() >= LONGEST_LOOK {
                return self.link.close(CloseReason::PeerGone);
            }
            thread::yield_now();
        }
    }
}

/// How long the one who leads may take to notice that the server has hung up: it may be reading a reply.
const LONGEST_LOOK: Duration = Duration::from_millis(20);

/// A failure as its caller reads it. What a server says where it refuses a call, and what is read then, are
/// two texts, so that a handler which hands on what it has read is not taken for a server that refuses.
#[cold]
pub(in crate::client) fn received(status: Status) -> Status {
    match (status.code(), status.message()) {
        (Code::Unavailable, REFUSED) => Status::unavailable(TOLD),
        (Code::Unavailable, TOLD) => Status::unavailable(format!("behind the server: {TOLD}")),
        _ => status,
    }
}

/// Whether the server has refused the call itself: no handler has seen it.
pub(super) fn is_refusal(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message() == TOLD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_is_handed_on_is_none_any_more() {
        let refused = received(Status::unavailable(REFUSED));
        assert!(is_refusal(&refused));
        let handed_on = received(refused);
        assert!(!is_refusal(&handed_on) && handed_on.message().contains(TOLD));
        assert!(!is_refusal(&received(Status::internal(REFUSED))));
        let other = Status::unavailable("out to lunch");
        assert_eq!(received(other.clone()), other);
    }
}
