//! Does each message of a stream end with its reader or with nobody, and is each granted again once?

use std::task::Poll;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::connection::Flow;
use crate::connection::received::Received;
use crate::harness::unbounded;

/// What an empty message costs.
const COST: u32 = 128;

/// The reader stops while two messages come: both are dropped, and granted again, once.
#[test]
pub(crate) fn what_comes_while_the_reader_stops_is_granted_once() {
    unbounded(|| {
        // Half of the window is what the two cost together.
        let (flow, ended) = (Flow::new(4 * COST), Arc::new(AtomicUsize::new(0)));
        let driver = thread::spawn({
            let (flow, messages) = (flow.clone(), [Received(ended.clone()), Received(ended.clone())]);
            move || {
                let granted = messages.map(|message| flow.receive(message).expect("as much was agreed"));
                granted.into_iter().flatten().sum::<u32>()
            }
        });
        let granted = flow.stop_reading().sum::<u32>();
        let granted = granted + driver.join().expect("no panic");
        assert!(!flow.has_message(), "a message is left that nobody reads");
        assert_eq!(ended.load(Ordering::Relaxed), 2, "each message ends once");
        assert_eq!(granted, 2 * COST, "each message is granted once");
    });
}

/// The reader looks for the end, then for messages: does it miss the last one?
#[test]
pub(crate) fn the_end_is_behind_the_last_message() {
    unbounded(|| {
        let (flow, ended) = (Flow::new(4 * COST), Arc::new(AtomicUsize::new(0)));
        let driver = thread::spawn({
            let (flow, message) = (flow.clone(), Received(ended.clone()));
            move || {
                drop(flow.receive(message).expect("as much was agreed"));
                flow.end().expect("the first one");
            }
        });
        let mut read = 0;
        loop {
            let has_ended = flow.has_ended();
            if flow.take().is_some() {
                read += 1;
            } else if has_ended {
                break;
            } else {
                thread::yield_now();
            }
        }
        assert_eq!(read, 1, "the last message came behind the end");
        driver.join().expect("no panic");
    });
}

/// A reader leaves its waker, looks once more, and sleeps; does a message that comes meanwhile find it?
#[test]
pub(crate) fn a_message_wakes_the_reader_that_waits() {
    unbounded(|| {
        let (flow, ended) = (Flow::new(4 * COST), Arc::new(AtomicUsize::new(0)));
        let driver = thread::spawn({
            let (flow, message) = (flow.clone(), Received(ended.clone()));
            move || drop(flow.receive(message).expect("as much was agreed"))
        });
        loom::future::block_on(std::future::poll_fn(|cx| {
            flow.watch_reader(cx.waker());
            if flow.take().is_some() { Poll::Ready(()) } else { Poll::Pending }
        }));
        driver.join().expect("no panic");
    });
}
