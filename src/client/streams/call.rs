//! Calls with streams that have not been sent.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::route::Route;
#[cfg(feature = "tokio")]
use crate::client::streams::open::open_async;
use crate::client::streams::open::{open, sender};
use crate::client::streams::reply::Reply;
use crate::client::streams::sender::Sender;
use crate::client::streams::source::Responses;
use crate::ring::Shape;
use crate::rpc::{Decode, Encode, MetadataMap, Request, Response, Status};
use crate::streaming::Streaming;

/// A future that a call becomes. Boxed: a call with streams is worth one allocation.
#[cfg(feature = "tokio")]
type Opening<'a, T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'a>>;

/// What the three kinds of calls have in common.
macro_rules! settings {
    () => {
        /// How long the call may take, from sending it to the end of its response. Without a timeout it may
        /// take for ever.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.limit.timeout = Some(timeout);
            self
        }

        /// When the call ends at the latest, if a [timeout](Self::timeout) does not end it before.
        pub fn deadline(mut self, deadline: impl Into<Option<Instant>>) -> Self {
            self.limit.deadline = deadline.into();
            self
        }
    };
}

/// A call of one message that is answered by a stream: `.wait()` or `.await`.
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct ServerStreamingCall<'a, Req, Resp> {
    route: &'a Route,
    method: Method,
    request: Request<Req>,
    limit: TimeLimit,
    response: PhantomData<fn() -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> ServerStreamingCall<'a, Req, Resp> {
    pub(in crate::client) fn new(route: &'a Route, method: Method, request: Request<Req>) -> Self {
        Self { route, method, request, limit: TimeLimit::default(), response: PhantomData }
    }

    settings!();

    /// Sends the call and waits until the server has taken it up.
    ///
    /// # Errors
    /// As [`Call::wait`](crate::Call::wait). What fails later is the stream's to tell.
    pub fn wait(self) -> Result<Response<Streaming<Resp>>, Status> {
        let (call, _) = open(self.route, self.method, self.limit, Shape::OneRequest, self.request)?;
        begun(Responses::new(call))
    }
}

/// Waits until the server has taken up a call.
fn begun<Resp: Decode>(mut responses: Responses) -> Result<Response<Streaming<Resp>>, Status> {
    if let Some(call) = responses.call() {
        call.wait_until(Responses::is_begun)?;
    }
    respond(responses)
}

/// The same for a task.
#[cfg(feature = "tokio")]
async fn begun_async<Resp: Decode>(mut responses: Responses) -> Result<Response<Streaming<Resp>>, Status> {
    if let Some(call) = responses.call() {
        std::future::poll_fn(|cx| call.poll_until(cx, Responses::is_begun)).await?;
    }
    respond(responses)
}

fn respond<Resp: Decode>(mut responses: Responses) -> Result<Response<Streaming<Resp>>, Status> {
    let metadata = responses.begin()?;
    let mut response = Response::new(Streaming::new(responses));
    *response.metadata_mut() = metadata;
    Ok(response)
}

#[cfg(feature = "tokio")]
impl<'a, Req, Resp> IntoFuture for ServerStreamingCall<'a, Req, Resp>
where
    Req: Encode + 'a,
    Resp: Decode + 'a,
{
    type Output = Result<Response<Streaming<Resp>>, Status>;
    type IntoFuture = Opening<'a, Response<Streaming<Resp>>>;

    /// What `.await` polls; fails as [`wait`](ServerStreamingCall::wait) does.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { route, method, request, limit, .. } = self;
            let (call, _) = open_async(route, method, limit, Shape::OneRequest, request).await?;
            begun_async(Responses::new(call)).await
        })
    }
}

