//! Entries that come over the socket: queued as the frames are read, polled as those of a ring are.

use std::sync::Arc;

use super::event::{DynHandler, Event, Polled, event, hand_over};
use super::{Role, Session};
use crate::connection::annotated::join;
use crate::connection::lane::{Came, translate, unexpected};
use crate::connection::link::Link;
use crate::connection::received::{Arrived, Outside};
use crate::error::Violation;
use crate::ring::{Body, Inline};
use crate::rpc::{Letter, Private};
use crate::wire::Message;

/// Entries that may wait for a driver that does not take them: then the socket is not read.
const MOST_WAITING: usize = 256;

impl Session {
    /// Queues what a message means.
    ///
    /// # Errors
    /// If it may not come here.
    pub(super) fn take_in(&mut self, link: &Link, message: Message) -> Result<(), Violation> {
        let lane = link.lane.as_ref().ok_or_else(|| unexpected(&message))?;
        self.came.push_back(translate(link, lane, self.role, &self.segments, message)?);
        Ok(())
    }

    /// Whether entries that came over the socket wait to be polled.
    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.came.is_empty()
    }

    /// Whether so many do that no more are to be read.
    pub(in crate::connection) fn is_full(&self) -> bool {
        self.came.len() >= MOST_WAITING
    }

    /// The most events that a peer that is gone can have left behind.
    pub(crate) fn most_left(&self, link: &Link) -> usize {
        link.consumer_view().entries.len() + self.came.len()
    }

    /// [`poll`](Self::poll) for what came over the socket.
    pub(super) fn poll_came<R>(
        &mut self,
        link: &Arc<Link>,
        handler: &mut DynHandler<'_, R>,
    ) -> Result<Polled<R>, Violation> {
        let metadata = match self.came.pop_front() {
            None => return Ok(Polled::Empty),
            Some(Came::Failure { call_id, code, text, metadata }) => {
                let text = Outside::Private(Private::copied(text.as_bytes()));
                let outside = &mut join(link, metadata, Some(text))?;
                let payload = Arrived { inline: Inline::EMPTY, outside };
                return hand_over(Some(Event::Reply { call_id, code, payload }), handler);
            }
            Some(Came::Entry(entry, metadata)) => {
                self.entry = entry;
                metadata
            }
        };
        let Body::Slot(descriptor) = self.entry.body() else {
            let payload = Arrived { inline: self.entry.inline(), outside: &mut join(link, metadata, None)? };
            return hand_over(event(self.role, link, &self.entry, payload)?, handler);
        };
        let slot = self.segments.admit(link, descriptor)?;
        let letter = match self.role {
            Role::Server => Letter::Request,
            Role::Client => Letter::Reply,
        };
        let message = match link.file() {
            None => Some(Outside::Slot(slot)),
            Some(file) => file.fetch(slot, descriptor.offset, letter)?.map(Outside::Private),
        };
        let mut outside = join(link, metadata, message)?;
        let payload = Arrived { inline: Inline::EMPTY, outside: &mut outside };
        hand_over(event(self.role, link, &self.entry, payload)?, handler)
    }
}
