//! How clients come: accepted by the first reactor, dealt out in turn, and through the handshake.

use std::time::{Duration, Instant};

use crate::connection::CloseReason;
use crate::os::Socket;
use crate::server::connection::WATCHED;
use crate::server::handshake::{Handshake, Step};
use crate::server::inboxes::Newcomer;
use crate::server::reactor::{Place, Reactor, token};

/// Clients that are accepted at once.
const ACCEPTS_PER_TURN: usize = 64;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Reactor {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok(Some(socket)) => self.assign(socket),
                Ok(None) => return,
                Err(error) => {
                    // Level-triggered: without a pause this would be a busy loop.
                    tracing::warn!(%error, "a client cannot be accepted; see ulimit -n");
                    let _ = self.poller.remove(listener);
                    self.resume_accepting = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Gives a socket to the next reactor in turn.
    fn assign(&mut self, socket: Socket) {
        let Some(newcomer) = self.shared.inboxes.seat(socket) else { return };
        let number = self.shared.inboxes.next();
        if number == self.number {
            return self.admit(newcomer);
        }
        self.shared.inboxes.put(number, newcomer);
    }

    pub(super) fn take_inbox(&mut self) {
        let newcomers = self.shared.inboxes.take(self.number);
        newcomers.into_iter().for_each(|newcomer| self.admit(newcomer));
    }

    fn admit(&mut self, newcomer: Newcomer) {
        let Some(handshake) = Handshake::begin(newcomer, &self.shared) else { return };
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        if let Err(error) = self.poller.add(handshake.socket(), token(index), WATCHED) {
            tracing::warn!(%error, "a client cannot be watched");
            self.vacant.push(index);
            return;
        }
        self.places[index] = Some(Place::Handshake(handshake));
        self.handshakes.push(index);
        // What the socket holds already counts as having just arrived, so the epoll reports it.
    }

    /// Goes on with a handshake.
    pub(super) fn step(&mut self, index: usize) {
        let Some(Place::Handshake(handshake)) = self.places[index].take() else {
            unreachable!("the caller found a handshake here")
        };
        match handshake.step(&self.shared) {
            Step::Pending(handshake) => self.places[index] = Some(Place::Handshake(handshake)),
            Step::Over => _ = self.remove(index),
            Step::Classic(connection) => self.establish_classic(index, connection),
            Step::Established(connection) => {
                self.handshakes.retain(|&each| each != index);
                let link = &connection.peer().link;
                if let Err(error) = link.watch_bells(&self.poller, token(index) + 1) {
                    link.close(CloseReason::Os(error.to_string()));
                }
                tracing::debug!(connection = link.connection_id(), peer = ?link.credentials(), "connected");
                if self.ends_at.is_some() {
                    connection.peer().goaway();
                }
                self.places[index] = Some(Place::Open(connection));
                self.active.push(index);
            }
        }
    }
}
