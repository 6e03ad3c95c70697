//! What the kernel does for us: shared mappings, sealed files, sockets, doorbells, waiting, credentials.
//!
//! Linux only: sealed memfds, eventfds, epoll and `SO_PEERCRED` have no portable twins. Nothing here knows
//! the protocol. A file descriptor that a peer sent is checked here before any other layer sees it, and
//! shared bytes leave this layer as raw pointers only, never as references.
//!
//! These calls are no part of any model, so statics that live here use `std`'s atomics directly.

mod cpu;
mod credentials;
mod doorbell;
mod fork;
mod listener;
mod mapping;
mod memfd;
mod named;
mod poller;
#[cfg(feature = "tokio")]
mod readiness;
mod shared_file;
mod socket;
mod store;

pub(crate) use cpu::current_cpu;
pub use credentials::Credentials;
#[cfg(test)]
pub(crate) use credentials::own_credentials;
pub(crate) use credentials::{effective_gid, effective_uid};
pub(crate) use doorbell::Doorbell;
pub(crate) use fork::ForkMark;
pub(crate) use listener::Listener;
pub(crate) use mapping::Mapping;
pub(crate) use memfd::{admit_sealed, create_sealed};
pub(crate) use named::{LONGEST_FILE, NamedFile};
pub(crate) use poller::{Event, Interest, Poller, RoomWatch};
#[cfg(feature = "tokio")]
pub(crate) use readiness::Readiness;
pub(crate) use shared_file::SharedFile;
pub(crate) use socket::{Ready, RecvError, Socket};
pub(crate) use store::FileStore;

/// Tests that fork, against tests that watch a descriptor close: for a moment a forked child holds copies of
/// every descriptor of the test program, and an end of stream or a refused connection comes late.
#[cfg(test)]
pub(crate) mod forks {
    use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

    static FORKS: RwLock<()> = RwLock::new(());

    /// Nobody forks while the guard lives.
    pub(crate) fn forbidden() -> RwLockReadGuard<'static, ()> {
        FORKS.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever would mind a fork waits while the guard lives.
    pub(crate) fn allowed() -> RwLockWriteGuard<'static, ()> {
        FORKS.write().unwrap_or_else(PoisonError::into_inner)
    }
}
