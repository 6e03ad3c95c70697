//! Clients on their way to the reactors, which take them in turn.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::connection::refusal;
use crate::os::Socket;
use crate::server::seats::{Seat, Seats};
use crate::server::shutdown::Shutdown;

/// A client that has connected, with its seat among those who have not introduced themselves.
pub(super) struct Newcomer {
    pub(super) socket: Socket,
    pub(super) seat: Seat,
}

/// One inbox for each reactor.
pub(crate) struct Inboxes {
    /// `None` once the server has ended.
    boxes: Vec<Mutex<Option<Vec<Newcomer>>>>,
    /// Clients that were dealt out.
    dealt: AtomicUsize,
    /// Taken before a client lies in an inbox, lest those of a busy reactor grow without bound.
    seats: Arc<Seats>,
    shutdown: Arc<Shutdown>,
}

impl Inboxes {
    pub(super) fn new(reactors: usize, seats: Arc<Seats>, shutdown: Arc<Shutdown>) -> Self {
        let boxes = (0..reactors).map(|_| Mutex::new(Some(Vec::new()))).collect();
        Self { boxes, dealt: AtomicUsize::new(0), seats, shutdown }
    }

    /// Seats a client that has just connected; refuses it if there is no seat.
    pub(super) fn seat(&self, socket: Socket) -> Option<Newcomer> {
        match self.seats.take() {
            Ok(seat) => Some(Newcomer { socket, seat }),
            Err(reason) => {
                tracing::warn!(reason, "client refused");
                // Best effort, as every refusal.
                let _ = socket.send(&refusal(&reason), &[]);
                socket.shutdown();
                None
            }
        }
    }

    /// Whose turn it is to get a client.
    pub(super) fn next(&self) -> usize {
        self.dealt.fetch_add(1, Ordering::Relaxed) % self.boxes.len()
    }

    /// Leaves a client for a reactor and wakes it; hangs up if the server has ended.
    pub(super) fn put(&self, reactor: usize, newcomer: Newcomer) {
        if let Some(newcomers) = &mut *self.boxes[reactor].lock().unwrap_or_else(PoisonError::into_inner) {
            newcomers.push(newcomer);
        }
        self.shutdown.bell(reactor).ring();
    }

    /// Leaves a client that has just connected for the reactor whose turn it is.
    pub(crate) fn deal(&self, socket: Socket) {
        if let Some(newcomer) = self.seat(socket) {
            self.put(self.next(), newcomer);
        }
    }

    /// What has come for a reactor.
    pub(super) fn take(&self, reactor: usize) -> Vec<Newcomer> {
        let mut inbox = self.boxes[reactor].lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Hangs up on everybody who is in an inbox or comes later.
    fn close(&self) {
        for inbox in &self.boxes {
            *inbox.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Closes the inboxes when it is dropped, because the server ends then.
pub(super) struct CloseOnDrop(pub(super) Arc<Inboxes>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
