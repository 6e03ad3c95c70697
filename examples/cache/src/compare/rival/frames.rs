//! Frames on a stream, both ways.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use prost::Message;

use crate::compare::rival::buffers::Buffers;

/// Length and tag.
const HEADER: usize = 5;

/// Longest message that is read.
const MAX: usize = 64 << 20;

/// Frames below this size are read by one system call; what is longer goes past this buffer.
const READ_AHEAD: usize = 16 << 10;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    stream: BufReader<UnixStream>,
    /// Where messages are encoded.
    out: Vec<u8>,
    buffers: Buffers,
}

impl Frames {
    pub(super) fn new(stream: UnixStream) -> Self {
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        Self { stream, out: Vec::new(), buffers: Buffers::default() }
    }

    /// Writes a frame.
    pub(super) fn send(&mut self, tag: u8, message: &impl Message) -> io::Result<()> {
        let len = message.encoded_len();
        let length = u32::try_from(len).map_err(|_| invalid("the message is too long"))?;
        self.out.clear();
        self.out.reserve(HEADER + len);
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.push(tag);
        message.encode_raw(&mut self.out);
        self.stream.get_mut().write_all(&self.out)
    }

    /// Reads a frame: its tag and its message. `None` if the peer closed the connection between two frames.
    pub(super) fn receive(&mut self) -> io::Result<Option<(u8, Bytes)>> {
        let mut header = [0; HEADER];
        if self.stream.read(&mut header[..1])? == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut header[1..])?;
        let [l0, l1, l2, l3, tag] = header;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > MAX {
            return Err(invalid("the peer's message is too long"));
        }
        let mut buffer = self.buffers.take(len);
        self.stream.read_exact(buffer.as_mut())?;
        Ok(Some((tag, buffer.freeze())))
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, Frames) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, Frames::new(theirs))
    }

    #[test]
    fn a_frame_is_length_tag_and_message() {
        let (mut peer, mut frames) = pair();
        frames.send(7, &String::from("ab")).unwrap();
        let mut sent = [0; 9];
        peer.read_exact(&mut sent).unwrap();
        // A string is field 1 of a message: tag 0x0a, length 2.
        assert_eq!(sent, [4, 0, 0, 0, 7, 0x0a, 2, b'a', b'b']);
        peer.write_all(&sent).unwrap();
        assert_eq!(frames.receive().unwrap(), Some((7, Bytes::from_static(b"\x0a\x02ab"))));
    }

    #[test]
    fn the_end_is_an_error_inside_a_frame_only() {
        let (mut peer, mut frames) = pair();
        peer.write_all(&[1, 0, 0]).unwrap();
        drop(peer);
        assert_eq!(frames.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (peer, mut frames) = pair();
        drop(peer);
        assert_eq!(frames.receive().unwrap(), None);
    }

    #[test]
    fn a_length_past_the_limit_is_refused() {
        let (mut peer, mut frames) = pair();
        peer.write_all(&[0xff, 0xff, 0xff, 0xff, 0]).unwrap();
        assert_eq!(frames.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
