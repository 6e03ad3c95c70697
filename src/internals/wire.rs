//! Frames and messages of both protocols, with bytes in and bytes out.

use crate::wire::{
    self, ClassicConnected, ClassicDecoder, ClassicError, ClassicReply, ClassicRequest, Decoder, Message,
    MessageError, netstring,
};

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

/// Whether the first bytes of a fresh connection are classic: `None` if more of them are needed.
pub fn is_classic(first: &[u8]) -> Option<bool> {
    wire::is_classic(first)
}

/// Cuts a stream of bytes into the bodies of its classic frames.
#[derive(Debug, Default)]
pub struct ClassicFrames(ClassicDecoder);

impl ClassicFrames {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// The body of the next frame, if it is whole.
    ///
    /// # Errors
    /// The stream's first error, and the same one ever after.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, String> {
        let frame = self.0.next_frame().map_err(|error| error.to_string())?;
        Ok(frame.map(|body| body.to_vec()))
    }

    /// Whether [`next_frame`](Self::next_frame) would return one.
    ///
    /// # Errors
    /// As there.
    pub fn has_frame(&self) -> Result<bool, String> {
        self.0.has_frame().map_err(|error| error.to_string())
    }

    /// Bytes that were fed and not yet taken as frames.
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }
}

/// A message of the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMessage(Classic);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Classic {
    Request(ClassicRequest),
    Connected(ClassicConnected),
    Reply(ClassicReply),
}

impl ClassicMessage {
    /// Reads the body of one frame as a client's request.
    ///
    /// # Errors
    /// What is wrong with it; so in the other two.
    pub fn request(body: &[u8]) -> Result<Self, String> {
        Self::of(ClassicRequest::decode(body), Classic::Request)
    }

    /// Reads it as the answer to a request to connect.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn connected(body: &[u8]) -> Result<Self, String> {
        Self::of(ClassicConnected::decode(body), Classic::Connected)
    }

    /// Reads it as the answer to a call.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn reply(body: &[u8]) -> Result<Self, String> {
        Self::of(ClassicReply::decode(body), Classic::Reply)
    }

    fn of<T>(decoded: Result<T, ClassicError>, kind: impl FnOnce(T) -> Classic) -> Result<Self, String> {
        decoded.map(|message| Self(kind(message))).map_err(|error| error.to_string())
    }

    /// The message as one frame.
    ///
    /// # Errors
    /// If it is longer than a frame may be.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let mut frame = Vec::new();
        match &self.0 {
            Classic::Request(request) => request.encode_frame(&mut frame),
            Classic::Connected(connected) => connected.encode_frame(&mut frame),
            Classic::Reply(reply) => reply.encode_frame(&mut frame),
        }
        .map_err(|error| error.to_string())?;
        Ok(frame)
    }
}
