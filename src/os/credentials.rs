//! Who the peer is: the kernel's word, taken when the socket was connected.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The process at the other end of a connection, as the kernel recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id; 0 if the peer lives in a PID namespace that ours cannot see into. For logs: the process
    /// may be gone, and its id in use again.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// This process, as a peer would see it.
#[cfg(test)]
pub(crate) fn own_credentials() -> Credentials {
    Credentials { pid: std::process::id(), uid: effective_uid(), gid: effective_gid() }
}

/// The user this process acts as.
pub(crate) fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// And the group.
pub(crate) fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The kernel's `struct ucred`.
#[repr(C)]
#[derive(Default)]
struct Ucred {
    pid: i32,
    uid: u32,
    gid: u32,
}

/// `SOL_SOCKET` and `SO_PEERCRED`, which a few architectures number in their own way.
const PEERCRED: (c_int, c_int) = if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    (1, 21)
} else if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    (0xffff, 18)
} else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    (0xffff, 0x40)
} else {
    (1, 17)
};

// `rustix::net::sockopt::socket_peercred` keeps the process id in a `NonZero`, and the kernel answers 0 for
// a peer outside our PID namespace. Reading that is undefined behaviour, which another container could
// provoke by connecting; so this one option is read into plain integers.
unsafe extern "C" {
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut u32) -> c_int;
}

/// Credentials of the peer of a connected Unix socket: of whoever called `connect`, `listen` or
/// `socketpair`, at that moment.
pub(super) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut ucred = Ucred::default();
    let mut len = size_of::<Ucred>() as u32;
    let value = (&raw mut ucred).cast();
    // SAFETY: `value` points at `len` writable bytes, the kernel writes no more than those, and every bit
    // pattern is a valid `Ucred`.
    let answer = unsafe { getsockopt(socket.as_raw_fd(), PEERCRED.0, PEERCRED.1, value, &mut len) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<Ucred>() {
        return Err(io::Error::other("SO_PEERCRED: the kernel's answer has another size"));
    }
    // A socket without a peer answers -1 for all three ids, and so no process.
    Ok(Credentials { pid: u32::try_from(ucred.pid).unwrap_or(0), uid: ucred.uid, gid: ucred.gid })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn the_peer_of_our_own_pair_is_this_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = of_peer(a.as_fd()).unwrap();
        assert_eq!(peer, own_credentials());
        // A second source, so that one wrong source cannot agree with itself.
        let theirs = rustix::net::sockopt::socket_peercred(&a).unwrap();
        assert_eq!(peer.pid as i32, theirs.pid.as_raw_nonzero().get());
        assert_eq!((peer.uid, peer.gid), (theirs.uid.as_raw(), theirs.gid.as_raw()));
    }

    #[test]
    fn a_socket_without_a_peer_names_nobody() {
        let lonely = UnixDatagram::unbound().unwrap();
        let peer = of_peer(lonely.as_fd()).unwrap();
        assert_eq!((peer.pid, peer.uid), (0, u32::MAX));
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(of_peer(file.as_fd()).is_err());
    }
}
