//! A call of plain bytes.

use std::fmt;
use std::time::{Duration, Instant};

use crate::client::call::{InFlight, recorded};
use crate::client::calls::Ticket;
use crate::client::core::Core;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::reconnect::Plain;
use crate::client::route::{Route, start_classic_raw};
use crate::client::sending::send_bytes;
use crate::connection::Arrived;
use crate::raw::{Payload, RawBody};
use crate::rpc::{MetadataMap, Record, Side, Status};

/// A raw call that has not been sent: set its timeout, then [`wait`](Self::wait) or [`start`](Self::start).
#[must_use = "a call is not sent until wait() or start() is called"]
pub struct RawCall<'a> {
    route: &'a Route,
    method: Method,
    body: RawBody<'a>,
    metadata: MetadataMap,
    limit: TimeLimit,
}

impl<'a> RawCall<'a> {
    pub(super) fn new(route: &'a Route, method: Method, body: RawBody<'a>) -> Self {
        Self { route, method, body, metadata: MetadataMap::new(), limit: TimeLimit::default() }
    }

    /// How long the call may take, from sending it to having its reply. Without a timeout it may take for
    /// ever.
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

    /// What is said of the call. A loan that travels with metadata is copied.
    pub fn metadata(mut self, metadata: MetadataMap) -> Self {
        self.metadata = metadata;
        self
    }

    /// Says that it does no harm if the call is made twice: see
    /// [`Call::idempotent`](crate::Call::idempotent).
    pub fn idempotent(mut self) -> Self {
        self.limit.idempotent = true;
        self
    }

    #[cfg(feature = "tokio")]
    pub(super) fn limited(self, limit: TimeLimit) -> Self {
        Self { limit, ..self }
    }

    #[cfg(feature = "tokio")]
    pub(super) fn into_parts(self) -> (&'a Route, Method, RawBody<'a>, MetadataMap, TimeLimit) {
        (self.route, self.method, self.body, self.metadata, self.limit)
    }

    /// Sends the bytes and waits for those that come back.
    ///
    /// # Errors
    /// As [`Call::wait`](crate::Call::wait), and `InvalidArgument` for a loan of another channel.
    #[inline]
    pub fn wait(mut self) -> Result<Payload, Status> {
        let Route::Ring(core) = self.route else { return self.wait_elsewhere() };
        recorded(self.method, || {
            let (ticket, deadline) = self.send_on(core)?;
            core.wait(ticket, deadline, &keep)
        })
    }

    #[cold]
    fn wait_elsewhere(mut self) -> Result<Payload, Status> {
        if let Route::Again(channel) = self.route {
            let mut body = Plain { body: &mut self.body, metadata: &self.metadata };
            return recorded(self.method, || channel.wait(self.method, self.limit, &mut body, &keep));
        }
        self.start()?.wait()
    }

    /// Sends the bytes without waiting for those that come back, so that several calls can be under way at
    /// once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), where the call cannot be sent. Waits only for room to send; on a
    /// [classic](crate::Channel::connect_classic) channel, for a connection that no other call holds.
    #[inline]
    pub fn start(self) -> Result<PendingRaw<'a>, Status> {
        let mut record = Record::begin(Side::Client, self.method.name());
        let _entered = record.enter();
        match self.send() {
            Ok(call) => Ok(PendingRaw { call, record }),
            Err(status) => {
                record.end(Some(&status));
                Err(status)
            }
        }
    }

    /// The same, where the call is recorded elsewhere.
    #[inline]
    pub(super) fn send(mut self) -> Result<InFlight<'a>, Status> {
        let Route::Ring(core) = self.route else { return self.send_elsewhere() };
        let (ticket, deadline) = self.send_on(core)?;
        Ok(InFlight::new(core, ticket, deadline))
    }

    /// Sends the bytes over a ring. What comes back is the right to the reply, and when the call ends.
    #[inline(always)]
    fn send_on(&mut self, core: &Core) -> Result<(Ticket, Option<Instant>), Status> {
        let deadline = self.limit.end();
        let unsent = core.begin(self.method, deadline)?;
        let head = unsent.head(self.method)?;
        let (body, metadata, mut prepared) = (&mut self.body, &self.metadata, None);
        // In line, as a typed call's.
        if let Err(failure) = send_bytes(&core.link, head, body, metadata, &mut prepared) {
            unsent.again(failure, self.method, |head| {
                send_bytes(&core.link, head, body, metadata, &mut prepared)
            })?;
        }
        Ok((unsent.sent(), deadline))
    }

    #[cold]
    fn send_elsewhere(mut self) -> Result<InFlight<'a>, Status> {
        match self.route {
            Route::Ring(_) => self.send(),
            Route::Classic(pool) => {
                let (deadline, metadata) = (self.limit.end(), &self.metadata);
                let lease = start_classic_raw(pool, self.method, deadline, &self.body, metadata)?;
                Ok(InFlight::Classic(lease))
            }
            Route::Again(channel) => {
                let mut body = Plain { body: &mut self.body, metadata: &self.metadata };
                Ok(InFlight::Again(channel.start(self.method, self.limit, &mut body)?))
            }
            Route::Intercepted(intercepted) => {
                self.limit = intercepted.pass(self.method, &mut self.metadata, self.limit)?;
                Self { route: intercepted.channel.route(), ..self }.send()
            }
        }
    }
}

/// A raw call that was sent and not yet answered. Dropping it cancels the call.
#[must_use = "dropping a pending call cancels it"]
pub struct PendingRaw<'a> {
    call: InFlight<'a>,
    record: Record,
}

impl PendingRaw<'_> {
    /// Waits for the bytes that come back.
    ///
    /// # Errors
    /// As [`RawCall::wait`].
    #[inline]
    pub fn wait(mut self) -> Result<Payload, Status> {
        let outcome = self.call.wait(&keep);
        self.record.end(outcome.as_ref().err());
        outcome
    }
}

/// Reads a reply of bytes.
#[inline(always)]
pub(super) fn keep(payload: Arrived<'_>) -> Result<Payload, Status> {
    Ok(Payload::new(payload.keep()))
}

impl fmt::Debug for PendingRaw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl fmt::Debug for RawCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCall")
            .field("method", &self.method.name())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
