//! The streams of a connection's calls, as its reactor finds them.

use std::mem;
use std::sync::Arc;

use crate::connection::{Flow, call_index};
use crate::error::Violation;
use crate::server::calls::Calls;
use crate::server::incoming::given_up;

/// Those of a connection.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Those of the last call of each index that had any, by index. A call that has ended keeps its place
    /// until the next one: what its client has sent meanwhile is recognised by it.
    last: Vec<Option<(u32, Arc<Flow>)>>,
    /// A handler has something to do that it waited for.
    woke: bool,
}

impl Flows {
    /// Streams of a call that has begun, and whose handler is to run.
    pub(super) fn begin(&mut self, call_id: u32, window: u32) -> &Arc<Flow> {
        let index = call_index(call_id);
        if index >= self.last.len() {
            self.last.resize(index + 1, None);
        }
        self.woke = true;
        let (_, flow) = self.last[index].insert((call_id, Flow::new(window)));
        flow
    }

    /// Those of a call; `None` if it never had any, or its index is another call's.
    pub(super) fn find(&self, call_id: u32) -> Option<&Arc<Flow>> {
        let (found, flow) = self.last.get(call_index(call_id))?.as_ref()?;
        (*found == call_id).then_some(flow)
    }

    /// Those that a message is for; `None` if its call is over, and its index another call's. That may be:
    /// the client's two halves do not wait for each other.
    ///
    /// # Errors
    /// If there never were any.
    pub(super) fn expect(&self, call_id: u32) -> Result<Option<&Arc<Flow>>, Violation> {
        match self.last.get(call_index(call_id)) {
            Some(Some((known, flow))) if *known == call_id => Ok(Some(flow)),
            Some(Some((known, _))) if is_before(call_id, *known) => Ok(None),
            _ => Err(Violation::Entry("of a stream that there is not")),
        }
    }

    /// The handler of a call has something to do that it waited for.
    pub(super) fn woke(&mut self) {
        self.woke = true;
    }

    /// Whether any has since this was asked last.
    pub(super) fn take_woke(&mut self) -> bool {
        mem::take(&mut self.woke)
    }

    /// The caller of a call has given up.
    pub(super) fn cancel(&self, calls: &Calls, call_id: u32) {
        // First the mark: whoever is woken by its flow looks for that.
        calls.cancel(call_id);
        if let Some(flow) = self.find(call_id) {
            flow.fail(given_up());
        }
    }

    /// Nobody waits for any call any more.
    pub(super) fn cancel_all(&self, calls: &Calls) {
        // In this order, as above.
        calls.cancel_all();
        self.last.iter().flatten().for_each(|(_, flow)| flow.fail(given_up()));
    }
}

/// Whether one of two calls with the same index was the earlier one. Their generations go round.
fn is_before(call_id: u32, other: u32) -> bool {
    let ahead = (other >> 16).wrapping_sub(call_id >> 16) as u16;
    (1..1 << 15).contains(&ahead)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[test]
    fn a_place_is_its_last_calls() {
        let mut flows = Flows::default();
        assert!(flows.find(0x0001_0002).is_none());
        let first = flows.begin(0x0001_0002, 10).clone();
        assert!(Arc::ptr_eq(flows.expect(0x0001_0002).unwrap().unwrap(), &first));
        assert!(flows.expect(0x0002_0002).is_err() && flows.find(0x0001_0001).is_none());
        flows.begin(0x0002_0002, 10);
        assert!(flows.find(0x0001_0002).is_none());
        let last = flows.expect(0x0002_0002).unwrap().unwrap().clone();
        flows.cancel_all(&Calls::new(1));
        assert!(last.is_over() && !first.is_over());
    }

    #[test]
    fn a_message_of_a_call_that_is_over_is_late() {
        let mut flows = Flows::default();
        assert!(flows.expect(0x0001_0000).is_err(), "before any");
        flows.begin(0x0001_0000, 10);
        assert!(flows.expect(0x0000_0000).unwrap().is_none());
        assert!(flows.expect(0xffff_0000).unwrap().is_none(), "of a generation before the first");
        assert!(flows.expect(0x0002_0000).is_err() && flows.expect(0x0001_0001).is_err());
    }

    /// What a writer finds that is woken.
    struct Writer(Arc<Calls>, AtomicBool);

    impl Wake for Writer {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.is_cancelled(0x0001_0000), Ordering::Relaxed);
        }
    }

    /// Else it would go to sleep again, and nobody would wake it a second time.
    #[test]
    fn who_is_woken_by_a_cancellation_finds_it() {
        let cancel: [fn(&Flows, &Calls); 2] =
            [|flows, calls| flows.cancel(calls, 0x0001_0000), |flows, calls| flows.cancel_all(calls)];
        for cancel in cancel {
            let (mut flows, calls) = (Flows::default(), Arc::new(Calls::new(1)));
            calls.begin(0x0001_0000).unwrap();
            let flow = flows.begin(0x0001_0000, 10).clone();
            let writer = Arc::new(Writer(calls.clone(), AtomicBool::new(false)));
            flow.watch_writer(&Waker::from(writer.clone()));
            cancel(&flows, &calls);
            assert!(flow.is_over() && writer.1.load(Ordering::Relaxed));
        }
    }
}
