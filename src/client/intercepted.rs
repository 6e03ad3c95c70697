//! A channel whose calls are looked at before they are sent.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

#[cfg(feature = "tokio")]
use crate::client::alarm::Alarm;
use crate::client::channel::Channel;
use crate::client::core::deadline_exceeded;
#[cfg(feature = "tokio")]
use crate::client::drivers::current_runtime;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::rpc::{Chain, MetadataMap, OutgoingCall, Status, block_on};

/// A channel, and the interceptors of its calls.
pub(super) struct Intercepted {
    /// Has no interceptors of its own.
    pub(super) channel: Channel,
    pub(super) chain: Chain<OutgoingCall>,
}

impl Intercepted {
    /// Has the interceptors look at a call, and sleeps while they wait. What they make of its metadata and
    /// its limit takes the place of those.
    #[cold]
    pub(super) fn pass(
        &self,
        method: Method,
        metadata: &mut MetadataMap,
        limit: TimeLimit,
    ) -> Result<TimeLimit, Status> {
        let until = limit.end();
        let call = OutgoingCall::new(method.name(), std::mem::take(metadata), until);
        let mut running = pin!(self.chain.run(call));
        let call = block_on(
            poll_fn(|cx| match running.as_mut().poll(cx) {
                Poll::Pending if is_past(until) => Poll::Ready(Err(deadline_exceeded())),
                outcome => outcome,
            }),
            until,
        )?;
        let (changed, deadline) = call.into_parts();
        *metadata = changed;
        Ok(limit.ending(deadline))
    }

    /// The same for a task.
    #[cfg(feature = "tokio")]
    #[cold]
    pub(super) async fn pass_async(
        &self,
        method: Method,
        metadata: MetadataMap,
        limit: TimeLimit,
    ) -> Result<(MetadataMap, TimeLimit), Status> {
        let (until, mut alarm) = (limit.end(), Alarm::default());
        let call = OutgoingCall::new(method.name(), metadata, until);
        let mut running = pin!(self.chain.run(call));
        let call = poll_fn(|cx| {
            if let Poll::Ready(outcome) = running.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let Some(until) = until else { return Poll::Pending };
            current_runtime()?;
            alarm.poll(cx, until).map(|()| Err(deadline_exceeded()))
        })
        .await?;
        let (changed, deadline) = call.into_parts();
        Ok((changed, limit.ending(deadline)))
    }
}

fn is_past(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}
