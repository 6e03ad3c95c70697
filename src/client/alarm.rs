//! A moment that a task waits for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep};

/// Says when a time has come on the system's clock, which the deadlines of both sides are counted by. That of
/// the runtime may stand still.
#[derive(Default)]
pub(super) struct Alarm {
    /// Made when the task first sleeps: its memory is asked for where a wake-up is due anyhow.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
    }
}
