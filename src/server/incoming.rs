//! A request, apart from its payload.

use std::sync::Arc;
use std::time::Instant;

use crate::connection::Flow;
use crate::rpc::Status;
use crate::server::caller::Caller;

/// A call as it came in. Copied from hand to hand, so that it owns nothing that would have to be dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) call_id: u32,
    pub(super) method: u32,
    pub(super) deadline: Option<Instant>,
    /// Its streams, if its client says that it has any.
    pub(super) streams: Option<Streams<'a>>,
}

/// The streams of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams<'a> {
    pub(super) flow: &'a Arc<Flow>,
    /// Whether the client's messages follow.
    pub(super) many: bool,
}

/// The same, for a call that leaves the thread that it came in on.
#[derive(Debug, Clone)]
pub(super) struct OwnedIncoming {
    pub(super) call_id: u32,
    pub(super) method: u32,
    pub(super) deadline: Option<Instant>,
    streams: Option<(Arc<Flow>, bool)>,
}

impl Incoming<'_> {
    /// Whether anybody still waits for the answer.
    #[inline]
    pub(super) fn check_wanted(self, caller: Caller<'_>) -> Result<(), Status> {
        if self.deadline.is_some_and(has_passed) {
            return Err(too_late());
        }
        if caller.is_cancelled(self.call_id) {
            return Err(given_up());
        }
        Ok(())
    }

    pub(super) fn to_owned(self) -> OwnedIncoming {
        let Self { call_id, method, deadline, streams } = self;
        let streams = streams.map(|Streams { flow, many }| (flow.clone(), many));
        OwnedIncoming { call_id, method, deadline, streams }
    }
}

impl OwnedIncoming {
    pub(super) fn as_ref(&self) -> Incoming<'_> {
        let &Self { call_id, method, deadline, ref streams } = self;
        let streams = streams.as_ref().map(|&(ref flow, many)| Streams { flow, many });
        Incoming { call_id, method, deadline, streams }
    }

    /// Its streams, if it has any.
    pub(super) fn flow(&self) -> Option<&Arc<Flow>> {
        self.streams.as_ref().map(|(flow, _)| flow)
    }
}

/// The streams of a call that is over: what has come of them and was not read, and what is on its way, keeps
/// no memory.
#[cold]
pub(super) fn end_streams(flow: &Flow) {
    flow.finish();
    // Nothing is granted any more.
    let _ = flow.stop_reading();
}

pub(super) fn has_passed(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

#[cold]
pub(super) fn too_late() -> Status {
    Status::deadline_exceeded("the deadline passed before the server had an answer")
}

#[cold]
pub(super) fn given_up() -> Status {
    Status::cancelled("the caller gave the call up")
}
