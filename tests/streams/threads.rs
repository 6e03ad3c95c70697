//! A process that gets no more threads.

use std::fs;
use std::thread;

use mmap_rpc::Code;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::PATIENCE;
use testkit::child::{Child, Parent};
use testkit::interop::proto::Empty;

use crate::site::{Site, output};

pub(crate) const ROLE: &str = "no threads";

/// In a process of its own: what it does to its limits would be in the way of other tests.
#[test]
fn a_blocking_handler_without_a_thread_is_refused() {
    let child = Child::start(ROLE, &[]);
    let refused = child.expect("refused");
    assert!(
        refused.contains("no thread for the call's handler") && refused.contains("ulimit -u"),
        "{refused}"
    );
    child.finish();
}

pub(crate) fn role(parent: &Parent) {
    let site = Site::new(false, |server| server);
    let client = site.client();
    client.empty_call(Empty {}).timeout(PATIENCE).wait().unwrap();
    let before = getrlimit(Resource::As);
    // Room for what the library allocates, but for no stack.
    setrlimit(Resource::As, Rlimit { current: Some(virtual_bytes() + (1 << 20)), ..before }).unwrap();
    // Stacks of threads that have ended are used again: until there are none.
    while thread::Builder::new().spawn(thread::park).is_ok() {}
    let refused = client.streaming_output_call(output(1, 1)).timeout(PATIENCE).wait().map(drop).unwrap_err();
    setrlimit(Resource::As, before).unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    // The server goes on.
    let served = client.streaming_output_call(output(1, 1)).timeout(PATIENCE).wait().unwrap();
    assert_eq!(served.into_inner().into_iter().count(), 1);
    parent.say(&format!("refused {}", refused.message()));
}

fn virtual_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("a process has one");
    let pages: u64 = pages.split(' ').next().expect("a number").parse().expect("a number");
    pages * rustix::param::page_size() as u64
}
