//! The one response to a stream of requests.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::Future;
use std::marker::PhantomData;
#[cfg(feature = "tokio")]
use std::pin::Pin;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll, ready};

use crate::client::reading::{ReadMessage, ReadReply};
use crate::client::streams::held::Held;
use crate::connection::Flow;
use crate::rpc::{Decode, Response, Status};

/// The response to a call whose request is a stream: `.wait()` or `.await`. Dropping it cancels the call.
///
/// The server may answer before it has got all messages, for instance with a failure.
#[must_use = "dropping the reply cancels the call"]
pub struct Reply<Resp> {
    /// `None` once it was taken.
    call: Option<Held>,
    message: PhantomData<fn() -> Resp>,
}

/// Whether the server sends what no call of this kind is answered by.
fn is_stream(flow: &Flow) -> bool {
    flow.headers().is_some() || flow.has_message()
}

fn read<Resp: Decode>(call: &mut Held) -> Result<Response<Resp>, Status> {
    if is_stream(&call.flow) {
        return Err(Status::internal(
            "the server answers with a stream where one message was called for; build both from one .proto file",
        ));
    }
    call.take(|code, payload| ReadMessage.read_with(code, payload))
}

impl<Resp: Decode> Reply<Resp> {
    pub(super) fn new(call: Held) -> Self {
        Self { call: Some(call), message: PhantomData }
    }

    /// Waits for it.
    ///
    /// # Errors
    /// As [`Call::wait`](crate::Call::wait).
    pub fn wait(mut self) -> Result<Response<Resp>, Status> {
        let mut call = self.call.take().expect("taken here alone");
        call.wait_until(is_stream)?;
        read(&mut call)
    }
}

#[cfg(feature = "tokio")]
impl<Resp: Decode> Future for Reply<Resp> {
    type Output = Result<Response<Resp>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let call = this.call.as_mut().expect("a reply was polled after it had come");
        let came = ready!(call.poll_until(cx, is_stream));
        let mut call = this.call.take().expect("looked at above");
        Poll::Ready(came.and_then(|()| read(&mut call)))
    }
}

impl<Resp> fmt::Debug for Reply<Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}
