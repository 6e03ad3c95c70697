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

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::connection::annotated::{take_off_inline, take_off_slot};
use crate::connection::arrivals::{Advance, Arrivals};
use crate::connection::close::CloseReason;
use crate::connection::frames::Frames;
use crate::connection::lane::Came;
use crate::connection::link::Link;
use crate::connection::received::{Arrived, Outside};
use crate::connection::segments::PeerSegments;
use crate::connection::send::SendFailure;
use crate::error::Violation;
use crate::layout::Handle;
use crate::ring::{Body, Consumer, Entry, Inline, Kind, Next, Shape, Sleeper};
use crate::wire::Message;

/// Which side of the connection this is: it decides which entries may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What came through the ring. It borrows the private copy of its entry.
pub(crate) enum Event<'a> {
    Request {
        call_id: u32,
        method: u32,
        /// Time left, in microseconds; 0 if the caller waits for ever.
        deadline_us: u32,
        shape: Shape,
        payload: Arrived<'a>,
    },
    Reply {
        call_id: u32,
        code: u32,
        payload: Arrived<'a>,
    },
    Cancel {
        call_id: u32,
    },
    /// A message of a stream.
    Message {
        call_id: u32,
        payload: Arrived<'a>,
    },
    /// The client sends no further message of this call.
    End {
        call_id: u32,
    },
    /// The peer takes so much more of a stream.
    Credit {
        call_id: u32,
        bytes: u32,
    },
    /// The server has taken up a call whose reply is a stream.
    Headers {
        call_id: u32,
        payload: Arrived<'a>,
    },
    /// The peer takes no further requests.
    Goaway,
}

impl Event<'_> {
    /// Bytes of payload that came with it.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Request { payload, .. }
            | Self::Reply { payload, .. }
            | Self::Message { payload, .. }
            | Self::Headers { payload, .. } => payload.len(),
            Self::Cancel { .. } | Self::End { .. } | Self::Credit { .. } | Self::Goaway => 0,
        }
    }

    /// The same event so many microseconds later: a call has less time left.
    fn after(mut self, elapsed: u32) -> Self {
        if let Self::Request { deadline_us: left @ 1.., .. } = &mut self
            && *left != u32::MAX
        {
            *left = left.saturating_sub(elapsed).max(1);
        }
        self
    }
}

/// What a spinning driver looks at: the next entry, and the messages that are being written.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    next: Next<'a>,
    /// If there are any: mostly there are none, and a look is at the entry alone.
    arrivals: Option<&'a Arrivals>,
    link: &'a Link,
}

impl Watch<'_> {
    /// Whether anything has come.
    #[inline(always)]
    pub(crate) fn is_there(&self) -> bool {
        match self.arrivals {
            None => self.next.is_there(),
            Some(arrivals) => !arrivals.is_full() && self.next.is_there() || arrivals.has_more(self.link),
        }
    }
}

