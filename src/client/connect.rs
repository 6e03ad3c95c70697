//! Connecting: socket, credentials, handshake, within one deadline.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::client::core::Core;
use crate::client::driver::Driver;
use crate::connection::{
    ClientHandshake, Config, Frames, HandshakeError, Link, Role, SendFailure, Session, check_user,
};
use crate::error::Violation;
use crate::os::{Event, Interest, Poller, RecvError, Socket};
use crate::rpc::Status;
use crate::wire::Message;

/// How long to wait before another try when the server's backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);

/// What stands for a timeout that is beyond the clock's range.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why no connection came about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody can be reached at the path.
    #[error("{error}; is the server running, and is this the path that it was bound to?")]
    Unreachable {
        /// What the operating system says, with the path.
        error: io::Error,
    },
    /// The server did not answer in time.
    #[error(
        "{}: no answer to the handshake within {after:?}; the server is overloaded, or speaks another protocol",
        .path.display()
    )]
    Timeout {
        /// The socket's path.
        path: PathBuf,
        /// The time that was allowed:
        /// [`ChannelBuilder::connect_timeout`](crate::ChannelBuilder::connect_timeout).
        after: Duration,
    },
    /// The server refused, or is not somebody to talk to.
    #[error("{}: {reason}", .path.display())]
    Refused {
        /// The socket's path.
        path: PathBuf,
        /// Why, in the words of the side that refused.
        reason: String,
    },
    /// What the server sent does not follow the protocol.
    #[error("{}: not a usable server: {violation}", .path.display())]
    Protocol {
        /// The socket's path.
        path: PathBuf,
        /// The check that failed.
        violation: Violation,
    },
    /// This process lacks memory or descriptors.
    #[error("cannot set up a connection: {0}; see ulimit -n and ulimit -v")]
    Os(io::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

/// A connection that is being made.
pub(super) struct Attempt<'a> {
    path: &'a Path,
    timeout: Duration,
    pub(super) deadline: Instant,
}

/// Connects and shakes hands.
pub(super) fn connect(path: &Path, config: Config) -> Result<Core, ConnectError> {
    let attempt = Attempt::new(path, config.handshake_timeout);
    let socket = attempt.reach()?;
    attempt.shake_hands(socket, config)
}

/// Shakes hands over a socket that is connected; `name` stands for its path in errors.
pub(super) fn over(socket: Socket, name: &Path, config: Config) -> Result<Core, ConnectError> {
    Attempt::new(name, config.handshake_timeout).shake_hands(socket, config)
}

fn status_of(failure: SendFailure, link: &Link) -> Status {
    match failure {
        SendFailure::Failed(status) => status,
        SendFailure::Wait => link.closed_status(),
    }
}

impl<'a> Attempt<'a> {
    pub(super) fn new(path: &'a Path, timeout: Duration) -> Self {
        let now = Instant::now();
        Self { path, timeout, deadline: now.checked_add(timeout).unwrap_or(now + FOR_EVER) }
    }

    fn shake_hands(&self, socket: Socket, config: Config) -> Result<Core, ConnectError> {
        let credentials = socket.credentials()?;
        check_user(credentials).map_err(|reason| self.refused(reason))?;
        let spin = config.spin;
        let (handshake, frame, descriptors) = ClientHandshake::start(config)?;
        let mut exchange = Exchange::new(&socket)?;
        exchange.send(self, &frame, &descriptors)?;
        drop(descriptors);
        let (message, descriptors) = exchange.receive(self)?;
        let frames = exchange.frames;
        let agreed = handshake.finish(message, descriptors).map_err(|error| match error {
            HandshakeError::Violation(violation) => self.protocol(violation),
            HandshakeError::Os(error) => ConnectError::Os(error),
            refused @ (HandshakeError::Refused(_) | HandshakeError::RefusedByPeer { .. }) => {
                self.refused(refused.to_string())
            }
        })?;
        let link = Arc::new(Link::new(agreed, socket, credentials));
        let mut session = Session::new(Role::Client, &link, frames);
        // The server may have written more behind its answer.
        session.on_frames(&link).map_err(|failure| self.refused(status_of(failure, &link).to_string()))?;
        let driver = Driver::new(&link, session, spin)?;
        Ok(Core::new(link, driver))
    }

    pub(super) fn reach(&self) -> Result<Socket, ConnectError> {
        loop {
            match Socket::connect(self.path) {
                Ok(socket) => return Ok(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.time_left()?;
                    thread::sleep(BACKLOG_PAUSE);
                }
                Err(error) => return Err(ConnectError::Unreachable { error }),
            }
        }
    }

    fn time_left(&self) -> Result<Duration, ConnectError> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.late()),
        }
    }

    pub(super) fn late(&self) -> ConnectError {
        ConnectError::Timeout { path: self.path.to_owned(), after: self.timeout }
    }

    pub(super) fn refused(&self, reason: String) -> ConnectError {
        ConnectError::Refused { path: self.path.to_owned(), reason }
    }

    pub(super) fn protocol(&self, violation: Violation) -> ConnectError {
        ConnectError::Protocol { path: self.path.to_owned(), violation }
    }

    pub(super) fn hung_up(&self) -> ConnectError {
        self.refused("the server closed the connection during the handshake; its log says why".into())
    }
}

/// One question and one answer over a non-blocking socket.
struct Exchange<'a> {
    socket: &'a Socket,
    poller: Poller,
    events: Vec<Event>,
    frames: Frames,
}

impl<'a> Exchange<'a> {
    fn new(socket: &'a Socket) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(socket, 0, Interest::EdgeWithWrite)?;
        Ok(Self { socket, poller, events: Vec::new(), frames: Frames::new() })
    }

    fn wait(&mut self, attempt: &Attempt<'_>) -> Result<(), ConnectError> {
        let left = attempt.time_left()?;
        Ok(self.poller.wait(&mut self.events, Some(left))?)
    }

    fn send(
        &mut self,
        attempt: &Attempt<'_>,
        frame: &[u8],
        descriptors: &[std::os::fd::OwnedFd],
    ) -> Result<(), ConnectError> {
        use std::os::fd::AsFd;
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut written = 0;
        while written < frame.len() {
            // Descriptors travel with the first byte.
            let beside = if written == 0 { &descriptors[..] } else { &[] };
            match self.socket.send(&frame[written..], beside) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(attempt)?,
                // A refusal may have come before the server hung up.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        attempt: &Attempt<'_>,
    ) -> Result<(Message, Vec<std::os::fd::OwnedFd>), ConnectError> {
        let mut buffer = [0; 4096];
        let mut descriptors = Vec::new();
        loop {
            match self.frames.next().map_err(|violation| attempt.protocol(violation))? {
                // Nobody sleeps yet; a doorbell says nothing.
                Some((Message::Doorbell, _)) => continue,
                Some(answer) => return Ok(answer),
                None => {}
            }
            match self.socket.recv(&mut buffer, &mut descriptors) {
                Ok(0) => return Err(attempt.hung_up()),
                Ok(count) => {
                    self.frames.feed(&buffer[..count], &mut descriptors);
                    // A server that never stops sending must not outlast the deadline.
                    attempt.time_left()?;
                }
                Err(RecvError::WouldBlock) => self.wait(attempt)?,
                Err(RecvError::Truncated) => {
                    let check = RecvError::Truncated.to_string();
                    return Err(attempt.protocol(Violation::Descriptors(check)));
                }
                Err(RecvError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(attempt.hung_up());
                }
                Err(RecvError::Io(error)) => return Err(error.into()),
            }
        }
    }
}
