//! One call on its way through a handler: a request that is to be answered exactly once.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll, Waker};
use std::time::Instant;

use crate::connection::{Arrived, Coming, Outside, UNKNOWN_METHOD};
use crate::layout::Handle;
use crate::raw::Payload;
use crate::rpc::{CodecError, Context, Decode, Encode, Entered, Record, Request, Response, Status};
use crate::server::caller::Caller;
use crate::server::detached::{Detached, Owed};
use crate::server::executor::Executor;
use crate::server::incoming::{Incoming, end_streams};
use crate::server::panics::{log_panic, panic_text};
use crate::server::peer::Answer;
use crate::server::replier::Replier;
use crate::server::router::RawHandler;
use crate::server::streams::Outlet;
use crate::streaming::Streaming;
use crate::wire::Metadata;

/// Requests from this size on are given back by the reply that answers them, not by a word of their own: the
/// client waits for the reply anyhow, and harvests nothing.
const RELEASE_WITH_REPLY: usize = 1 << 20;

/// A call that waits for its answer. Generated servers take it apart; it is answered even if it is dropped.
pub struct Exchange<'a>(&'a mut Held<'a>);

/// A call as the thread holds it that serves it.
///
/// It stays where it was put together, and the [`Exchange`] is only its address: handed on by value, each
/// step would read it in wider words than it was just written in, and wait for those.
pub(super) struct Held<'a> {
    caller: Caller<'a>,
    executor: &'a Executor,
    call: Incoming<'a>,
    request: Arrived<'a>,
    /// Or the request, if it is still being written. Until all of it was read, nothing answers the call.
    coming: Option<&'a mut Coming>,
    /// The request's slot, if the answer is to give it back.
    released: Option<Handle>,
    answered: bool,
    record: Record,
}

/// Proof that a call was answered: [`Exchange`]'s methods return it.
#[derive(Debug)]
#[must_use = "returned by Service::call"]
pub struct Handled(());

impl<'a> Exchange<'a> {
    #[inline(always)]
    pub(super) fn method(&self) -> usize {
        self.0.call.method as usize
    }

