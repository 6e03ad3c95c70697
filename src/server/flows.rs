//! The streams of a connection's calls, as its reactor finds them.

use std::sync::Arc;

use crate::connection::{Flow, call_index};
use crate::error::Violation;

/// Those of the last call of each index that had any, by index. A call that has ended keeps its place until the
/// next one: what its client has sent meanwhile is recognised by it.
#[derive(Debug, Default)]
pub(super) struct Flows(Vec<Option<(u32, Arc<Flow>)>>);

impl Flows {
    /// Streams of a call that has begun.
    pub(super) fn begin(&mut self, call_id: u32, window: u32) -> Arc<Flow> {
        let index = call_index(call_id);
        if index >= self.0.len() {
            self.0.resize(index + 1, None);
        }
        let flow = Flow::new(window);
        self.0[index] = Some((call_id, flow.clone()));
        flow
    }

    /// Those of a call; `None` if it never had any, or its index is another call's.
    pub(super) fn find(&self, call_id: u32) -> Option<&Arc<Flow>> {
        let (found, flow) = self.0.get(call_index(call_id))?.as_ref()?;
        (*found == call_id).then_some(flow)
    }

    /// Those that a message is for.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn expect(&self, call_id: u32) -> Result<&Arc<Flow>, Violation> {
        self.find(call_id).ok_or(Violation::Entry("of a stream that there is not"))
    }

    /// Nobody waits for any call any more.
    pub(super) fn finish_all(&self) {
        self.0.iter().flatten().for_each(|(_, flow)| flow.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_last_calls() {
        let mut flows = Flows::default();
        assert!(flows.find(0x0001_0002).is_none());
        let first = flows.begin(0x0001_0002, 10);
        assert!(Arc::ptr_eq(flows.expect(0x0001_0002).unwrap(), &first));
        assert!(flows.expect(0x0002_0002).is_err() && flows.find(0x0001_0001).is_none());
        flows.begin(0x0002_0002, 10);
        assert!(flows.find(0x0001_0002).is_none());
        let last = flows.expect(0x0002_0002).unwrap().clone();
        flows.finish_all();
        assert!(last.is_over() && !first.is_over());
    }
}
