//! Is every caller that is counted as waiting for space found by whoever wakes them?

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::client::space::SpaceWaiters;
use crate::connection::SpaceNews;
use crate::harness::unbounded;
use crate::sync::Parker;

/// A caller registers, tries once more, and sleeps; the leader frees a slot and wakes whom it counts.
#[test]
pub(crate) fn who_is_counted_is_woken() {
    unbounded(|| {
        let side = Arc::new((SpaceNews::new(), SpaceWaiters::new(1), AtomicBool::new(false), Parker::new()));
        let caller = thread::spawn({
            let side = side.clone();
            move || {
                let (news, waiters, is_free, place) = &*side;
                let _registered = waiters.register(news, 0);
                while !is_free.load(Ordering::Relaxed) {
                    place.park(None);
                }
            }
        });
        let (news, waiters, is_free, place) = &*side;
        is_free.store(true, Ordering::Release);
        if news.freed() && news.take_news() {
            waiters.for_each(|_| _ = place.unpark());
        }
        caller.join().unwrap();
        assert!(!news.any());
        waiters.for_each(|_| panic!("nobody waits any more"));
    });
}
