//! Calls that send all messages of an iterator, or of a stream.

#[cfg(feature = "tokio")]
use std::future::{Future, IntoFuture, poll_fn};
#[cfg(feature = "tokio")]
use std::pin::pin;
use std::thread;

#[cfg(feature = "tokio")]
use crate::client::drivers::current_runtime;
use crate::client::streams::call::{BidiStreamingCall, ClientStreamingCall, begun};
#[cfg(feature = "tokio")]
use crate::client::streams::call::{Opening, begun_async};
use crate::client::streams::open::halves;
use crate::client::streams::sender::Sender;
use crate::client::streams::source::Responses;
use crate::rpc::{Decode, Encode, Response, Status};
use crate::streaming::Streaming;
#[cfg(feature = "tokio")]
use futures_core::Stream;

/// A call, and all messages that it is to send.
#[derive(Debug)]
#[must_use = "a call is not sent until wait() is called or it is awaited"]
pub struct SendAll<C, S> {
    pub(super) call: C,
    pub(super) messages: S,
}

/// Sends messages until they end, or the call does: the response knows better why.
fn send<Req: Encode>(mut sender: Sender<Req>, messages: impl IntoIterator<Item = Req>) {
    for message in messages {
        if sender.send(message).wait().is_err() {
            break;
        }
    }
}

/// The same of a task.
#[cfg(feature = "tokio")]
async fn pump<Req: Encode + Unpin>(mut sender: Sender<Req>, messages: impl Stream<Item = Req>) {
    let mut messages = pin!(messages);
    while let Some(message) = poll_fn(|cx| messages.as_mut().poll_next(cx)).await {
        if sender.send(message).await.is_err() {
            break;
        }
    }
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
        let (sender, reply) = self.call.wait()?;
        send(sender, self.messages);
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
        let (sender, call) = halves(self.call.call.open()?);
        let messages = self.messages;
        let thread = thread::Builder::new().name("mmap-rpc-send".into());
        let spawned = thread.spawn(move || send(sender, messages));
        spawned.map_err(|error| Status::resource_exhausted(format!("no thread to send on: {error}")))?;
        begun(Responses::new(call))
    }
}

#[cfg(feature = "tokio")]
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

#[cfg(feature = "tokio")]
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
            let (sender, call) = halves(self.call.call.open_async().await?);
            current_runtime()?.spawn(pump(sender, self.messages));
            begun_async(Responses::new(call)).await
        })
    }
}
