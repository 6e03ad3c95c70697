//! The typed messages over a plain Unix socket, as one would write it by hand and with care.
//!
//! ```text
//! length u32, little-endian │ message
//! ```
//!
//! Each connection has a thread. A frame is written by one system call, small frames are read many at a time,
//! messages are encoded and received into memory that is used again, and what is decoded shares that.
//! A flood keeps no more bytes under way than the sockets' buffers hold, so that the two sides never both
//! wait for the other to read.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use anyhow::{Context, ensure};
use bytes::Bytes;
use prost::Message;

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::buffers::Buffer;
use crate::transports::typed::answer;
use crate::transports::{Echo, Flood, Place, Transport, socket};
use crate::work;

const HEADER: usize = 4;

/// Frames below this size are read many at a time; what is longer goes past this buffer.
const READ_AHEAD: usize = 16 << 10;

/// Bytes that may be under way in each direction, well below what a socket's buffer holds.
const WINDOW: usize = 64 << 10;

/// The plain socket.
#[derive(Debug)]
pub struct UnixSocket;

impl Transport for UnixSocket {
    fn name(&self) -> &'static str {
        "unix-socket"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood, Mode::Wake, Mode::OneCore]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let path = socket(serving.directory());
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
        serving.ready("");
        let max_size = serving.max_size();
        for stream in listener.incoming() {
            let mut frames = Frames::new(stream.context("cannot accept a connection")?, max_size);
            // Ends with its connection.
            thread::spawn(move || {
                while frames.receive().and_then(|request| frames.send(&answer(&request))).is_ok() {}
            });
        }
        Ok(())
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let stream = UnixStream::connect(socket(&place.directory)).context("cannot connect")?;
        Ok(Box::new(Client { frames: Frames::new(stream, place.max_size), request: Buffer::default() }))
    }
}

/// Frames on a stream, both ways.
struct Frames {
    stream: BufReader<UnixStream>,
    /// Where frames are encoded.
    out: Vec<u8>,
    /// Where messages are received.
    input: Buffer,
    max: usize,
}

impl Frames {
    fn new(stream: UnixStream, max_size: usize) -> Self {
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        Self { stream, out: Vec::new(), input: Buffer::default(), max: max_size + 1024 }
    }

    fn send(&mut self, message: &Bytes) -> anyhow::Result<()> {
        let len = message.encoded_len();
        self.out.clear();
        self.out.reserve(HEADER + len);
        self.out.extend_from_slice(&u32::try_from(len)?.to_le_bytes());
        message.encode_raw(&mut self.out);
        self.stream.get_mut().write_all(&self.out).context("cannot send")
    }

    fn receive(&mut self) -> anyhow::Result<Bytes> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).context("cannot receive")?;
        let len = u32::from_le_bytes(header) as usize;
        ensure!(len <= self.max, "a frame of {len} bytes is longer than {}", self.max);
        let mut memory = self.input.take(len);
        self.stream.read_exact(&mut memory).context("cannot receive")?;
        Ok(Bytes::decode(self.input.share(memory))?)
    }
}

struct Client {
    frames: Frames,
    request: Buffer,
}

impl Client {
    fn request(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let request = self.request.filled(size, |bytes| work::fill(bytes, work::seed(number)));
        self.frames.send(&request)
    }

    fn reply(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        work::check(&self.frames.receive()?, size, work::seed(number))
    }
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        self.request(size, number)?;
        self.reply(size, number)
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let size = flood.size;
        let flood = Flood { depth: flood.depth.min(WINDOW / size).max(1), ..flood };
        flood.run(
            self,
            |client, number| client.request(size, number),
            |client, number| client.reply(size, number),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_of_all_sizes_come_back() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut server = Frames::new(theirs, 1 << 20);
        thread::scope(|scope| {
            scope.spawn(move || while server.receive().and_then(|got| server.send(&answer(&got))).is_ok() {});
            let frames = Frames::new(ours, 1 << 20);
            let mut client = Client { frames, request: Buffer::default() };
            for (number, size) in [1, 64, 4096, 20_000, 1 << 20, 64].into_iter().enumerate() {
                client.echo(size, number as u64).unwrap();
            }
            let until = std::time::Instant::now();
            for size in [64, 4096, 1 << 20] {
                assert!(client.flood(Flood { size, depth: 64, until, first: 7 }).unwrap() > 64);
            }
        });
    }

    #[test]
    fn a_frame_past_the_limit_is_refused() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0xff; 4]).unwrap();
        let error = Frames::new(theirs, 64).receive().unwrap_err().to_string();
        assert!(error.contains("longer than 1088"), "{error}");
    }
}
