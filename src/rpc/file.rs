//! Messages that lie in a file: encoded into it from its first byte on, and copied out of it once.
//!
//! What is short is gathered in a small buffer and written together; what is long goes from where it lies
//! straight into the file, so that a message of megabytes is copied once on its way, by the kernel.

use std::fmt;
use std::io;

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut};

use crate::os::SharedFile;
use crate::rpc::codec::{Encode, encoded};
use crate::rpc::pool::PooledBuf;
use crate::rpc::private::Private;
use crate::rpc::room::{Excess, put_repeated, put_slices};
use crate::rpc::status::Status;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 << 10;

/// From this length on, bytes are written from where they lie.
const LONG: usize = 16 << 10;

/// Where messages are copied to: at multiples of this.
const ALIGNED: usize = 64;

/// What a message is, in the text of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letter {
    Request,
    Reply,
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Reply => "reply",
        })
    }
}

/// A copy of the `size` bytes of a file from `start` on; `None` of none.
///
/// # Errors
/// A text: what the kernel says, or that the file has fewer.
pub(crate) fn read_message(
    file: &SharedFile,
    start: u64,
    size: usize,
    letter: Letter,
) -> Result<Option<Private>, String> {
    if size == 0 {
        return Ok(None);
    }
    let mut copy = PooledBuf::with_room_for(size + ALIGNED);
    // The kernel copies pages; to where a large heap block starts, 16 bytes behind a page's beginning, that
    // takes longer.
    let pad = copy.spare().as_ptr().align_offset(ALIGNED).min(ALIGNED);
    copy.extend_from_slice(&[0; ALIGNED][..pad]);
    loop {
        let got = copy.as_slice().len() - pad;
        let read = copy.extend_with(size - got, |room| file.read_at(room, start + got as u64));
        read.map_err(|error| format!("read {}: {error}", file.path().display()))?;
        match copy.as_slice().len() - pad {
            all if all == size => {
                let mut message = Private::pooled(copy);
                message.advance(pad);
                return Ok(Some(message));
            }
            some if some == got => {
                let name = file.path().display();
                return Err(format!(
                    "{name} ends after {some} bytes of a {letter} of {size}: it was truncated"
                ));
            }
            _ => {}
        }
    }
}

/// Encodes a message of `len` bytes into the file.
///
/// # Errors
/// `Internal` if it encodes to more or fewer bytes; `ResourceExhausted` if they cannot be written.
pub(crate) fn write_message<M: Encode>(
    file: &SharedFile,
    message: &M,
    len: usize,
    letter: Letter,
) -> Result<(), Status> {
    let mut writer = Writer::new(file, len);
    let outcome = message.encode(&mut writer);
    encoded(outcome, len, writer.excess.beside(len - writer.left))?;
    writer.finish(letter)
}

/// Copies bytes into the file.
///
/// # Errors
/// `ResourceExhausted` if they cannot be written.
pub(crate) fn write_bytes(file: &SharedFile, bytes: &[u8], letter: Letter) -> Result<(), Status> {
    let mut writer = Writer::new(file, bytes.len());
    writer.put_slice(bytes);
    writer.finish(letter)
}

/// The beginning of a file, as memory that a message is encoded into.
struct Writer<'a> {
    file: &'a SharedFile,
    /// What is not in the file yet.
    gathered: PooledBuf,
    /// Where in the file that belongs.
    position: usize,
    /// Bytes that may still come.
    left: usize,
    excess: Excess,
    /// The first failure. What comes after it is dropped.
    failure: io::Result<()>,
}

