//! Calls with streams on their way through a handler.
//!
//! ```text
//!   Exchange ──request, or a stream of them──► handler ──response, or a stream of them──► Outlet ──► client
//! ```
//!
//! Such a handler lasts, and waits for its client, so it leaves the thread that the call came in on: an async
//! one is a task of the server's runtime, a blocking one has a thread of its own. Both run one body, to which
//! a blocking handler is one that is never pending.

use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::connection::{Credits, Flow, Head, Received, SendFailure, send_in_flow, send_whole};
use crate::rpc::{Decode, Encode, MetadataMap, Request, Response, Status, block_on, budgeted};
use crate::server::caller::{Caller, OwnedCaller};
use crate::server::detached::Owed;
use crate::server::exchange::{Exchange, Handled};
use crate::server::executor::Executor;
use crate::server::incoming::{OwnedIncoming, has_passed, too_late};
use crate::server::panics::{log_panic, panic_text};
use crate::server::peer::Peer;
use crate::streaming::{Source, Streaming};
use futures_core::Stream;

impl Exchange<'_> {
    /// Runs a blocking handler of one request, on a thread of its own, and sends what it returns, one after
    /// the other.
    pub fn server_streaming<Req, Resp, I>(
        self,
        handler: impl FnOnce(Request<Req>) -> Result<Response<I>, Status> + Send + 'static,
    ) -> Handled
    where
        Req: Decode + 'static,
        Resp: Encode + 'static,
        I: IntoIterator<Item = Result<Resp, Status>>,
    {
        self.one_request(iterating(handler))
    }

    /// The same of a stream of requests, which is answered by one response.
    pub fn client_streaming<Req, Resp>(
        self,
        handler: impl FnOnce(Request<Streaming<Req>>) -> Result<Response<Resp>, Status> + Send + 'static,
    ) -> Handled
    where
        Req: Decode + 'static,
        Resp: Encode + 'static,
    {
        self.many_requests(|executor, request, outlet| {
            executor.run_on_thread(outlet, |outlet| outlet.respond(async { handler(request) }));
        })
    }

    /// The same of a stream of requests, which is answered by a stream.
    pub fn bidi_streaming<Req, Resp, I>(
        self,
        handler: impl FnOnce(Request<Streaming<Req>>) -> Result<Response<I>, Status> + Send + 'static,
    ) -> Handled
    where
        Req: Decode + 'static,
        Resp: Encode + 'static,
        I: IntoIterator<Item = Result<Resp, Status>>,
    {
        self.many_requests(iterating(handler))
    }

    /// Runs an async handler of one request, as a task of the server's runtime, and sends what its stream
    /// brings.
    ///
    /// Without a runtime it has a thread of its own. The task is dropped once nobody waits for it any more.
    pub fn server_streaming_async<Req, Resp, F, S>(
        self,
        handler: impl FnOnce(Request<Req>) -> F + Send + 'static,
    ) -> Handled
    where
        Req: Decode + 'static,
        Resp: Encode + 'static,
        F: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<Resp, Status>> + Send + 'static,
    {
        self.one_request(polling(handler))
    }

    /// The same of a stream of requests, which is answered by one response.
    pub fn client_streaming_async<Req, Resp, F>(
        self,
        handler: impl FnOnce(Request<Streaming<Req>>) -> F + Send + 'static,
    ) -> Handled
    where
        Req: Decode + 'static,
        Resp: Encode + 'static,
        F: Future<Output = Result<Response<Resp>, Status>> + Send + 'static,
    {
        self.many_requests(|executor, request, outlet| {
            executor.run_as_task(outlet, |outlet| outlet.respond(async { handler(request).await }));
        })
    }

    /// The same of a stream of requests, which is answered by a stream.
    pub fn bidi_streaming_async<Req, Resp, F, S>(
        self,
        handler: impl FnOnce(Request<Streaming<Req>>) -> F + Send + 'static,
    ) -> Handled
    where
        Req: Decode + 'static,
        Resp: Encode + 'static,
        F: Future<Output = Result<Response<S>, Status>> + Send + 'static,
        S: Stream<Item = Result<Resp, Status>> + Send + 'static,
    {
        self.many_requests(polling(handler))
    }
}

