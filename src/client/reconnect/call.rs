//! The calls of a channel that reconnects, on threads: one connection after the other, while that is allowed.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use bytes::Bytes;

use crate::client::begin::Unsent;
use crate::client::call::OnRing;
use crate::client::calls::Ticket;
use crate::client::core::Core;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::reading::ReadReply;
use crate::client::reconnect::connecting::Reconnecting;
use crate::client::reconnect::look::is_refusal;
use crate::client::sending::{send_bytes, send_message};
use crate::connection::{Head, prepare_bytes_behind};
use crate::raw::RawBody;
use crate::rpc::{Code, Encode, MetadataMap, Request, Status, encode_to_vec};

/// How long a call may go on, and how often it may be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) begun: Instant,
    pub(super) deadline: Option<Instant>,
    /// How often it may be sent again after its connection has ended.
    resends: u32,
}

impl Course {
    pub(super) fn new(channel: &Reconnecting, begun: Instant, limit: Option<TimeLimit>) -> Self {
        let deadline = limit.and_then(|limit| limit.end());
        let resends = if limit.is_some_and(|limit| limit.idempotent) { channel.policy.resends } else { 0 };
        Self { begun, deadline, resends }
    }

    /// Until when it waits for a connection.
    pub(super) fn until(&self, channel: &Reconnecting) -> Instant {
        let patience = self.begun.checked_add(channel.policy.patience);
        match (patience, self.deadline) {
            (Some(patience), Some(deadline)) => patience.min(deadline),
            (Some(end), None) | (None, Some(end)) => end,
            (None, None) => self.begun + LONG,
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The limits of one attempt.
    #[cfg(feature = "tokio")]
    pub(super) fn limit(&self) -> TimeLimit {
        TimeLimit { deadline: self.deadline, ..TimeLimit::default() }
    }

    /// What becomes of a call that has failed on a connection: `None` that it goes to the next one.
    ///
    /// One that was not sent does, if the connection has closed or the server drains, and one that the server
    /// has refused. One that was sent does if it may be made twice, and only after the connection's end: the
    /// server's own `Unavailable` is an answer.
    #[cold]
    pub(super) fn after(&mut self, core: &Core, status: Status, was_sent: bool) -> Option<Status> {
        if status.code() != Code::Unavailable {
            return Some(status);
        }
        if is_refusal(&status) {
            core.drain();
        } else if core.is_open() {
            return Some(status);
        }
        if !was_sent {
            return None;
        }
        // It may have been under way for long: its patience begins anew where it goes on.
        let begun = Instant::now();
        if is_refusal(&status) {
            self.begun = begun;
            return None;
        }
        if !core.link.is_closed() || status != core.link.closed_status() {
            return Some(status);
        }
        if self.resends > 0 {
            (self.begun, self.resends) = (begun, self.resends - 1);
            return None;
        }
        let why = status.message();
        Some(Status::unavailable(format!("{why}; the call was under way, and the server may have made it")))
    }

    /// The same where it cannot go anywhere.
    pub(super) fn at_last(&mut self, core: &Core, status: Status) -> Status {
        self.resends = 0;
        self.after(core, status.clone(), true).unwrap_or(status)
    }
}

/// What stands for a patience that is beyond the clock's range.
const LONG: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);

/// What a call sends, as often as it takes.
pub(in crate::client) trait Body {
    fn send(&mut self, core: &Core, unsent: &Unsent<'_>, head: Head) -> Result<(), Status>;

    /// Whether it lies in the memory of one connection, and so goes to no other.
    fn is_bound(&self) -> bool {
        false
    }

    /// The same bytes once more, for later.
    ///
    /// # Errors
    /// If it does not encode.
    fn copy(&self) -> Result<Copied, Status>;
}

impl<M: Encode> Body for &Request<M> {
    #[inline]
    fn send(&mut self, core: &Core, unsent: &Unsent<'_>, head: Head) -> Result<(), Status> {
        let (len, mut prepared) = (self.get_ref().encoded_len(), None);
        unsent.once_there_is_space(|| send_message(&core.link, head, self, len, &mut prepared))
    }

    fn copy(&self) -> Result<Copied, Status> {
        let message = encode_to_vec(self.get_ref())?.into();
        Ok(Copied { metadata: self.encoded_metadata(), message })
    }
}

/// A request as it was sent, to be sent again.
pub(in crate::client) struct Copied {
    metadata: Vec<u8>,
    message: RawBody<'static>,
}

impl Body for Copied {
    fn send(&mut self, core: &Core, unsent: &Unsent<'_>, head: Head) -> Result<(), Status> {
        if self.metadata.is_empty() {
            let mut message = Plain { body: &mut self.message, metadata: &MetadataMap::new() };
            return message.send(core, unsent, head);
        }
        let (metadata, bytes, mut prepared) = (&self.metadata, self.message.as_slice(), None);
        unsent.once_there_is_space(|| {
            if prepared.is_none() {
                prepared = Some(prepare_bytes_behind(&*core.link, head, metadata, bytes)?);
            }
            prepared.as_mut().expect("made above").send(&core.link)
        })
    }

