//! The session machine of one connection against a script, without threads or time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::opening::pair;
use super::{Peer, RawEntry, Word};
use crate::connection::{
    Config, Event, EventHandler, Frames, Link, Polled, Received, Role, SendFailure, Session, Slot,
    SocketState, prepare_bytes, read_control,
};
use crate::error::Violation;

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Move {
    /// The hostile side writes bytes to the socket, with so many descriptors of a faultless 64 KiB file.
    Bytes(Vec<u8>, usize),
    /// It publishes an entry.
    Push(RawEntry),
    /// It overwrites the cell of any position.
    Cell(u64, u32, RawEntry),
    /// It overwrites a control word.
    Set(Word, u64),
    /// It flips return bits.
    Flip(usize, u64),
    /// The honest side takes a turn: ring and socket. Every payload is read to its end.
    Turn,
    /// The honest side sends a message of so many bytes, if it can at once.
    Send(usize),
    /// The honest side keeps the payloads that come from now on, or drops those it has.
    Keep(bool),
}

/// An honest side, the machine under test, and the hostile side of the same connection.
pub struct Duel {
    link: Arc<Link>,
    session: Session,
    hostile: Peer,
    file: OwnedFd,
    keep: bool,
    kept: Vec<Received>,
}

impl Duel {
    /// How often the honest side looks at the ring in a turn.
    pub const LOOKS_PER_TURN: u64 = 64;

    /// A connection whose honest side is the server or the client.
    ///
    /// # Errors
    /// If memory or descriptors are short.
    pub fn new(honest_is_server: bool) -> io::Result<Self> {
        let mut config = Config::default();
        config.limits.max_region_bytes = 2 << 20;
        config.limits.max_message_size = 1 << 20;
        let (client, server, to_server, to_client) = pair(&config)?;
        let (link, role, hostile) = if honest_is_server {
            (server, Role::Server, Peer::new(client, Frames::new(), to_server))
        } else {
            (client, Role::Client, Peer::new(server, Frames::new(), to_client))
        };
        let link = Arc::new(link);
        let session = Session::new(role, &link, Frames::new());
        let file = super::FileSpec::of(64 << 10).make()?;
        Ok(Self { link, session, hostile, file, keep: false, kept: Vec::new() })
    }

    /// Plays one move. Nothing happens after the honest side has closed.
    pub fn play(&mut self, play: Move) {
        if self.link.is_closed() {
            return;
        }
        match play {
            Move::Bytes(bytes, descriptors) => {
                let beside: Vec<_> = (0..descriptors.min(4)).map(|_| self.file.as_fd()).collect();
                if !bytes.is_empty() {
                    // A full socket loses the rest, and so does one whose other end has closed.
                    let _ = self.hostile.link.socket().send(&bytes, &beside);
                }
            }
            Move::Push(entry) => self.hostile.push(entry),
            Move::Cell(position, seq, entry) => self.hostile.cell(position, seq, entry),
            Move::Set(word, value) => self.hostile.set(word, value),
            Move::Flip(word, bits) => self.hostile.flip(word, bits),
            Move::Turn => self.turn(),
            Move::Send(len) => self.send(len),
            Move::Keep(keep) => {
                self.keep = keep;
                self.kept.clear();
            }
        }
    }

    /// Entries that the honest side says it has read, a quarter of the ring at a time.
    pub fn entries_read(&self) -> u64 {
        self.hostile.link.ring_read()
    }

    fn turn(&mut self) {
        if !self.session.arm(&self.link, true) {
            self.session.disarm(&self.link);
        }
        for _ in 0..Self::LOOKS_PER_TURN {
            let (limit, keep, kept) = (self.link.limits().max_message_size, self.keep, &mut self.kept);
            match self.session.poll(&self.link, &mut Look { limit, keep, kept }) {
                Ok(Polled::Empty) => break,
                Ok(Polled::Nothing | Polled::Part(_) | Polled::Event(())) => {}
                Ok(Polled::ReadSocket) => _ = read_control(&mut self.session, &self.link),
                Err(violation) => _ = self.link.violated(violation),
            }
            if self.link.is_closed() {
                return;
            }
        }
        // Bounded: the script alone fills the socket.
        while let Ok(SocketState::More { .. }) = read_control(&mut self.session, &self.link) {}
        let _ = self.link.flush();
    }

    fn send(&mut self, len: usize) {
        use crate::connection::Head;
        let head = Head::Request { method: 0, call_id: 1, deadline_us: 0, shape: crate::ring::Shape::Unary };
        let payload = vec![0xa5; len];
        if let Ok(mut prepared) = prepare_bytes(&*self.link, head, &payload) {
            let _ = prepared.send(&self.link);
        }
    }

    /// Why the honest side closed, if it did.
    pub fn verdict(&self) -> Option<String> {
        self.link.is_closed().then(|| self.link.closed_status().message().to_owned())
    }

    /// Whether the honest side's memory is still in order: every slot that it claims is its own alone, and it
    /// has claimed as many as it can get when none is left.
    ///
    /// # Panics
    /// If not.
    pub fn check(&mut self) {
        self.kept.clear();
        let mut held: Vec<(usize, usize)> = Vec::new();
        let mut slots = Vec::new();
        // More than the base segment has slots.
        for _ in 0..512 {
            match Slot::claim(&*self.link, 200) {
                Ok(mut slot) => {
                    let bytes = slot.bytes_mut(200);
                    bytes.fill(1);
                    let start = bytes.as_ptr().addr();
                    held.push((start, start + 200));
                    slots.push(slot);
                }
                Err(SendFailure::Wait | SendFailure::Failed(_)) => break,
            }
        }
        held.sort_unstable();
        assert!(held.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two claims of one slot");
    }
}

/// What a peer's bytes can be judged by.
impl Duel {
    /// Whether the honest side closed because of a violation, and for no other reason.
    pub fn violation(&self) -> Option<String> {
        let text = self.verdict()?;
        self.link.broken().then_some(text)
    }
}

impl std::fmt::Debug for Duel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duel").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Looks at what comes, as an honest side does, and keeps some of it.
struct Look<'a> {
    limit: u64,
    keep: bool,
    kept: &'a mut Vec<Received>,
}

impl EventHandler for Look<'_> {
    type Outcome = ();

    fn handle(&mut self, event: Event<'_>) -> Result<(), Violation> {
        self.kept.extend(look_at(event, self.limit).filter(|_| self.keep));
        Ok(())
    }
}

/// Reads what came, as a handler would; the payload, if there is one.
fn look_at(event: Event<'_>, max_message_size: u64) -> Option<Received> {
    let (Event::Request { payload, .. } | Event::Reply { payload, .. }) = event else { return None };
    let (len, kept) = (payload.len(), payload.keep());
    assert_eq!(kept.to_vec().len(), len);
    assert!(len as u64 <= max_message_size);
    Some(kept)
}
