//! Does a reply, or a message of a stream, reach its call and no other, whole, and is the cell given back
//! once?

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::client::calls::{CallTable, Delivered, Reply, Ticket};
use crate::connection::received::Received;
use crate::connection::{Flow, Kept};
use crate::harness::unbounded;

/// What the server says.
const CODE: u32 = 7;

/// One cell, a call in it, and the leader's thread, which delivers the call's reply. `caller` runs beside it;
/// the two results, the table, and how many payloads have ended come back.
fn beside_deliver<R>(
    caller: impl FnOnce(&CallTable, Ticket) -> R,
) -> (R, Result<Delivered, ()>, Arc<CallTable>, usize) {
    let table = Arc::new(CallTable::new(1));
    let dropped = Arc::new(AtomicUsize::new(0));
    let ticket = table.claim().expect("a free cell");
    let leader = thread::spawn({
        let (table, dropped) = (table.clone(), dropped.clone());
        move || {
            let payload = Kept::counted_by(&dropped);
            table
                .deliver(ticket.call_id, |reply| *reply = Reply { code: CODE, payload, flow: None })
                .map_err(drop)
        }
    });
    let left = caller(&table, ticket);
    let delivered = leader.join().expect("the leader does not panic");
    let ended = dropped.load(Ordering::Relaxed);
    (left, delivered, table, ended)
}

/// The only cell is free, once.
fn assert_free(table: &CallTable) {
    let first = table.claim();
    assert!(first.is_some(), "the cell was never given back");
    assert!(table.claim().is_none(), "the cell was given back twice");
}

#[test]
pub(crate) fn a_reply_arrives_whole() {
    unbounded(|| {
        let (code, delivered, table, ended) = beside_deliver(|table, ticket| {
            loop {
                if let Some(reply) = table.take(ticket) {
                    return reply.code;
                }
                thread::yield_now();
            }
        });
        assert_eq!((code, delivered, ended), (CODE, Ok(Delivered::To(0)), 1));
        assert_free(&table);
    });
}

/// The caller leaves while its reply comes, and calls again at once if it can.
#[test]
pub(crate) fn a_caller_that_left_meets_no_old_reply() {
    unbounded(|| {
        let (again, delivered, table, ended) = beside_deliver(|table, ticket| {
            table.abandon(ticket);
            table.claim()
        });
        assert!(delivered.is_ok(), "an honest reply is no violation");
        assert_eq!(ended, 1, "the payload ends once");
        match again {
            Some(ticket) => {
                assert!(!table.cell_of(ticket).is_done(), "an old reply in a new call");
                assert!(table.claim().is_none(), "the cell was given back twice");
            }
            None => assert_free(&table),
        }
    });
}

/// A lying peer answers a call that is just being given up before it was sent.
#[test]
pub(crate) fn a_call_that_was_never_sent_leaves_nothing_behind() {
    unbounded(|| {
        let (again, _, table, ended) = beside_deliver(|table, ticket| {
            table.cancel_unsent(ticket);
            table.claim()
        });
        assert_eq!(ended, 1, "the payload ends once");
        let ticket = again.expect("the cell was never given back");
        assert!(!table.cell_of(ticket).is_done(), "an old reply in a new call");
        assert!(table.claim().is_none(), "the cell was given back twice");
    });
}

/// One cell, a call with streams in it, and the leader's thread, which has a message of its. `caller` runs
/// beside it; the results, the table, and how many messages have ended come back.
fn beside_message<R>(
    caller: impl FnOnce(&CallTable, Ticket, &Flow) -> R,
) -> (R, Delivered, Ticket, Arc<CallTable>, usize) {
    let table = Arc::new(CallTable::new(1));
    let ended = Arc::new(AtomicUsize::new(0));
    let flow = Flow::new(1000);
    let ticket = table.claim_for_streams(&flow).expect("a free cell");
    let leader = thread::spawn({
        let (table, message) = (table.clone(), Received(ended.clone()));
        move || {
            let handed = table.with_flow(ticket.call_id, |flow| flow.receive(message).map(drop));
            handed.expect("as much was agreed")
        }
    });
    let left = caller(&table, ticket, &flow);
    let delivered = leader.join().expect("the leader does not panic");
    assert!(!flow.has_message(), "a message that nobody takes");
    let ended = ended.load(Ordering::Relaxed);
    (left, delivered, ticket, table, ended)
}

/// The caller gives up while a message of its stream comes; its reply comes later.
#[test]
pub(crate) fn a_caller_that_left_meets_no_message() {
    unbounded(|| {
        let (_, delivered, ticket, table, ended) = beside_message(|table, ticket, flow| {
            table.abandon(ticket);
            flow.finish();
            let _ = flow.stop_reading();
        });
        assert_ne!(delivered, Delivered::Unknown, "an honest message is no violation");
        assert_eq!(ended, 1, "the message ends once");
        let _ = table.deliver(ticket.call_id, |_| ());
        assert_free(&table);
    });
}

/// A lying peer sends a message of a call that is just being given up before it was sent.
#[test]
pub(crate) fn a_message_to_a_call_that_was_never_sent_leaves_nothing_behind() {
    unbounded(|| {
        let (again, _, _, table, ended) = beside_message(|table, ticket, flow| {
            table.cancel_unsent(ticket);
            let _ = flow.stop_reading();
            table.claim()
        });
        assert_eq!(ended, 1, "the message ends once");
        assert!(again.is_some(), "the cell was never given back");
        assert!(table.claim().is_none(), "the cell was given back twice");
    });
}