    fn copy(&self) -> Result<Self, Status> {
        let message = RawBody::Bytes(Bytes::copy_from_slice(self.message.as_slice()));
        Ok(Self { metadata: self.metadata.clone(), message })
    }
}

/// Plain bytes, and what is said of them.
pub(in crate::client) struct Plain<'a, 'b> {
    pub(in crate::client) body: &'a mut RawBody<'b>,
    pub(in crate::client) metadata: &'a MetadataMap,
}

impl Body for Plain<'_, '_> {
    #[inline]
    fn send(&mut self, core: &Core, unsent: &Unsent<'_>, head: Head) -> Result<(), Status> {
        let mut prepared = None;
        unsent.once_there_is_space(|| send_bytes(&core.link, head, self.body, self.metadata, &mut prepared))
    }

    fn is_bound(&self) -> bool {
        matches!(self.body, RawBody::Loan(_))
    }

    fn copy(&self) -> Result<Copied, Status> {
        let message = match &*self.body {
            RawBody::Slice(bytes) => RawBody::Bytes(Bytes::copy_from_slice(bytes)),
            RawBody::Bytes(bytes) => RawBody::Bytes(bytes.clone()),
            RawBody::Loan(loan) => RawBody::Bytes(Bytes::copy_from_slice(loan)),
        };
        Ok(Copied { metadata: self.metadata.encoded(), message })
    }
}

// Apart: what may have to connect must not spread through the code of the channels that never do.
impl Reconnecting {
    /// Makes a call, and waits for its reply.
    #[inline(never)]
    pub(in crate::client) fn wait<R>(
        &self,
        method: Method,
        limit: TimeLimit,
        body: &mut impl Body,
        read: &impl ReadReply<R>,
    ) -> Result<R, Status> {
        self.go_on(method, Course::new(self, Instant::now(), Some(limit)), body, read)
    }

    fn go_on<R>(
        &self,
        method: Method,
        mut course: Course,
        body: &mut impl Body,
        read: &impl ReadReply<R>,
    ) -> Result<R, Status> {
        let bound = body.is_bound();
        loop {
            let held = self.acquire(&course)?;
            let core = held.as_ref().expect("acquired");
            let (status, was_sent) = match self.send(core, method, &course, body) {
                Ok(ticket) => match OnRing::new(core, ticket, course.deadline).wait(read) {
                    Ok(reply) => {
                        self.hear(course.begun);
                        return Ok(reply);
                    }
                    Err(status) => (status, true),
                },
                Err(status) => (status, false),
            };
            if bound {
                return Err(if was_sent { course.at_last(core, status) } else { status });
            }
            if let Some(status) = course.after(core, status, was_sent) {
                return Err(status);
            }
        }
    }

    /// A connection for a call with streams, which stays on it, and the method as it is known there.
    pub(in crate::client) fn connected(
        &self,
        method: Method,
        limit: TimeLimit,
    ) -> Result<(Arc<Core>, Method), Status> {
        let held = self.acquire(&Course::new(self, Instant::now(), Some(limit)))?;
        let core = Guard::into_inner(held).expect("acquired");
        let method = self.method_on(&core, method)?;
        Ok((core, method))
    }

    /// Makes a call that is waited for later.
    #[inline(never)]
    pub(in crate::client) fn start(
        &self,
        method: Method,
        limit: TimeLimit,
        body: &mut impl Body,
    ) -> Result<Box<Sent<'_>>, Status> {
        let mut course = Course::new(self, Instant::now(), Some(limit));
        let bound = body.is_bound();
        // The request is its caller's again once it is sent.
        let copy = (course.resends > 0 && !bound).then(|| body.copy()).transpose()?;
        loop {
            let held = self.acquire(&course)?;
            let core = held.as_ref().expect("acquired");
            match self.send(core, method, &course, body) {
                Ok(ticket) => {
                    let core = Guard::into_inner(held).expect("acquired");
                    let ticket = Some(ticket);
                    return Ok(Box::new(Sent { channel: self, method, core, ticket, course, copy }));
                }
                Err(status) if bound => return Err(status),
                Err(status) => {
                    if let Some(status) = course.after(core, status, false) {
                        return Err(status);
                    }
                }
            }
        }
    }

    #[inline]
    fn send(
        &self,
        core: &Core,
        method: Method,
        course: &Course,
        body: &mut impl Body,
    ) -> Result<Ticket, Status> {
        let method = self.method_on(core, method)?;
        let unsent = core.begin(method, course.deadline)?;
        let head = unsent.head(method)?;
        body.send(core, &unsent, head)?;
        Ok(unsent.sent())
    }
}

/// A call that was sent, and what it takes to send it again.
pub(in crate::client) struct Sent<'a> {
    channel: &'a Reconnecting,
    method: Method,
    /// Kept until the call ends, whatever the channel has by then.
    core: Arc<Core>,
    /// `None` once the reply was taken or given up.
    ticket: Option<Ticket>,
    course: Course,
    copy: Option<Copied>,
}

impl Sent<'_> {
    #[inline(never)]
    pub(in crate::client) fn wait<R>(mut self, read: &impl ReadReply<R>) -> Result<R, Status> {
        let ticket = self.ticket.take().expect("taken here alone");
        let status = match OnRing::new(&self.core, ticket, self.course.deadline).wait(read) {
            Ok(reply) => {
                self.channel.hear(self.course.begun);
                return Ok(reply);
            }
            Err(status) => status,
        };
        let Some(mut body) = self.copy.take() else {
            return Err(self.course.at_last(&self.core, status));
        };
        match self.course.after(&self.core, status, true) {
            Some(status) => Err(status),
            None => self.channel.go_on(self.method, self.course, &mut body, read),
        }
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.give_up(ticket);
        }
    }
}
