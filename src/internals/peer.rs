//! A peer that keeps to the protocol exactly as far as a test wants it to.
//!
//! ```text
//!   ClientOffer ──knock at a real server──────┐
//!                                             ├──► Peer: any word, any entry, any frame, any descriptor
//!   Host ──Visit──ServerOffer──let it in──────┘
//!          (a real channel comes)
//! ```
//!
//! It is built from the parts that honest sides are built from, so whatever a script leaves alone is right.

mod duel;
mod forge;
mod opening;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use duel::{Duel, Move};
pub use forge::{FileSpec, Frame, Seal, honest_header, netstring};
pub use opening::{ClientOffer, Host, Refusal, ServerOffer, Visit};

use crate::connection::{Frames, Link};
use crate::layout::{Geometry, Handle};
use crate::os::{Doorbell, RecvError, Socket};
use crate::ring::Consumer;
use crate::sync::Ordering;
use crate::wire::Message;

/// Kind byte of a request.
pub const REQUEST: u32 = 1;
/// Kind byte of a reply.
pub const REPLY: u32 = 2;
/// Kind byte of a cancellation.
pub const CANCEL: u32 = 3;
/// Kind byte of a goaway.
pub const GOAWAY: u32 = 4;
/// Kind byte of an entry that means nothing.
pub const NOP: u32 = 5;
/// Kind byte of a message of a stream.
pub const MESSAGE: u32 = 6;
/// Kind byte of the end of a client's messages.
pub const END: u32 = 7;
/// Kind byte of a credit.
pub const CREDIT: u32 = 8;
/// Kind byte of what a server says before its first message.
pub const HEADERS: u32 = 9;
/// Flag, in the place that it has in `head[0]`: the message lies in a slot.
pub const SLOT: u32 = 1 << 8;
/// Flag beside it: the message is still being written there.
pub const FILL: u32 = 2 << 8;
/// Flag: the call has streams.
pub const STREAM: u32 = 4 << 8;
/// Flag beside it: the client's messages follow.
pub const MORE: u32 = 8 << 8;

/// How long a peer waits for the honest side before its test has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// An entry as it lies in a ring, without its `seq`; the drawing in `ring` names the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawEntry {
    /// Kind and flags, call id, code, deadline or released handle, handle, length, reserved.
    pub head: [u32; 7],
    /// Inline bytes, or offset and length.
    pub body: [u64; 12],
}

impl RawEntry {
    /// A request with an empty message.
    pub fn request(call_id: u32, method: u32) -> Self {
        Self { head: [REQUEST, call_id, method, 0, 0, 0, 0], body: [0; 12] }
    }

    /// A successful reply with an empty message.
    pub fn reply(call_id: u32) -> Self {
        Self { head: [REPLY, call_id, 0, 0, 0, 0, 0], body: [0; 12] }
    }

    /// What is said of a stream: a kind, and the number that a credit has.
    pub fn of_stream(kind: u32, call_id: u32, code: u32) -> Self {
        Self { head: [kind, call_id, code, 0, 0, 0, 0], body: [0; 12] }
    }

    /// The same, with flags.
    pub fn flags(mut self, flags: u32) -> Self {
        self.head[0] |= flags;
        self
    }

    /// The same, with metadata of `length` bytes at the beginning of its message.
    pub fn metadata(mut self, length: u16) -> Self {
        self.head[0] |= u32::from(length) << 16;
        self
    }

    /// The same, with a message of these bytes inside the entry.
    ///
    /// # Panics
    /// If an entry has no room for them.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.head[5] = bytes.len() as u32;
        for (word, eight) in self.body.iter_mut().zip(bytes.chunks(8)) {
            let mut all = [0; 8];
            all[..eight.len()].copy_from_slice(eight);
            *word = u64::from_le_bytes(all);
        }
        assert!(bytes.len() <= 96, "{} bytes in an entry", bytes.len());
        self
    }

    /// The same, with a message of `length` zeros inside the entry.
    pub fn inline(mut self, length: u32) -> Self {
        self.head[5] = length;
        self
    }

    /// The same, with a message in a slot.
    pub fn slot(mut self, handle: u32, offset: u64, length: u64) -> Self {
        self.head[0] |= SLOT;
        self.head[4] = handle;
        (self.body[0], self.body[1]) = (offset, length);
        self
    }

    /// The same, with a message that is still being written into that slot.
    pub fn fill(mut self, line: u64, start: u64) -> Self {
        self.head[0] |= FILL;
        (self.body[2], self.body[3]) = (line, start);
        self
    }

    /// The call that it names.
    pub fn call_id(&self) -> u32 {
        self.head[1]
    }
}

