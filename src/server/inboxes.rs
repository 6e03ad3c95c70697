//! Sockets on their way to the reactors, which take them in turn.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::os::Socket;
use crate::server::shutdown::Shutdown;

/// One inbox for each reactor.
pub(crate) struct Inboxes {
    /// `None` once the server has ended.
    boxes: Vec<Mutex<Option<Vec<Socket>>>>,
    /// Sockets that were dealt out.
    dealt: AtomicUsize,
    shutdown: Arc<Shutdown>,
}

impl Inboxes {
    pub(super) fn new(reactors: usize, shutdown: Arc<Shutdown>) -> Self {
        let boxes = (0..reactors).map(|_| Mutex::new(Some(Vec::new()))).collect();
        Self { boxes, dealt: AtomicUsize::new(0), shutdown }
    }

    /// Whose turn it is to get a socket.
    pub(super) fn next(&self) -> usize {
        self.dealt.fetch_add(1, Ordering::Relaxed) % self.boxes.len()
    }

    /// Leaves a socket for a reactor and wakes it; hangs up if the server has ended.
    pub(super) fn put(&self, reactor: usize, socket: Socket) {
        if let Some(sockets) = &mut *self.boxes[reactor].lock().unwrap_or_else(PoisonError::into_inner) {
            sockets.push(socket);
        }
        self.shutdown.bell(reactor).ring();
    }

    /// Leaves a socket for the reactor whose turn it is.
    pub(crate) fn deal(&self, socket: Socket) {
        self.put(self.next(), socket);
    }

    /// What has come for a reactor.
    pub(super) fn take(&self, reactor: usize) -> Vec<Socket> {
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
