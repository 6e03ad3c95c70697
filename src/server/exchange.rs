//! One call on its way through a handler: a request that is to be answered exactly once.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use prost::Message;

use crate::connection::{Arrived, Outside, SendFailure, Slot};
use crate::layout::Handle;
use crate::raw::{Loan, Payload, RawBody};
use crate::rpc::{Context, Request, Response, Status};
use crate::server::peer::{Answer, Peer};

/// Requests from this size on are given back by the reply that answers them, not by a word of their own: the
/// client waits for the reply anyhow, and harvests nothing.
const RELEASE_WITH_REPLY: usize = 1 << 20;

/// A call that waits for its answer. Generated servers take it apart; it is answered even if it is dropped.
pub struct Exchange<'a> {
    peer: &'a Arc<Peer>,
    call: Incoming,
    /// `None` once the request was read.
    payload: Option<Arrived<'a>>,
    /// The request's slot, if the answer is to give it back.
    released: Option<Handle>,
    answered: bool,
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
    #[inline]
    pub(super) fn new(peer: &'a Arc<Peer>, call: Incoming, payload: Arrived<'a>) -> Self {
        Self { peer, call, payload: Some(payload), released: None, answered: false }
    }

    pub(super) fn method(&self) -> usize {
        self.call.method as usize
    }

    /// Decodes the request, runs the handler, and answers with what it returns.
    ///
    /// The handler does not run for a call whose deadline has passed or whose caller has given up, and its
    /// result is dropped if the deadline has passed by then. A handler that panics answers
    /// [`Code::Internal`](crate::Code::Internal).
    #[inline]
    pub fn unary<Req, Resp>(
        mut self,
        handler: impl FnOnce(Request<Req>) -> Result<Response<Resp>, Status>,
    ) -> Handled
    where
        Req: Message + Default,
        Resp: Message,
    {
        let outcome = self.run(|exchange, context| {
            let message = exchange.decode()?;
            handler(Request::received(message, context))
        });
        match outcome {
            Ok(response) => self.reply(response.get_ref()),
            Err(status) => self.fail(&status),
        }
    }

    /// Hands the request to a handler of plain bytes, and answers with what it returns.
    pub(super) fn raw(
        mut self,
        handler: impl FnOnce(Request<Payload>, &Replier<'_>) -> Result<RawBody<'static>, Status>,
    ) -> Handled {
        let outcome = self.run(|exchange, context| {
            let payload = Payload::new(exchange.take_payload().keep());
            handler(Request::received(payload, context), &Replier { peer: exchange.peer })
        });
        match outcome {
            Ok(body) => self.finish(|peer, answer| peer.reply_raw(answer, body)),
            Err(status) => self.fail(&status),
        }
    }

    /// Answers that there is no such method.
    #[cold]
    pub fn unimplemented(self) -> Handled {
        let status = Status::unimplemented(format!("this server has no method number {}", self.call.method));
        self.fail(&status)
    }

    /// Answers with a failure, without any handler.
    #[cold]
    pub(super) fn fail(self, status: &Status) -> Handled {
        self.finish(|peer, answer| peer.fail(answer, status))
    }

    /// Answers with a message, which may be of a type written by hand: one that panics while it is encoded
    /// has not been sent.
    #[inline]
    fn reply<M: Message>(mut self, message: &M) -> Handled {
        // Unwind safe: an answer is published whole or not at all.
        let send = AssertUnwindSafe(|| self.peer.reply(self.take_answer(), message));
        match panic::catch_unwind(send) {
            Ok(()) => self.answered(),
            Err(panic) => {
                let status = self.panicked(&*panic);
                self.fail(&status)
            }
        }
    }

    /// Runs a handler with the checks before and after it.
    #[inline]
    fn run<T>(&mut self, handler: impl FnOnce(&mut Self, Context) -> Result<T, Status>) -> Result<T, Status> {
        self.check_wanted()?;
        let context = Context { deadline: self.call.deadline, peer: Some(self.peer.link.credentials()) };
        // Unwind safe: after a panic the exchange is only answered, and whatever else the handler touched is
        // the service's own to keep in order.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| handler(self, context)))
            .unwrap_or_else(|panic| Err(self.panicked(&*panic)));
        self.check_wanted()?;
        outcome
    }

    /// Whether anybody still waits for the answer.
    #[inline]
    fn check_wanted(&self) -> Result<(), Status> {
        if self.call.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Status::deadline_exceeded("the deadline passed before the server had an answer"));
        }
        if self.peer.calls.is_cancelled(self.call.call_id) {
            return Err(Status::cancelled("the caller gave the call up"));
        }
        Ok(())
    }

    #[cold]
    fn panicked(&self, panic: &(dyn Any + Send)) -> Status {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let connection = self.peer.link.connection_id();
        tracing::error!(%connection, method = self.call.method, panic = text, "a handler panicked");
        Status::internal(format!("the handler panicked: {text}"))
    }

    fn take_payload(&mut self) -> Arrived<'a> {
        self.payload.take().expect("a request is read once")
    }

    #[inline]
    fn decode<Req: Message + Default>(&mut self) -> Result<Req, Status> {
        let decoded = match self.take_payload() {
            Arrived::Outside(Outside::Slot(slot)) if slot.len() >= RELEASE_WITH_REPLY => {
                let (private, handle) = slot.into_private_and_handle();
                self.released = handle;
                Req::decode(private)
            }
            payload => payload.decode(),
        };
        decoded.map_err(|error| Status::internal(format!("the request does not decode: {error}")))
    }

    #[inline]
    fn finish(mut self, answer: impl FnOnce(&Peer, Answer)) -> Handled {
        answer(self.peer, self.take_answer());
        self.answered()
    }

    /// Whom the answer goes to. An unread request gives its slot back before its caller can send another.
    #[inline]
    fn take_answer(&mut self) -> Answer {
        drop(self.payload.take());
        Answer { call_id: self.call.call_id, released: self.released }
    }

    #[inline]
    fn answered(mut self) -> Handled {
        self.answered = true;
        Handled(())
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let answer = self.take_answer();
            self.peer.fail(answer, &Status::internal("the service dropped the call without an answer"));
        }
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("call", &self.call).finish_non_exhaustive()
    }
}

/// What a raw handler builds its answer with.
pub struct Replier<'a> {
    peer: &'a Peer,
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
        match Slot::claim(self.peer.link.clone(), len as u64) {
            Ok(slot) => Ok(Loan::of_slot(slot, len)),
            Err(SendFailure::Wait) => Ok(Loan::private(len)),
            Err(SendFailure::Failed(status)) => Err(status),
        }
    }
}

impl fmt::Debug for Replier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").finish_non_exhaustive()
    }
}
