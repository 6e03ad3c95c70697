//! The doorbell: how a parked peer is woken.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{FileType, OFlags};

/// Wakes a parked peer: an eventfd that is written and never read.
///
/// An edge-triggered epoll reports each write, so nobody has to reset it, and ringing twice costs nothing.
/// Both ends hold the same eventfd, its flags included: a peer could clear `O_NONBLOCK` and fill the
/// counter, and our next ring would block. So one that a peer of another user holds is never rung.
#[derive(Debug)]
pub(crate) struct Doorbell(OwnedFd);

impl Doorbell {
    /// A new doorbell, to be shared with the peer.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// A second handle to the same doorbell.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Admits a doorbell that a peer sent.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is not an eventfd, or would block. It is closed then.
    pub(crate) fn from_peer(fd: OwnedFd) -> io::Result<Self> {
        let refuse = |check: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("doorbell: {check}"));
        if !is_eventfd(fd.as_fd())? {
            return Err(refuse("the descriptor is not an eventfd"));
        }
        if !rustix::fs::fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK) {
            return Err(refuse("the eventfd lacks O_NONBLOCK"));
        }
        Ok(Self(fd))
    }

    /// Wakes whoever waits at the other end. Never blocks, never fails.
    pub(crate) fn ring(&self) {
        // The one error an honest peer can cause is EAGAIN: the counter is full. It takes 2^64 rings, or a
        // peer that fills the counter of its own doorbell, and then sleeps on. Neither is ours to repair.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Doorbell> for OwnedFd {
    fn from(bell: Doorbell) -> Self {
        bell.0
    }
}

/// Whether `fd` is an eventfd, as well as one can know.
fn is_eventfd(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(target) => Ok(target.as_os_str() == "anon_inode:[eventfd]"),
        // No /proc here.
        Err(_) => is_anonymous(fd),
    }
}

/// Whether `fd` is one of the kernel's anonymous inodes, which alone have no file type. The others among
/// them (epoll, timerfd, ...) refuse the eight bytes that `ring` writes, and so do no harm.
fn is_anonymous(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Unknown)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::os::{Interest, Poller};

    #[test]
    fn each_ring_wakes_although_nobody_reads() {
        let ours = Doorbell::new().unwrap();
        let theirs = Doorbell::from_peer(ours.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&ours, 9, Interest::Edge).unwrap();
        let mut events = Vec::new();
        for _ in 0..3 {
            theirs.ring();
            poller.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert_eq!(events.len(), 1);
            assert!(events[0].token == 9 && events[0].readable && !events[0].hangup);
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            assert!(events.is_empty(), "one ring is one event");
        }
    }

    #[test]
    fn a_clone_rings_the_same_bell() {
        let bell = Doorbell::new().unwrap();
        bell.try_clone().unwrap().ring();
        let mut count = [0; 8];
        rustix::io::read(&bell, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }

    #[test]
    fn a_full_counter_does_not_block_the_ringer() {
        let bell = Doorbell::new().unwrap();
        rustix::io::write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        bell.ring();
        let mut count = [0; 8];
        rustix::io::read(&bell, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), u64::MAX - 1);
    }

    #[test]
    fn what_is_no_eventfd_or_would_block_is_refused() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
        for fd in [OwnedFd::from(pipe), OwnedFd::from(socket), epoll] {
            let error = Doorbell::from_peer(fd).unwrap_err();
            assert!(error.to_string().contains("not an eventfd"), "{error}");
        }
        let blocking = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let error = Doorbell::from_peer(blocking).unwrap_err();
        assert!(error.to_string().contains("O_NONBLOCK"), "{error}");
    }

    #[test]
    fn without_proc_only_anonymous_inodes_pass() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let memfd = rustix::fs::memfd_create("mmap-rpc-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert!(!is_anonymous(pipe.as_fd()).unwrap());
        assert!(!is_anonymous(memfd.as_fd()).unwrap());
        assert!(is_anonymous(Doorbell::new().unwrap().as_fd()).unwrap());
    }
}
