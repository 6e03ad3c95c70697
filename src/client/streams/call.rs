//! Calls with streams that have not been sent.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::client::method::Method;
use crate::client::route::Route;
use crate::client::streams::open::{Unopened, halves};
use crate::client::streams::reply::Reply;
use crate::client::streams::send_all::SendAll;
use crate::client::streams::sender::Sender;
use crate::client::streams::source::Responses;
use crate::ring::Shape;
use crate::rpc::{Decode, Encode, MetadataMap, Request, Response, Status};
use crate::streaming::Streaming;

/// A future that a call becomes. Boxed: a call with streams is worth one allocation.
#[cfg(feature = "tokio")]
pub(super) type Opening<'a, T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'a>>;

/// What the three kinds of calls have in common.
macro_rules! settings {
    () => {
        /// How long the call may take, from sending it to the end of its response. Without a timeout it may
        /// take for ever.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.call.limit.timeout = Some(timeout);
            self
        }

        /// When the call ends at the latest, if a [timeout](Self::timeout) does not end it before.
        pub fn deadline(mut self, deadline: impl Into<Option<Instant>>) -> Self {
            self.call.limit.deadline = deadline.into();
            self
        }
    };
}

/// What the two kinds have in common whose requests are streams, beside that.
macro_rules! settings_of_many {
    () => {
        pub(in crate::client) fn new(route: &'a Route, method: Method) -> Self {
            let call = Unopened::new(route, method, Request::new(()), Shape::ManyRequests);
            Self { call, messages: PhantomData }
        }

        settings!();

        /// What is said of the call before its first message.
        pub fn metadata(mut self, metadata: MetadataMap) -> Self {
            *self.call.request.metadata_mut() = metadata;
            self
        }
    };
}

macro_rules! debug {
    ($($call:ident)*) => {$(
        impl<Req, Resp> fmt::Debug for $call<'_, Req, Resp> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let method = self.call.method.name();
                f.debug_struct(stringify!($call)).field("method", &method).finish_non_exhaustive()
            }
        }
    )*};
}

debug!(ServerStreamingCall ClientStreamingCall BidiStreamingCall);

// ---- one request, many responses ---------------------------------------------------------------------

/// A call of one message that is answered by a stream: `.wait()` or `.await`.
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct ServerStreamingCall<'a, Req, Resp> {
    call: Unopened<'a, Req>,
    response: PhantomData<fn() -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> ServerStreamingCall<'a, Req, Resp> {
    pub(in crate::client) fn new(route: &'a Route, method: Method, request: Request<Req>) -> Self {
        Self { call: Unopened::new(route, method, request, Shape::OneRequest), response: PhantomData }
    }

    settings!();

    /// Sends the call and waits until the server has taken it up.
    ///
    /// # Errors
    /// As [`Call::wait`](crate::Call::wait). What fails later is the stream's to tell.
    pub fn wait(self) -> Result<Response<Streaming<Resp>>, Status> {
        let (call, _) = self.call.open()?;
        begun(Responses::new(call))
    }
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
            let (call, _) = self.call.open_async().await?;
            begun_async(Responses::new(call)).await
        })
    }
}

/// Waits until the server has taken up a call.
pub(super) fn begun<Resp: Decode>(mut responses: Responses) -> Result<Response<Streaming<Resp>>, Status> {
    if let Some(call) = responses.call() {
        call.wait_until(Responses::is_begun)?;
    }
    respond(responses)
}

/// The same for a task.
#[cfg(feature = "tokio")]
pub(super) async fn begun_async<Resp: Decode>(
    mut responses: Responses,
) -> Result<Response<Streaming<Resp>>, Status> {
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

// ---- many requests, one response ---------------------------------------------------------------------

/// A call of a stream of messages that is answered by one: `.wait()` or `.await`.
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct ClientStreamingCall<'a, Req, Resp> {
    call: Unopened<'a, ()>,
    messages: PhantomData<fn(Req) -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> ClientStreamingCall<'a, Req, Resp> {
    settings_of_many!();

    /// Begins the call: what sends its messages, and what its response will come from.
    ///
    /// # Errors
    /// As [`Call::start`](crate::Call::start).
    pub fn wait(self) -> Result<(Sender<Req>, Reply<Resp>), Status> {
        let (sender, call) = halves(self.call.open()?);
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
            let (sender, call) = halves(self.call.open_async().await?);
            Ok((sender, Reply::new(call)))
        })
    }
}

// ---- many requests, many responses -------------------------------------------------------------------

/// A call of a stream of messages that is answered by another one: `.wait()` or `.await`.
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct BidiStreamingCall<'a, Req, Resp> {
    pub(super) call: Unopened<'a, ()>,
    messages: PhantomData<fn(Req) -> Resp>,
}

impl<'a, Req: Encode, Resp: Decode> BidiStreamingCall<'a, Req, Resp> {
    settings_of_many!();

    /// Begins the call: what sends its messages, and what those of the server come from.
    ///
    /// Does not wait for the server, which may want to see messages first.
    ///
    /// # Errors
    /// As [`Call::start`](crate::Call::start).
    pub fn wait(self) -> Result<(Sender<Req>, Streaming<Resp>), Status> {
        let (sender, call) = halves(self.call.open()?);
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
            let (sender, call) = halves(self.call.open_async().await?);
            Ok((sender, Streaming::new(Responses::new(call))))
        })
    }
}