/// What [`Session::poll`] found.
pub(crate) enum Polled<R> {
    /// An event, and what came of it.
    Event(R),
    /// An entry that means nothing. It counts like any other, so that a peer that sends nothing else cannot
    /// keep its reader inside one look.
    Nothing,
    /// So many bytes of a message that the peer is still writing.
    Part(usize),
    /// The next entry names a segment whose announcement may still be in the socket: read it dry, feed it,
    /// and poll again.
    ReadSocket,
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
    /// Messages that the peer is still writing.
    arrivals: Arrivals,
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
            arrivals: Arrivals::default(),
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
            || self.arrivals.has_more(link)
    }

    /// What a driver asks while it spins. An entry that is stalled keeps its driver busy with the socket, and
    /// is no reason to look here.
    #[inline]
    pub(crate) fn watch<'a>(&'a self, link: &'a Link) -> Watch<'a> {
        let arrivals = (!self.arrivals.is_empty()).then_some(&self.arrivals);
        Watch { next: self.consumer.next(link.consumer_view()), arrivals, link }
    }

    /// Takes the next entry out of the ring, checks it, and hands what it means to `handle`.
    ///
    /// # Errors
    /// What the peer may not do, and what `handle` says it may not.
    #[inline(always)]
    pub(crate) fn poll<R>(
        &mut self,
        link: &Arc<Link>,
        handle: impl FnOnce(Event<'_>) -> Result<R, Violation>,
    ) -> Result<Polled<R>, Violation> {
        // Apart: mostly nothing is under way but what lies in the ring.
        if !self.arrivals.is_empty() || self.stalled.is_some() || link.is_socket_lane() {
            return self.poll_further(link, handle);
        }
        self.poll_ring(link, handle)
    }

    /// [`poll`](Self::poll) for the next entry, whatever else is under way.
    #[inline(always)]
    fn poll_ring<R>(
        &mut self,
        link: &Arc<Link>,
        handle: impl FnOnce(Event<'_>) -> Result<R, Violation>,
    ) -> Result<Polled<R>, Violation> {
        match self.consumer.pop_into(link.consumer_view(), self.entry.record_mut()) {
            None => return Ok(Polled::Empty),
            Some(false) => {}
            Some(true) => link.space_freed(),
        }
        self.entry.admit_in_place()?;
        if !self.entry.is_plain() {
            return self.poll_marked(link, false, handle);
        }
        let payload = Arrived { inline: self.entry.inline(), outside: &mut None };
        hand_over(event(self.role, link, &self.entry, payload)?, handle)
    }

    /// [`poll`](Self::poll) while messages are on their way, an entry waits for its segment, or on the socket
    /// lane.
    #[inline(never)]
    fn poll_further<R>(
        &mut self,
        link: &Arc<Link>,
        handle: impl FnOnce(Event<'_>) -> Result<R, Violation>,
    ) -> Result<Polled<R>, Violation> {
        if link.is_socket_lane() {
            return self.poll_came(link, handle);
        }
        if !self.arrivals.is_empty() {
            match self.arrivals.advance(link)? {
                Some(Advance::Part(bytes)) => return Ok(Polled::Part(bytes)),
                Some(Advance::Whole(entry, message, elapsed)) => {
                    let outside = &mut Some(Outside::Private(message));
                    let payload = Arrived { inline: Inline::EMPTY, outside };
                    let event = event(self.role, link, &entry, payload)?;
                    return hand_over(event.map(|event| event.after(elapsed)), handle);
                }
                None if self.arrivals.is_full() => return Ok(Polled::Empty),
                None => {}
            }
        }
        match self.stalled.take() {
            Some(stalled) => self.poll_marked(link, matches!(stalled, Stalled::SocketWasDry), handle),
            None => self.poll_ring(link, handle),
        }
    }

    /// What becomes of an entry with flags or metadata: most often its message is in a slot. `announced`: its
    /// segment must be known by now.
    #[inline]
    fn poll_marked<R>(
        &mut self,
        link: &Arc<Link>,
        announced: bool,
        handle: impl FnOnce(Event<'_>) -> Result<R, Violation>,
    ) -> Result<Polled<R>, Violation> {
        let (entry, meta_len) = (&self.entry, self.entry.meta_len());
        let (Body::Slot(descriptor) | Body::Fill(descriptor, _)) = entry.body() else {
            let (inline, outside) = match meta_len {
                0 => (entry.inline(), None),
                len => (Inline::EMPTY, Some(take_off_inline(link, entry.inline().as_slice(), len)?)),
            };
            let payload = Arrived { inline, outside: &mut { outside } };
            return hand_over(event(self.role, link, entry, payload)?, handle);
        };
        if !announced && !self.segments.knows(descriptor.handle) {
            self.stalled = Some(Stalled::Awaited);
            return Ok(Polled::ReadSocket);
        }
        // Before anything else is looked up: whatever follows, the slot goes back.
        let slot = self.segments.admit(link, descriptor)?;
        if let Body::Fill(_, fill) = entry.body() {
            self.arrivals.begin(entry.clone(), slot, fill)?;
            return Ok(Polled::Nothing);
        }
        let outside = match meta_len {
            0 => Outside::Slot(slot),
            len => take_off_slot(link, slot, len)?,
        };
        let payload = Arrived { inline: Inline::EMPTY, outside: &mut Some(outside) };
        hand_over(event(self.role, link, entry, payload)?, handle)
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

/// Hands an event to whoever polls, if there is one.
#[inline(always)]
fn hand_over<'a, R>(
    event: Option<Event<'a>>,
    handle: impl FnOnce(Event<'a>) -> Result<R, Violation>,
) -> Result<Polled<R>, Violation> {
    match event {
        Some(event) => handle(event).map(Polled::Event),
        None => Ok(Polled::Nothing),
    }
}

/// What an entry means for this side of a connection; `None` if nothing.
#[inline(always)]
fn event<'a>(
    role: Role,
    link: &Link,
    entry: &Entry,
    payload: Arrived<'a>,
) -> Result<Option<Event<'a>>, Violation> {
    let call_id = entry.call_id();
    Ok(Some(match (role, entry.kind()) {
        (Role::Server, Kind::Request) => {
            let (method, deadline_us, shape) = (entry.code(), entry.deadline_us(), entry.shape());
            if shape == Shape::ManyRequests && payload.len() > 0 {
                return Err(Violation::Entry("a message, and others follow"));
            }
            Event::Request { call_id, method, deadline_us, shape, payload }
        }
        (Role::Server, Kind::Cancel) => Event::Cancel { call_id },
        (Role::Server, Kind::End) => Event::End { call_id },
        (_, Kind::Message) => Event::Message { call_id, payload },
        (_, Kind::Credit) => Event::Credit { call_id, bytes: entry.code() },
        (Role::Client, Kind::Reply) => {
            if let Some(raw) = entry.released() {
                let handle = Handle::new(raw).ok_or(Violation::ForgedRelease { handle: raw })?;
                link.released(handle)?;
            }
            Event::Reply { call_id, code: entry.code(), payload }
        }
        (Role::Client, Kind::Goaway) => Event::Goaway,
        (Role::Client, Kind::Headers) if payload.len() == 0 => Event::Headers { call_id, payload },
        (Role::Client, Kind::Headers) => return Err(Violation::Entry("message with a kind that has none")),
        (_, Kind::Nop) => return Ok(None),
        (Role::Client, _) => return Err(Violation::Entry("a server sends neither requests nor cancels")),
        (Role::Server, _) => return Err(Violation::Entry("a client sends neither replies nor goaway")),
    }))
}
