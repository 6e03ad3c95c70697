//! What comes of an event of a connection: a call begins, or a stream goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::{Arrived, Coming, Event, EventHandler, Flow};
use crate::error::Violation;
use crate::ring::{Entry, Shape};
use crate::rpc::{REFUSED, Status};
use crate::server::caller::Caller;
use crate::server::flows::Flows;
use crate::server::incoming::{Incoming, Streams};
use crate::server::peer::Peer;
use crate::server::reactor::Shared;

/// Does what an event asks for; the bytes that came with it.
pub(super) struct Handler<'a> {
    pub(super) peer: &'a Arc<Peer>,
    pub(super) flows: &'a mut Flows,
    pub(super) shared: &'a Shared,
    /// Nobody else waits for the reactor.
    pub(super) alone: bool,
}

impl EventHandler for Handler<'_> {
    type Outcome = usize;

    #[inline(always)]
    fn handle(&mut self, event: Event<'_>) -> Result<usize, Violation> {
        let Self { peer, flows, shared, .. } = self;
        let len = event.len();
        match event {
            Event::Request { call_id, method, deadline_us, shape, payload } => {
                peer.calls.begin(call_id)?;
                let streams = match shape {
                    Shape::Unary => None,
                    streams => Some(begin_streams(peer, flows, call_id, streams)?),
                };
                let call = Incoming { call_id, method, deadline: deadline_of(deadline_us), streams };
                let (dispatch, caller) = (&shared.dispatch, Caller::Ring(peer));
                if shared.is_draining() {
                    dispatch.refuse(caller, call, payload, &Status::unavailable(REFUSED));
                } else {
                    dispatch.call(caller, call, payload);
                }
            }
            Event::Cancel { call_id } => flows.cancel(&peer.calls, call_id),
            Event::Message { call_id, payload } => {
                if let Some(flow) = flows.expect(call_id)?
                    && receive(peer, flow, call_id, payload)?
                {
                    flows.woke();
                }
            }
            // These two may be late: of no use to a call that has ended, and no harm.
            Event::End { call_id } => flows.find(call_id).map_or(Ok(()), |flow| flow.end())?,
            Event::Credit { call_id, bytes } => {
                if let Some(flow) = flows.find(call_id) {
                    let may_wait = !flow.may_send();
                    flow.credit(bytes)?;
                    if may_wait {
                        flows.woke();
                    }
                }
            }
            Event::Reply { .. } | Event::Headers { .. } | Event::Goaway => {
                unreachable!("the session admits by role")
            }
        }
        Ok(len)
    }

    fn follow(&mut self, entry: &Entry, coming: &mut Coming) -> Result<Option<usize>, Violation> {
        let Self { peer, shared, alone, .. } = self;
        if !*alone || shared.is_draining() {
            return Ok(None);
        }
        let (call_id, len) = (entry.call_id(), coming.len());
        peer.calls.begin(call_id)?;
        let deadline = deadline_of(entry.deadline_us());
        let call = Incoming { call_id, method: entry.code(), deadline, streams: None };
        if shared.dispatch.follow(Caller::Ring(peer), call, coming) {
            return Ok(Some(len));
        }
        // It begins anew when its request has come.
        peer.calls.end(call_id);
        Ok(None)
    }
}

/// A message has come for a handler. True if the handler has waited for it.
fn receive(peer: &Peer, flow: &Flow, call_id: u32, mut payload: Arrived<'_>) -> Result<bool, Violation> {
    let is_awaited = flow.is_awaited();
    if !is_awaited {
        // A handler that reads slowly must not keep the client's memory from calls that others make.
        payload.return_slot();
    }
    for bytes in flow.receive(payload.keep())?.filter(|_| !flow.is_over()) {
        peer.credit(call_id, bytes);
    }
    Ok(is_awaited)
}

/// A request has come whose call has streams.
#[cold]
fn begin_streams<'a>(
    peer: &Peer,
    flows: &'a mut Flows,
    call_id: u32,
    shape: Shape,
) -> Result<Streams<'a>, Violation> {
    let window = peer.link.limits().stream_window;
    if window == 0 {
        return Err(Violation::Limit("a call with streams, where stream_window is zero".into()));
    }
    let (flow, many) = (flows.begin(call_id, window), shape == Shape::ManyRequests);
    if !many {
        flow.end()?;
    }
    Ok(Streams { flow, many })
}

/// When a call that came in just now expires. The largest duration stands for itself and all beyond, and one
/// microsecond for none that is left: zero is what says that there is no deadline.
#[inline]
fn deadline_of(deadline_us: u32) -> Option<Instant> {
    match deadline_us {
        0 | u32::MAX => None,
        left => Instant::now().checked_add(Duration::from_micros(u64::from(left - 1))),
    }
}
