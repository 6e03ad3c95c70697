//! One classic connection: a socket, a file, and at most one call.

use std::time::Instant;

use crate::client::classic::failure;
use crate::client::classic::frames::{FrameError, Frames, Unsent};
use crate::client::core::deadline_exceeded;
use crate::os::{Credentials, ForkMark, SharedFile};
use crate::rpc::{Letter, Private, Status, read_message};
use crate::wire::{ClassicReply, ClassicRequest};

/// A connection to a server of the classic protocol. It says farewell when it is dropped, unless it was given
/// up before.
#[derive(Debug)]
pub(super) struct Connection {
    frames: Frames,
    credentials: Credentials,
    id: String,
    file: SharedFile,
    state: State,
    pub(super) process: ForkMark,
}

#[derive(Debug)]
enum State {
    /// The next call can be sent.
    Idle,
    /// A call was sent, and its reply has not been received.
    Called { method: &'static str, deadline: Option<Instant> },
    /// Of no more use.
    GivenUp,
}

/// Why a call was not sent.
pub(super) enum CallError {
    /// The server has gone before; another connection may reach one.
    Stale,
    Failed(Status),
}

impl Connection {
    pub(super) fn new(frames: Frames, credentials: Credentials, id: String, file: SharedFile) -> Self {
        Self { frames, credentials, id, file, state: State::Idle, process: ForkMark::get() }
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// The file that messages lie in.
    pub(super) fn file(&self) -> &SharedFile {
        &self.file
    }

    /// Whether a call can be sent.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Looks whether the server is still there, and gives the connection up if not.
    pub(super) fn is_alive(&mut self) -> bool {
        match self.frames.is_quiet() {
            Ok(true) => return true,
            Ok(false) => self.warn("it sent what nobody had asked for"),
            Err(FrameError::HungUp) => {
                let (connection, peer_pid) = (&self.id, self.credentials.pid);
                tracing::debug!(connection, peer_pid, "a classic server has closed a connection");
            }
            Err(error) => self.warn(&error.to_string()),
        }
        self.state = State::GivenUp;
        false
    }

    /// Sends the call whose request is the file's first `size` bytes.
    pub(super) fn call(
        &mut self,
        method: &'static str,
        size: u64,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let (connection_id, name) = (self.id.clone(), method.to_owned());
        let request = ClassicRequest::Call { connection_id, method: name, size };
        match self.frames.send(&request, deadline) {
            Ok(()) => {
                self.state = State::Called { method, deadline };
                Ok(())
            }
            // The connection is as good as before.
            Err(Unsent { whole: true, error: FrameError::Malformed(error) }) => {
                Err(CallError::Failed(Status::invalid_argument(format!("{method:.100}…: {error}"))))
            }
            Err(unsent) => {
                self.state = State::GivenUp;
                Err(match unsent.error {
                    FrameError::HungUp if unsent.whole => CallError::Stale,
                    FrameError::HungUp => CallError::Failed(hung_up(method)),
                    FrameError::Late => CallError::Failed(deadline_exceeded()),
                    error => CallError::Failed(Status::unavailable(format!("{method}: {error}"))),
                })
            }
        }
    }

    /// Waits for the reply to the call that was sent, and copies it; `None` of no bytes.
    ///
    /// Afterwards the connection is idle, if it is of any more use.
    pub(super) fn reply(&mut self, longest: u64) -> Result<Option<Private>, Status> {
        let state = std::mem::replace(&mut self.state, State::GivenUp);
        let State::Called { method, deadline } = state else {
            return Err(Status::internal("no call is under way on this connection"));
        };
        let body = match self.frames.receive(deadline) {
            Ok(body) => body,
            Err(FrameError::Late) => return Err(deadline_exceeded()),
            Err(FrameError::HungUp) => return Err(hung_up(method)),
            Err(FrameError::Malformed(error)) => return Err(self.broken(&error.to_string())),
            Err(FrameError::Os(error)) => return Err(Status::unavailable(format!("{method}: {error}"))),
        };
        let reply = ClassicReply::decode(&body).map_err(|error| self.broken(&error.to_string()))?;
        if reply.connection_id != self.id || reply.method != method {
            return Err(self.broken(&format!(
                "an answer to {:.100?} of connection {:.100?}, where {method:?} of {:?} was called",
                reply.method, reply.connection_id, self.id
            )));
        }
        let size = match reply.outcome {
            Ok(size) => size,
            Err(text) => {
                // A server that does not know the connection never will.
                if !text.starts_with("connection not found: ") {
                    self.state = State::Idle;
                }
                return Err(failure::status(&text));
            }
        };
        if size > self.file.len() {
            let why = format!(
                "a reply of {size} bytes was announced in a file of {} bytes; if it is as long, raise \
                 classic_file_size on the server",
                self.file.len()
            );
            self.warn(&why);
            return Err(Status::resource_exhausted(why));
        }
        if size > longest {
            self.state = State::Idle;
            let why = format!("a reply of {size} bytes exceeds max_message_size ({longest}) of the channel");
            return Err(Status::resource_exhausted(why));
        }
        let message = read_message(&self.file, 0, size as usize, Letter::Reply);
        let message = message.map_err(|why| self.broken(&why))?;
        self.state = State::Idle;
        Ok(message)
    }

    /// What a call returns that met a server which broke the protocol.
    #[cold]
    fn broken(&self, why: &str) -> Status {
        self.warn(why);
        Status::unavailable(format!("the server broke the classic protocol: {why}"))
    }

    #[cold]
    fn warn(&self, why: &str) {
        let (connection, peer_pid) = (&self.id, self.credentials.pid);
        tracing::warn!(connection, peer_pid, why, "a classic connection is closed");
    }
}

#[cold]
fn hung_up(method: &str) -> Status {
    Status::unavailable(format!(
        "the server hung up before it answered {method}, which may have run; has it exited, or does its log \
         say why?"
    ))
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A child that drops its inherited copy must not end its parent's connection.
        if !self.process.is_same_process() {
            return;
        }
        if self.is_idle() {
            let connection_id = std::mem::take(&mut self.id);
            self.frames.send_last(&ClassicRequest::Disconnect { connection_id });
        }
        // Nobody reads the answer. Copies that a child has inherited must not keep it open.
        self.frames.shutdown();
    }
}
