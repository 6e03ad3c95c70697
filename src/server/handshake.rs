//! A client that has connected and not yet introduced itself: read without blocking, within a deadline.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crate::connection::{FILE_BACKING, Frames, HandshakeError, Link, Role, Session, answer, refusal};
use crate::error::Violation;
use crate::os::{Credentials, RecvError, Socket, effective_uid};
use crate::server::classic::ClassicConnection;
use crate::server::connection::Connection;
use crate::server::inboxes::Newcomer;
use crate::server::opening::Opening;
use crate::server::reactor::Shared;
use crate::server::seats::Seat;
use crate::wire::{ClassicConnected, MAX_BODY, MAX_ERROR_TEXT, Message};

/// The beginning of a connection.
pub(super) struct Handshake {
    socket: Socket,
    /// Among those who have not introduced themselves, or are to be refused.
    seat: Seat,
    credentials: Credentials,
    /// Why it is not admitted. It is told so once it is known which protocol it speaks.
    refused: Option<String>,
    frames: Frames,
    opening: Opening,
    /// Bytes that have come in.
    received: usize,
    deadline: Instant,
}

/// Bytes that a client may send before its request is complete: the largest frame, and some doorbells.
const MOST_BYTES: usize = 2 * MAX_BODY;

/// What became of it.
pub(super) enum Step {
    /// More bytes are needed.
    Pending(Handshake),
    /// It stands.
    Established(Box<Connection>),
    /// It speaks the classic protocol.
    Classic(Box<ClassicConnection>),
    /// It has failed, the log says why, and so does the socket if the peer can read it.
    Over,
}

