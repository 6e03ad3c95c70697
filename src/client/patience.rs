//! A task that waits: at its call's cell for the reply, or at a waiter's number for anything else.

use std::mem;
use std::ops::Deref;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::client::alarm::Alarm;
use crate::client::calls::Cell;
use crate::client::core::Core;
use crate::client::driver::Stop;
use crate::rpc::Status;

/// Where a task leaves its waker.
pub(super) trait Place {
    /// Leaves it there. False if what wakes the task has happened already.
    fn watch(&self, core: &Core, waker: &Waker) -> bool;

    /// Takes it back, if it is there.
    fn unwatch(&self, core: &Core);
}

/// At a waiter's number, where whoever has anything for it finds it.
impl Place for usize {
    #[inline]
    fn watch(&self, core: &Core, waker: &Waker) -> bool {
        core.lead.watch(*self, waker)
    }

    #[inline]
    fn unwatch(&self, core: &Core) {
        core.lead.unwatch(*self);
    }
}

/// In a call's cell, where whoever delivers the reply finds it.
impl Place for &Cell {
    #[inline]
    fn watch(&self, _: &Core, waker: &Waker) -> bool {
        Cell::watch(self, waker)
    }

    #[inline]
    fn unwatch(&self, _: &Core) {
        Cell::unwatch(self);
    }
}

/// The wait of one task. It ends when this is dropped, which must be before its place is another call's.
///
/// `C` is how it keeps the channel: by borrow inside a call, by `Arc` beyond.
pub(super) struct Patience<C: Deref<Target = Core>, P: Place> {
    core: C,
    place: P,
    /// Whether the waker may lie there.
    watched: bool,
    /// Whether the drivers count on this task.
    entered: bool,
    alarm: Alarm,
}

impl<C: Deref<Target = Core>, P: Place> Patience<C, P> {
    /// Waits there.
    #[inline]
    pub(super) fn new(core: C, place: P) -> Self {
        Self { core, place, watched: false, entered: false, alarm: Alarm::default() }
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn place(&self) -> &P {
        &self.place
    }

    /// Waits until something has happened, the connection closes, or `until` has passed; says which. `Done`
    /// says no more than that it is time to look.
    ///
    /// What the task waits for has to be looked at before each call of this.
    ///
    /// # Errors
    /// Outside of a runtime, and in one that ends.
    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<Result<Stop, Status>> {
        let core = &*self.core;
        self.watched = true;
        if !self.place.watch(core, cx.waker()) {
            return Poll::Ready(Ok(Stop::Done));
        }
        // After the waker is there, and before the looks that follow: whoever has news for all changes the
        // same word before it looks for wakers. So either it finds ours, or we find the news.
        core.lead.enter_task(mem::replace(&mut self.entered, true));
        core.drivers.ensure()?;
        if core.link.is_closed() {
            return Poll::Ready(Ok(Stop::Closed));
        }
        match until {
            Some(until) => self.alarm.poll(cx, until).map(|()| Ok(Stop::Deadline)),
            None => Poll::Pending,
        }
    }

    /// Ends the wait.
    #[inline]
    pub(super) fn end(&mut self) {
        if mem::take(&mut self.watched) {
            self.place.unwatch(&self.core);
        }
        if mem::take(&mut self.entered) {
            self.core.lead.leave_task();
        }
    }
}

impl<C: Deref<Target = Core>, P: Place> Drop for Patience<C, P> {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}
