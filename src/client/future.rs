//! Calls that are awaited: a machine that a task polls, from sending the request to reading the reply.

mod again;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::client::begin::{Unsent, no_space, patience_until};
use crate::client::call::{Call, OnRing};
use crate::client::calls::Cell;
use crate::client::core::Core;
use crate::client::crowd::Crowd;
use crate::client::driver::Stop;
use crate::client::drivers::current_runtime;
use crate::client::limit::TimeLimit;
use crate::client::looking::Look;
use crate::client::method::Method;
use crate::client::patience::Patience;
use crate::client::raw::{RawCall, keep};
use crate::client::reading::{ReadMessage, ReadReply};
use crate::client::reconnect::Reconnecting;
use crate::client::route::Route;
use crate::client::sending::{send_bytes, send_message};
use crate::connection::{Head, Link, Prepared, SendFailure};
use crate::raw::{Payload, RawBody};
use crate::rpc::{Decode, Encode, MetadataMap, Record, Request, Response, Side, Status};

use again::{BytesCall, TypedCall};

/// What distinguishes the kinds of calls from each other.
trait Kind<'a>: Unpin {
    type Reply: Send + 'static;

    /// Sends the request; [`SendFailure::Wait`] to be called again.
    fn send(&mut self, link: &'a Arc<Link>, head: Head) -> Result<(), SendFailure>;

    /// What is said of the call.
    fn metadata(&mut self) -> &mut MetadataMap;

    /// What makes the reply of what came.
    fn reader() -> impl ReadReply<Self::Reply>;

    /// The same call for a thread that may block. What is left is not sent.
    fn elsewhere(&mut self, route: Route, method: Method, limit: TimeLimit) -> Blocking<Self::Reply>;

    /// The same call for a channel that reconnects. What is left is not sent.
    fn again(
        &mut self,
        channel: &'a Reconnecting,
        method: Method,
        limit: TimeLimit,
    ) -> Moving<'a, Self::Reply>;
}

/// A call that goes from one connection to the next. In a box: it keeps the connection that it borrows.
type Moving<'a, R> = Pin<Box<dyn Future<Output = Result<R, Status>> + Send + 'a>>;

/// A call that waits on a thread of its own.
type Blocking<R> = Box<dyn FnOnce() -> Result<R, Status> + Send>;

/// What becomes of a call's metadata and its limit.
type Passing<'a> = Pin<Box<dyn Future<Output = Result<(MetadataMap, TimeLimit), Status>> + Send + 'a>>;

/// A call on its way.
struct Machine<'a, K: Kind<'a>> {
    kind: K,
    stage: Stage<'a, K::Reply>,
    was_sent: bool,
    record: Record,
}

// Within a stage, what waits comes first: it ends before its cell is another call's.
enum Stage<'a, R> {
    Unsent {
        route: &'a Route,
        method: Method,
        limit: TimeLimit,
    },
    /// Interceptors look at it.
    Intercepted {
        route: &'a Route,
        method: Method,
        passing: Passing<'a>,
    },
    /// There was no room.
    Crowded {
        crowd: Crowd<&'a Core>,
        head: Head,
        unsent: Unsent<'a>,
    },
    Sent {
        patience: Patience<&'a Core, &'a Cell>,
        call: OnRing<'a>,
    },
    /// On a classic channel, whose connections block: a thread of the runtime has it.
    Elsewhere(JoinHandle<Result<R, Status>>),
    /// On a channel that reconnects.
    Again(Moving<'a, R>),
    Done,
}