/// A call of a stream of messages that is answered by one: `.wait()` or `.await`.
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct ClientStreamingCall<'a, Req, Resp> {
    route: &'a Route,
    method: Method,
    request: Request<()>,
    limit: TimeLimit,
    messages: PhantomData<fn(Req) -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> ClientStreamingCall<'a, Req, Resp> {
    pub(in crate::client) fn new(route: &'a Route, method: Method) -> Self {
        let (request, limit) = (Request::new(()), TimeLimit::default());
        Self { route, method, request, limit, messages: PhantomData }
    }

    settings!();

    /// What is said of the call before its first message.
    pub fn metadata(mut self, metadata: MetadataMap) -> Self {
        *self.request.metadata_mut() = metadata;
        self
    }

    /// Begins the call: what sends its messages, and what its response will come from.
    ///
    /// # Errors
    /// As [`Call::start`](crate::Call::start).
    pub fn wait(self) -> Result<(Sender<Req>, Reply<Resp>), Status> {
        let opened = open(self.route, self.method, self.limit, Shape::ManyRequests, self.request)?;
        let (sender, call) = sender(opened);
        Ok((sender, Reply::new(call)))
    }

    /// A call that sends these messages, and no more.
    ///
    /// `.wait()` takes them from an iterator, `.await` from a stream.
    pub fn send_all<S>(self, messages: S) -> SendAll<Self, S> {
        SendAll { call: self, messages }
    }
}

#[cfg(feature = "tokio")]
impl<'a, Req, Resp> IntoFuture for ClientStreamingCall<'a, Req, Resp>
where
    Req: Encode + 'a,
    Resp: Decode + 'a,
{
    type Output = Result<(Sender<Req>, Reply<Resp>), Status>;
    type IntoFuture = Opening<'a, (Sender<Req>, Reply<Resp>)>;

    /// What `.await` polls; fails as [`wait`](ClientStreamingCall::wait) does.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { route, method, request, limit, .. } = self;
            let opened = open_async(route, method, limit, Shape::ManyRequests, request).await?;
            let (sender, call) = sender(opened);
            Ok((sender, Reply::new(call)))
        })
    }
}

/// A call of a stream of messages that is answered by another one: `.wait()` or `.await`.
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct BidiStreamingCall<'a, Req, Resp> {
    route: &'a Route,
    method: Method,
    request: Request<()>,
    limit: TimeLimit,
    messages: PhantomData<fn(Req) -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> BidiStreamingCall<'a, Req, Resp> {
    pub(in crate::client) fn new(route: &'a Route, method: Method) -> Self {
        let (request, limit) = (Request::new(()), TimeLimit::default());
        Self { route, method, request, limit, messages: PhantomData }
    }

    settings!();

    /// What is said of the call before its first message.
    pub fn metadata(mut self, metadata: MetadataMap) -> Self {
        *self.request.metadata_mut() = metadata;
        self
    }

    /// Begins the call: what sends its messages, and what those of the server come from.
    ///
    /// Does not wait for the server, which may want to see messages first.
    ///
    /// # Errors
    /// As [`Call::start`](crate::Call::start).
    pub fn wait(self) -> Result<(Sender<Req>, Streaming<Resp>), Status> {
        let opened = open(self.route, self.method, self.limit, Shape::ManyRequests, self.request)?;
        let (sender, call) = sender(opened);
        Ok((sender, Streaming::new(Responses::new(call))))
    }

    /// A call that sends these messages, and no more, while its response is read.
    ///
    /// `.wait()` takes them from an iterator, which gets a thread that sends; `.await` from a stream, which
    /// gets a task of the runtime.
    pub fn send_all<S>(self, messages: S) -> SendAll<Self, S> {
        SendAll { call: self, messages }
    }
}

#[cfg(feature = "tokio")]
impl<'a, Req, Resp> IntoFuture for BidiStreamingCall<'a, Req, Resp>
where
    Req: Encode + 'a,
    Resp: Decode + 'a,
{
    type Output = Result<(Sender<Req>, Streaming<Resp>), Status>;
    type IntoFuture = Opening<'a, (Sender<Req>, Streaming<Resp>)>;

    /// What `.await` polls; fails as [`wait`](BidiStreamingCall::wait) does.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { route, method, request, limit, .. } = self;
            let opened = open_async(route, method, limit, Shape::ManyRequests, request).await?;
            let (sender, call) = sender(opened);
            Ok((sender, Streaming::new(Responses::new(call))))
        })
    }
}

/// A call, and all messages that it is to send.
#[derive(Debug)]
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct SendAll<C, S> {
    call: C,
    messages: S,
}

impl<Req, Resp, S> SendAll<ClientStreamingCall<'_, Req, Resp>, S>
where
    Req: Encode,
    Resp: Decode,
    S: IntoIterator<Item = Req>,
{
    /// Sends the messages and waits for the response. A server that answers before it has got all of them is
    /// sent no more.
    ///
    /// # Errors
    /// As [`Call::wait`](crate::Call::wait).
    pub fn wait(self) -> Result<Response<Resp>, Status> {
        let (mut sender, reply) = self.call.wait()?;
        for message in self.messages {
            if sender.send(message).wait().is_err() {
                // The response knows better why.
                break;
            }
        }
        sender.finish();
        reply.wait()
    }
}

