//! The lead as tasks see it: those that wait, and the drivers that lead for them.

use std::mem;
use std::task::Waker;

use super::{HELD, Lead, Leader, TASK, WAITER};
use crate::sync::Ordering;

impl<T> Lead<T> {
    /// Counts a task that waits, or, if it is counted already, says that it goes on. What comes for it is
    /// received by others from here on; its waker is where they find it.
    ///
    /// What is news for all, that the connection is closed for instance, is to be looked for after this: see
    /// [`wake_all`](Self::wake_all).
    #[inline]
    pub(crate) fn enter_task(&self, is_counted: bool) {
        let own = if is_counted { 0 } else { TASK };
        // Release: the drivers see what this task has sent, and its waker. Acquire pairs with the Release in
        // `release` and `wake_all`.
        if self.state.fetch_add(own, Ordering::AcqRel) == 0 {
            self.wake_drivers();
        }
    }

    /// Forgets a task that waited.
    #[inline]
    pub(crate) fn leave_task(&self) {
        // Relaxed: nobody concludes anything from a task that has gone.
        self.state.fetch_sub(TASK, Ordering::Relaxed);
    }

    /// Leaves the waker of the task that is waiter `index`. False if it was woken before: it is to look at
    /// its call once more, and to call this again.
    #[must_use]
    pub(crate) fn watch(&self, index: usize, waker: &Waker) -> bool {
        self.wakers.register(index, waker);
        self.parkers[index].watch()
    }

    /// The task that was waiter `index` runs, or waits no more.
    pub(crate) fn unwatch(&self, index: usize) {
        if self.parkers[index].unwatch() {
            self.wakers.forget(index);
        }
    }

    /// Whether any task waits. For a driver, which has left its waker before.
    pub(crate) fn has_tasks(&self) -> bool {
        // Acquire pairs with the Release in `enter_task`.
        self.state.load(Ordering::Acquire) >= TASK
    }

    /// Leaves the waker of driver `number`, which looks afterwards at all that it might be woken for.
    pub(crate) fn register_driver(&self, number: usize, waker: &Waker) {
        // Relaxed: the driver's next step publishes it with `state`, as it does the waker.
        if self.seats.load(Ordering::Relaxed) <= number {
            self.seats.fetch_max(number + 1, Ordering::Relaxed);
        }
        self.drivers.register(number, waker);
    }

    /// Tries for the lead, for a driver: if another one leads, it wakes this one when it is done.
    pub(crate) fn try_lead_for_tasks(&self) -> Option<Leader<'_, T>> {
        if !self.take_for_tasks() {
            // Relaxed: the second try publishes it. What has woken us may be what would wake those who rest,
            // and the holder may be one who is about to, on a runtime that stands still afterwards.
            self.knocked.store(true, Ordering::Relaxed);
            if !self.take_for_tasks() {
                return None;
            }
        }
        self.end_rest();
        Some(Leader::new(self, None))
    }

    /// Without a look ahead: if the lead is held, its holder must hear the knock. Release pairs with the
    /// Acquire in `release` for that; Acquire as in `take`.
    fn take_for_tasks(&self) -> bool {
        self.state.fetch_or(HELD, Ordering::AcqRel) & HELD == 0
    }

    /// Wakes the other drivers.
    fn wake_drivers_but(&self, number: usize) {
        // Relaxed: as in `wake_drivers`.
        let others = (0..self.seats.load(Ordering::Relaxed)).filter(|&other| other != number);
        others.for_each(|number| self.drivers.wake(number));
    }
}

impl<T> Leader<'_, T> {
    /// Releases the lead for driver `number`, which has armed the connection: what comes wakes it. A thread
    /// that waits is handed the lead all the same, and so is another driver that has knocked.
    pub(crate) fn rest(self, number: usize) {
        // Relaxed: the next leader acquires it with the lead.
        self.lead.rested.store(true, Ordering::Relaxed);
        let lead = self.lead;
        if self.give_up_for_tasks() && lead.take_knock() {
            lead.wake_drivers_but(number);
        }
    }

    /// Releases the lead for driver `number`, which is polled again, whatever happens, once the tasks have
    /// run that it has woken. Those of other runtimes are woken, in case its own stands still.
    pub(crate) fn pause(self, number: usize) {
        let lead = self.lead;
        if self.give_up_for_tasks() {
            lead.wake_drivers_but(number);
        }
    }

    /// Releases the lead to a thread that waits, if there is any; else says that there is none.
    fn give_up_for_tasks(self) -> bool {
        debug_assert!(self.registration.is_none(), "a driver is no waiter");
        let lead = self.lead;
        mem::forget(self);
        // Release and Acquire as in `release`.
        let before = lead.state.fetch_sub(HELD, Ordering::AcqRel);
        let has_threads = before % TASK >= HELD + WAITER;
        if has_threads {
            lead.wake_one(before - HELD);
        }
        !has_threads
    }
}
