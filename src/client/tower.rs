//! Methods as services, for the layers of `tower`.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tower_service::Service;

use crate::client::channel::Channel;
use crate::client::method::Method;
use crate::raw::Payload;
use crate::rpc::{Decode, Encode, Request, Response, Status};

/// A call that owns its channel.
type Calling<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// A method of one message and one answer as a `tower_service::Service`: see [`Channel::service`].
pub struct UnaryService<Req, Resp> {
    channel: Channel,
    method: Method,
    messages: PhantomData<fn(Req) -> Resp>,
}

/// A method of plain bytes as a `tower_service::Service`: see [`Channel::raw_service`].
#[derive(Debug, Clone)]
pub struct RawService {
    channel: Channel,
    method: Method,
}

impl Channel {
    /// A method as a service, which layers of `tower` go around: limits, timeouts, retries, load shedding.
    ///
    /// Its requests are [`Request`]s, with their metadata. It is always ready: how many calls are under way
    /// is limited by [`max_in_flight`](crate::ChannelBuilder::max_in_flight), beyond which they fail with
    /// [`Code::ResourceExhausted`](crate::Code::ResourceExhausted), so a layer that has calls wait is given a
    /// smaller number. A call whose future is dropped, as a timeout does, is cancelled on the server too.
    ///
    /// Each call takes an allocation more than one that is awaited without this.
    pub fn service<Req, Resp>(&self, method: &Method) -> UnaryService<Req, Resp> {
        UnaryService { channel: self.clone(), method: *method, messages: PhantomData }
    }

    /// The same for a method of plain bytes.
    pub fn raw_service(&self, method: &Method) -> RawService {
        RawService { channel: self.clone(), method: *method }
    }
}

impl<Req, Resp> Service<Request<Req>> for UnaryService<Req, Resp>
where
    Req: Encode + 'static,
    Resp: Decode + 'static,
{
    type Response = Response<Resp>;
    type Error = Status;
    type Future = Calling<Response<Resp>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let (channel, method) = (self.channel.clone(), self.method);
        Box::pin(async move { channel.unary(&method, request).await })
    }
}

impl Service<Bytes> for RawService {
    type Response = Payload;
    type Error = Status;
    type Future = Calling<Payload>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, body: Bytes) -> Self::Future {
        let (channel, method) = (self.channel.clone(), self.method);
        Box::pin(async move { channel.raw(&method, body).await })
    }
}

impl<Req, Resp> Clone for UnaryService<Req, Resp> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), method: self.method, messages: PhantomData }
    }
}

impl<Req, Resp> fmt::Debug for UnaryService<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnaryService").field("method", &self.method.name()).finish_non_exhaustive()
    }
}
