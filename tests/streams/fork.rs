//! A process that forks while it has streams.

use mmap_rpc::Code;
use rustix::process::{Pid, WaitOptions, waitpid};
use testkit::child::{Child, Parent};
use testkit::interop::proto::TestServiceClient;
use testkit::{PATIENCE, channel_builder};

use crate::both;
use crate::site::{HOLD, Site, input, output, told};

pub(crate) const ROLE: &str = "forks";

/// The child has nothing of its parent's streams, and does nothing to them.
#[test]
fn a_forked_child_leaves_its_parents_streams_alone() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server);
        let path = site.path();
        let child = Child::start(ROLE, &[("path", path.to_str().expect("a plain path"))]);
        child.expect("forked");
        site.open(true);
        child.expect("done");
        child.finish();
    });
}

pub(crate) fn role(parent: &Parent) {
    let channel = channel_builder().connect(parent.argument("path")).wait().unwrap();
    let client = TestServiceClient::new(channel);
    let call = client.streaming_input_call().metadata(told(HOLD)).timeout(PATIENCE);
    let (mut uploads, reply) = call.wait().unwrap();
    // Of several are some here, outside of their entries, and unread.
    let call = client.streaming_output_call(output(5000, 100)).timeout(PATIENCE);
    let mut downloads = call.wait().unwrap().into_inner();
    let (mut requests, mut responses) = client.full_duplex_call().timeout(PATIENCE).wait().unwrap();
    uploads.send(input(1000)).wait().unwrap();
    for _ in 0..10 {
        downloads.message().wait().unwrap().expect("many more");
        requests.send(output(100, 1)).wait().unwrap();
        responses.message().wait().unwrap().expect("one each");
    }

    // SAFETY: the child allocates, which the C library allows after a fork, takes no lock that another thread
    // may have held, and leaves by `_exit`.
    let pid = unsafe { fork() };
    if pid == 0 {
        let refused = [
            uploads.send(input(1)).wait(),
            downloads.message().wait().map(drop),
            requests.send(output(1, 1)).wait(),
            responses.message().wait().map(drop),
            reply.wait().map(drop),
        ];
        let right = refused.iter().filter(|refused| match refused {
            Err(status) => status.code() == Code::Unavailable && status.message().contains("fork"),
            Ok(()) => false,
        });
        let wrong = refused.len() - right.count();
        drop((uploads, downloads, requests, responses, client));
        // SAFETY: ends the process, and runs nothing of the parent's.
        unsafe { _exit(wrong as i32) }
    }
    let pid = Pid::from_raw(pid).expect("the child");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().expect("it ends");
    assert_eq!(status.exit_status(), Some(0), "how many answers were wrong: {status:?}");
    parent.say("forked");

    uploads.send(input(1000)).wait().unwrap();
    uploads.finish();
    assert_eq!(reply.wait().unwrap().into_inner().aggregated_payload_size, 2000);
    requests.send(output(100, 1)).wait().unwrap();
    requests.finish();
    assert_eq!(responses.into_iter().map(Result::unwrap).count(), 1);
    assert_eq!(downloads.into_iter().map(Result::unwrap).count(), 90);
    parent.say("done");
}

// rustix offers no fork.
unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(status: i32) -> !;
}
