//! Ending a server: no further calls, time for those that run, then the end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::os::Doorbell;

/// What reactors look at, and what wakes each of them.
pub(super) struct Shutdown {
    requested: AtomicBool,
    bells: Vec<Doorbell>,
}

impl Shutdown {
    pub(super) fn new(bells: Vec<Doorbell>) -> Self {
        Self { requested: AtomicBool::new(false), bells }
    }

    /// What wakes a reactor.
    pub(super) fn bell(&self, reactor: usize) -> &Doorbell {
        &self.bells[reactor]
    }

    pub(super) fn is_requested(&self) -> bool {
        // Relaxed: a flag that carries nothing; the bell follows it.
        self.requested.load(Ordering::Relaxed)
    }
}

/// Ends the server that it was taken from. Clones do the same.
#[derive(Clone)]
pub struct ShutdownHandle(pub(super) Arc<Shutdown>);

impl ShutdownHandle {
    /// Asks the server to end, and returns at once.
    ///
    /// The server stops listening and tells its clients, whose next calls fail with
    /// [`Code::Unavailable`](crate::Code::Unavailable). Calls that run have the grace period to finish; then
    /// the connections close and [`Server::run`](crate::Server::run) returns.
    pub fn shutdown(&self) {
        self.0.requested.store(true, Ordering::Relaxed);
        self.0.bells.iter().for_each(Doorbell::ring);
    }
}

impl fmt::Debug for ShutdownHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownHandle").field("requested", &self.0.is_requested()).finish()
    }
}
