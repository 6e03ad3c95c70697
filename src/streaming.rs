//! A stream of messages as its reader sees it, on either side of a connection.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::connection::Received;
use crate::rpc::{Decode, MetadataMap, Status, budgeted};
use futures_core::Stream;

/// Where the messages of a stream come from.
pub(crate) trait Source: Send {
    /// The next message, once there is one; `None` at the end.
    fn wait(&mut self) -> Result<Option<Received>, Status>;

    /// The same for a task.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>, Status>>;

    /// What came before the first message.
    fn metadata(&self) -> Option<&MetadataMap>;

    /// What came after the last one.
    fn trailers(&self) -> Option<&MetadataMap>;
}

/// Messages that come one after the other, until the peer sends no more, or the call fails.
///
/// A blocking reader asks for [`message`](Self::message)`().wait()`, or iterates: a stream, or `&mut` of one,
/// is what a `for` loop takes. A task asks for `message().await`, or uses it as a [`Stream`]. After an error,
/// or the end, there is nothing more.
///
/// The peer may be ahead by [`stream_window`](crate::ChannelBuilder::stream_window) bytes and one message; it
/// waits then until something is read. Dropping the stream of a response before its end cancels the call; of
/// a request, the client is let go on, and what it sends is dropped.
pub struct Streaming<T> {
    source: Box<dyn Source>,
    is_over: bool,
    message: PhantomData<fn() -> T>,
}

impl<T> Streaming<T> {
    pub(crate) fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), is_over: false, message: PhantomData }
    }

    /// What the server said before its first message: the call's initial metadata. On a server there are
    /// none: those of the request are the request's.
    ///
    /// `None` until they are there, which is before the first message.
    pub fn metadata(&self) -> Option<&MetadataMap> {
        self.source.metadata()
    }

    /// What the server said after its last message: the call's trailing metadata.
    ///
    /// `None` before the end of the stream. Those of a failure are the [status's](Status::metadata).
    pub fn trailers(&self) -> Option<&MetadataMap> {
        self.source.trailers()
    }
}

impl<T: Decode> Streaming<T> {
    /// The next message, to be waited for: `.wait()` or `.await`.
    pub fn message(&mut self) -> NextMessage<'_, T> {
        NextMessage(self)
    }

    fn wait(&mut self) -> Result<Option<T>, Status> {
        if self.is_over {
            return Ok(None);
        }
        let came = self.source.wait();
        self.read(came)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>, Status>> {
        if self.is_over {
            return Poll::Ready(Ok(None));
        }
        budgeted(cx, |cx| self.source.poll(cx)).map(|came| self.read(came))
    }

    fn read(&mut self, came: Result<Option<Received>, Status>) -> Result<Option<T>, Status> {
        let message = match came {
            Ok(Some(message)) => message.arrived(|payload| payload.decode()).map(Some).map_err(|error| {
                Status::internal(format!("a message of the stream does not decode: {error}"))
            }),
            Ok(None) => Ok(None),
            Err(status) => Err(status),
        };
        self.is_over = !matches!(message, Ok(Some(_)));
        message
    }
}

/// The next message of a stream.
#[must_use = "nothing is read until wait() is called or it is awaited"]
pub struct NextMessage<'a, T>(&'a mut Streaming<T>);

impl<T: Decode> NextMessage<'_, T> {
    /// Waits for it. `None` is the end.
    ///
    /// # Errors
    /// What the call failed with; `Internal` if the message does not decode.
    pub fn wait(self) -> Result<Option<T>, Status> {
        self.0.wait()
    }
}

impl<T: Decode> Future for NextMessage<'_, T> {
    type Output = Result<Option<T>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

impl<T: Decode> Stream for Streaming<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx).map(Result::transpose)
    }
}

/// The messages of a stream, for a thread that may block.
#[derive(Debug)]
pub struct Messages<S>(S);

impl<T: Decode> Iterator for Messages<Streaming<T>> {
    type Item = Result<T, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.wait().transpose()
    }
}

impl<T: Decode> Iterator for Messages<&mut Streaming<T>> {
    type Item = Result<T, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.wait().transpose()
    }
}

impl<T: Decode> IntoIterator for Streaming<T> {
    type Item = Result<T, Status>;
    type IntoIter = Messages<Self>;

    fn into_iter(self) -> Messages<Self> {
        Messages(self)
    }
}

impl<'a, T: Decode> IntoIterator for &'a mut Streaming<T> {
    type Item = Result<T, Status>;
    type IntoIter = Messages<Self>;

    fn into_iter(self) -> Messages<&'a mut Streaming<T>> {
        Messages(self)
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for NextMessage<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextMessage").finish_non_exhaustive()
    }
}
