//! The sending half of a call whose request is a stream.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll};
use std::time::Instant;

use crate::client::core::{Core, deadline_exceeded};
#[cfg(feature = "tokio")]
use crate::client::crowd::Crowd;
use crate::client::streams::held::Held;
use crate::client::streams::places::Place;
use crate::connection::{Flow, Link, Prepared, SendFailure, send_in_flow};
use crate::ring::Entry;
#[cfg(feature = "tokio")]
use crate::rpc::budgeted;
use crate::rpc::{Encode, Status};

/// Sends the messages of a call, one after the other. Dropping it, or [`finish`](Self::finish), tells the
/// server that no more come.
///
/// The call goes on without it: it is given up by dropping its other half. A sender whose call is over is of
/// no more use; it counts as one of the channel's [`max_in_flight`](crate::ChannelBuilder::max_in_flight)
/// until it is dropped.
pub struct Sender<Req> {
    /// Where it waits.
    place: Place,
    flow: Arc<Flow>,
    call_id: u32,
    deadline: Option<Instant>,
    message: PhantomData<fn(Req)>,
}

impl<Req: Encode> Sender<Req> {
    pub(super) fn new(place: Place, call: &Held) -> Self {
        let (flow, call_id, deadline) = (call.flow.clone(), call.call_id(), call.deadline);
        Self { place, flow, call_id, deadline, message: PhantomData }
    }

    /// A message to be sent: `.wait()` or `.await`.
    ///
    /// Waits while the server has [`stream_window`](crate::ChannelBuilder::stream_window) bytes that it has
    /// not read.
    pub fn send(&mut self, message: Req) -> SendMessage<'_, Req> {
        SendMessage { sender: self, message }
    }

    /// Tells the server that no more messages come.
    pub fn finish(self) {}

    fn attempt(&self, message: &Req, prepared: &mut Option<Prepared<Arc<Link>>>) -> Result<(), SendFailure> {
        self.core().check_process().map_err(SendFailure::Failed)?;
        if self.flow.is_over() {
            return Err(SendFailure::Failed(self.why_over()));
        }
        send_in_flow(&self.core().link, &self.flow, self.call_id, message, prepared)
    }
}

impl<Req> Drop for Sender<Req> {
    fn drop(&mut self) {
        if !self.flow.is_over() {
            self.core().tell(Entry::end(self.call_id));
        }
    }
}

/// A message of a stream that has not been sent.
#[must_use = "a message is not sent until wait() is called or it is awaited"]
pub struct SendMessage<'a, Req> {
    sender: &'a mut Sender<Req>,
    message: Req,
}

impl<Req: Encode> SendMessage<'_, Req> {
    /// Sends it, once the server takes it.
    ///
    /// # Errors
    /// Once the call has ended, what it has failed with; `Cancelled` if the server has answered it, or its
    /// other half was dropped. `Internal` if the message does not encode: the call goes on without it.
    /// `DeadlineExceeded`, `Unavailable` and `ResourceExhausted` as for [`Call::wait`](crate::Call::wait).
    pub fn wait(self) -> Result<(), Status> {
        let (sender, mut prepared) = (&*self.sender, None);
        match sender.attempt(&self.message, &mut prepared) {
            Ok(()) => Ok(()),
            Err(SendFailure::Failed(status)) => Err(status),
            Err(SendFailure::Wait) => {
                let attempt = || sender.attempt(&self.message, &mut prepared);
                let (number, until) = (sender.place.number(), sender.deadline);
                sender.core().wait_for_space(number, until, deadline_exceeded, attempt)
            }
        }
    }
}

impl<Req> Sender<Req> {
    fn core(&self) -> &Arc<Core> {
        self.place.core()
    }

    /// What the call has ended with.
    #[cold]
    fn why_over(&self) -> Status {
        self.flow.failure().cloned().unwrap_or_else(|| {
            Status::cancelled(
                "the server has answered the call and takes no more of its messages; see its response",
            )
        })
    }
}

#[cfg(feature = "tokio")]
impl<'a, Req: Encode + Unpin> IntoFuture for SendMessage<'a, Req> {
    type Output = Result<(), Status>;
    type IntoFuture = SendFuture<'a, Req>;

    /// What `.await` polls; fails as [`wait`](SendMessage::wait) does.
    fn into_future(self) -> SendFuture<'a, Req> {
        SendFuture { sender: self.sender, message: self.message, prepared: None, crowd: None }
    }
}

/// A message that is being sent. Dropped before it is, it is not.
#[cfg(feature = "tokio")]
#[must_use = "futures do nothing unless they are awaited"]
pub struct SendFuture<'a, Req> {
    /// Ends first.
    crowd: Option<Crowd<Arc<Core>>>,
    sender: &'a mut Sender<Req>,
    message: Req,
    prepared: Option<Prepared<Arc<Link>>>,
}

#[cfg(feature = "tokio")]
impl<Req: Encode + Unpin> Future for SendFuture<'_, Req> {
    type Output = Result<(), Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { crowd, sender, message, prepared } = self.get_mut();
        budgeted(cx, |cx| {
            if crowd.is_none() {
                match sender.attempt(message, prepared) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(SendFailure::Failed(status)) => return Poll::Ready(Err(status)),
                    Err(SendFailure::Wait) => {}
                }
            }
            let crowd = crowd.get_or_insert_with(|| {
                let (core, number) = (sender.core().clone(), sender.place.number());
                Crowd::new(core, number, sender.deadline, deadline_exceeded)
            });
            crowd.poll(cx, || sender.attempt(message, prepared))
        })
    }
}

impl<Req> fmt::Debug for Sender<Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("flow", &self.flow).finish_non_exhaustive()
    }
}

impl<Req> fmt::Debug for SendMessage<'_, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendMessage").finish_non_exhaustive()
    }
}

#[cfg(feature = "tokio")]
impl<Req> fmt::Debug for SendFuture<'_, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}
