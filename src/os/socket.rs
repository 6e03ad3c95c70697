//! The control plane's socket: a non-blocking Unix stream that carries bytes and descriptors.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use thiserror::Error;

use crate::os::credentials::{self, Credentials};

/// How many descriptors travel with one message at most.
pub(crate) const MAX_FDS: usize = 4;

/// Room for the descriptors of one message. Rounded up for alignment, so a little more may fit.
const CONTROL: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// The longest path that a socket address holds, in bytes, without the NUL at its end.
const LONGEST_PATH: usize = 107;

/// Flags of every socket made here.
pub(super) const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Why nothing was received.
#[derive(Debug, Error)]
pub(crate) enum RecvError {
    /// Nothing is there yet.
    #[error("nothing to receive yet")]
    WouldBlock,
    /// Descriptors were lost: more than [`MAX_FDS`] came, or this process may open no more. Those that came
    /// are closed. The stream is of no more use, because nobody knows what is missing.
    #[error(
        "descriptors were lost: the peer sent more than {MAX_FDS} at once, or this process reached its \
         limit of open files (ulimit -n)"
    )]
    Truncated,
    /// The connection failed.
    #[error("receive: {0}")]
    Io(io::Error),
}

/// What a socket can become ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// There is something to receive, the end of the stream included.
    ToReceive,
    /// There is room to send, or nobody to send to.
    ToSend,
}

/// Longest single sleep, which every kernel's clock can count.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// A connected Unix stream socket: non-blocking, closed on exec.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Connects to the listener at `path`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` if nobody listens there, `WouldBlock` if the listener's backlog is
    /// full (try again later), `InvalidInput` if no socket can have that path. The text names the path.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let address = address(path)?;
        let socket = stream()?;
        match retry_on_intr(|| rustix::net::connect(&socket, &address)) {
            Ok(()) => Ok(Self(socket)),
            Err(errno) => Err(at(path, "cannot connect to", errno.into())),
        }
    }

    /// Two sockets that are connected to each other.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Wraps a socket that was made with [`FLAGS`].
    pub(super) fn accepted(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends some of `bytes`, and with the first of them all of `fds`. Returns how many bytes were taken.
    ///
    /// # Errors
    /// `WouldBlock` if the peer's buffer is full; nothing was sent then, descriptors included. `BrokenPipe`
    /// if the peer is gone. `InvalidInput` for more than [`MAX_FDS`] descriptors, or for descriptors without
    /// a byte to carry them.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} bytes cannot carry {} descriptors", bytes.len(), fds.len()),
            ));
        }
        let mut space = [MaybeUninit::uninit(); CONTROL];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let pushed = control.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(pushed, "the buffer is sized for MAX_FDS");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let bytes = [IoSlice::new(bytes)];
        Ok(retry_on_intr(|| rustix::net::sendmsg(&self.0, &bytes, &mut control, flags))?)
    }

    /// Receives into `buf`, which is not empty, and appends descriptors that came along to `fds`. Returns how
    /// many bytes came; 0 is the end of the stream.
    ///
    /// Descriptors come with the first byte they were sent with, which need not be the first of this call;
    /// bytes sent with later descriptors are left for later calls.
    pub(crate) fn recv(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, RecvError> {
        debug_assert!(!buf.is_empty(), "0 bytes would look like the end of the stream");
        let mut space = [MaybeUninit::uninit(); CONTROL];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut buf = [IoSliceMut::new(buf)];
        let message = match retry_on_intr(|| rustix::net::recvmsg(&self.0, &mut buf, &mut control, flags)) {
            Ok(message) => message,
            Err(Errno::AGAIN) => return Err(RecvError::WouldBlock),
            Err(errno) => return Err(RecvError::Io(errno.into())),
        };
        let before = fds.len();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = part {
                fds.extend(came);
            }
        }
        let too_many = fds.len() - before > MAX_FDS;
        if too_many || message.flags.contains(ReturnFlags::CTRUNC) {
            fds.truncate(before);
            return Err(RecvError::Truncated);
        }
        Ok(message.bytes)
    }

    /// Sleeps until it is ready, or `timeout` has passed (`None`: for ever). May return without any reason.
    pub(crate) fn wait(&self, ready: Ready, timeout: Option<Duration>) -> io::Result<()> {
        let flags = match ready {
            Ready::ToReceive => PollFlags::IN,
            Ready::ToSend => PollFlags::OUT,
        };
        let timeout = timeout.map(|timeout| {
            let timeout = timeout.min(LONGEST_SLEEP);
            Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
        });
        match poll(&mut [PollFd::new(&self.0, flags)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Who the peer is: the process that connected, or that called listen, as it was at that moment.
    pub(crate) fn credentials(&self) -> io::Result<Credentials> {
        credentials::of_peer(self.0.as_fd())
    }

    /// Whether the peer has closed its end. What it sent before may still be there to be read.
    pub(crate) fn has_hung_up(&self) -> bool {
        let mut watched = [PollFd::new(&self.0, PollFlags::RDHUP)];
        // A look that fails has seen nothing.
        let seen = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        seen.is_ok() && watched[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)
    }

    /// Ends the conversation in both directions; the peer reads the end of the stream. Other copies of the
    /// descriptor do not keep it open.
    pub(crate) fn shutdown(&self) {
        // Fails only if the peer is already gone, which is what was asked for.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A new socket, not yet connected or bound.
pub(super) fn stream() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?)
}

/// The address of `path`, or why there can be none.
pub(super) fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    let len = path.as_os_str().as_bytes().len();
    let refuse = |why: fmt::Arguments<'_>| {
        Err(at(path, "bad socket path", io::Error::new(io::ErrorKind::InvalidInput, why.to_string())))
    };
    if len == 0 {
        // The kernel takes an empty path for a request to invent an address.
        return refuse(format_args!("it is empty"));
    }
    if len > LONGEST_PATH {
        return refuse(format_args!(
            "it has {len} bytes and the limit is {LONGEST_PATH}; choose a shorter directory, or a relative path"
        ));
    }
    SocketAddrUnix::new(path).map_err(|errno| at(path, "bad socket path", errno.into()))
}

