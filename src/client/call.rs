//! A typed call: a request, a deadline, and somebody who waits.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use crate::client::begin::Unsent;
#[cfg(feature = "tokio")]
use crate::client::calls::Cell;
use crate::client::calls::Ticket;
use crate::client::classic::Lease;
use crate::client::core::Core;
#[cfg(feature = "tokio")]
use crate::client::driver::Stop;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::reading::{ReadMessage, ReadReply};
use crate::client::reconnect::Sent;
use crate::client::route::{Route, start_classic, wait_classic};
use crate::client::sending::send_message;
use crate::rpc::{Decode, Encode, Record, Request, Response, Side, Status};

/// A call that has not been sent: set its timeout, then [`wait`](Self::wait) or [`start`](Self::start).
#[must_use = "a call is not sent until wait() or start() is called"]
pub struct Call<'a, Req, Resp> {
    route: &'a Route,
    method: Method,
    request: Request<Req>,
    limit: TimeLimit,
    reply: PhantomData<fn() -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> Call<'a, Req, Resp> {
    pub(super) fn new(route: &'a Route, method: Method, request: Request<Req>) -> Self {
        Self { route, method, request, limit: TimeLimit::default(), reply: PhantomData }
    }

    /// How long the call may take, from sending it to having its reply. Without a timeout it may take for
    /// ever.
    ///
    /// The server learns it too, and stops on its own; except on a
    /// [classic](crate::Channel::connect_classic) channel, where the caller's connection is closed instead.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit.timeout = Some(timeout);
        self
    }

    /// When the call ends at the latest, if a [timeout](Self::timeout) does not end it before. A handler that
    /// calls others has them end with its own call by `.deadline(request.deadline())`.
    pub fn deadline(mut self, deadline: impl Into<Option<Instant>>) -> Self {
        self.limit.deadline = deadline.into();
        self
    }

    /// Says that it does no harm if the call is made twice. On a channel that
    /// [reconnects](crate::ChannelBuilder::reconnect), one that was under way when its connection ended is
    /// then sent again on the next one, within the same timeout; once, unless
    /// [set](crate::Reconnect::resends). On other channels it changes nothing.
    pub fn idempotent(mut self) -> Self {
        self.limit.idempotent = true;
        self
    }

    #[cfg(feature = "tokio")]
    pub(super) fn limited(self, limit: TimeLimit) -> Self {
        Self { limit, ..self }
    }

    #[cfg(feature = "tokio")]
    pub(super) fn into_parts(self) -> (&'a Route, Method, Request<Req>, TimeLimit) {
        (self.route, self.method, self.request, self.limit)
    }

    /// Sends the call and waits for its reply.
    ///
    /// # Errors
    /// The status that the handler returned, or
    /// - `DeadlineExceeded`: the timeout passed. The handler may have run all the same.
    /// - `Unavailable`: the server is gone, or going.
    /// - `ResourceExhausted`: a limit, which the text names, is too small for this call.
    /// - `Unimplemented`: the server has no such method.
    /// - `Internal`: the handler panicked, or a message did not encode or decode.
    #[inline]
    pub fn wait(self) -> Result<Response<Resp>, Status> {
        let Route::Ring(core) = self.route else { return self.wait_elsewhere() };
        recorded(self.method, || {
            let (ticket, deadline) = self.send_on(core)?;
            core.wait(ticket, deadline, &ReadMessage)
        })
    }

    #[cold]
    fn wait_elsewhere(self) -> Result<Response<Resp>, Status> {
        if let Route::Again(channel) = self.route {
            return recorded(self.method, || {
                channel.wait(self.method, self.limit, &mut &self.request, &ReadMessage)
            });
        }
        self.start()?.wait()
    }

    /// Sends the call without waiting for its reply, so that several can be under way at once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), where the call cannot be sent. Waits only for room to send; on a
    /// [classic](crate::Channel::connect_classic) channel, for a connection that no other call holds.
    #[inline(always)]
    pub fn start(self) -> Result<Pending<'a, Resp>, Status> {
        let mut record = Record::begin(Side::Client, self.method.name());
        let _entered = record.enter();
        match self.send() {
            Ok(call) => Ok(Pending { call, reply: PhantomData, record }),
            Err(status) => {
                record.end(Some(&status));
                Err(status)
            }
        }
    }

    /// The same, where the call is recorded elsewhere.
    #[inline(always)]
    pub(super) fn send(self) -> Result<InFlight<'a>, Status> {
        let Route::Ring(core) = self.route else { return self.send_elsewhere() };
        let (ticket, deadline) = self.send_on(core)?;
        Ok(InFlight::new(core, ticket, deadline))
    }

    /// Sends the call over a ring. What comes back is the right to its reply, and when it ends.
    #[inline(always)]
    fn send_on(&self, core: &Core) -> Result<(Ticket, Option<Instant>), Status> {
        let deadline = self.limit.end();
        let unsent = core.begin(self.method, deadline)?;
        let (head, len) = (unsent.head(self.method)?, self.request.get_ref().encoded_len());
        let mut prepared = None;
        // Apart from those that may follow, so that it is in line and leaves nothing in memory for them.
        if let Err(failure) = send_message(&core.link, head, &self.request, len, &mut prepared) {
            unsent.again(failure, self.method, |head| {
                send_message(&core.link, head, &self.request, len, &mut prepared)
            })?;
        }
        Ok((unsent.sent(), deadline))
    }

    #[cold]
    fn send_elsewhere(mut self) -> Result<InFlight<'a>, Status> {
        match self.route {
            Route::Ring(_) => self.send(),
            Route::Classic(pool) => {
                let lease = start_classic(pool, self.method, self.limit.end(), &self.request)?;
                Ok(InFlight::Classic(lease))
            }
            Route::Again(channel) => {
                let sent = channel.start(self.method, self.limit, &mut &self.request)?;
                Ok(InFlight::Again(sent))
            }
            Route::Intercepted(intercepted) => {
                self.limit = intercepted.pass(self.method, self.request.metadata_mut(), self.limit)?;
                Self { route: intercepted.channel.route(), ..self }.send()
            }
        }
    }
}

