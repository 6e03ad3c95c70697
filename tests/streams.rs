//! Promise: a stream's messages come in order and once, whatever happens to its call; a reader that is slow
//! holds up its sender and nobody else, in bounded memory; and what a call has used is there for the next
//! one.
#![cfg(feature = "tokio")]

#[path = "streams/ends.rs"]
mod ends;
#[path = "streams/fork.rs"]
mod fork;
#[path = "streams/long.rs"]
mod long;
#[path = "streams/shared.rs"]
mod shared;
#[path = "streams/site.rs"]
mod site;
#[path = "streams/slow.rs"]
mod slow;
#[path = "streams/storm.rs"]
mod storm;
#[path = "streams/threads.rs"]
mod threads;
#[path = "streams/turns.rs"]
mod turns;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[(fork::ROLE, fork::role), (threads::ROLE, threads::role)]);
}

/// Runs a test with handlers that block, and with handlers that are tasks. Alone: some look at the whole
/// process.
pub(crate) fn both(test: impl Fn(bool)) {
    let _alone = testkit::alone();
    for tasks in [false, true] {
        eprintln!("handlers are {}", if tasks { "tasks" } else { "threads" });
        test(tasks);
    }
}
