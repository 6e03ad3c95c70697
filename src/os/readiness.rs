//! A [`Poller`] as a task sees it.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::os::poller::Poller;

/// Tells a task when a poller has events. It belongs to the runtime that it was made on.
#[derive(Debug)]
pub(crate) struct Readiness(AsyncFd<Arc<Poller>>);

impl Readiness {
    /// # Panics
    /// Outside of a runtime, and on one that does no I/O.
    pub(crate) fn of(poller: Arc<Poller>) -> io::Result<Self> {
        // SAFETY: the descriptor that a poller names is its own, and open for as long as the poller lives,
        // which the result keeps alive.
        let registered = unsafe { AsyncFd::register_with_interest(poller, Interest::READABLE) };
        registered.map(Self).map_err(Into::into)
    }

    /// Whether there are events, for the poller to report. If not, the task is woken once there are.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ready(cx).map(|ready| {
            // Whatever comes from here on is told anew. An error is the end of the runtime, and of its tasks.
            ready.map(|mut ready| ready.clear_ready()).unwrap_or_default();
        })
    }

    /// Waits for events.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}
