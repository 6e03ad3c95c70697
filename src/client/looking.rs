//! Whether a task that has sent looks for its reply itself, or leaves it to a driver.
//!
//! To look is the quickest for one task that calls again and again: its reply is there in less time than a
//! runtime takes to put it aside. It is a waste where many tasks call at once: while one of them looks, the
//! others do not send. A runtime does not say how many tasks could run, but who calls does: the same task as
//! before, or ever another one.
//!
//! - The same one looks, whoever waits beside it; but for one call in [`ROW`], because a task whose replies
//!   always come while it looks would never give its runtime back.
//! - Another one does not if others wait: the driver hands out what comes for all of them.
//! - Another one looks if nobody waits, but for one in [`TRIAL`]. If there are more that could run, they
//!   send meanwhile, find it waiting, and wait with it; if not, a single call was a microsecond slower.

use std::task::Waker;

use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// How many calls in a row a task may look for the replies of.
const ROW: u32 = 128;

/// How many calls of changing tasks, with nobody waiting, it takes until one waits to see who else calls.
const TRIAL: u32 = 16;

/// Who has called last.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// What the waker of the last caller says of it. Written by callers; compared and nothing else.
    last: AtomicUsize,
    /// How many calls the last caller has made in a row, beyond its first. Written by callers.
    row: AtomicU32,
    /// How often the caller has been another one. Written by callers.
    changes: AtomicU32,
}

impl Looking {
    /// Whether a task with that waker, which has just sent, looks for its reply.
    #[inline]
    pub(super) fn is_for(&self, waker: &Waker, others_wait: impl FnOnce() -> bool) -> bool {
        let caller = waker.data().addr();
        // Relaxed, here and below: hints; calls that cross may each be taken for the other.
        if self.last.load(Ordering::Relaxed) == caller {
            return !count(&self.row).is_multiple_of(ROW);
        }
        self.last.store(caller, Ordering::Relaxed);
        self.row.store(0, Ordering::Relaxed);
        if others_wait() {
            return false;
        }
        !count(&self.changes).is_multiple_of(TRIAL)
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

    #[test]
    fn the_same_task_looks_whoever_waits() {
        let (looking, task) = (Looking::default(), task());
        looking.is_for(&task, || false);
        assert!((0..100).all(|call| looking.is_for(&task, || call % 2 == 0)));
    }

    #[test]
    fn a_task_that_calls_without_end_waits_now_and_then() {
        let (looking, task) = (Looking::default(), task());
        looking.is_for(&task, || false);
        assert_eq!((0..1280).filter(|_| looking.is_for(&task, || false)).count(), 1270);
    }

    #[test]
    fn changing_tasks_do_not_look_where_others_wait() {
        let (looking, tasks) = (Looking::default(), [task(), task()]);
        assert!(!(0..100).any(|call| looking.is_for(&tasks[call % 2], || true)));
    }

    #[test]
    fn changing_tasks_try_now_and_then_what_waiting_brings() {
        let (looking, tasks) = (Looking::default(), [task(), task()]);
        let looked = (0..160).filter(|&call| looking.is_for(&tasks[call % 2], || false)).count();
        assert_eq!(looked, 150);
    }
}
