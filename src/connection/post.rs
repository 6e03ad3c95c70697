//! Control messages on their way out: whole, in order, and never on the path of a call.

use std::sync::{MutexGuard, PoisonError};

use crate::connection::close::CloseReason;
use crate::connection::link::Link;
use crate::connection::outbox::{Outbox, Outgoing};
use crate::connection::send::SendFailure;
use crate::error::Violation;
use crate::sync::Ordering;
use crate::wire::Message;

impl Link {
    /// Sends a control message, or queues it until the socket has room.
    pub(crate) fn post(&self, message: &Message) -> Result<(), SendFailure> {
        self.dispatch(Outgoing { bytes: encode(message), announces: None })
    }

    pub(super) fn dispatch(&self, frame: Outgoing) -> Result<(), SendFailure> {
        let mut outbox = self.lock_outbox();
        if !outbox.push(frame) {
            drop(outbox);
            return Err(self.deaf());
        }
        self.flush_locked(&mut outbox)
    }

    #[cold]
    pub(super) fn deaf(&self) -> SendFailure {
        self.violated(Violation::Limit("the peer does not read its control messages".into()))
    }

    /// Writes queued control messages as far as the socket takes them. Drivers call it when it is writable.
    pub(crate) fn flush(&self) -> Result<(), SendFailure> {
        let mut outbox = self.lock_outbox();
        if outbox.is_empty() {
            return Ok(());
        }
        self.flush_locked(&mut outbox)
    }

    /// Whether frames wait for room in the socket: then the driver is to watch for it. Whoever has one wait
    /// wakes the driver.
    #[inline]
    pub(crate) fn frames_wait(&self) -> bool {
        self.frames_wait.load(Ordering::Relaxed)
    }

    /// Whether everything that was sent is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.lock_outbox().is_empty()
    }

    /// Lock order: the outbox before the growth.
    pub(super) fn lock_outbox(&self) -> MutexGuard<'_, Outbox> {
        // A frame is queued or written by single statements: nothing is half done if one panics.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn flush_locked(&self, outbox: &mut Outbox) -> Result<(), SendFailure> {
        match outbox.flush(|bytes, descriptors| self.socket.send(bytes, descriptors)) {
            Ok(announced) => {
                if !announced.is_empty() {
                    let mut growth = self.own.lock_growth();
                    for segment in announced {
                        self.own.open(&mut growth, segment);
                    }
                    drop(growth);
                    self.freed_here();
                }
                let wait = !outbox.is_empty();
                // Relaxed: whoever turns it on rings the driver's bell, which looks again before it sleeps.
                match (self.frames_wait.swap(wait, Ordering::Relaxed), wait) {
                    (false, true) => self.nudge(),
                    // Room for entries, which somebody may wait for, whoever has made it.
                    (true, false) if self.is_socket_lane() => self.freed_here(),
                    _ => {}
                }
                Ok(())
            }
            // The peer has gone: the driver learns it from the socket, calls learn it here.
            Err(error) => {
                tracing::debug!(connection = %self.connection_id, %error, "control message not sent");
                self.close(CloseReason::PeerGone);
                Err(self.closed_failure())
            }
        }
    }
}

pub(super) fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode_frame(&mut bytes).expect("our own control messages fit a frame");
    bytes
}
