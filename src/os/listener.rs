//! The server's end of the meeting point: a socket file, only for its owner unless others may come.
//!
//! A server that was killed leaves its socket file behind. The next one takes its place, and takes nothing
//! else: neither a file of another kind nor a socket that still answers.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::os::fork::ForkMark;
use crate::os::socket::{self, Socket};

/// How many connections may wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A bound, listening, non-blocking Unix socket. Its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file that we made.
    file: (u64, u64),
    process: ForkMark,
}

impl Listener {
    /// Listens at `path`, whose file gets these permissions.
    ///
    /// # Errors
    /// `AddrInUse` if another server answers there, `AlreadyExists` if the path is something that is not a
    /// socket (it stays untouched), `InvalidInput` if no socket can have that path; else what the kernel
    /// says. The text names the path and what to do.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let address = socket::address(path)?;
        let fd = socket::stream()?;
        let failed = |error| socket::at(path, "cannot listen at", error);
        // Servers that start together take turns, from the first look at the path until the socket answers:
        // else one could mistake another's socket for a dead one.
        let _turn = take_turn(path);
        make_way(path)?;
        rustix::net::bind(&fd, &address).map_err(|errno| failed(errno.into()))?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        let listener =
            Self { fd, path: path.into(), file: (made.dev(), made.ino()), process: ForkMark::get() };
        // Nobody can connect before `listen`, so nobody slips in before the mode is set.
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        rustix::net::listen(&listener.fd, BACKLOG).map_err(|errno| failed(errno.into()))?;
        Ok(listener)
    }

    /// Takes the next connection; `None` if nobody waits.
    ///
    /// # Errors
    /// What the kernel says; the process's limit of open files (`EMFILE`) is the one to expect. The listener
    /// stays good.
    pub(crate) fn accept(&self) -> io::Result<Option<Socket>> {
        loop {
            match rustix::net::accept_with(&self.fd, socket::FLAGS) {
                Ok(fd) => return Ok(Some(Socket::accepted(fd))),
                Err(Errno::AGAIN) => return Ok(None),
                // A signal, or a peer that gave up while it waited: the next one may be there.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A forked child that drops its copy must not take the path from its parent. And a file that somebody
        // else put there since is not ours; our inode's number is not given away while our socket is open.
        let still_ours =
            || fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if self.process.is_same_process() && still_ours() {
            // Nobody is left to tell: the next server at this path clears it away.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a dead socket at `path`, and refuses anything else that is there.
fn make_way(path: &Path) -> io::Result<()> {
    let failed = |error| socket::at(path, "cannot listen at", error);
    let refuse = |kind, why: &str| Err(failed(io::Error::new(kind, why.to_owned())));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return refuse(
                io::ErrorKind::AlreadyExists,
                "there is something that is not a socket; remove it or choose another path",
            );
        }
        Ok(_) => {}
    }
    match Socket::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
        // Somebody cleared it away since the first look.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // `WouldBlock`: somebody listens, with a full backlog.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => refuse(io::ErrorKind::AddrInUse, "another server answers there; stop it or choose another path"),
    }
}

/// Locks the directory of `path` until the result is dropped. Leaves no file behind.
///
/// A courtesy among servers, no protection: after a second of waiting, or where the directory cannot be
/// locked, the caller goes on without. Anybody may hold such a lock for ever.
fn take_turn(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..200 {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::sync::Barrier;
    use std::time::Instant;

    use super::*;

    const OWNER: u32 = 0o600;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        (dir, path)
    }

    fn accept_now(listener: &Listener) -> Socket {
        listener.accept().unwrap().expect("a client waits")
    }

    #[test]
    fn a_client_is_accepted_and_identified() {
        let (_dir, path) = place();
        let listener = Listener::bind(&path, OWNER).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let client = Socket::connect(&path).unwrap();
        let server = accept_now(&listener);
        client.send(b"hello", &[]).unwrap();
        let mut buf = [0; 8];
        assert_eq!(server.recv(&mut buf, &mut Vec::new()).unwrap(), 5);
        // An accepted socket that blocked would hang here, were MSG_DONTWAIT not set as well.
        assert!(rustix::fs::fcntl_getfl(&server).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        assert_eq!(server.credentials().unwrap(), crate::os::own_credentials());
    }

    #[test]
    fn the_file_is_for_whom_it_is_made_and_goes_with_the_listener() {
        let (_dir, path) = place();
        let listener = Listener::bind(&path, OWNER).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
        drop(listener);
        assert!(!path.exists());
        let _listener = Listener::bind(&path, 0o660).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o660);
    }

    #[test]
    fn a_dead_socket_is_replaced() {
        let _no_forks = crate::os::forks::forbidden();
        let (_dir, path) = place();
        // std leaves the file behind, as a killed server does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&path, OWNER).unwrap();
        let _client = Socket::connect(&path).unwrap();
        accept_now(&listener);
    }

    #[test]
    fn a_living_server_is_left_alone() {
        let (_dir, path) = place();
        let first = Listener::bind(&path, OWNER).unwrap();
        let error = Listener::bind(&path, OWNER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        accept_now(&first);
        let _client = Socket::connect(&path).unwrap();
        accept_now(&first);
    }

    #[test]
    fn a_server_with_a_full_backlog_counts_as_living() {
        let (_dir, path) = place();
        let fd = socket::stream().unwrap();
        rustix::net::bind(&fd, &socket::address(&path).unwrap()).unwrap();
        rustix::net::listen(&fd, 0).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match Socket::connect(&path) {
                Ok(client) => waiting.push(client),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(Listener::bind(&path, OWNER).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_is_not_a_stream_socket_is_never_deleted() {
        let (dir, path) = place();
        fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&path, OWNER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        // Not even a link that leads nowhere, or to a dead socket.
        let (link, dead) = (dir.path().join("link"), dir.path().join("dead"));
        drop(UnixListener::bind(&dead).unwrap());
        std::os::unix::fs::symlink(&dead, &link).unwrap();
        assert_eq!(Listener::bind(&link, OWNER).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(link.is_symlink() && dead.exists());

        let datagram = dir.path().join("datagram");
        let _bound = UnixDatagram::bind(&datagram).unwrap();
        Listener::bind(&datagram, OWNER).unwrap_err();
        assert!(datagram.exists());
    }

    #[test]
    fn a_file_that_took_our_place_survives_our_end() {
        let (_dir, path) = place();
        let first = Listener::bind(&path, OWNER).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Listener::bind(&path, OWNER).unwrap();
        drop(first);
        let _client = Socket::connect(&path).unwrap();
        accept_now(&second);
    }

    #[test]
    fn a_forked_childs_copy_leaves_the_file_alone() {
        let (_dir, path) = place();
        let mut listener = Listener::bind(&path, OWNER).unwrap();
        listener.process = ForkMark::of_another_process();
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn of_servers_that_start_together_exactly_one_wins_and_it_answers() {
        let _no_forks = crate::os::forks::forbidden();
        for _ in 0..50 {
            let (_dir, path) = place();
            drop(UnixListener::bind(&path).unwrap());
            let start = Barrier::new(4);
            let results: Vec<_> = std::thread::scope(|scope| {
                let contend = || {
                    start.wait();
                    Listener::bind(&path, OWNER)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(contend)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!((won.len(), lost.len()), (1, 3));
            for error in lost {
                assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
            Socket::connect(&path).unwrap();
        }
    }

    #[test]
    fn a_lock_that_somebody_keeps_only_delays() {
        let (dir, path) = place();
        let directory = File::open(dir.path()).unwrap();
        rustix::fs::flock(&directory, FlockOperation::LockExclusive).unwrap();
        let start = Instant::now();
        Listener::bind(&path, OWNER).unwrap();
        assert!(start.elapsed() >= Duration::from_secs(1));
    }
}
