//! One call on its way through a handler: a request that is to be answered exactly once.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use prost::{DecodeError, Message};

use crate::connection::{Arrived, Outside, UNKNOWN_METHOD};
use crate::layout::Handle;
use crate::raw::{Loan, Payload};
use crate::rpc::{Context, Request, Response, Status};
use crate::server::caller::Caller;
use crate::server::peer::Answer;
use crate::server::router::RawHandler;

/// Requests from this size on are given back by the reply that answers them, not by a word of their own: the
/// client waits for the reply anyhow, and harvests nothing.
const RELEASE_WITH_REPLY: usize = 1 << 20;

/// A call that waits for its answer. Generated servers take it apart; it is answered even if it is dropped.
pub struct Exchange<'a>(&'a mut Held<'a>);

/// A call as the thread holds it that serves it.
///
/// It stays where it was put together, and the [`Exchange`] is only its address: handed on by value, each
/// step would read it in wider words than it was just written in, and wait for those.
struct Held<'a> {
    caller: Caller<'a>,
    call: Incoming,
    request: Arrived<'a>,
    /// The request's slot, if the answer is to give it back.
    released: Option<Handle>,
    answered: bool,
}

/// Has a call served: it is answered when this returns.
#[inline(always)]
pub(super) fn serve(
    caller: Caller<'_>,
    call: Incoming,
    request: Arrived<'_>,
    with: impl FnOnce(Exchange<'_>) -> Handled,
) {
    let mut held = Held { caller, call, request, released: None, answered: false };
    let Handled(()) = with(Exchange(&mut held));
}

/// A request, apart from its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) call_id: u32,
    pub(super) method: u32,
    pub(super) deadline: Option<Instant>,
}

/// Proof that a call was answered: [`Exchange`]'s methods return it.
#[derive(Debug)]
#[must_use = "returned by Service::call"]
pub struct Handled(());

impl<'a> Exchange<'a> {
    pub(super) fn method(&self) -> usize {
        self.0.call.method as usize
    }

    /// Decodes the request, runs the handler, and answers with what it returns.
    ///
    /// The handler does not run for a call whose deadline has passed or whose caller has given up, and its
    /// result is dropped if the deadline has passed by then. A handler that panics answers
    /// [`Code::Internal`](crate::Code::Internal).
    #[inline]
    pub fn unary<Req, Resp>(
        self,
        handler: impl FnOnce(Request<Req>) -> Result<Response<Resp>, Status>,
    ) -> Handled
    where
        Req: Message + Default,
        Resp: Message,
    {
        self.guarded(|held| {
            let response = held.run(|held, context| {
                let message = held.decode()?;
                handler(Request::received(message, context))
            });
            // The reply may be of a type written by hand, which may panic as well.
            match response {
                Ok(response) => held.finish(|caller, answer| caller.reply(answer, response.get_ref())),
                Err(status) => held.fail(&status),
            }
        })
    }

    /// Hands the request to a handler of plain bytes, and answers with what it returns.
    #[inline]
    pub(super) fn raw(self, handler: &RawHandler) -> Handled {
        self.guarded(|held| {
            let body = held.run(|held, context| {
                let payload = Payload::new(held.request().keep());
                handler(Request::received(payload, context), &Replier { caller: held.caller })
            });
            match body {
                Ok(body) => held.finish(|caller, answer| caller.reply_raw(answer, body)),
                Err(status) => held.fail(&status),
            }
        })
    }

    /// Answers that there is no such method.
    #[cold]
    pub fn unimplemented(self) -> Handled {
        let status = match self.0.call.method {
            UNKNOWN_METHOD => Status::unimplemented("this server has no method of that name"),
            number => Status::unimplemented(format!("this server has no method number {number}")),
        };
        self.fail(&status)
    }

    /// Answers with a failure, without any handler.
    #[cold]
    pub(super) fn fail(self, status: &Status) -> Handled {
        self.0.fail(status);
        Handled(())
    }

