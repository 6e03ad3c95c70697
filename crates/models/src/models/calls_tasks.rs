//! Is a task that waits at its call's cell woken, by its reply or by the end of the connection, and is its
//! waker one thread's at a time?

use std::future::poll_fn;
use std::task::{Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::client::calls::{CallTable, Ticket};
use crate::client::lead::Lead;
use crate::harness::unbounded;

/// What the server says.
const CODE: u32 = 7;

/// A table of one cell, with a call in it.
fn call() -> (Arc<CallTable>, Ticket) {
    let table = Arc::new(CallTable::new(1));
    let ticket = table.claim().expect("a free cell");
    (table, ticket)
}

/// A thread that leads, and has the call's reply.
fn leader(table: &Arc<CallTable>, ticket: Ticket) -> thread::JoinHandle<()> {
    let table = table.clone();
    thread::spawn(move || {
        let delivered = table.deliver(ticket.call_id, |reply| reply.code = CODE);
        assert_ne!(delivered.map_err(drop), Err(()), "an honest reply is no violation");
    })
}

/// Waits as a task does, but for the lead. Whoever reads this next has the cell to itself.
fn await_reply(table: &CallTable, ticket: Ticket) -> u32 {
    let cell = table.cell_of(ticket);
    block_on(poll_fn(|cx| {
        while !cell.is_done() {
            if cell.watch(cx.waker()) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }));
    cell.unwatch();
    table.take(ticket).expect("it is there").code
}

/// The only cell is free, once.
fn assert_free(table: &CallTable) {
    assert!(table.claim().is_some(), "the cell was never given back");
    assert!(table.claim().is_none(), "the cell was given back twice");
}

#[test]
pub(crate) fn a_task_is_woken_by_its_reply() {
    unbounded(|| {
        let (table, ticket) = call();
        let leader = leader(&table, ticket);
        assert_eq!(await_reply(&table, ticket), CODE);
        leader.join().unwrap();
        assert_free(&table);
    });
}

/// The task is polled for other reasons, and gives up in the end, while its reply comes.
#[test]
pub(crate) fn a_task_that_is_polled_again_keeps_its_waker_to_itself() {
    unbounded(|| {
        let (table, ticket) = call();
        let leader = leader(&table, ticket);
        let cell = table.cell_of(ticket);
        let _ = cell.watch(Waker::noop()) && cell.watch(Waker::noop());
        cell.unwatch();
        table.abandon(ticket);
        leader.join().unwrap();
        assert_free(&table);
    });
}

/// Somebody rouses all tasks, a runtime ends for instance, while the reply comes.
#[test]
pub(crate) fn a_task_is_roused_beside_its_reply() {
    unbounded(|| {
        let (table, ticket) = call();
        let wakes = std::sync::Arc::new(Wakes(AtomicUsize::new(0)));
        assert!(table.cell_of(ticket).watch(&wakes.clone().into()), "there is no reply yet");
        let leader = leader(&table, ticket);
        table.rouse_all();
        leader.join().unwrap();
        assert_ne!(wakes.0.load(Ordering::Relaxed), 0, "nobody was woken");
        assert_eq!(table.take(ticket).expect("it is there").code, CODE);
        assert_free(&table);
    });
}

/// How often a task was woken.
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The connection closes while a task begins to wait: does it see that, or is its waker seen?
#[test]
pub(crate) fn the_end_of_the_connection_reaches_a_task() {
    unbounded(|| {
        let (table, ticket) = call();
        let lead = Arc::new(Lead::new((), 1));
        let closed = Arc::new(AtomicBool::new(false));
        let closer = thread::spawn({
            let (table, lead, closed) = (table.clone(), lead.clone(), closed.clone());
            move || {
                closed.store(true, Ordering::Relaxed);
                lead.wake_all();
                table.rouse_all();
            }
        });
        let cell = table.cell_of(ticket);
        let mut entered = false;
        block_on(poll_fn(|cx| {
            assert!(cell.watch(cx.waker()), "there is no reply");
            lead.enter_task(std::mem::replace(&mut entered, true));
            if closed.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        }));
        cell.unwatch();
        table.abandon(ticket);
        closer.join().unwrap();
    });
}