impl<'a> Writer<'a> {
    fn new(file: &'a SharedFile, len: usize) -> Self {
        let gathered = PooledBuf::with_room_for(len.min(GATHERED));
        Self { file, gathered, position: 0, left: len, excess: Excess::default(), failure: Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) {
        let Self { file, position, failure, .. } = self;
        append(file, bytes, position, failure);
    }

    fn flush(&mut self) {
        let Self { file, gathered, position, failure, .. } = self;
        append(file, gathered.as_slice(), position, failure);
        gathered.clear();
    }

    fn finish(mut self, letter: Letter) -> Result<(), Status> {
        self.flush();
        let Self { file, failure, .. } = self;
        failure.map_err(|error| {
            let path = file.path().display();
            Status::resource_exhausted(format!("the {letter} cannot be written to {path}: {error}"))
        })
    }

    /// Whether the kernel would copy these bytes at a fraction of its speed: the processor's string
    /// instruction is slow where the destination lies just behind the source within a page: see
    /// `layout/copy.rs`.
    fn would_crawl(&self, bytes: &[u8]) -> bool {
        (1..32).contains(&(self.position.wrapping_sub(bytes.as_ptr().addr()) % 4096))
    }
}

/// Writes at a position, which moves on, unless there has been a failure.
fn append(file: &SharedFile, bytes: &[u8], position: &mut usize, failure: &mut io::Result<()>) {
    if failure.is_ok() {
        *failure = file.write_at(bytes, *position as u64);
    }
    *position += bytes.len();
}

// SAFETY: `chunk_mut` is the buffer's room, which a flush leaves some of, and no longer than what may come.
unsafe impl BufMut for Writer<'_> {
    fn remaining_mut(&self) -> usize {
        self.left
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.left, "advanced past the end of a message");
        // SAFETY: the caller has initialised `count` bytes of the room, and they are left as they are.
        unsafe { self.gathered.extend_by(count, |_| ()) };
        self.left -= count;
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.gathered.spare().is_empty() {
            self.flush();
        }
        let room = self.gathered.spare();
        let len = room.len().min(self.left);
        UninitSlice::uninit(&mut room[..len])
    }

    fn put<T: Buf>(&mut self, source: T) {
        put_slices(self, source);
    }

    fn put_bytes(&mut self, byte: u8, count: usize) {
        if count > self.left {
            return self.excess.drop(count);
        }
        put_repeated(self, byte, count);
    }

    fn put_slice(&mut self, mut source: &[u8]) {
        if source.len() > self.left {
            return self.excess.drop(source.len());
        }
        self.left -= source.len();
        if source.len() >= LONG {
            self.flush();
            if !self.would_crawl(source) {
                return self.write(source);
            }
        }
        while !source.is_empty() {
            if self.gathered.spare().is_empty() {
                self.flush();
            }
            let (now, rest) = source.split_at(source.len().min(self.gathered.spare().len()));
            self.gathered.extend_from_slice(now);
            source = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use bytes::Bytes;
    use prost::Message;

    use super::*;

    fn file(len: u64) -> (tempfile::TempDir, SharedFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap().set_len(len).unwrap();
        let file = SharedFile::open(&path).unwrap();
        (dir, file)
    }

    fn bytes(len: usize) -> Bytes {
        (0..len).map(|i| (i % 251) as u8).collect::<Vec<_>>().into()
    }

    fn read(file: &SharedFile, size: usize) -> Vec<u8> {
        let message = read_message(file, 0, size, Letter::Reply).unwrap();
        message.map_or(Vec::new(), |message| message.into_bytes().to_vec())
    }

    /// Short fields and long ones, some of which would cross the end of what is gathered.
    #[derive(Clone, PartialEq, Message)]
    struct Parts {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        parts: Vec<Bytes>,
        #[prost(bytes = "vec", tag = "2")]
        last: Vec<u8>,
    }

    #[test]
    fn what_is_written_is_read_whatever_its_lengths() {
        let (_dir, file) = file(8 << 20);
        let lengths: [&[usize]; 6] = [
            &[],
            &[0, 1, 100],
            &[LONG - 1, LONG, LONG + 1],
            &[1000; 300],
            &[10, GATHERED, 10, 3 << 20, 1],
            &[LONG - 1; 9],
        ];
        for lengths in lengths {
            let message = Parts {
                parts: lengths.iter().map(|&len| bytes(len)).collect(),
                last: bytes(lengths.len()).to_vec(),
            };
            let len = Message::encoded_len(&message);
            write_message(&file, &message, len, Letter::Request).unwrap();
            assert!(read(&file, len) == message.encode_to_vec(), "{lengths:?}");
        }
    }

    #[test]
    fn bytes_are_written_from_wherever_they_lie() {
        let (_dir, file) = file(1 << 20);
        let source = bytes((1 << 19) + 4096);
        for start in 0..40 {
            let bytes = &source[start..][..1 << 19];
            write_bytes(&file, bytes, Letter::Request).unwrap();
            assert!(read(&file, bytes.len()) == bytes);
        }
    }

    #[test]
    fn a_source_just_before_its_place_in_a_page_is_gathered() {
        let (_dir, file) = file(8192);
        let mut writer = Writer::new(&file, 8192);
        let page = bytes(3 * 4096);
        let page = &page[page.as_ptr().align_offset(4096)..][..4096];
        assert!(!writer.would_crawl(page));
        for (position, crawls) in [(1, true), (31, true), (32, false), (4095, false), (4096 + 5, true)] {
            writer.position = position;
            assert_eq!(writer.would_crawl(page), crawls, "{position}");
        }
    }

    #[test]
    fn a_message_of_another_length_is_an_error() {
        let (_dir, file) = file(4096);
        // A tag, a length and three bytes.
        for len in [0, 1, 3, 4, 6] {
            let failure = write_message(&file, &bytes(3), len, Letter::Reply).unwrap_err();
            let says = format!("encoded_len() says {len} bytes, and it encodes to 5");
            assert!(failure.message().contains(&says), "{failure}");
        }
    }

    #[test]
    fn a_file_that_takes_or_has_too_little_is_an_error_with_its_path() {
        let (dir, file) = file(100);
        let tail = read_message(&file, 97, 3, Letter::Reply).unwrap().unwrap();
        assert_eq!(tail.into_bytes(), vec![0; 3]);
        let error = read_message(&file, 0, 101, Letter::Reply).err().unwrap();
        assert!(error.contains("file ends after 100 bytes of a reply of 101"), "{error}");
        let path = dir.path().join("read-only");
        std::fs::write(&path, "").unwrap();
        let closed = SharedFile::of(File::open(&path).unwrap(), &path);
        let status = write_bytes(&closed, &bytes(100_000), Letter::Request).unwrap_err();
        assert_eq!(status.code(), crate::rpc::Code::ResourceExhausted);
        assert!(
            status.message().contains("request cannot be written to")
                && status.message().contains("read-only")
        );
    }
}
