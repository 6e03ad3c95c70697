//! What a session finds, and who is told of it.

use crate::connection::coming::Coming;
use crate::connection::link::Link;
use crate::connection::received::Arrived;
use crate::connection::session::Role;
use crate::error::Violation;
use crate::layout::Handle;
use crate::ring::{Entry, Kind, Shape};

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
    pub(super) fn after(mut self, elapsed: u32) -> Self {
        if let Self::Request { deadline_us: left @ 1.., .. } = &mut self
            && *left != u32::MAX
        {
            *left = left.saturating_sub(elapsed).max(1);
        }
        self
    }
}

/// Whoever polls a session: does what an event asks for.
///
/// A trait, and not a closure, so that the one place through which almost every event passes has the code of
/// it in line, and all others call it.
pub(crate) trait EventHandler {
    /// What comes of an event.
    type Outcome;

    /// # Errors
    /// What the peer may not do.
    fn handle(&mut self, event: Event<'_>) -> Result<Self::Outcome, Violation>;

    /// Reads the message of an entry, a request that is not of a stream or a reply, while it comes. `None`
    /// unless it has: then nothing has happened, and its event follows when it is whole.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    #[cold]
    fn follow(&mut self, _entry: &Entry, _coming: &mut Coming) -> Result<Option<Self::Outcome>, Violation> {
        Ok(None)
    }
}

/// A handler as the rarer paths see it.
pub(super) type DynHandler<'a, R> = dyn EventHandler<Outcome = R> + 'a;

impl<R> EventHandler for &mut DynHandler<'_, R> {
    type Outcome = R;

    fn handle(&mut self, event: Event<'_>) -> Result<R, Violation> {
        (**self).handle(event)
    }

    fn follow(&mut self, entry: &Entry, coming: &mut Coming) -> Result<Option<R>, Violation> {
        (**self).follow(entry, coming)
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

/// Hands an event to whoever polls, if there is one.
#[inline(always)]
pub(super) fn hand_over<H: EventHandler + ?Sized>(
    event: Option<Event<'_>>,
    handler: &mut H,
) -> Result<Polled<H::Outcome>, Violation> {
    match event {
        Some(event) => handler.handle(event).map(Polled::Event),
        None => Ok(Polled::Nothing),
    }
}

/// What an entry means for this side of a connection; `None` if nothing.
#[inline(always)]
pub(super) fn event<'a>(
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
            take_released(link, entry)?;
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

/// Takes back the slot of our own that a reply gives back, if it does.
#[inline(always)]
pub(super) fn take_released(link: &Link, entry: &Entry) -> Result<(), Violation> {
    let Some(raw) = entry.released() else { return Ok(()) };
    let handle = Handle::new(raw).ok_or(Violation::ForgedRelease { handle: raw })?;
    link.released(handle).map(drop)
}
