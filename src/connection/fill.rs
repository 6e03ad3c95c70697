//! Sending a long message while it is encoded: see `slab::fill` for the protocol.

use std::ops::RangeInclusive;

use crate::connection::link::Link;
use crate::connection::send::{Head, SendFailure, Slot};
use crate::connection::writer::encode_in_pieces;
use crate::os::current_cpu;
use crate::ring::FillStart;
use crate::rpc::{Encode, Status};
use crate::slab;
use crate::sync::Ordering;

/// Messages from this length on are sent so.
const FILL_FROM: usize = 32 << 10;

/// How much is written between two raises: the sixteenth part of the message, within these bounds. The reader
/// is behind by one such piece at the end, and each piece costs the way of a cache line.
const PIECE: RangeInclusive<usize> = 8 << 10..=64 << 10;

/// A message that is written where its reader already follows. Dropped before it is sent, it is given up: the
/// peer forgets it.
pub(crate) struct Filled<'a> {
    link: &'a Link,
    /// Line and slot; `None` once the peer has them.
    held: Option<(slab::Fill<'a>, Slot<&'a Link>)>,
    len: usize,
}

impl<'a> Filled<'a> {
    /// Publishes the entry of a message of `len` bytes that is about to be written. `None` if it is better
    /// written first and published then.
    ///
    /// # Errors
    /// As for every message that needs a slot and a place in the ring.
    pub(crate) fn begin(link: &'a Link, head: Head, len: usize) -> Result<Option<Self>, SendFailure> {
        if len < FILL_FROM || link.is_socket_lane() || shares_processor(link) {
            return Ok(None);
        }
        let slot = Slot::claim(link, len as u64)?;
        let Some(fill) = link.begin_fill(len as u64) else {
            return Ok(None);
        };
        let start = FillStart { line: fill.line(), start: fill.start() };
        let entry = head.slot(slot.descriptor(len as u64)).with_fill(start);
        if let Err(failure) = link.push(&entry, None) {
            fill.cancel();
            return Err(failure);
        }
        Ok(Some(Self { link, held: Some((fill, slot)), len }))
    }

    /// Encodes the message, all of it, and hands it over. `when_written` is called before the peer can have
    /// seen the end of it.
    ///
    /// # Errors
    /// `Internal` if it is not as long as it said: it is given up then, as after a panic on the way.
    pub(crate) fn send<M: Encode>(mut self, message: &M, when_written: impl FnOnce()) -> Result<(), Status> {
        let (fill, slot) = self.held.as_mut().expect("held until it is sent");
        let piece = (self.len / 16).clamp(*PIECE.start(), *PIECE.end());
        encode_in_pieces(message, slot.bytes_mut(self.len), piece, |written| {
            fill.raise(written as u64);
            self.link.kick();
        })?;
        when_written();
        let (fill, slot) = self.held.take().expect("held until it is sent");
        fill.finish(&self.link.own.slab, slot.into_claim().handle);
        self.link.kick();
        Ok(())
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        if let Some((fill, slot)) = self.held.take() {
            fill.give_up(&self.link.own.slab, slot.into_claim().handle);
            self.link.kick();
        }
    }
}

/// Whether the peer was last seen on the processor that runs us: then it cannot read while we write, and each
/// raise would have the two change places.
fn shares_processor(link: &Link) -> bool {
    // Relaxed: a hint.
    link.peer_control().cpu.0.load(Ordering::Relaxed) == current_cpu()
}
