//! The receiving half of an established connection, as a machine without I/O.
//!
//! ```text
//!            bytes, descriptors ──► frames ──► segments added and dropped, farewell
//!   ring ──► pop ──► copy once ──► admit ──► payload guard ──► Event
//!   socket lane: frames ──► entry ──► queue ──► payload guard ──► Event
//! ```
//!
//! A driver owns it: it feeds what the socket delivers, asks for events, and parks when there is none. Both
//! the blocking and any other driver run this one machine.

mod came;
mod event;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use self::event::{DynHandler, event, hand_over, take_released};
pub(crate) use self::event::{Event, EventHandler, Polled};
use crate::connection::annotated::{take_off_inline, take_off_slot};
use crate::connection::arrivals::{Advance, Arrivals};
use crate::connection::close::CloseReason;
use crate::connection::coming::Coming;
use crate::connection::config::call_index;
use crate::connection::frames::Frames;
use crate::connection::lane::Came;
use crate::connection::link::Link;
use crate::connection::received::{Arrived, Outside};
use crate::connection::segments::PeerSegments;
use crate::connection::send::SendFailure;
use crate::error::Violation;
use crate::ring::{Backoff, Body, Consumer, Entry, Inline, Kind, Next, Pace, Sleeper};
use crate::wire::Message;

/// Which side of the connection this is: it decides which entries may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What a spinning driver looks at: the next entry, and the messages that are being written.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    next: Next<'a>,
    /// If there are any: mostly there are none, and a look is at the entry alone.
    arrivals: Option<&'a Arrivals>,
}

impl Watch<'_> {
    /// Whether anything has come.
    #[inline(always)]
    pub(crate) fn is_there(&self) -> bool {
        match self.arrivals {
            None => self.next.is_there(),
            Some(arrivals) => !arrivals.is_full() && self.next.is_there() || arrivals.has_more(),
        }
    }
}

/// What lies in [`Session`]'s copy of an entry that was popped.
enum Popped {
    /// A message, if any, that came inside it, and nothing else is said of that.
    Plain,
    Marked,
    Empty,
}

/// What is known of the segment of an entry that waits for its announcement.
#[derive(Clone, Copy)]
enum Stalled {
    /// The announcement may be in the socket.
    Awaited,
    /// Everything that the peer wrote before the entry has been read: if the segment is still unknown, it
    /// was never announced.
    SocketWasDry,
}

/// The receiving half of one connection.
pub(crate) struct Session {
    role: Role,
    consumer: Consumer,
    segments: PeerSegments,
    frames: Frames,
    /// The private copy of the entry that is looked at: the one place that entries are copied to.
    entry: Entry,
    /// `entry` is admitted but for its segment, which we have not heard of yet.
    stalled: Option<Stalled>,
    /// How long to keep away from the next one.
    pace: Pace,
    /// Messages that the peer is still writing.
    arrivals: Arrivals,
    /// Whether to read a message while it comes, after some that kept us waiting.
    following: Backoff,
    /// Entries that came over the socket, on that lane, and wait to be polled.
    came: VecDeque<Came>,
    /// Writes our `sleep` word.
    sleeper: Sleeper,
    /// Writes our `want_space` word.
    space_waiter: Sleeper,
}

impl Session {
    /// `frames` comes from the handshake and may hold the beginning of what follows it.
    pub(crate) fn new(role: Role, link: &Link, frames: Frames) -> Self {
        Self {
            role,
            consumer: Consumer::new(),
            segments: PeerSegments::new(link.peer_base()),
            frames,
            entry: Entry::nop(),
            stalled: None,
            pace: Pace::default(),
            arrivals: Arrivals::default(),
            following: Backoff::default(),
            came: VecDeque::new(),
            sleeper: Sleeper::new(),
            space_waiter: Sleeper::new(),
        }
    }

    // ---- the ring ------------------------------------------------------------------------------------

    /// Whether [`poll`](Self::poll) would find something.
    #[inline]
    pub(crate) fn is_ready(&self, link: &Link) -> bool {
        // On that lane nothing is taken out of the ring: whoever took an entry there for work would never be
        // through with it.
        if link.is_socket_lane() {
            return self.has_waiting();
        }
        self.stalled.is_some()
            || !self.arrivals.is_full() && self.consumer.is_ready(link.consumer_view())
            || self.arrivals.has_more()
    }

    /// What a driver asks while it spins. An entry that is stalled keeps its driver busy with the socket, and
    /// is no reason to look here.
    #[inline]
    pub(crate) fn watch<'a>(&'a self, link: &'a Link) -> Watch<'a> {
        let arrivals = (!self.arrivals.is_empty()).then_some(&self.arrivals);
        Watch { next: self.consumer.next(link.consumer_view()), arrivals }
    }