/// Runs a blocking handler whose response is a stream.
fn iterating<Req, Resp, I>(
    handler: impl FnOnce(Request<Req>) -> Result<Response<I>, Status> + Send + 'static,
) -> impl FnOnce(&Executor, Request<Req>, Outlet)
where
    Req: Send + 'static,
    Resp: Encode + 'static,
    I: IntoIterator<Item = Result<Resp, Status>>,
{
    |executor, request, outlet| {
        executor.run_on_thread(outlet, |outlet| outlet.stream(async { iterated(handler(request)) }));
    }
}

/// Runs an async one.
fn polling<Req, Resp, F, S>(
    handler: impl FnOnce(Request<Req>) -> F + Send + 'static,
) -> impl FnOnce(&Executor, Request<Req>, Outlet)
where
    Req: Send + 'static,
    Resp: Encode + 'static,
    F: Future<Output = Result<Response<S>, Status>> + Send + 'static,
    S: Stream<Item = Result<Resp, Status>> + Send + 'static,
{
    |executor, request, outlet| {
        executor.run_as_task(outlet, |outlet| outlet.stream(async { handler(request).await }));
    }
}

/// What a blocking handler returns, as a stream that never has to wait.
fn iterated<I: IntoIterator>(
    outcome: Result<Response<I>, Status>,
) -> Result<Response<Iterated<I::IntoIter>>, Status> {
    outcome.map(|response| response.map(|items| Iterated(items.into_iter())))
}

struct Iterated<I>(I);

// The iterator is never pinned.
impl<I> Unpin for Iterated<I> {}

impl<I: Iterator> Stream for Iterated<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// The way back to the client of a call with streams. Dropped, it fails the call.
pub(super) struct Outlet {
    owed: Owed,
    peer: Arc<Peer>,
    flow: Arc<Flow>,
}

/// How a call is seen to be wanted no more, apart from what answers it.
pub(super) struct Wanted {
    peer: Arc<Peer>,
    flow: Arc<Flow>,
    call: OwnedIncoming,
}

impl Wanted {
    /// Whether nobody waits for the call any more; if somebody does, the task is woken when that changes.
    pub(super) fn poll_unwanted(&self, cx: &mut Context<'_>) -> bool {
        // Answered: the words of the connection may be about another call.
        if self.flow.is_over() {
            return true;
        }
        self.peer.calls.watch(self.call.call_id, cx.waker());
        self.flow.is_over() || self.call.as_ref().check_wanted(Caller::Ring(&self.peer)).is_err()
    }
}

impl Outlet {
    pub(super) fn new(owed: Owed) -> Option<Self> {
        let OwnedCaller::Ring(peer) = owed.caller() else { return None };
        let (peer, flow) = (peer.clone(), owed.call().flow()?.clone());
        Some(Self { owed, peer, flow })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.owed.call().deadline
    }

    /// The call cannot be served.
    pub(super) fn fail(mut self, status: &Status) {
        self.owed.fail(status);
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { peer: self.peer.clone(), flow: self.flow.clone(), call: self.owed.call().clone() }
    }

    /// The requests of the call's client.
    pub(super) fn requests<Req>(&self) -> Streaming<Req> {
        let call = self.owed.call();
        Streaming::new(Requests {
            peer: self.peer.clone(),
            flow: self.flow.clone(),
            call_id: call.call_id,
            deadline: call.deadline,
        })
    }

    /// Answers with what a handler comes to.
    async fn respond<Resp: Encode>(mut self, handler: impl Future<Output = Result<Response<Resp>, Status>>) {
        let outcome = self.owed.span().around(self.caught(handler)).await;
        self.owed.answer(outcome);
    }

    /// What a handler comes to; a panic is a failure that its caller and the log are told of.
    async fn caught<T>(&self, handler: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let mut handler = pin!(handler);
        poll_fn(|cx| {
            // Unwind safe: after a panic the handler is dropped, and the call only answered.
            let polled = panic::catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
            polled.unwrap_or_else(|panic| {
                log_panic(self.owed.caller().as_ref(), self.owed.call().method, &*panic);
                Poll::Ready(Err(panic_text(&*panic)))
            })
        })
        .await
    }

