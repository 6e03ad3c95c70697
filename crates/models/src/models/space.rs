//! Does whoever waits for space notice what its own side frees?

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::connection::SpaceNews;
use crate::harness::{bounded, unbounded};
use crate::sync::Parker;

/// One side of a connection: a single slot, which is in use at first.
struct Side {
    space: SpaceNews,
    is_free: AtomicBool,
    /// Where the driver sleeps.
    bell: Parker,
    /// Where a caller sleeps that does not drive.
    caller: Parker,
    served: AtomicBool,
}

impl Side {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            space: SpaceNews::new(),
            is_free: AtomicBool::new(false),
            bell: Parker::new(),
            caller: Parker::new(),
            served: AtomicBool::new(false),
        })
    }

    /// As a claim does: a look, and a read-modify-write if that is promising.
    fn claim(&self) -> bool {
        self.is_free.load(Ordering::Relaxed) && self.is_free.swap(false, Ordering::Acquire)
    }

    /// What another thread does that drops a loan.
    fn free(&self) {
        self.is_free.store(true, Ordering::Release);
        if self.space.freed() {
            self.bell.unpark();
        }
    }

    /// Waits for a slot, asleep at `place`.
    fn wait_at(&self, place: &Parker) {
        self.space.register();
        while !self.claim() {
            place.park(None);
        }
        self.space.leave();
    }

    /// What a leader does for the caller while it waits for something else.
    fn drive(&self) {
        while !self.served.load(Ordering::Acquire) {
            if self.space.any() && self.space.take_news() {
                self.caller.unpark();
            }
            self.bell.park(None);
        }
    }
}

/// The waiter drives the connection itself: does the slot reach it, or the doorbell?
#[test]
pub(crate) fn what_is_freed_wakes_a_waiter_that_drives() {
    unbounded(|| {
        let side = Side::new();
        let waiter = thread::spawn({
            let side = side.clone();
            move || side.wait_at(&side.bell)
        });
        side.free();
        waiter.join().unwrap();
        assert!(!side.space.any());
    });
}

/// The waiter sleeps in its cell and another thread drives: does that one pass the news on?
#[test]
pub(crate) fn the_driver_passes_the_news_on() {
    bounded(3, || {
        let side = Side::new();
        let waiter = thread::spawn({
            let side = side.clone();
            move || {
                side.wait_at(&side.caller);
                side.served.store(true, Ordering::Release);
                side.bell.unpark();
            }
        });
        let driver = thread::spawn({
            let side = side.clone();
            move || side.drive()
        });
        side.free();
        waiter.join().unwrap();
        driver.join().unwrap();
    });
}