/// `error` with the path it is about.
pub(super) fn at(path: &Path, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {path:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use rustix::io::FdFlags;
    use rustix::net::sockopt;

    use rustix::fs::OFlags;

    use super::*;

    fn is_private(socket: &Socket) -> bool {
        rustix::io::fcntl_getfd(socket).unwrap().contains(FdFlags::CLOEXEC)
            && rustix::fs::fcntl_getfl(socket).unwrap().contains(OFlags::NONBLOCK)
    }

    fn receive(socket: &Socket) -> (Vec<u8>, Vec<OwnedFd>) {
        let (mut buf, mut fds) = ([0; 64], Vec::new());
        let count = socket.recv(&mut buf, &mut fds).unwrap();
        (buf[..count].to_vec(), fds)
    }

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (a, b) = Socket::pair().unwrap();
        let files: Vec<File> = (0..MAX_FDS)
            .map(|number| {
                let mut file = tempfile::tempfile().unwrap();
                write!(file, "file {number}").unwrap();
                file
            })
            .collect();
        let fds: Vec<_> = files.iter().map(File::as_fd).collect();
        assert_eq!(a.send(b"first", &fds).unwrap(), 5);
        assert_eq!(a.send(b"second", &fds[..1]).unwrap(), 6);

        let (bytes, came) = receive(&b);
        assert_eq!((bytes.as_slice(), came.len()), (&b"first"[..], MAX_FDS));
        for (number, fd) in came.into_iter().enumerate() {
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
            let (mut file, mut text) = (File::from(fd), String::new());
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("file {number}"));
        }
        let (bytes, came) = receive(&b);
        assert_eq!((bytes.as_slice(), came.len()), (&b"second"[..], 1));
    }

    #[test]
    fn too_many_descriptors_are_refused_on_both_ends_and_closed() {
        let _no_forks = crate::os::forks::forbidden();
        let (a, b) = Socket::pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let writers = [writer.as_fd(); 8];
        assert_eq!(a.send(b"x", &writers[..MAX_FDS + 1]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(a.send(b"", &writers[..1]).unwrap_err().kind(), io::ErrorKind::InvalidInput);

        // A peer that keeps to no limit. Five still fit the rounded buffer; eight do not.
        for count in [MAX_FDS + 1, 8] {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&writers[..count])));
            rustix::net::sendmsg(&a, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
            let mut fds = vec![OwnedFd::from(tempfile::tempfile().unwrap())];
            assert!(matches!(b.recv(&mut [0; 8], &mut fds), Err(RecvError::Truncated)));
            assert_eq!(fds.len(), 1, "what was there before stays, what came is closed");
        }
        // The end of the pipe shows that no copy of its writer is open any more.
        drop(writer);
        let mut reader = reader;
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn descriptors_that_the_kernel_dropped_are_noticed() {
        let (a, b) = Socket::pair().unwrap();
        // The sender's credentials come first and leave no room, as a limit of open files leaves none.
        sockopt::set_socket_passcred(&b, true).unwrap();
        let file = tempfile::tempfile().unwrap();
        a.send(b"x", &[file.as_fd()]).unwrap();
        assert!(matches!(b.recv(&mut [0; 8], &mut Vec::new()), Err(RecvError::Truncated)));
    }

    #[test]
    fn an_empty_stream_would_block_and_a_closed_one_ends() {
        let _no_forks = crate::os::forks::forbidden();
        let (a, b) = Socket::pair().unwrap();
        let mut fds = Vec::new();
        assert!(matches!(b.recv(&mut [0; 8], &mut fds), Err(RecvError::WouldBlock)));
        a.send(b"last", &[]).unwrap();
        drop(a);
        assert_eq!(b.recv(&mut [0; 8], &mut fds).unwrap(), 4);
        assert_eq!(b.recv(&mut [0; 8], &mut fds).unwrap(), 0);
        // A SIGPIPE would end the test program here, were it not switched off by the flag (and by std).
        assert_eq!(b.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_buffer_would_block_and_loses_nothing() {
        let (a, b) = Socket::pair().unwrap();
        let mut sent = 0;
        let error = loop {
            match a.send(&[7; 1000], &[]) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let (mut came, mut buf, mut fds) = (0, [0; 4096], Vec::new());
        while let Ok(count) = b.recv(&mut buf, &mut fds) {
            came += count;
        }
        assert_eq!((came, sent > 0), (sent, true));
    }

    #[test]
    fn it_is_waited_for_until_it_is_ready_or_the_time_is_over() {
        let (a, b) = Socket::pair().unwrap();
        let short = Duration::from_millis(20);
        let waited = |ready, timeout| {
            let begun = Instant::now();
            a.wait(ready, timeout).unwrap();
            begun.elapsed()
        };
        assert!(waited(Ready::ToReceive, Some(short)) >= short);
        assert!(waited(Ready::ToSend, Some(Duration::MAX)) < short);
        b.send(b"x", &[]).unwrap();
        assert!(waited(Ready::ToReceive, None) < short);
        while a.send(&[0; 4096], &[]).is_ok() {}
        assert!(waited(Ready::ToSend, Some(short)) >= short);
        drop(b);
        assert!(waited(Ready::ToSend, None) < short, "nobody is left to make room");
    }

    #[test]
    fn shutdown_reaches_the_peer_although_copies_are_open() {
        let (a, b) = Socket::pair().unwrap();
        let _copy = a.as_fd().try_clone_to_owned().unwrap();
        a.shutdown();
        assert_eq!(b.recv(&mut [0; 8], &mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn connect_finds_the_listener_or_names_the_path() {
        let _no_forks = crate::os::forks::forbidden();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let error = Socket::connect(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");

        let listener = UnixListener::bind(&path).unwrap();
        let socket = Socket::connect(&path).unwrap();
        assert!(is_private(&socket));
        socket.send(b"hi", &[]).unwrap();
        let mut came = [0; 2];
        listener.accept().unwrap().0.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"hi");
        assert_eq!(socket.credentials().unwrap(), crate::os::own_credentials());

        drop(listener);
        assert_eq!(Socket::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let longest = "x".repeat(LONGEST_PATH);
        assert!(address(Path::new(&longest)).is_ok());
        let error = address(Path::new(&format!("{longest}x"))).unwrap_err();
        assert!(error.to_string().contains("108 bytes and the limit is 107"), "{error}");
        for path in ["", "nul\0inside"] {
            assert_eq!(address(Path::new(path)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
