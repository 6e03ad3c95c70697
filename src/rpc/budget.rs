//! Making way for other tasks.
//!
//! A task that always finds the next message of a stream there, or room for it, never waits, and so would
//! never give its runtime back. Each message takes from the budget that tokio has for a task's turn; when
//! that is used up the task is pending, and is polled again after the others.

use std::task::{Context, Poll};

/// Polls one step of a task, unless the task's turn is over. Without a runtime none ever is.
#[cfg(feature = "tokio")]
#[inline]
pub(crate) fn budgeted<T>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let step = std::task::ready!(tokio::task::coop::poll_proceed(cx));
    let polled = poll(cx);
    if polled.is_ready() {
        step.made_progress();
    }
    polled
}

/// The same where no runtime is known.
#[cfg(not(feature = "tokio"))]
#[inline]
pub(crate) fn budgeted<T>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(cx)
}
