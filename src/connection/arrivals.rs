//! Messages that are read while the peer writes them: each is copied as far as it has come, and is an event
//! once it is whole.

use std::sync::Arc;
use std::time::Instant;

use crate::connection::link::Link;
use crate::connection::received::ReceivedSlot;
use crate::error::Violation;
use crate::ring::{Entry, FillStart};
use crate::rpc::{PooledBuf, Private};
use crate::slab::{Filling, Level};

/// Messages that are followed at one time. An honest peer writes fewer; whoever has more under way waits for
/// the first ones.
const MAX_ARRIVALS: usize = 16;

/// The messages that are under way.
#[derive(Default)]
pub(super) struct Arrivals {
    list: Vec<Arrival>,
}

struct Arrival {
    entry: Entry,
    /// When the entry was seen: the time left for a call counts from there.
    since: Instant,
    slot: ReceivedSlot,
    filling: Filling,
    copy: PooledBuf,
}

/// What a look at the messages under way came to.
pub(super) enum Advance {
    /// A message is whole: the entry that announced it, and microseconds since.
    Whole(Entry, Private, u32),
    /// So many bytes more, of a message that is not whole yet, or will never be.
    Part(usize),
}

impl Arrivals {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX_ARRIVALS
    }

    /// Whether [`advance`](Self::advance) would find something.
    pub(super) fn has_more(&self, link: &Link) -> bool {
        let lines = &link.peer_control().fills;
        self.list.iter().any(|arrival| arrival.filling.has_more(lines))
    }

    /// Follows another message.
    ///
    /// # Errors
    /// If its numbers cannot be those of a fill.
    #[cold]
    pub(super) fn begin(
        &mut self,
        entry: Entry,
        slot: ReceivedSlot,
        fill: FillStart,
    ) -> Result<(), Violation> {
        let filling = Filling::admit(fill.line, fill.start, slot.len() as u64)?;
        let copy = PooledBuf::with_room_for(slot.len());
        self.list.push(Arrival { entry, since: Instant::now(), slot, filling, copy });
        Ok(())
    }

    /// Copies what has come of one message. `None` if nothing has.
    ///
    /// # Errors
    /// If a level is not one that an honest peer could have stored.
    #[cold]
    pub(super) fn advance(&mut self, link: &Arc<Link>) -> Result<Option<Advance>, Violation> {
        let lines = &link.peer_control().fills;
        let Some(at) = self.list.iter().position(|arrival| arrival.filling.has_more(lines)) else {
            return Ok(None);
        };
        let Arrival { filling, slot, copy, .. } = &mut self.list[at];
        let before = copy.as_slice().len();
        let there = match filling.look(lines)? {
            Level::GivenUp => {
                self.list.swap_remove(at);
                return Ok(Some(Advance::Part(0)));
            }
            Level::Bytes(there) => there as usize,
        };
        slot.copy_on(copy, there - before);
        if there < slot.len() {
            return Ok(Some(Advance::Part(there - before)));
        }
        let Arrival { entry, since, copy, .. } = self.list.swap_remove(at);
        let elapsed = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
        Ok(Some(Advance::Whole(entry, Private::pooled(copy), elapsed)))
    }
}