    pub(super) fn held(&mut self) -> &mut Held<'a> {
        self.0
    }

    /// For a call that was answered, or that others answer.
    pub(super) fn handled(self) -> Handled {
        debug_assert!(self.0.answered);
        Handled(())
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
        Req: Decode,
        Resp: Encode,
    {
        self.guarded(|held| {
            let response = held.run(|held, context| {
                let (message, metadata) = held.decode()?;
                handler(Request::received(message, metadata, context))
            });
            // The reply may be of a type written by hand, which may panic as well.
            match response {
                Ok(response) => held.finish(|caller, answer| caller.reply(answer, &response)),
                Err(status) => held.fail(&status),
            }
        })
    }

    /// The same for a handler that may have to wait.
    ///
    /// It is polled here first, and most often needs no more. One that has to wait becomes a task of the
    /// server's runtime, which is dropped once nobody waits for its answer any more. Without a runtime it
    /// holds this thread.
    #[inline]
    pub fn unary_async<Req, Resp, F>(self, handler: impl FnOnce(Request<Req>) -> F) -> Handled
    where
        Req: Decode,
        Resp: Encode + 'static,
        F: Future<Output = Result<Response<Resp>, Status>> + Send + 'static,
    {
        self.guarded(|held| {
            let mut begun = None;
            let response = held.run(|held, context| {
                let (message, metadata) = held.decode()?;
                // In memory of its own, because a handler that has begun cannot be moved to its task.
                let mut future = Box::pin(handler(Request::received(message, metadata, context)));
                match future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
                    Poll::Ready(outcome) => outcome.map(Some),
                    Poll::Pending => {
                        begun = Some(future);
                        Ok(None)
                    }
                }
            });
            match (response, begun) {
                (Ok(Some(response)), _) => {
                    held.finish(|caller, answer| caller.reply(answer, &response));
                }
                (Ok(None), Some(future)) => held.detach(future),
                (Ok(None), None) => unreachable!("a handler is through or has begun"),
                (Err(status), _) => held.fail(&status),
            }
        })
    }

    /// Has a handler that lasts served by `go`, with its one request.
    #[cold]
    pub(super) fn one_request<Req: Decode>(
        self,
        go: impl FnOnce(&Executor, Request<Req>, Outlet),
    ) -> Handled {
        self.guarded(|held| match held.begin_streams(false, Held::decode) {
            Err(status) => held.fail(&status),
            Ok((message, metadata, context)) => {
                let (owed, executor) = (held.owe(), held.executor);
                if let Some(outlet) = Outlet::new(owed) {
                    go(executor, Request::received(message, metadata, context), outlet);
                }
            }
        })
    }

    /// The same with a stream of them.
    #[cold]
    pub(super) fn many_requests<Req>(
        self,
        go: impl FnOnce(&Executor, Request<Streaming<Req>>, Outlet),
    ) -> Handled {
        let take = |held: &mut Held<'_>| Ok(((), held.request().take_metadata()));
        self.guarded(|held| match held.begin_streams(true, take) {
            Err(status) => held.fail(&status),
            Ok(((), metadata, context)) => {
                let (owed, executor) = (held.owe(), held.executor);
                if let Some(outlet) = Outlet::new(owed) {
                    let requests = outlet.requests();
                    go(executor, Request::received(requests, metadata, context), outlet);
                }
            }
        })
    }

    /// Hands the request to a handler of plain bytes, and answers with what it returns.
    #[inline]
    pub(super) fn raw(self, handler: &RawHandler) -> Handled {
        self.guarded(|held| {
            let body = held.run(|held, context| {
                let caller = held.caller;
                let mut request = held.request();
                let metadata = request.take_metadata();
                let payload = Payload::new(request.keep());
                handler(Request::received(payload, metadata, context), &Replier::new(caller))
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
    #[inline(always)]
    pub(super) fn new(
        caller: Caller<'a>,
        executor: &'a Executor,
        call: Incoming<'a>,
        request: Arrived<'a>,
        record: Record,
    ) -> Self {
        Self { caller, executor, call, request, coming: None, released: None, answered: false, record }
    }

    /// For a request that is still being written: see [`is_too_early`](Self::is_too_early).
    pub(super) fn following(self, coming: &'a mut Coming) -> Self {
        Self { coming: Some(coming), ..self }
    }

    /// Whether the request has not been read, because it is still being written. Then the call is neither
    /// served nor refused: it comes anew when its request has come.
    pub(super) fn is_too_early(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| !coming.is_read())
    }

    /// To be served: once this is gone, the call is answered, or others will answer it.
    #[inline(always)]
    pub(super) fn exchange(&'a mut self) -> Exchange<'a> {
        Exchange(self)
    }

    /// Runs a handler with the checks before and after it.
    #[inline(always)]
    fn run<T>(&mut self, handler: impl FnOnce(&mut Self, Context) -> Result<T, Status>) -> Result<T, Status> {
        self.check_wanted()?;
        if self.call.streams.is_some() {
            return Err(other_shape());
        }
        let context = self.context();
        let outcome = handler(self, context);
        self.check_wanted()?;
        outcome
    }

    /// Whether anybody still waits for the answer.
    #[inline]
    pub(super) fn check_wanted(&self) -> Result<(), Status> {
        self.call.check_wanted(self.caller)
    }

    /// Has the executor go on with a handler that has to wait.
    #[cold]
    fn detach<F, Resp>(&mut self, handler: Pin<Box<F>>)
    where
        Resp: Encode + 'static,
        F: Future<Output = Result<Response<Resp>, Status>> + Send + 'static,
    {
        let call = Detached::new(handler, self.owe());
        self.executor.finish(call, self.call.deadline);
    }

    /// Leaves the answer to somebody else.
    #[cold]
    pub(super) fn owe(&mut self) -> Owed {
        let (answer, record) = (self.hand_over(), mem::take(&mut self.record));
        self.answered = true;
        Owed::new(self.caller.to_owned(), self.call.to_owned(), answer, self.executor.count(), record)
    }

    /// What a handler of streams begins with.
    #[cold]
    fn begin_streams<R>(
        &mut self,
        many: bool,
        request: impl FnOnce(&mut Self) -> Result<(R, Option<Box<Metadata>>), Status>,
    ) -> Result<(R, Option<Box<Metadata>>, Context), Status> {
        self.check_wanted()?;
        if self.call.streams.is_none_or(|streams| streams.many != many) {
            return Err(other_shape());
        }
        let (request, metadata) = request(self)?;
        Ok((request, metadata, self.context()))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// Has the call recorded from here on.
    #[inline(always)]
    pub(super) fn record(&mut self, record: Record) -> Entered {
        self.record = record;
        self.record.enter()
    }

    pub(super) fn executor(&self) -> &'a Executor {
        self.executor
    }

    #[inline(always)]
    pub(super) fn context(&self) -> Context {
        Context {
            deadline: self.call.deadline,
            peer: Some(self.caller.credentials()),
            wanted: Some(self.caller.wanted(self.call.call_id)),
        }
    }

    /// Says that the handler, or the encoding of its reply, panicked.
    #[cold]
    pub(super) fn panicked(&mut self, panic: &(dyn Any + Send)) {
        log_panic(self.caller, self.call.method, panic);
        if !self.answered {
            self.fail(&panic_text(panic));
        }
    }

    /// The request, to be read once: what is outside of its entry is taken out.
    #[inline(always)]
    pub(super) fn request(&mut self) -> Arrived<'_> {
        Arrived { inline: self.request.inline, outside: &mut *self.request.outside }
    }

    #[inline(always)]
    fn decode<Req: Decode>(&mut self) -> Result<(Req, Option<Box<Metadata>>), Status> {
        if self.coming.is_some() {
            return self.decode_coming();
        }
        let metadata = self.request().take_metadata();
        if self.request.len() >= RELEASE_WITH_REPLY
            && let Some(Outside::Slot(slot)) =
                self.request.outside.take_if(|at| matches!(at, Outside::Slot(_)))
        {
            let (private, handle) = slot.into_private_and_handle();
            self.released = handle;
            let decoded = Req::decode(private);
            return decoded.map(|message| (message, metadata)).map_err(|error| undecodable(&error));
        }
        let decoded = self.request().decode();
        decoded.map(|message| (message, metadata)).map_err(|error| undecodable(&error))
    }

    #[cold]
    fn decode_coming<Req: Decode>(&mut self) -> Result<(Req, Option<Box<Metadata>>), Status> {
        let deadline = self.call.deadline;
        match self.coming.as_mut().and_then(|coming| coming.decode(deadline)) {
            Some(Ok(decoded)) => {
                let message = decoded.map_err(|error| undecodable(&error))?;
                // Its decoder may have waited for it.
                self.check_wanted()?;
                Ok((message, None))
            }
            Some(Err(panic)) => panic::resume_unwind(panic),
            // Nobody is told: it is too early.
            None => Err(Status::internal("")),
        }
    }

    /// Answers with a failure.
    #[cold]
    pub(super) fn fail(&mut self, status: &Status) {
        if self.is_too_early() {
            return;
        }
        self.record.end(Some(status));
        self.finish(|caller, answer| caller.fail(answer, status));
    }

    #[cold]
    fn fail_unanswered(&mut self) {
        self.fail(&Status::internal("the service dropped the call without an answer"));
    }

    #[inline(always)]
    fn finish(&mut self, answer: impl FnOnce(Caller<'a>, Answer)) {
        if let Some(streams) = self.call.streams {
            end_streams(streams.flow);
        }
        self.record.end(None);
        let owed = self.hand_over();
        answer(self.caller, owed);
        self.answered = true;
    }

    /// What the answer is to say. The request goes.
    #[inline(always)]
    fn hand_over(&mut self) -> Answer {
        // An unread request gives its slot back before its caller can send another. Looked at first, because
        // to drop nothing is a call as well.
        if self.request.outside.is_some() {
            *self.request.outside = None;
        }
        Answer { call_id: self.call.call_id, released: self.released }
    }
}

#[cold]
fn other_shape() -> Status {
    Status::unimplemented(
        "client and server do not agree on which sides of this method are streams; build both from one .proto \
         file",
    )
}

#[cold]
fn undecodable(error: &CodecError) -> Status {
    Status::internal(format!("the request does not decode: {error}"))
}

impl Drop for Exchange<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.0.answered {
            self.0.fail_unanswered();
        }
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("call", &self.0.call).finish_non_exhaustive()
    }
}
