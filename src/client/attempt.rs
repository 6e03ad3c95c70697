//! How a connection is made: socket, credentials, handshake, within one deadline, whoever waits in between.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::connect::ConnectError;
use crate::client::core::Core;
use crate::client::driver::Driver;
use crate::connection::{ClientHandshake, Config, Frames, HandshakeError, Link, Role, SendFailure, Session};
use crate::error::Violation;
#[cfg(feature = "tokio")]
use crate::os::Readiness;
use crate::os::{Credentials, Event, Interest, Poller, RecvError, Socket, effective_uid};
use crate::rpc::Status;
use crate::wire::Message;

/// How long to wait before another try when the server's backlog is full.
pub(super) const BACKLOG_PAUSE: Duration = Duration::from_millis(1);

/// What stands for a timeout that is beyond the clock's range.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A connection that is being made.
#[derive(Clone)]
pub(super) struct Attempt {
    path: Arc<Path>,
    timeout: Duration,
    pub(super) deadline: Instant,
}

impl Attempt {
    /// `path` is where to, or a name for it in errors.
    pub(super) fn new(path: impl Into<Arc<Path>>, timeout: Duration) -> Self {
        let now = Instant::now();
        Self { path: path.into(), timeout, deadline: now.checked_add(timeout).unwrap_or(now + FOR_EVER) }
    }

    /// Tries to reach the server. `None` if its backlog is full: try again after a [pause](BACKLOG_PAUSE).
    pub(super) fn reach(&self) -> Result<Option<Socket>, ConnectError> {
        match Socket::connect(&self.path) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.time_left().map(|_| None),
            Err(error) => Err(ConnectError::Unreachable { error }),
        }
    }

    /// Begins to shake hands over a socket that is connected.
    pub(super) fn greet(self, socket: Socket, config: Config) -> Result<Greeting, ConnectError> {
        let credentials = socket.credentials()?;
        self.check_server(credentials, Some(&config.servers))?;
        let spin = config.spin;
        let (handshake, frame, descriptors) = ClientHandshake::start(config)?;
        let poller = Arc::new(Poller::new()?);
        poller.add(&socket, 0, Interest::EdgeWithWrite)?;
        Ok(Greeting {
            attempt: self,
            socket,
            credentials,
            handshake,
            spin,
            frame,
            written: 0,
            descriptors,
            frames: Frames::new(),
            came: Vec::new(),
            poller,
            events: Vec::new(),
        })
    }

    /// Whether the server is of our own user, or of one of these if others can be allowed.
    pub(super) fn check_server(
        &self,
        server: Credentials,
        users: Option<&[u32]>,
    ) -> Result<(), ConnectError> {
        let (Credentials { pid, uid, .. }, own) = (server, effective_uid());
        if uid == own || users.is_some_and(|users| users.contains(&uid)) {
            return Ok(());
        }
        let remedy = match users {
            Some(_) => "ChannelBuilder::allow_uid trusts it",
            None => "a classic channel is for servers of its own user",
        };
        let who = format!("the server runs as user {uid} (process {pid}), this process as user {own}");
        Err(self.refused(format!("{who}; {remedy}")))
    }

    pub(super) fn time_left(&self) -> Result<Duration, ConnectError> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.late()),
        }
    }

    pub(super) fn late(&self) -> ConnectError {
        ConnectError::Timeout { path: self.path.to_path_buf(), after: self.timeout }
    }

    pub(super) fn refused(&self, reason: String) -> ConnectError {
        ConnectError::Refused { path: self.path.to_path_buf(), reason }
    }

    pub(super) fn protocol(&self, violation: Violation) -> ConnectError {
        ConnectError::Protocol { path: self.path.to_path_buf(), violation }
    }

    pub(super) fn hung_up(&self) -> ConnectError {
        self.refused("the server closed the connection during the handshake; its log says why".into())
    }
}

/// What the server has said, and what came with it.
pub(super) struct Answer {
    message: Message,
    descriptors: Vec<OwnedFd>,
}