    /// Lets the client write several requests, if as many calls are under way that it has some to write.
    ///
    /// The entry before says how many are: a call takes the lowest number that is free.
    #[inline]
    pub(crate) fn hold_back(&mut self, link: &Link) {
        let view = link.consumer_view();
        let under_way = match self.entry.kind() {
            // A small ring never holds a large batch.
            Kind::Request => (call_index(self.entry.call_id()) + 1).min(view.entries.len()),
            _ => 0,
        };
        self.pace.hold_back(under_way, |ahead| self.consumer.has_come(view, ahead));
    }

    /// Takes the next entry out of the ring, checks it, and hands what it means to `handler`.
    ///
    /// # Errors
    /// What the peer may not do, and what `handler` says it may not.
    #[inline(always)]
    pub(crate) fn poll<H: EventHandler>(
        &mut self,
        link: &Arc<Link>,
        handler: &mut H,
    ) -> Result<Polled<H::Outcome>, Violation> {
        // Apart: mostly nothing is under way but what lies in the ring.
        if !self.arrivals.is_empty() || self.stalled.is_some() || link.is_socket_lane() {
            return self.poll_further(link, handler);
        }
        match self.pop(link)? {
            Popped::Plain => {
                let payload = Arrived { inline: self.entry.inline(), outside: &mut None };
                hand_over(event(self.role, link, &self.entry, payload)?, handler)
            }
            Popped::Marked => self.poll_marked(link, false, handler),
            Popped::Empty => Ok(Polled::Empty),
        }
    }

    /// [`poll`](Self::poll) without haste.
    pub(crate) fn poll_late<R>(
        &mut self,
        link: &Arc<Link>,
        handler: &mut DynHandler<'_, R>,
    ) -> Result<Polled<R>, Violation> {
        self.poll(link, &mut { handler })
    }

    /// Takes the next entry out of the ring, and checks it.
    #[inline(always)]
    fn pop(&mut self, link: &Link) -> Result<Popped, Violation> {
        match self.consumer.pop_into(link.consumer_view(), self.entry.record_mut()) {
            None => return Ok(Popped::Empty),
            Some(false) => {}
            Some(true) => link.space_freed(),
        }
        self.entry.admit_in_place()?;
        Ok(if self.entry.is_plain() { Popped::Plain } else { Popped::Marked })
    }

    /// [`poll`](Self::poll) while messages are on their way, an entry waits for its segment, or on the socket
    /// lane.
    #[inline(never)]
    fn poll_further<R>(
        &mut self,
        link: &Arc<Link>,
        handler: &mut DynHandler<'_, R>,
    ) -> Result<Polled<R>, Violation> {
        if link.is_socket_lane() {
            return self.poll_came(link, handler);
        }
        if !self.arrivals.is_empty() {
            match self.arrivals.advance()? {
                Some(Advance::Part(bytes)) => return Ok(Polled::Part(bytes)),
                Some(Advance::Whole(entry, message, elapsed)) => {
                    let outside = &mut Some(Outside::Private(message));
                    let payload = Arrived { inline: Inline::EMPTY, outside };
                    let event = event(self.role, link, &entry, payload)?;
                    return hand_over(event.map(|event| event.after(elapsed)), handler);
                }
                None if self.arrivals.is_full() => return Ok(Polled::Empty),
                None => {}
            }
        }
        if let Some(stalled) = self.stalled.take() {
            return self.poll_marked(link, matches!(stalled, Stalled::SocketWasDry), handler);
        }
        match self.pop(link)? {
            Popped::Plain | Popped::Marked => self.poll_marked(link, false, handler),
            Popped::Empty => Ok(Polled::Empty),
        }
    }

    /// What becomes of an entry with flags or metadata: most often its message is in a slot. `announced`: its
    /// segment must be known by now.
    #[inline(never)]
    fn poll_marked<R>(
        &mut self,
        link: &Arc<Link>,
        announced: bool,
        handler: &mut DynHandler<'_, R>,
    ) -> Result<Polled<R>, Violation> {
        let (entry, meta_len) = (&self.entry, self.entry.meta_len());
        let (Body::Slot(descriptor) | Body::Fill(descriptor, _)) = entry.body() else {
            let (inline, outside) = match meta_len {
                0 => (entry.inline(), None),
                len => (Inline::EMPTY, Some(take_off_inline(link, entry.inline().as_slice(), len)?)),
            };
            let payload = Arrived { inline, outside: &mut { outside } };
            return hand_over(event(self.role, link, entry, payload)?, handler);
        };
        if !announced && !self.segments.knows(descriptor.handle) {
            self.stalled = Some(Stalled::Awaited);
            return Ok(Polled::ReadSocket);
        }
        // Before anything else is looked up: whatever follows, the slot goes back.
        let slot = self.segments.admit(link, descriptor)?;
        if let Body::Fill(_, fill) = entry.body() {
            let coming = Coming::begin(slot, fill)?;
            return self.take_coming(link, coming, handler);
        }
        let outside = match meta_len {
            0 => Outside::Slot(slot),
            len => take_off_slot(link, slot, len)?,
        };
        let payload = Arrived { inline: Inline::EMPTY, outside: &mut Some(outside) };
        hand_over(event(self.role, link, entry, payload)?, handler)
    }

