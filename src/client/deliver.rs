//! What the leader does with what it receives: each event goes to the caller that it concerns.

use crate::client::awaited::Awaited;
use crate::client::calls::Delivered;
use crate::client::core::Core;
use crate::connection::{Arrived, Coming, Event, EventHandler, call_index};
use crate::error::Violation;
use crate::ring::Entry;
use crate::rpc::Status;
use crate::sync::Ordering;

/// Who has an event, as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// The leader, where it was received: to be read before the next one is received.
    InHand,
    /// The leader, in the cell of its call.
    InCell,
    ToOthers,
}

/// Hands each event to whom it concerns.
pub(super) struct Delivery<'a, A> {
    pub(super) core: &'a Core,
    pub(super) awaited: &'a mut A,
    /// Whether the leader will look at nothing further before it has read a reply that it is handed so.
    pub(super) in_hand: bool,
}

impl<A: Awaited> EventHandler for Delivery<'_, A> {
    type Outcome = Handed;

    #[inline(always)]
    fn handle(&mut self, event: Event<'_>) -> Result<Handed, Violation> {
        let Self { core, awaited, in_hand } = self;
        match event {
            Event::Reply { call_id, code, payload } => {
                if *in_hand && payload.outside.is_none() && awaited.offer(call_id, code)? {
                    return Ok(Handed::InHand);
                }
                core.deliver_to_cell(call_id, code, payload, awaited.cell())
            }
            Event::Goaway => {
                core.draining.store(true, Ordering::Relaxed);
                Ok(Handed::ToOthers)
            }
            Event::Message { call_id, payload } => core.deliver_message(call_id, payload, awaited.cell()),
            Event::Headers { call_id, mut payload } => {
                let metadata = payload.take_metadata().map(|metadata| *metadata).unwrap_or_default();
                let delivered = core.calls.with_flow(call_id, |flow| flow.take_headers(metadata))?;
                core.hand_to(delivered, awaited.cell())
            }
            Event::Credit { call_id, bytes } => {
                // One of a call that has ended may come late: of no use, and no harm.
                core.calls.with_flow(call_id, |flow| flow.credit(bytes))?;
                // Whoever waits for it waits as for space.
                core.wake_space_waiters();
                Ok(Handed::ToOthers)
            }
            Event::Request { .. } | Event::Cancel { .. } | Event::End { .. } => {
                unreachable!("the session admits by role")
            }
        }
    }

    fn follow(&mut self, entry: &Entry, coming: &mut Coming) -> Result<Option<Handed>, Violation> {
        // Others who wait have what comes in between.
        let is_alone = self.in_hand && !self.core.lead.has_waiters();
        let is_read = is_alone && self.awaited.follow(entry.call_id(), entry.code(), coming)?;
        Ok(is_read.then_some(Handed::InHand))
    }
}

impl Core {
    /// Puts a reply into the cell of its call. `own` is the leader's, which needs no wake-up.
    fn deliver_to_cell(
        &self,
        call_id: u32,
        code: u32,
        mut payload: Arrived<'_>,
        own: usize,
    ) -> Result<Handed, Violation> {
        // Before the cell is entered: a caller who leaves waits for whoever is in it.
        self.keep_no_slot(call_id, &mut payload, own);
        let mut has_streams = false;
        let delivered = self.calls.deliver(call_id, |reply| {
            reply.code = code;
            reply.payload.receive(payload);
            if let Some(flow) = &reply.flow {
                match code {
                    0 => flow.finish(),
                    code => flow.fail(Status::decode_payload(code, &reply.payload.to_vec())),
                }
                has_streams = true;
            }
        })?;
        if has_streams {
            // Nothing that waits for credit will get any.
            self.wake_space_waiters();
        }
        self.hand_to(delivered, own)
    }

    /// Puts a message of a stream where its reader finds it.
    fn deliver_message(
        &self,
        call_id: u32,
        mut payload: Arrived<'_>,
        own: usize,
    ) -> Result<Handed, Violation> {
        self.keep_no_slot(call_id, &mut payload, own);
        let message = payload.keep();
        let delivered = self.calls.with_flow(call_id, |flow| flow.receive(message).map(drop))?;
        // More of the stream may be there, and is worth a look even to one who is alone.
        self.hand_to(delivered, own).map(|_| Handed::ToOthers)
    }

    /// Wakes whoever has got something.
    fn hand_to(&self, delivered: Delivered, own: usize) -> Result<Handed, Violation> {
        match delivered {
            Delivered::To(index) if index == own => return Ok(Handed::InCell),
            Delivered::To(index) => self.lead.wake(index),
            #[cfg(feature = "tokio")]
            Delivered::Woken => {}
            Delivered::ToNobody => {}
            Delivered::Unknown => return Err(Violation::Entry("of a stream that there is not")),
        }
        Ok(Handed::ToOthers)
    }

    /// A caller who waits takes what comes from where it lies. For one who does not, the slot is returned
    /// first: the server may need it to answer the very call that this thread waits for.
    fn keep_no_slot(&self, call_id: u32, payload: &mut Arrived<'_>, own: usize) {
        let index = call_index(call_id);
        if index != own && index < self.calls.capacity() && !self.lead.is_waiting(index) {
            payload.return_slot();
        }
    }
}
