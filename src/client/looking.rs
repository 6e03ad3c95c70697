//! Whether a task that has sent looks for its reply itself, or leaves it to a driver.
//!
//! To look is the quickest for one task that calls again and again: its reply is there in less time than a
//! runtime takes to put it aside. It is a waste where many tasks call at once: while one of them looks, the
//! others do not send. A runtime does not say how many tasks could run, but who calls does: the same task as
//! before, or ever another one.
//!
//! That holds for a runtime of one thread. On one of several, a task that is put aside may have to be woken
//! across processors, which costs more than all the looking: there every task looks.
//!
//! - The same one looks, whoever waits beside it; but for one call in [`ROW`], because a task whose replies
//!   always come while it looks would never give its runtime back.
//! - Another one does not if others wait: the driver hands out what comes for all of them.
//! - Another one looks if nobody waits, but for one in [`TRIAL`]. If there are more that could run, they
//!   send meanwhile, find it waiting, and wait with it; if not, a single call was a microsecond slower.

use std::task::Waker;

use crate::sync::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// How many calls in a row a task may look for the replies of.
const ROW: u32 = 128;

/// How many calls of changing tasks, with nobody waiting, it takes until one waits to see who else calls.
const TRIAL: u32 = 16;

/// What a task does that has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It waits for a driver.
    Not,
    /// It looks if nobody waits, else it hands out what is there.
    IfAlone,
    /// It looks, whoever waits.
    Anyway,
}

/// Who has called last.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// What the waker of the last caller says of it. Written by callers; compared and nothing else.
    last: AtomicUsize,
    /// How many calls the last caller has made in a row, beyond its first. Written by callers.
    row: AtomicU32,
    /// How often the caller has been another one. Written by callers.
    changes: AtomicU32,
    /// Whether the driver that was made last runs on a runtime of one thread. Written by who makes one.
    one_thread: AtomicBool,
}

impl Looking {
    /// A driver is made, on a runtime of one thread or of more.
    pub(super) fn set_one_thread(&self, one_thread: bool) {
        // Relaxed, here and below: hints; calls that cross may each be taken for the other.
        self.one_thread.store(one_thread, Ordering::Relaxed);
    }

    /// Whether a task with that waker, which has just sent, looks for its reply.
    #[inline]
    pub(super) fn of(&self, waker: &Waker, others_wait: impl FnOnce() -> bool) -> Look {
        let caller = waker.data().addr();
        if self.last.load(Ordering::Relaxed) == caller {
            return if count(&self.row).is_multiple_of(ROW) { Look::Not } else { Look::Anyway };
        }
        self.last.store(caller, Ordering::Relaxed);
        self.row.store(0, Ordering::Relaxed);
        let waits = self.one_thread.load(Ordering::Relaxed)
            && (others_wait() || count(&self.changes).is_multiple_of(TRIAL));
        if waits { Look::Not } else { Look::IfAlone }
    }
}

/// Adds one, and returns the sum.
fn count(counter: &AtomicU32) -> u32 {
    let count = counter.load(Ordering::Relaxed).wrapping_add(1);
    counter.store(count, Ordering::Relaxed);
    count
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    fn task() -> Waker {
        Arc::new(Task).into()
    }

    /// On a runtime of one thread, or of more.
    fn looking(one_thread: bool) -> Looking {
        let looking = Looking::default();
        looking.set_one_thread(one_thread);
        looking
    }

    #[test]
    fn the_same_task_looks_whoever_waits() {
        for one_thread in [false, true] {
            let (looking, task) = (looking(one_thread), task());
            looking.of(&task, || false);
            assert!((0..100).all(|call| looking.of(&task, || call % 2 == 0) == Look::Anyway));
        }
    }

    #[test]
    fn a_task_that_calls_without_end_waits_now_and_then() {
        for one_thread in [false, true] {
            let (looking, task) = (looking(one_thread), task());
            looking.of(&task, || false);
            let looks = (0..1280).filter(|_| looking.of(&task, || false) == Look::Anyway);
            assert_eq!(looks.count(), 1270);
        }
    }

    #[test]
    fn changing_tasks_do_not_look_where_others_wait() {
        let (looking, tasks) = (looking(true), [task(), task()]);
        assert!((0..100).all(|call| looking.of(&tasks[call % 2], || true) == Look::Not));
    }

    #[test]
    fn changing_tasks_try_now_and_then_what_waiting_brings() {
        let (looking, tasks) = (looking(true), [task(), task()]);
        let looks = (0..160).filter(|&call| looking.of(&tasks[call % 2], || false) == Look::IfAlone);
        assert_eq!(looks.count(), 150);
    }

    #[test]
    fn changing_tasks_look_where_several_threads_run_them() {
        let (looking, tasks) = (looking(false), [task(), task()]);
        assert!((0..160).all(|call| looking.of(&tasks[call % 2], || call % 3 == 0) == Look::IfAlone));
    }
}
