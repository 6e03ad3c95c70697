//! Is every caller that waits for space found by whoever wakes them, and every sender that waits for credit?

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::client::space::SpaceWaiters;
use crate::connection::{Flow, SpaceNews};
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

/// A sender without credit registers, tries once more, and sleeps; the leader does something for its call and
/// wakes whoever waits.
fn beside_a_sender(is_served: fn(&Flow) -> bool, serve: fn(&Flow)) {
    let side = Arc::new((SpaceNews::new(), SpaceWaiters::new(1), Parker::new()));
    let flow = Flow::new(128);
    assert!(flow.spend(0) && !flow.may_send());
    let sender = thread::spawn({
        let (side, flow) = (side.clone(), flow.clone());
        move || {
            let (news, waiters, place) = &*side;
            let _registered = waiters.register(news, 0);
            while !is_served(&flow) {
                place.park(None);
            }
        }
    });
    let (_, waiters, place) = &*side;
    serve(&flow);
    waiters.for_each(|_| _ = place.unpark());
    sender.join().unwrap();
}

#[test]
pub(crate) fn credit_wakes_its_sender() {
    unbounded(|| beside_a_sender(|flow| flow.spend(0), |flow| flow.credit(128).unwrap()));
}

#[test]
pub(crate) fn the_end_of_a_call_wakes_its_sender() {
    unbounded(|| beside_a_sender(Flow::is_over, Flow::finish));
}
