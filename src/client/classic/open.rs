//! Opening a classic connection: a socket, who is at its other end, an id, a file.

use std::path::Path;
use std::time::Duration;

use crate::client::attempt::Attempt;
use crate::client::classic::connection::Connection;
use crate::client::classic::frames::{FrameError, Frames};
use crate::client::connect::{ConnectError, reach};
use crate::connection::printable;
use crate::error::Violation;
use crate::os::SharedFile;
use crate::wire::{ClassicConnected, ClassicRequest};

/// Opens a connection to the server that listens at `path`, in so much time.
pub(super) fn open(path: &Path, timeout: Duration) -> Result<Connection, ConnectError> {
    let attempt = Attempt::new(path, timeout);
    let socket = reach(&attempt)?;
    let credentials = socket.credentials()?;
    attempt.check_server(credentials, None)?;
    let mut frames = Frames::new(socket);
    let failed = |error| match error {
        FrameError::Late => attempt.late(),
        FrameError::HungUp => attempt.hung_up(),
        FrameError::Malformed(error) => attempt.protocol(Violation::Frame(error.to_string())),
        FrameError::Os(error) => ConnectError::Os(error),
    };
    match frames.send(&ClassicRequest::Connect, Some(attempt.deadline)) {
        // A refusal may have come before the server hung up.
        Ok(()) => {}
        Err(unsent) if matches!(unsent.error, FrameError::HungUp) => {}
        Err(unsent) => return Err(failed(unsent.error)),
    }
    let answer = frames.receive(Some(attempt.deadline)).map_err(failed)?;
    let answer = ClassicConnected::decode(&answer).map_err(|error| failed(error.into()))?;
    let (id, name) = answer.0.map_err(|reason| attempt.refused(printable(&reason)))?;
    if id.is_empty() || name.is_empty() {
        let what = "the answer to a ConnectRequest has neither an error nor both an id and a file";
        return Err(attempt.protocol(Violation::Message(what.into())));
    }
    let file = SharedFile::open(Path::new(&name)).map_err(|error| {
        let remedy = if name.starts_with('/') {
            ""
        } else {
            "; the server names its files relative to its own directory: start both in the same one, or give \
             the server an absolute path"
        };
        attempt.refused(format!("the connection's file cannot be used: {error}{remedy}"))
    })?;
    Ok(Connection::new(frames, credentials, id, file))
}