/// One of a region's control words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Word {
    RxHead,
    Sleep,
    Cpu,
    WantSpace,
    Closed,
    /// Of a fill line; the number wraps.
    Level(usize),
    GivenUp(usize),
}

/// One end of an established connection, in hostile hands.
pub struct Peer {
    link: Arc<Link>,
    frames: Frames,
    /// What wakes the honest side, whatever its words say.
    bell: Doorbell,
    consumer: Consumer,
    /// The next position of our ring.
    tail: u64,
}

impl Peer {
    fn new(link: Link, frames: Frames, bell: Doorbell) -> Self {
        Self { link: Arc::new(link), frames, bell, consumer: Consumer::new(), tail: 0 }
    }

    // ---- the region ----------------------------------------------------------------------------------

    /// Overwrites the cell of any position of our ring, `seq` last.
    pub fn cell(&self, position: u64, seq: u32, entry: RawEntry) {
        let entries = self.link.producer_view().entries;
        let cell = &entries[position as usize % entries.len()];
        for (word, value) in cell.head.iter().zip(entry.head) {
            word.store(value, Ordering::Relaxed);
        }
        for (word, value) in cell.body.iter().zip(entry.body) {
            word.store(value, Ordering::Relaxed);
        }
        // Release pairs with the consumer's fence, as an honest producer's does.
        cell.seq.store(seq, Ordering::Release);
    }

    /// Makes every cell ready, now and for the round that the honest side begins: each claims to hold the
    /// next entry that is awaited there.
    pub fn ready_all(&self) {
        let entries = self.link.producer_view().entries;
        let read = self.link.ring_read();
        for position in read..read + entries.len() as u64 {
            let cell = &entries[position as usize % entries.len()];
            cell.seq.store((position as u32).wrapping_add(1), Ordering::Release);
        }
    }

    /// Entries of either ring.
    pub fn capacity(&self) -> u64 {
        self.link.producer_view().entries.len() as u64
    }

    /// Publishes an entry behind the others and rings, without a look at the room that there is.
    pub fn push(&mut self, entry: RawEntry) {
        self.cell(self.tail, (self.tail as u32).wrapping_add(1), entry);
        self.tail += 1;
        self.ring();
    }

    /// The same once the honest side has read what stands in the cell. False if it does not within 5 seconds.
    #[must_use]
    pub fn push_when_read(&mut self, entry: RawEntry) -> bool {
        let capacity = self.link.producer_view().entries.len() as u64;
        let read = || self.tail - self.link.ring_read() < capacity;
        let room = wait_until(PATIENCE, read);
        if room {
            self.push(entry);
        }
        room
    }

    /// Wakes the honest side.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// What the honest side waits on.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Overwrites a control word.
    pub fn set(&self, word: Word, value: u64) {
        let control = self.link.own_control();
        let line = |number: usize| &control.fills[number % control.fills.len()];
        match word {
            Word::RxHead => control.rx_head.0.store(value, Ordering::Release),
            Word::Sleep => control.sleep.0.store(value as u32, Ordering::Relaxed),
            Word::Cpu => control.cpu.0.store(value as u32, Ordering::Relaxed),
            Word::WantSpace => control.want_space.0.store(value as u32, Ordering::Relaxed),
            Word::Closed => control.closed.0.store(value as u32, Ordering::Relaxed),
            Word::Level(number) => line(number).level.store(value, Ordering::Release),
            Word::GivenUp(number) => line(number).given_up.store(value, Ordering::Relaxed),
        }
    }