impl<Req, Resp> fmt::Debug for Call<'_, Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method.name())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A call that was sent and not yet answered. Dropping it cancels the call.
#[must_use = "dropping a pending call cancels it"]
pub struct Pending<'a, Resp> {
    call: InFlight<'a>,
    reply: PhantomData<fn() -> Resp>,
    record: Record,
}

impl<Resp: Decode> Pending<'_, Resp> {
    /// Waits for the reply.
    ///
    /// # Errors
    /// As [`Call::wait`].
    #[inline]
    pub fn wait(mut self) -> Result<Response<Resp>, Status> {
        let outcome = self.call.wait(&ReadMessage);
        self.record.end(outcome.as_ref().err());
        outcome
    }
}

impl<Resp> fmt::Debug for Pending<'_, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

/// Makes a call in one go, and has it recorded.
#[inline(always)]
pub(super) fn recorded<R>(method: Method, make: impl FnOnce() -> Result<R, Status>) -> Result<R, Status> {
    let mut record = Record::begin(Side::Client, method.name());
    let _entered = record.enter();
    let outcome = make();
    record.end(outcome.as_ref().err());
    outcome
}

/// The sent half of every call, typed or raw.
pub(super) enum InFlight<'a> {
    Ring(OnRing<'a>),
    Classic(Lease<'a>),
    Again(Box<Sent<'a>>),
}

/// A call that was sent over the ring.
pub(super) struct OnRing<'a> {
    core: &'a Core,
    /// `None` once the reply was taken or given up.
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
}

impl<'a> InFlight<'a> {
    pub(super) fn new(core: &'a Core, ticket: Ticket, deadline: Option<Instant>) -> Self {
        Self::Ring(OnRing::new(core, ticket, deadline))
    }

    /// Waits for the reply, and reads it if it is no failure.
    #[inline]
    pub(super) fn wait<R>(self, read: &impl ReadReply<R>) -> Result<R, Status> {
        match self {
            Self::Ring(call) => call.wait(read),
            elsewhere => elsewhere.wait_elsewhere(read),
        }
    }

    #[cold]
    fn wait_elsewhere<R>(self, read: &impl ReadReply<R>) -> Result<R, Status> {
        match self {
            Self::Ring(call) => call.wait(read),
            Self::Classic(lease) => wait_classic(lease, read),
            Self::Again(sent) => sent.wait(read),
        }
    }
}

impl<'a> OnRing<'a> {
    #[inline]
    pub(super) fn new(core: &'a Core, ticket: Ticket, deadline: Option<Instant>) -> Self {
        Self { core, ticket: Some(ticket), deadline }
    }

    #[inline(always)]
    pub(super) fn wait<R>(mut self, read: &impl ReadReply<R>) -> Result<R, Status> {
        let ticket = self.ticket.take().expect("taken here alone");
        self.core.wait(ticket, self.deadline, read)
    }
}

/// What a task does instead.
#[cfg(feature = "tokio")]
impl<'a> OnRing<'a> {
    pub(super) fn sent(unsent: Unsent<'a>) -> Self {
        let (core, deadline) = (unsent.core(), unsent.deadline());
        Self { core, ticket: Some(unsent.sent()), deadline }
    }

    /// Reads the reply, if it is there or comes in a moment; `beside_others`, if others wait as well.
    #[inline]
    pub(super) fn try_wait<R>(
        &mut self,
        read: &impl ReadReply<R>,
        beside_others: bool,
    ) -> Option<Result<R, Status>> {
        let outcome = self.core.wait_briefly(self.ticket(), self.deadline, beside_others, read)?;
        self.ticket = None;
        Some(outcome)
    }

    /// Takes what the waiting has brought.
    #[inline]
    pub(super) fn collect<R>(&mut self, stop: Stop, read: &impl ReadReply<R>) -> Result<R, Status> {
        let ticket = self.ticket();
        self.ticket = None;
        self.core.collect(ticket, stop, read)
    }

    /// Gives the call up, and does not wait for room to say so.
    pub(super) fn give_up_at_once(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.give_up_at_once(ticket);
        }
    }

    /// The call's cell, for as long as the reply has been neither taken nor given up.
    pub(super) fn cell(&self) -> &'a Cell {
        self.core.calls.cell_of(self.ticket())
    }

    pub(super) fn core(&self) -> &'a Core {
        self.core
    }

    fn ticket(&self) -> Ticket {
        self.ticket.expect("neither taken nor given up")
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Drop for OnRing<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.give_up(ticket);
        }
    }
}

impl fmt::Debug for InFlight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