    /// Runs what serves the call; if that panics, the call fails.
    #[inline(always)]
    fn guarded(self, serve: impl FnOnce(&mut Held<'a>)) -> Handled {
        let held = &mut *self.0;
        // Unwind safe: an answer is published whole or not at all, after a panic the call is only answered,
        // and whatever else the handler touched is the service's own to keep in order.
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| serve(held))) {
            self.0.panicked(&*panic);
        }
        Handled(())
    }
}

impl<'a> Held<'a> {
    /// Runs a handler with the checks before and after it.
    #[inline(always)]
    fn run<T>(&mut self, handler: impl FnOnce(&mut Self, Context) -> Result<T, Status>) -> Result<T, Status> {
        self.check_wanted()?;
        let context = Context { deadline: self.call.deadline, peer: Some(self.caller.credentials()) };
        let outcome = handler(self, context);
        self.check_wanted()?;
        outcome
    }

    /// Whether anybody still waits for the answer.
    #[inline]
    fn check_wanted(&self) -> Result<(), Status> {
        if self.call.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(too_late());
        }
        if self.caller.is_cancelled(self.call.call_id) {
            return Err(given_up());
        }
        Ok(())
    }

    /// Says that the handler, or the encoding of its reply, panicked.
    #[cold]
    fn panicked(&mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let connection = self.caller.connection_id();
        tracing::error!(%connection, method = self.call.method, panic = text, "a handler panicked");
        if !self.answered {
            self.fail(&Status::internal(format!("the handler panicked: {text}")));
        }
    }

    /// The request, to be read once: what is outside of its entry is taken out.
    #[inline(always)]
    fn request(&mut self) -> Arrived<'_> {
        Arrived { inline: self.request.inline, outside: &mut *self.request.outside }
    }

    #[inline(always)]
    fn decode<Req: Message + Default>(&mut self) -> Result<Req, Status> {
        if self.request.len() >= RELEASE_WITH_REPLY
            && let Some(Outside::Slot(slot)) =
                self.request.outside.take_if(|at| matches!(at, Outside::Slot(_)))
        {
            let (private, handle) = slot.into_private_and_handle();
            self.released = handle;
            return Req::decode(private).map_err(|error| undecodable(&error));
        }
        let decoded = self.request().decode();
        decoded.map_err(|error| undecodable(&error))
    }

    /// Answers with a failure.
    #[cold]
    fn fail(&mut self, status: &Status) {
        self.finish(|caller, answer| caller.fail(answer, status));
    }

    #[inline(always)]
    fn finish(&mut self, answer: impl FnOnce(Caller<'a>, Answer)) {
        // An unread request gives its slot back before its caller can send another. Looked at first, because
        // to drop nothing is a call as well.
        if self.request.outside.is_some() {
            *self.request.outside = None;
        }
        answer(self.caller, Answer { call_id: self.call.call_id, released: self.released });
        self.answered = true;
    }
}

#[cold]
fn too_late() -> Status {
    Status::deadline_exceeded("the deadline passed before the server had an answer")
}

#[cold]
fn given_up() -> Status {
    Status::cancelled("the caller gave the call up")
}

#[cold]
fn undecodable(error: &DecodeError) -> Status {
    Status::internal(format!("the request does not decode: {error}"))
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.0.answered {
            self.0.fail(&Status::internal("the service dropped the call without an answer"));
        }
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("call", &self.0.call).finish_non_exhaustive()
    }
}

/// What a raw handler builds its answer with.
pub struct Replier<'a> {
    caller: Caller<'a>,
}

impl Replier<'_> {
    /// Takes `len` bytes of the memory that the answer will travel in.
    ///
    /// Never waits: while everything is in use the loan is ordinary memory, and the answer is copied once
    /// there is room.
    ///
    /// # Errors
    /// `ResourceExhausted` naming the limit, if no answer may be that long.
    pub fn loan(&self, len: usize) -> Result<Loan, Status> {
        self.caller.loan(len)
    }
}

impl fmt::Debug for Replier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").finish_non_exhaustive()
    }
}
