//! A message that the peer is still writing.
//!
//! Whoever has to wait for it anyway can [decode](Coming::decode) it behind its writer, while the peer
//! writes on. Where the peer falls behind, nothing has happened: all that was written still lies in the slot,
//! is copied from its start as it comes, and decoded when it is whole. Nothing of what was read before is
//! kept, so a peer that changes it in between has changed nothing that anybody has seen.

use std::ops::RangeInclusive;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::received::ReceivedSlot;
use crate::error::Violation;
use crate::ring::{FillStart, spin_until};
use crate::rpc::{CodecError, Decode, LONGEST_COMING, PooledBuf, Private, Reading, Source};
use crate::slab::{Filling, Level};

/// Lengths of messages that are decoded while they come. What a longer one costs if its peer falls behind, to
/// be read to its end as zeros, is more than the others that wait here should bear.
const FOLLOWED: RangeInclusive<usize> = 32 << 10..=LONGEST_COMING;

/// How long its decoder waits for the next piece: more than a peer takes to write it, fresh pages included,
/// and more than it is mostly interrupted for.
const PATIENCE: Duration = Duration::from_micros(250);

/// How long it waits and decodes in all, however small the pieces are.
const LONGEST: Duration = Duration::from_millis(20);

/// A message on its way.
pub(crate) struct Coming {
    /// When the entry was seen that announced it: the time left for a call counts from there.
    since: Instant,
    slot: ReceivedSlot,
    filling: Filling,
    /// What has been copied of it.
    copy: PooledBuf,
    /// A decoder has read all of it.
    is_read: bool,
    /// The rest kept a decoder waiting.
    kept_waiting: bool,
}

/// What a look at a message came to.
pub(super) enum Progress {
    /// So many bytes more.
    Bytes(usize),
    Whole,
    /// The rest will not come.
    GivenUp,
}

impl Coming {
    /// # Errors
    /// If its numbers cannot be those of a fill.
    pub(super) fn begin(slot: ReceivedSlot, fill: FillStart) -> Result<Self, Violation> {
        let filling = Filling::admit(fill.line, fill.start, slot.len() as u64)?;
        let (since, copy) = (Instant::now(), PooledBuf::without_room());
        Ok(Self { since, slot, filling, copy, is_read: false, kept_waiting: false })
    }

    /// Bytes of all of it.
    pub(crate) fn len(&self) -> usize {
        self.slot.len()
    }

    /// Whether it is of a length to be decoded while it comes.
    pub(super) fn may_be_followed(&self) -> bool {
        FOLLOWED.contains(&self.len())
    }

    /// Whether [`advance`](Self::advance) would find something.
    pub(super) fn has_more(&self) -> bool {
        // A decoder may have seen more than was copied.
        self.copy.as_slice().len() as u64 != self.filling.seen() || self.has_news()
    }

    /// Whether there is more than at the last look.
    fn has_news(&self) -> bool {
        self.filling.has_more(&self.slot.link().peer_control().fills)
    }

    fn look(&mut self) -> Result<Level, Violation> {
        self.filling.look(&self.slot.link().peer_control().fills)
    }

    /// Copies what has come.
    ///
    /// # Errors
    /// If a level is not one that an honest peer could have stored.
    pub(super) fn advance(&mut self) -> Result<Progress, Violation> {
        let there = match self.look()? {
            Level::GivenUp => return Ok(Progress::GivenUp),
            Level::Bytes(there) => there as usize,
        };
        let before = self.copy.as_slice().len();
        if before == 0 {
            self.copy = PooledBuf::with_room_for(self.len());
        }
        self.slot.copy_range_to(&mut self.copy, before, there - before);
        Ok(if there < self.len() { Progress::Bytes(there - before) } else { Progress::Whole })
    }

    /// The message, which is whole, and microseconds since it was announced. Its slot goes back.
    pub(super) fn into_private(self) -> (Private, u32) {
        let elapsed = u32::try_from(self.since.elapsed().as_micros()).unwrap_or(u32::MAX);
        (Private::pooled(self.copy), elapsed)
    }

    /// Decodes it while it comes. `None` if the rest does not come in time, which the call's deadline bounds,
    /// or the type cannot be decoded so: then the message is still on its way. Else that was all of it; a
    /// decoder that panicked is the caller's to go on with.
    pub(crate) fn decode<M: Decode>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Option<thread::Result<Result<M, CodecError>>> {
        if !M::IN_PIECES {
            return None;
        }
        let (len, longest) = (self.len(), self.since + LONGEST);
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        let mut follower = Follower { coming: self, until, at: 0, seen: 0 };
        let mut reading = Reading::coming(len, &mut follower);
        // Unwind safe: what was decoded is dropped, and the message is as it was.
        let decoded = panic::catch_unwind(AssertUnwindSafe(|| M::decode(&mut reading)));
        if !reading.is_at_end() {
            return None;
        }
        self.is_read = true;
        self.slot.give_back();
        Some(decoded)
    }

    /// Whether it was decoded, all of it.
    pub(crate) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Whether a decoder had to wait for too long.
    pub(super) fn kept_waiting(&self) -> bool {
        self.kept_waiting
    }
}

/// Waits for a message in its decoder's stead.
struct Follower<'a> {
    coming: &'a mut Coming,
    /// When it gives up at the latest.
    until: Instant,
    /// Bytes that were copied.
    at: usize,
    /// Bytes that are there.
    seen: usize,
}

impl Follower<'_> {
    /// Waits until more of the message is there. False if that takes too long, or the level is not one to
    /// rely on: whoever follows the message from here sees that again.
    #[cold]
    fn wait(&mut self) -> bool {
        let Self { coming, until, seen, .. } = self;
        let left = until.saturating_duration_since(Instant::now());
        // A peer that always has one byte more must not outlast that either.
        if left.is_zero() || !spin_until(left.min(PATIENCE), || coming.has_news()) {
            coming.kept_waiting = true;
            return false;
        }
        match coming.look() {
            Ok(Level::Bytes(there)) => *seen = there as usize,
            Ok(Level::GivenUp) | Err(_) => return false,
        }
        true
    }
}

impl Source for Follower<'_> {
    fn more(&mut self, target: &mut PooledBuf, at_most: usize) -> bool {
        if self.at == self.seen && !self.wait() {
            return false;
        }
        let count = at_most.min(self.seen - self.at);
        self.coming.slot.copy_range_to(target, self.at, count);
        self.at += count;
        true
    }
}