impl<Req, Resp, S> SendAll<BidiStreamingCall<'_, Req, Resp>, S>
where
    Req: Encode + 'static,
    Resp: Decode,
    S: IntoIterator<Item = Req> + Send + 'static,
{
    /// Begins to send, and waits until the server has taken up the call.
    ///
    /// # Errors
    /// As [`Call::wait`](crate::Call::wait); `ResourceExhausted` if there is no thread to send on.
    pub fn wait(self) -> Result<Response<Streaming<Resp>>, Status> {
        let BidiStreamingCall { route, method, request, limit, .. } = self.call;
        let (mut sender, call) = sender(open(route, method, limit, Shape::ManyRequests, request)?);
        let messages = self.messages;
        let send = move || {
            for message in messages {
                if sender.send(message).wait().is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("mmap-rpc-send".into()).spawn(send);
        thread.map_err(|error| Status::resource_exhausted(format!("no thread to send on: {error}")))?;
        begun(Responses::new(call))
    }
}

#[cfg(feature = "tokio")]
mod awaited {
    use std::future::poll_fn;
    use std::pin::pin;

    use futures_core::Stream;

    use super::*;

    /// Sends what a stream brings, until it ends, or the call does.
    async fn pump<Req: Encode + Unpin>(mut sender: Sender<Req>, messages: impl Stream<Item = Req>) {
        let mut messages = pin!(messages);
        while let Some(message) = poll_fn(|cx| messages.as_mut().poll_next(cx)).await {
            if sender.send(message).await.is_err() {
                break;
            }
        }
    }

    impl<'a, Req, Resp, S> IntoFuture for SendAll<ClientStreamingCall<'a, Req, Resp>, S>
    where
        Req: Encode + Unpin + 'a,
        Resp: Decode + 'a,
        S: Stream<Item = Req> + Send + 'a,
    {
        type Output = Result<Response<Resp>, Status>;
        type IntoFuture = Opening<'a, Response<Resp>>;

        /// What `.await` polls; sends the messages and waits for the response.
        fn into_future(self) -> Self::IntoFuture {
            Box::pin(async move {
                let (sender, reply) = self.call.await?;
                // The response may come before all messages are sent.
                let (mut sending, mut reply) = (pin!(pump(sender, self.messages)), pin!(reply));
                let mut is_sending = true;
                poll_fn(|cx| {
                    if is_sending && sending.as_mut().poll(cx).is_ready() {
                        is_sending = false;
                    }
                    reply.as_mut().poll(cx)
                })
                .await
            })
        }
    }

    impl<'a, Req, Resp, S> IntoFuture for SendAll<BidiStreamingCall<'a, Req, Resp>, S>
    where
        Req: Encode + Unpin + 'static,
        Resp: Decode + 'a,
        S: Stream<Item = Req> + Send + 'static,
    {
        type Output = Result<Response<Streaming<Resp>>, Status>;
        type IntoFuture = Opening<'a, Response<Streaming<Resp>>>;

        /// What `.await` polls; waits until the server has taken up the call.
        fn into_future(self) -> Self::IntoFuture {
            Box::pin(async move {
                let BidiStreamingCall { route, method, request, limit, .. } = self.call;
                let opened = open_async(route, method, limit, Shape::ManyRequests, request).await?;
                let (sender, call) = sender(opened);
                crate::client::drivers::current_runtime()?.spawn(pump(sender, self.messages));
                begun_async(Responses::new(call)).await
            })
        }
    }
}

impl<Req, Resp> fmt::Debug for ServerStreamingCall<'_, Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerStreamingCall").field("method", &self.method.name()).finish_non_exhaustive()
    }
}

impl<Req, Resp> fmt::Debug for ClientStreamingCall<'_, Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStreamingCall").field("method", &self.method.name()).finish_non_exhaustive()
    }
}

impl<Req, Resp> fmt::Debug for BidiStreamingCall<'_, Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BidiStreamingCall").field("method", &self.method.name()).finish_non_exhaustive()
    }
}