/// A handshake under way: one question and one answer over a non-blocking socket.
pub(super) struct Greeting {
    attempt: Attempt,
    socket: Socket,
    credentials: Credentials,
    handshake: ClientHandshake,
    spin: Duration,
    /// The question, and how much of it is out. Its descriptors travel with the first byte.
    frame: Vec<u8>,
    written: usize,
    descriptors: Vec<OwnedFd>,
    frames: Frames,
    /// Descriptors that have come, before their frame has.
    came: Vec<OwnedFd>,
    poller: Arc<Poller>,
    events: Vec<Event>,
}

impl Greeting {
    /// Goes on as far as the socket allows: to the answer, or to where something has to happen there first.
    /// Then wait, and try again.
    pub(super) fn advance(&mut self) -> Result<Option<Answer>, ConnectError> {
        if self.send()? { self.receive() } else { Ok(None) }
    }

    /// What has come is agreed on, or refused.
    pub(super) fn finish(self, answer: Answer) -> Result<Arc<Core>, ConnectError> {
        let attempt = &self.attempt;
        let agreed = self.handshake.finish(answer.message, answer.descriptors);
        let agreed = agreed.map_err(|error| match error {
            HandshakeError::Violation(violation) => attempt.protocol(violation),
            HandshakeError::Os(error) => ConnectError::Os(error),
            refused @ (HandshakeError::Refused(_) | HandshakeError::RefusedByPeer { .. }) => {
                attempt.refused(refused.to_string())
            }
        })?;
        let link = Arc::new(Link::new(agreed, self.socket, self.credentials)?);
        let mut session = Session::new(Role::Client, &link, self.frames);
        // The server may have written more behind its answer.
        session.on_frames(&link).map_err(|failure| attempt.refused(status_of(failure, &link).to_string()))?;
        let driver = Driver::new(&link, session, self.spin)?;
        Ok(Core::new(link, driver))
    }

    /// Whether the server can no longer answer in time.
    pub(super) fn is_late(&self) -> bool {
        self.attempt.time_left().is_err()
    }

    /// Sleeps until something has happened at the socket, or `most` has passed.
    pub(super) fn wait(&mut self, most: Duration) -> Result<(), ConnectError> {
        let left = self.attempt.time_left()?.min(most);
        Ok(self.poller.wait(&mut self.events, Some(left))?)
    }

    /// The same for a task.
    #[cfg(feature = "tokio")]
    pub(super) async fn ready(&mut self) -> Result<(), ConnectError> {
        let readiness = Readiness::of(self.poller.clone())?;
        if tokio::time::timeout(self.attempt.time_left()?, readiness.wait()).await.is_err() {
            // By the runtime's clock, which may run ahead of the one that counts.
            self.attempt.time_left()?;
        }
        Ok(self.poller.wait(&mut self.events, Some(Duration::ZERO))?)
    }

    /// Whether the question is out.
    fn send(&mut self) -> Result<bool, ConnectError> {
        while self.written < self.frame.len() {
            let beside: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
            let sent = self.socket.send(&self.frame[self.written..], &beside);
            match sent {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // A refusal may have come before the server hung up.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.written = self.frame.len(),
                Err(error) => return Err(error.into()),
            }
            self.descriptors.clear();
        }
        Ok(true)
    }

    /// The answer, once it has come.
    fn receive(&mut self) -> Result<Option<Answer>, ConnectError> {
        let (attempt, mut buffer) = (&self.attempt, [0; 4096]);
        loop {
            match self.frames.next().map_err(|violation| attempt.protocol(violation))? {
                // Nobody sleeps yet; a doorbell says nothing.
                Some((Message::Doorbell, _)) => continue,
                Some((message, descriptors)) => return Ok(Some(Answer { message, descriptors })),
                None => {}
            }
            match self.socket.recv(&mut buffer, &mut self.came) {
                Ok(0) => return Err(attempt.hung_up()),
                Ok(count) => {
                    self.frames.feed(&buffer[..count], &mut self.came);
                    // A server that never stops sending must not outlast the deadline.
                    attempt.time_left()?;
                }
                Err(RecvError::WouldBlock) => return Ok(None),
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

fn status_of(failure: SendFailure, link: &Link) -> Status {
    match failure {
        SendFailure::Failed(status) => status,
        SendFailure::Wait => link.closed_status(),
    }
}