impl<'a, K: Kind<'a>> Machine<'a, K> {
    fn new(route: &'a Route, method: Method, limit: TimeLimit, kind: K) -> Self {
        let stage = Stage::Unsent { route, method, limit };
        Self { kind, stage, was_sent: false, record: Record::default() }
    }

    #[inline(always)]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<K::Reply, Status>> {
        let outcome = match &mut self.stage {
            &mut Stage::Unsent { route, method, limit } => self.begin(cx, route, method, limit),
            Stage::Intercepted { .. } => self.pass(cx),
            Stage::Crowded { .. } => self.try_again(cx),
            Stage::Sent { .. } => self.await_reply(cx),
            Stage::Elsewhere(thread) => Pin::new(thread).poll(cx).map(|joined| {
                // Only the end of the runtime keeps a thread from calling.
                joined
                    .unwrap_or_else(|_| Err(Status::cancelled("the runtime ended before the call was made")))
            }),
            Stage::Again(call) => call.as_mut().poll(cx),
            Stage::Done => panic!("a call was polled after it had completed"),
        };
        if outcome.is_ready() {
            self.stage = Stage::Done;
        }
        outcome
    }

    /// The same, for a call that is recorded here.
    #[inline(always)]
    fn poll_recorded(&mut self, cx: &mut Context<'_>) -> Poll<Result<K::Reply, Status>> {
        if let Stage::Unsent { method, .. } = &self.stage {
            self.record = Record::begin(Side::Client, method.name());
        }
        let _entered = self.record.enter();
        let outcome = self.poll(cx);
        if let Poll::Ready(outcome) = &outcome {
            self.record.end(outcome.as_ref().err());
        }
        outcome
    }

    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        route: &'a Route,
        method: Method,
        limit: TimeLimit,
    ) -> Poll<Result<K::Reply, Status>> {
        let core = match route {
            Route::Ring(core) => core,
            Route::Classic(_) => {
                let runtime = current_runtime()?;
                let call = self.kind.elsewhere(route.clone(), method, limit);
                self.stage = Stage::Elsewhere(runtime.spawn_blocking(call));
                return self.poll(cx);
            }
            Route::Intercepted(intercepted) => {
                let metadata = std::mem::take(self.kind.metadata());
                let passing: Passing<'a> = Box::pin(intercepted.pass_async(method, metadata, limit));
                self.stage = Stage::Intercepted { route: intercepted.channel.route(), method, passing };
                return self.pass(cx);
            }
            Route::Again(channel) => {
                self.stage = Stage::Again(self.kind.again(channel, method, limit));
                return self.poll(cx);
            }
        };
        let deadline = limit.end();
        let unsent = core.begin(method, deadline)?;
        let head = unsent.head(method)?;
        match self.kind.send(&core.link, head) {
            Ok(()) => self.sent(cx, unsent),
            Err(SendFailure::Failed(status)) => Poll::Ready(Err(status)),
            Err(SendFailure::Wait) => {
                let until = Some(patience_until(deadline));
                let crowd = Crowd::new(&**core, unsent.index(), until, no_space);
                self.stage = Stage::Crowded { crowd, head, unsent };
                self.try_again(cx)
            }
        }
    }

    #[cold]
    fn pass(&mut self, cx: &mut Context<'_>) -> Poll<Result<K::Reply, Status>> {
        let Stage::Intercepted { route, method, passing } = &mut self.stage else {
            unreachable!("the caller has looked")
        };
        let (route, method) = (*route, *method);
        let (metadata, limit) = std::task::ready!(passing.as_mut().poll(cx))?;
        *self.kind.metadata() = metadata;
        self.begin(cx, route, method, limit)
    }

    fn try_again(&mut self, cx: &mut Context<'_>) -> Poll<Result<K::Reply, Status>> {
        let Stage::Crowded { crowd, head, unsent } = &mut self.stage else {
            unreachable!("the caller has looked")
        };
        std::task::ready!(crowd.poll(cx, || self.kind.send(unsent.link(), *head)))?;
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Crowded { crowd, unsent, .. } => {
                drop(crowd);
                self.sent(cx, unsent)
            }
            _ => unreachable!("looked at above"),
        }
    }

    fn sent(&mut self, cx: &mut Context<'_>, unsent: Unsent<'a>) -> Poll<Result<K::Reply, Status>> {
        self.was_sent = true;
        let mut call = OnRing::sent(unsent);
        let core = call.core();
        let look = core.looking.of(cx.waker(), || core.lead.has_waiters());
        if look != Look::Not
            && let Some(outcome) = call.try_wait(&K::reader(), look == Look::Anyway)
        {
            return Poll::Ready(outcome);
        }
        self.stage = Stage::Sent { patience: Patience::new(call.core(), call.cell()), call };
        self.await_reply(cx)
    }

    fn await_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<K::Reply, Status>> {
        let Stage::Sent { patience, call } = &mut self.stage else { unreachable!("the caller has looked") };
        let stop = loop {
            if patience.place().is_done() {
                break Stop::Done;
            }
            match std::task::ready!(patience.poll(cx, call.deadline()))? {
                Stop::Done => {}
                stop => break stop,
            }
        };
        // Before the cell is another call's. Where they lie: to move them out is more work than all of this.
        patience.end();
        Poll::Ready(call.collect(stop, &K::reader()))
    }
}

impl<'a, K: Kind<'a>> Drop for Machine<'a, K> {
    fn drop(&mut self) {
        if let Stage::Sent { patience, call } = &mut self.stage {
            // Before the cell is another call's.
            patience.end();
            call.give_up_at_once();
        }
    }
}

// ---- messages ----------------------------------------------------------------------------------------

struct Typed<'a, Req, Resp> {
    request: Option<Request<Req>>,
    prepared: Option<Prepared<&'a Link>>,
    reply: PhantomData<fn() -> Resp>,
}

// Nothing in it is pinned: the request is only looked at.
impl<Req, Resp> Unpin for Typed<'_, Req, Resp> {}

impl<'a, Req, Resp> Kind<'a> for Typed<'a, Req, Resp>
where
    Req: Encode + 'static,
    Resp: Decode + 'static,
{
    type Reply = Response<Resp>;

    #[inline]
    fn send(&mut self, link: &'a Arc<Link>, head: Head) -> Result<(), SendFailure> {
        let request = self.request.as_ref().expect("not sent before");
        send_message(link, head, request, request.get_ref().encoded_len(), &mut self.prepared)
    }

    fn metadata(&mut self) -> &mut MetadataMap {
        self.request.as_mut().expect("not sent before").metadata_mut()
    }

    #[inline]
    fn reader() -> impl ReadReply<Response<Resp>> {
        ReadMessage
    }

    fn elsewhere(&mut self, route: Route, method: Method, limit: TimeLimit) -> Blocking<Self::Reply> {
        let request = self.request.take().expect("not sent before");
        Box::new(move || {
            let call = Call::<_, Resp>::new(&route, method, request).limited(limit);
            call.send()?.wait(&ReadMessage)
        })
    }

    fn again(
        &mut self,
        channel: &'a Reconnecting,
        method: Method,
        limit: TimeLimit,
    ) -> Moving<'a, Self::Reply> {
        let call = TypedCall::<Req, Resp>::new(self.request.take().expect("not sent before"));
        Box::pin(channel.call(method, limit, call))
    }
}