    /// Flips bits of a return word (the number wraps): slots of the honest side's, given back or not.
    pub fn flip(&self, word: usize, bits: u64) {
        let ret = self.link.own.view().ret();
        ret[word % ret.len()].fetch_xor(bits, Ordering::Release);
    }

    /// Returns a slot of the honest side's, as one should.
    pub fn give_back(&self, handle: u32) {
        self.flip(handle as usize / 64, 1 << (handle % 64));
    }

    /// Where a slot of a standard base segment lies: its first byte and one past its last.
    pub fn slot_bounds(handle: u32) -> Option<(u64, u64)> {
        let slot = Geometry::standard().slot(Handle::new(handle)?)?;
        Some((slot.start, slot.end))
    }

    /// Takes the honest side's next entry, and tells it when that made room; `None` if there is none now.
    pub fn pop(&mut self) -> Option<RawEntry> {
        let popped = self.consumer.pop(self.link.consumer_view())?;
        if popped.published {
            self.link.space_freed();
        }
        Some(RawEntry { head: popped.record.head, body: popped.record.body })
    }

    /// Waits for the honest side's next entry.
    pub fn next_entry(&mut self) -> Option<RawEntry> {
        let mut popped = None;
        wait_until(PATIENCE, || {
            popped = self.pop();
            popped.is_some()
        });
        popped
    }

    // ---- the socket ----------------------------------------------------------------------------------

    /// Writes any bytes, with descriptors beside the first of them.
    ///
    /// # Errors
    /// What the kernel says: `BrokenPipe` once the honest side has hung up, `TimedOut` if it reads nothing.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_all(self.link.socket(), bytes, descriptors)
    }

    /// Writes as much as the socket takes at once; how many bytes that was.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        self.link.socket().send(bytes, &[])
    }

    /// Writes a control message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn frame(&self, frame: &Frame, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(&frame.encode(), descriptors)
    }

    /// Reads the socket until a message comes, and names it; `None` once the honest side has hung up.
    ///
    /// # Panics
    /// If neither happens within 5 seconds.
    pub fn read(&mut self) -> Option<&'static str> {
        let socket = self.link.socket();
        let next = receive(socket, &mut self.frames, Instant::now() + PATIENCE);
        next.expect("the honest side neither says anything nor hangs up").map(|(message, _)| message.name())
    }

    /// Whether the honest side hangs up within 5 seconds. What it says before is skipped.
    #[must_use]
    pub fn is_hung_up_on(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        loop {
            match receive(self.link.socket(), &mut self.frames, until) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Whether the honest side's driver sleeps, or is about to.
    pub fn is_slept_on(&self) -> bool {
        self.link.peer_is_asleep()
    }

    /// Whether the honest side has hung up by now.
    pub fn has_lost(&self) -> bool {
        let sent = self.link.socket().send(b"0:,", &[]);
        sent.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Ends the connection without a farewell.
    pub fn vanish(self) {
        self.link.socket().shutdown();
    }

    /// The connection's name, as the logs of the honest side have it.
    pub fn connection_id(&self) -> &str {
        self.link.connection_id()
    }
}

/// Waits until something holds; whether it did in time.
fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    true
}

fn send_all(socket: &Socket, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let (mut written, until) = (0, Instant::now() + PATIENCE);
    while written < bytes.len() {
        let beside = if written == 0 { descriptors } else { &[] };
        match socket.send(&bytes[written..], beside) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= until {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

type Received = (Message, Vec<std::os::fd::OwnedFd>);

/// The next message; `Ok(None)` at the end of the stream.
fn receive(socket: &Socket, frames: &mut Frames, until: Instant) -> io::Result<Option<Received>> {
    let (mut buffer, mut descriptors) = ([0; 4096], Vec::new());
    loop {
        if let Some(next) = frames.next().map_err(io::Error::other)? {
            return Ok(Some(next));
        }
        match socket.recv(&mut buffer, &mut descriptors) {
            Ok(0) => return Ok(None),
            Ok(count) => frames.feed(&buffer[..count], &mut descriptors),
            Err(RecvError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(RecvError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            // Bytes of ours that the other side did not read before it closed.
            Err(RecvError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("link", &self.link).field("tail", &self.tail).finish_non_exhaustive()
    }
}
