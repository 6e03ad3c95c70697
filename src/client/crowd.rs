//! A task that waits for space: a slot, a place in the ring, or credit.

use std::ops::Deref;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::client::core::Core;
use crate::client::driver::Stop;
use crate::client::patience::Patience;
use crate::connection::SendFailure;
use crate::rpc::Status;

/// The wait of one task, which is counted among those who wait for space. It ends when this is dropped, which
/// must be before its number is another one's.
pub(super) struct Crowd<C: Deref<Target = Core>> {
    patience: Patience<C, usize>,
    until: Option<Instant>,
    too_late: fn() -> Status,
}

impl<C: Deref<Target = Core>> Crowd<C> {
    /// The waiter of that number begins to wait; once `until` has passed it fails with `too_late`.
    pub(super) fn new(core: C, index: usize, until: Option<Instant>, too_late: fn() -> Status) -> Self {
        core.space.enter(&core.link.space, index);
        // A leader that is parked has not heard of us: it must arm `want_space`.
        core.link.nudge();
        Self { patience: Patience::new(core, index), until, too_late }
    }

    /// Makes an attempt, and again whenever there may be space.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> Result<T, SendFailure>,
    ) -> Poll<Result<T, Status>> {
        loop {
            match attempt() {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(SendFailure::Failed(status)) => return Poll::Ready(Err(status)),
                Err(SendFailure::Wait) => {}
            }
            match ready!(self.patience.poll(cx, self.until))? {
                Stop::Done => {}
                Stop::Closed => return Poll::Ready(Err(self.patience.core().link.closed_status())),
                Stop::Deadline => return Poll::Ready(Err((self.too_late)())),
            }
        }
    }
}

impl<C: Deref<Target = Core>> Drop for Crowd<C> {
    fn drop(&mut self) {
        self.patience.end();
        let core = self.patience.core();
        core.space.leave(&core.link.space, *self.patience.place());
    }
}