/// A call that is awaited. Dropping it cancels the call.
///
/// It is sent when it is polled first, and then looks a few microseconds for its reply, unless other tasks
/// of its thread call on the channel at the same time. After that it waits without being in anybody's way:
/// the channel has a task of its own on each runtime that receives for all.
///
/// Deadlines are counted by the system's clock, as the server's are; `tokio::time::pause` does not stop them.
#[must_use = "futures do nothing unless they are awaited"]
pub struct ResponseFuture<'a, Req, Resp>(Machine<'a, Typed<'a, Req, Resp>>)
where
    Req: Encode + 'static,
    Resp: Decode + 'static;

impl<Req, Resp> Future for ResponseFuture<'_, Req, Resp>
where
    Req: Encode + 'static,
    Resp: Decode + 'static,
{
    type Output = Result<Response<Resp>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_recorded(cx)
    }
}

impl<'a, Req, Resp> IntoFuture for Call<'a, Req, Resp>
where
    Req: Encode + 'static,
    Resp: Decode + 'static,
{
    type Output = Result<Response<Resp>, Status>;
    type IntoFuture = ResponseFuture<'a, Req, Resp>;

    /// What `.await` polls; fails as [`wait`](Call::wait) does.
    ///
    /// On a [classic](crate::Channel::connect_classic) channel a blocking thread of the runtime makes the
    /// call, and goes on with it if the future is dropped.
    fn into_future(self) -> Self::IntoFuture {
        let (route, method, request, limit) = self.into_parts();
        let kind = Typed { request: Some(request), prepared: None, reply: PhantomData };
        ResponseFuture(Machine::new(route, method, limit, kind))
    }
}

impl<Req, Resp> fmt::Debug for ResponseFuture<'_, Req, Resp>
where
    Req: Encode + 'static,
    Resp: Decode + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// ---- plain bytes -------------------------------------------------------------------------------------

struct Raw<'a> {
    body: RawBody<'a>,
    metadata: MetadataMap,
    prepared: Option<Prepared<Arc<Link>>>,
}

impl<'a> Kind<'a> for Raw<'a> {
    type Reply = Payload;

    #[inline]
    fn send(&mut self, link: &'a Arc<Link>, head: Head) -> Result<(), SendFailure> {
        send_bytes(link, head, &mut self.body, &self.metadata, &mut self.prepared)
    }

    fn metadata(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }

    #[inline]
    fn reader() -> impl ReadReply<Payload> {
        keep
    }

    fn elsewhere(&mut self, route: Route, method: Method, limit: TimeLimit) -> Blocking<Payload> {
        let body = match std::mem::replace(&mut self.body, RawBody::Slice(&[])) {
            RawBody::Slice(bytes) => RawBody::from(bytes.to_vec()),
            RawBody::Bytes(bytes) => RawBody::Bytes(bytes),
            RawBody::Loan(loan) => RawBody::Loan(loan),
        };
        let metadata = std::mem::take(&mut self.metadata);
        Box::new(move || {
            let call = RawCall::new(&route, method, body).metadata(metadata).limited(limit);
            call.send()?.wait(&keep)
        })
    }

    fn again(&mut self, channel: &'a Reconnecting, method: Method, limit: TimeLimit) -> Moving<'a, Payload> {
        let body = std::mem::replace(&mut self.body, RawBody::Slice(&[]));
        let metadata = std::mem::take(&mut self.metadata);
        Box::pin(channel.call(method, limit, BytesCall { body, metadata }))
    }
}

/// A raw call that is awaited, as [`ResponseFuture`] is. Dropping it cancels the call.
#[must_use = "futures do nothing unless they are awaited"]
pub struct RawResponseFuture<'a>(Machine<'a, Raw<'a>>);

impl Future for RawResponseFuture<'_> {
    type Output = Result<Payload, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll_recorded(cx)
    }
}

impl<'a> IntoFuture for RawCall<'a> {
    type Output = Result<Payload, Status>;
    type IntoFuture = RawResponseFuture<'a>;

    /// What `.await` polls; fails as [`wait`](RawCall::wait) does.
    fn into_future(self) -> Self::IntoFuture {
        let (route, method, body, metadata, limit) = self.into_parts();
        RawResponseFuture(Machine::new(route, method, limit, Raw { body, metadata, prepared: None }))
    }
}

impl fmt::Debug for RawResponseFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawResponseFuture").finish_non_exhaustive()
    }
}
