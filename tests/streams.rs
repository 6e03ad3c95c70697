//! Promise: a stream's messages come in order and once, whatever happens to its call; a reader that is slow
//! holds up its sender and nobody else, in bounded memory; and what a call has used is there for the next
//! one.
#![cfg(feature = "tokio")]

#[path = "streams/ends.rs"]
mod ends;
#[path = "streams/long.rs"]
mod long;
#[path = "streams/site.rs"]
mod site;
#[path = "streams/slow.rs"]
mod slow;
#[path = "streams/storm.rs"]
mod storm;

/// Runs a test with handlers that block, and with handlers that are tasks. Alone: some look at the whole
/// process.
pub(crate) fn both(test: impl Fn(bool)) {
    let _alone = testkit::alone();
    for tasks in [false, true] {
        eprintln!("handlers are {}", if tasks { "tasks" } else { "threads" });
        test(tasks);
    }
}