    /// Answers with what the stream brings that a handler comes to.
    async fn stream<Resp: Encode, S>(mut self, handler: impl Future<Output = Result<Response<S>, Status>>)
    where
        S: Stream<Item = Result<Resp, Status>>,
    {
        let span = self.owed.span();
        let sent = async {
            let (messages, metadata, trailers) = handler.await?.into_parts();
            self.send_headers(metadata).await?;
            let mut messages = pin!(messages);
            while let Some(message) = poll_fn(|cx| messages.as_mut().poll_next(cx)).await {
                self.send(&message?).await?;
            }
            Ok(trailers)
        };
        match span.around(self.caught(sent)).await {
            Ok(trailers) => {
                let mut end = Response::new(());
                *end.trailers_mut() = trailers;
                self.owed.answer(Ok(end));
            }
            Err(status) => self.owed.fail(&status),
        }
    }

    async fn send_headers(&self, metadata: MetadataMap) -> Result<(), Status> {
        let mut headers = Response::new(());
        *headers.metadata_mut() = metadata;
        let (metadata, head) =
            (headers.encoded_metadata(), Head::Headers { call_id: self.owed.call().call_id });
        let mut prepared = None;
        self.attempt(|| send_whole(&self.peer.link, head, &metadata, &(), 0, &mut prepared)).await
    }

    async fn send<M: Encode>(&self, message: &M) -> Result<(), Status> {
        let (call_id, mut prepared) = (self.owed.call().call_id, None);
        self.attempt(|| send_in_flow(&self.peer.link, &self.flow, call_id, message, &mut prepared)).await
    }

    /// Makes an attempt again and again, until there is space and credit.
    async fn attempt(&self, mut attempt: impl FnMut() -> Result<(), SendFailure>) -> Result<(), Status> {
        poll_fn(|cx| budgeted(cx, |cx| self.poll_attempt(cx, &mut attempt))).await
    }

    fn poll_attempt(
        &self,
        cx: &mut Context<'_>,
        attempt: &mut impl FnMut() -> Result<(), SendFailure>,
    ) -> Poll<Result<(), Status>> {
        for last in [false, true] {
            self.owed.check_wanted()?;
            match attempt() {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(SendFailure::Failed(status)) => return Poll::Ready(Err(status)),
                Err(SendFailure::Wait) if last => {}
                Err(SendFailure::Wait) => {
                    self.flow.watch_writer(cx.waker());
                    if self.flow.may_send() {
                        // There is credit: what lacks is a slot, or a place in the ring.
                        self.peer.backlog.wait(&self.peer.link, &self.flow);
                    }
                }
            }
        }
        Poll::Pending
    }
}

/// The requests of one call, as they come out of its flow.
struct Requests {
    peer: Arc<Peer>,
    flow: Arc<Flow>,
    call_id: u32,
    deadline: Option<Instant>,
}

impl Requests {
    fn grant(&self, credits: Credits) {
        // To a call that is over nothing is granted any more.
        for bytes in credits.filter(|_| !self.flow.is_over()) {
            self.peer.credit(self.call_id, bytes);
        }
    }

    fn look(&self) -> Option<Result<Option<Received>, Status>> {
        // First the end, then the messages before it.
        let has_ended = self.flow.has_ended();
        if let Some(message) = self.flow.take() {
            self.grant(self.flow.was_read(message.len()));
            return Some(Ok(Some(message)));
        }
        if has_ended {
            return Some(Ok(None));
        }
        if self.flow.is_over() {
            return Some(Err(self.flow.failure().cloned().unwrap_or_else(answered)));
        }
        self.deadline.is_some_and(has_passed).then(|| Err(too_late()))
    }
}

#[cold]
fn answered() -> Status {
    Status::cancelled("the call has been answered: its requests are not read any more")
}

impl Source for Requests {
    fn wait(&mut self) -> Result<Option<Received>, Status> {
        // Looked at first: a reader that is behind does not wait.
        if let Some(found) = self.look() {
            return found;
        }
        let deadline = self.deadline;
        let mut came = None;
        let next = async { came = Some(poll_fn(|cx| self.poll(cx)).await) };
        block_on(next, deadline);
        came.expect("waited for")
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>, Status>> {
        if let Some(found) = self.look() {
            return Poll::Ready(found);
        }
        self.flow.watch_reader(cx.waker());
        let Some(found) = self.look() else { return Poll::Pending };
        self.flow.unwatch_reader();
        Poll::Ready(found)
    }

    fn metadata(&self) -> Option<&MetadataMap> {
        None
    }

    fn trailers(&self) -> Option<&MetadataMap> {
        None
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.grant(self.flow.stop_reading());
    }
}
