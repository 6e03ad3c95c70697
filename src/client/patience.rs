//! A task that waits at a call's cell: for the reply, or for room to send.

use std::mem;
use std::ops::Deref;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::client::alarm::Alarm;
use crate::client::core::Core;
use crate::client::driver::Stop;
use crate::rpc::Status;

/// The wait of one task. It ends when this is dropped, which must be before its cell is another call's.
///
/// `C` is how it keeps the channel: by borrow inside a call, by `Arc` beyond.
pub(super) struct Patience<C: Deref<Target = Core>> {
    core: C,
    index: usize,
    /// Whether the drivers count on this task.
    entered: bool,
    alarm: Alarm,
}

impl<C: Deref<Target = Core>> Patience<C> {
    /// Waits at the cell with that number.
    pub(super) fn new(core: C, index: usize) -> Self {
        Self { core, index, entered: false, alarm: Alarm::default() }
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Waits until something has happened, the connection closes, or `until` has passed; says which. `Done`
    /// says no more than that it is time to look.
    ///
    /// What the task waits for has to be looked at before each call of this.
    ///
    /// # Errors
    /// Outside of a runtime, and in one that ends.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<Result<Stop, Status>> {
        let core = &*self.core;
        if core.link.is_closed() {
            return Poll::Ready(Ok(Stop::Closed));
        }
        core.drivers.ensure()?;
        if !self.entered {
            self.entered = true;
            core.lead.enter_task();
        }
        if !core.lead.watch(self.index, cx.waker()) {
            return Poll::Ready(Ok(Stop::Done));
        }
        // Once more after the watch: whoever closes the connection wakes all who watch.
        if core.link.is_closed() {
            return Poll::Ready(Ok(Stop::Closed));
        }
        match until {
            Some(until) => self.alarm.poll(cx, until).map(|()| Ok(Stop::Deadline)),
            None => Poll::Pending,
        }
    }
}

impl<C: Deref<Target = Core>> Patience<C> {
    /// Ends the wait.
    pub(super) fn end(&mut self) {
        if mem::take(&mut self.entered) {
            self.core.lead.unwatch(self.index);
            self.core.lead.leave_task();
        }
    }
}

impl<C: Deref<Target = Core>> Drop for Patience<C> {
    fn drop(&mut self) {
        self.end();
    }
}
