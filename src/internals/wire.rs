//! Netstrings and control messages, with bytes in and bytes out.

use crate::wire::{self, Decoder, Message, MessageError, netstring};

/// Largest body of a frame, in bytes.
pub const MAX_BODY: usize = wire::MAX_BODY;

/// Appends `body` to `out` as one frame.
///
/// # Errors
/// The reason, for a body that is too long; `out` is then unchanged.
#[inline]
pub fn encode_frame(body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    netstring::encode(body, out).map_err(|error| error.to_string())
}

/// A stream of frames, fed in chunks of any size.
#[derive(Debug, Default)]
pub struct Frames(Decoder);

impl Frames {
    /// A stream that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes of the stream.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// Shows the body of the next complete frame to `use_body`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The first error of the stream, and the same one ever after.
    #[inline]
    pub fn next_frame<R>(&mut self, use_body: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, String> {
        match self.0.next_frame() {
            Ok(body) => Ok(body.map(|body| use_body(&body))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Bytes that were fed and not yet taken as frames.
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }
}

/// A control message that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlMessage(Message);

impl ControlMessage {
    /// Reads the body of one frame.
    ///
    /// # Errors
    /// The check that it did not pass.
    pub fn decode(body: &[u8]) -> Result<Self, String> {
        Message::decode(body).map(Self).map_err(|error| error.to_string())
    }

    /// The message as one frame.
    ///
    /// # Errors
    /// The check of the sender's own that it did not pass: none, for a message that was decoded.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let mut frame = Vec::new();
        self.0.encode_frame(&mut frame).map_err(|error: MessageError| error.to_string())?;
        Ok(frame)
    }

    /// The message's name in the proto file.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// How many descriptors travel with it.
    pub fn descriptors(&self) -> usize {
        self.0.descriptors()
    }
}