impl Handshake {
    /// Takes over a client that has just connected; `None` if it is gone already.
    pub(super) fn begin(newcomer: Newcomer, shared: &Shared) -> Option<Self> {
        let Newcomer { socket, seat } = newcomer;
        let deadline = Instant::now() + shared.config.handshake_timeout;
        let credentials = match socket.credentials() {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "a client's credentials cannot be read");
                return None;
            }
        };
        let mut handshake = Self {
            socket,
            seat,
            credentials,
            refused: None,
            frames: Frames::new(),
            opening: Opening::new(),
            received: 0,
            deadline,
        };
        if let Err(reason) = shared.admission.check(credentials) {
            handshake.log_refusal(&reason);
            let Ok(seat) = shared.refused.take() else {
                // So many at once need not all be told in their own protocol.
                handshake.tell(&reason);
                return None;
            };
            (handshake.seat, handshake.refused) = (seat, Some(reason));
        }
        Some(handshake)
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The deadline has passed.
    pub(super) fn expire(self, shared: &Shared) {
        if let Some(reason) = &self.refused {
            return self.tell(reason);
        }
        let timeout = shared.config.handshake_timeout;
        self.refuse(&format!("no complete ConnectRequest came within {timeout:?}"));
    }

    /// Reads what is there.
    pub(super) fn step(mut self, shared: &Shared) -> Step {
        let mut buffer = [0; 4096];
        let mut descriptors = Vec::new();
        loop {
            if let (Some(reason), true) = (&self.refused, self.opening.is_heard()) {
                self.tell(reason);
                return Step::Over;
            }
            match self.opening.has_classic_frame() {
                Ok(false) => {}
                Ok(true) => return self.classic(shared),
                Err(error) => return self.over(Violation::Frame(error.to_string()).into()),
            }
            match self.next_message() {
                // A doorbell before the handshake wakes nobody.
                Ok(Some((Message::Doorbell, _))) => continue,
                Ok(Some((message, descriptors))) => return self.answer(shared, message, descriptors),
                // Without a bound, a client that sends doorbells as fast as we read would keep the reactor
                // here.
                Ok(None) if self.received > MOST_BYTES => {
                    let check = format!("{} bytes came, and no complete ConnectRequest", self.received);
                    return self.over(Violation::Limit(check).into());
                }
                Ok(None) => {}
                Err(violation) => return self.over(violation.into()),
            }
            match self.socket.recv(&mut buffer, &mut descriptors) {
                Ok(0) => {
                    tracing::debug!(peer_pid = self.credentials.pid, "a client left during the handshake");
                    return Step::Over;
                }
                Ok(count) => {
                    self.received += count;
                    self.opening.hear(&buffer[..count], shared.classic.is_some());
                    if !matches!(self.opening, Opening::Classic(_)) {
                        self.frames.feed(&buffer[..count], &mut descriptors);
                    }
                }
                Err(RecvError::WouldBlock) => return Step::Pending(self),
                Err(error @ RecvError::Truncated) => {
                    return self.over(Violation::Descriptors(error.to_string()).into());
                }
                Err(RecvError::Io(error)) => {
                    tracing::debug!(peer_pid = self.credentials.pid, %error, "handshake broken off");
                    return Step::Over;
                }
            }
        }
    }

    /// The next of our own messages, once the client is known to speak them.
    fn next_message(&mut self) -> Result<Option<(Message, Vec<OwnedFd>)>, Violation> {
        match self.opening {
            Opening::Netstrings => self.frames.next(),
            _ => Ok(None),
        }
    }

    /// Goes over to the classic protocol, if the server speaks it.
    fn classic(self, shared: &Shared) -> Step {
        let seat = match &shared.classic {
            Some(_) if self.is_foreign() => Err(only_own_user("classic")),
            Some(_) => shared.seats.take(),
            None => {
                Err("this server does not serve the classic protocol; ServerBuilder::classic allows it"
                    .into())
            }
        };
        let seat = match seat {
            Ok(seat) => seat,
            Err(reason) => {
                self.log_refusal(&reason);
                let Self { seat, socket, opening, .. } = self;
                drop(seat);
                tell(&socket, &opening, &reason);
                return Step::Over;
            }
        };
        let Opening::Classic(decoder) = self.opening else { unreachable!("the caller has looked") };
        // Whoever has its answer may come again at once, and finds this seat free.
        drop(self.seat);
        match ClassicConnection::new(self.socket, seat, self.credentials, decoder) {
            Ok(connection) => Step::Classic(Box::new(connection)),
            Err(error) => {
                tracing::warn!(%error, "a classic client cannot be served; see ulimit -n");
                Step::Over
            }
        }
    }

    fn answer(self, shared: &Shared, message: Message, descriptors: Vec<OwnedFd>) -> Step {
        let asks_for_file = |message: &Message| match message {
            Message::ConnectRequest(request) => request.required_features & FILE_BACKING != 0,
            _ => false,
        };
        if self.is_foreign() && asks_for_file(&message) {
            return self.over(HandshakeError::Refused(only_own_user("file_backing")));
        }
        let seat = match shared.seats.take() {
            Ok(seat) => seat,
            Err(reason) => return self.over(HandshakeError::Refused(reason)),
        };
        let id = shared.next_connection_id();
        let (agreed, frame, descriptors) =
            match answer(&shared.config, shared.methods(), id, message, descriptors) {
                Ok(answered) => answered,
                Err(error) => return self.over(error),
            };
        // Whoever has its answer may come again at once, and finds this seat free.
        drop(self.seat);
        let beside: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        // The send buffer of a fresh socket takes the largest frame whole.
        match self.socket.send(&frame, &beside) {
            Ok(sent) if sent == frame.len() => {}
            failed => {
                tracing::warn!(
                    peer_pid = self.credentials.pid,
                    ?failed,
                    "the answer to a client was not sent"
                );
                return Step::Over;
            }
        }
        let link = match Link::new(agreed, self.socket, self.credentials) {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(%error, "a client cannot be served; see ulimit -n");
                return Step::Over;
            }
        };
        let mut session = Session::new(Role::Server, &link, self.frames);
        // What came behind the request, stray descriptors among it. A failure closes the connection, which
        // its first turn sees.
        let _ = session.on_frames(&link);
        Step::Established(Box::new(Connection::new(link, seat, session)))
    }

    fn over(self, error: HandshakeError) -> Step {
        self.refuse(&error.to_string());
        Step::Over
    }

    /// Tells the log and the peer, then hangs up.
    fn refuse(self, reason: &str) {
        self.log_refusal(reason);
        let Self { seat, socket, opening, .. } = self;
        // Whoever is told may come again at once, and finds this seat free.
        drop(seat);
        match opening {
            // As the published server does with what is no classic frame.
            Opening::Classic(_) => socket.shutdown(),
            _ => tell(&socket, &opening, reason),
        }
    }

    fn log_refusal(&self, reason: &str) {
        let Credentials { pid, uid, gid } = self.credentials;
        tracing::warn!(peer_pid = pid, peer_uid = uid, peer_gid = gid, reason, "client refused");
    }

    /// Tells the peer, in the protocol that it speaks, then hangs up.
    fn tell(&self, reason: &str) {
        tell(&self.socket, &self.opening, reason);
    }

    /// Whether it is of another user.
    fn is_foreign(&self) -> bool {
        self.credentials.uid != effective_uid()
    }
}

/// Says why a client is refused, then hangs up.
fn tell(socket: &Socket, opening: &Opening, reason: &str) {
    let frame = match opening {
        Opening::Classic(_) => {
            let reason = reason[..reason.floor_char_boundary(MAX_ERROR_TEXT)].to_owned();
            let mut frame = Vec::new();
            let refusal = ClassicConnected(Err(reason)).encode_frame(&mut frame);
            refusal.expect("a text of that length fits into a frame");
            frame
        }
        _ => refusal(reason),
    };
    // Best effort.
    let _ = socket.send(&frame, &[]);
    socket.shutdown();
}

/// Why a client of another user, who is admitted, cannot have this.
fn only_own_user(option: &str) -> String {
    format!("the files of ServerBuilder::{option} are for clients of the server's own user")
}