    /// What becomes of a message that the peer is still writing: whoever waits for it reads it as it comes,
    /// if no other is on its way; else it is followed beside the others.
    #[cold]
    fn take_coming<R>(
        &mut self,
        link: &Link,
        mut coming: Coming,
        handler: &mut DynHandler<'_, R>,
    ) -> Result<Polled<R>, Violation> {
        let entry = &self.entry;
        // Admission has seen to it that it is of no stream.
        let may_come =
            matches!((self.role, entry.kind()), (Role::Server, Kind::Request) | (Role::Client, Kind::Reply));
        if may_come && self.arrivals.is_empty() && coming.may_be_followed() && self.following.may_try() {
            if let Some(outcome) = handler.follow(entry, &mut coming)? {
                self.following.succeeded();
                if self.role == Role::Client {
                    take_released(link, entry)?;
                }
                return Ok(Polled::Event(outcome));
            }
            if coming.kept_waiting() {
                self.following.failed();
            }
        }
        self.arrivals.add(entry.clone(), coming);
        Ok(Polled::Nothing)
    }

    /// The message of the entry that was taken out last, if it came inside it.
    #[inline(always)]
    pub(crate) fn inline(&self) -> Inline<'_> {
        self.entry.inline()
    }

    /// The socket has nothing more to read at this moment.
    pub(crate) fn on_dry(&mut self) {
        if let Some(stalled) = &mut self.stalled {
            *stalled = Stalled::SocketWasDry;
        }
    }

    // ---- parking -------------------------------------------------------------------------------------

    /// Announces that this side is about to sleep. True if it may; else there is something to do first.
    ///
    /// `want_space` says that somebody waits for ring room or slots: then the peer's returns wake us too, and
    /// the caller must look for space once more after this.
    #[must_use]
    pub(crate) fn arm(&mut self, link: &Link, want_space: bool) -> bool {
        if self.consumer.publish(link.consumer_view()) {
            link.space_freed();
        }
        let control = link.own_control();
        if want_space {
            self.space_waiter.arm(&control.want_space.0);
            self.publish_want_space(link);
        }
        // Its fence covers both words: it comes after both stores.
        self.sleeper.arm(&control.sleep.0);
        !self.is_ready(link)
    }

    /// Withdraws the announcement.
    pub(crate) fn disarm(&mut self, link: &Link) {
        let control = link.own_control();
        self.sleeper.disarm(&control.sleep.0);
        if self.space_waiter.is_armed() {
            self.space_waiter.disarm(&control.want_space.0);
            self.publish_want_space(link);
        }
    }

    fn publish_want_space(&self, link: &Link) {
        if let Some(file) = link.file() {
            file.publish_want_space(link);
        }
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.sleeper.is_armed()
    }

    // ---- the control channel -------------------------------------------------------------------------

    /// Takes in what one read of the socket delivered. True if it may have freed space.
    pub(crate) fn on_bytes(
        &mut self,
        link: &Link,
        bytes: &[u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<bool, SendFailure> {
        self.frames.feed(bytes, descriptors);
        self.on_frames(link)
    }

    /// Handles the complete frames that have arrived, among them those that came with the handshake.
    pub(crate) fn on_frames(&mut self, link: &Link) -> Result<bool, SendFailure> {
        let mut freed = false;
        loop {
            let (message, mut descriptors) = match self.frames.next() {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(freed),
                Err(violation) => return Err(link.violated(violation)),
            };
            match message {
                Message::Doorbell => {}
                Message::SegmentAdded(_) if link.file().is_some() => {
                    let check = "SegmentAdded on a connection whose memory is a file".into();
                    return Err(link.violated(Violation::State(check)));
                }
                Message::SegmentAdded(added) => {
                    let fd = descriptors.pop().expect("Frames hands over exactly what the message carries");
                    self.segments
                        .add(&added, fd, link.peer_cap())
                        .map_err(|violation| link.violated(violation))?;
                }
                Message::SegmentDropped { segment_id } => {
                    self.segments.remove(segment_id).map_err(|violation| link.violated(violation))?;
                    link.post(&Message::SegmentDropAcknowledged { segment_id })?;
                }
                Message::SegmentDropAcknowledged { segment_id } => {
                    if !link.own.drop_acknowledged(segment_id) {
                        let check = format!("acknowledges the drop of segment {segment_id}, never announced");
                        return Err(link.violated(Violation::State(check)));
                    }
                    freed = true;
                }
                Message::Disconnect(_) => {
                    link.close(CloseReason::Disconnected);
                    return Err(SendFailure::Failed(link.closed_status()));
                }
                other => self.take_in(link, other).map_err(|violation| link.violated(violation))?,
            }
        }
    }
}
