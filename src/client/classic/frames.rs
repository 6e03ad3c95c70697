//! Frames of the classic protocol on a non-blocking socket, within a deadline.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

use crate::os::{Ready, RecvError, Socket};
use crate::wire::{ClassicDecoder, ClassicError, ClassicRequest};

/// A socket, and what has come in on it.
#[derive(Debug)]
pub(super) struct Frames {
    socket: Socket,
    decoder: ClassicDecoder,
}

/// Why a frame was not sent, or none came.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    /// In the time that was allowed.
    #[error("the time is over")]
    Late,
    /// The server's end is closed.
    #[error("the server hung up")]
    HungUp,
    #[error("{0}")]
    Malformed(#[from] ClassicError),
    #[error("{0}")]
    Os(io::Error),
}

/// A frame was not sent; none of it, if `whole`.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) whole: bool,
    pub(super) error: FrameError,
}

impl Frames {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, decoder: ClassicDecoder::default() }
    }

    /// Sends a request, all of it.
    pub(super) fn send(&self, request: &ClassicRequest, deadline: Option<Instant>) -> Result<(), Unsent> {
        let mut frame = Vec::new();
        request.encode_frame(&mut frame).map_err(|error| Unsent { whole: true, error: error.into() })?;
        let mut sent = 0;
        while sent < frame.len() {
            let step = match self.socket.send(&frame[sent..], &[]) {
                Ok(count) => {
                    sent += count;
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(Ready::ToSend, deadline),
                Err(error) => Err(gone_or(error)),
            };
            step.map_err(|error| Unsent { whole: sent == 0, error })?;
        }
        Ok(())
    }

    /// Receives the body of the next frame.
    pub(super) fn receive(&mut self, deadline: Option<Instant>) -> Result<Bytes, FrameError> {
        loop {
            if let Some(body) = self.decoder.next_frame()? {
                return Ok(body);
            }
            // A frame is short: a server that sends bytes without end outlasts no deadline by more than that.
            if !self.fill()? {
                self.wait(Ready::ToReceive, deadline)?;
            }
        }
    }

    /// Whether the server is there, and has sent nothing that nobody asked for.
    pub(super) fn is_quiet(&mut self) -> Result<bool, FrameError> {
        Ok(self.decoder.buffered() == 0 && !self.fill()?)
    }

    /// Sends without waiting, to whom it reaches.
    pub(super) fn send_last(&self, request: &ClassicRequest) {
        let mut frame = Vec::new();
        if request.encode_frame(&mut frame).is_ok() {
            // The hang-up that follows says the same.
            let _ = self.socket.send(&frame, &[]);
        }
    }

    /// Hangs up.
    pub(super) fn shutdown(&self) {
        self.socket.shutdown();
    }

    /// Takes in what has come; false if there is nothing.
    fn fill(&mut self) -> Result<bool, FrameError> {
        let mut buffer = [0; 4096];
        // Descriptors that come along are closed at once.
        match self.socket.recv(&mut buffer, &mut Vec::new()) {
            Ok(0) => Err(FrameError::HungUp),
            Ok(count) => {
                self.decoder.feed(&buffer[..count]);
                Ok(true)
            }
            Err(RecvError::WouldBlock) => Ok(false),
            Err(RecvError::Io(error)) => Err(gone_or(error)),
            Err(error @ RecvError::Truncated) => Err(FrameError::Os(io::Error::other(error.to_string()))),
        }
    }

    fn wait(&self, ready: Ready, deadline: Option<Instant>) -> Result<(), FrameError> {
        self.socket.wait(ready, time_left(deadline)?).map_err(FrameError::Os)
    }
}

fn gone_or(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => FrameError::HungUp,
        _ => FrameError::Os(error),
    }
}

/// Time until a deadline, of which there is some; `None` for ever.
fn time_left(deadline: Option<Instant>) -> Result<Option<Duration>, FrameError> {
    match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(FrameError::Late),
        left => Ok(left),
    }
}
