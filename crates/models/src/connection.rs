//! What the call cells know of a connection, without one: payloads whose end is counted; and the connection's
//! own files on waiting for space and on streams.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

#[path = "../../../src/connection/flow.rs"]
mod flow;
#[path = "../../../src/connection/space.rs"]
mod space;
#[path = "../../../src/connection/wakers.rs"]
mod wakers;

pub(crate) use flow::Flow;
pub(crate) use space::SpaceNews;
pub(crate) use wakers::Wakers;

/// Messages of a stream.
pub(crate) mod received {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};

    /// One of no bytes, whose end is counted.
    pub(crate) struct Received(pub(crate) Arc<AtomicUsize>);

    impl Received {
        pub(crate) fn len(&self) -> usize {
            0
        }
    }

    impl Drop for Received {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A received payload.
pub(crate) struct Kept {
    /// `None` if it is empty.
    dropped: Option<Arc<AtomicUsize>>,
}

impl Kept {
    pub(crate) fn counted_by(dropped: &Arc<AtomicUsize>) -> Self {
        Self { dropped: Some(dropped.clone()) }
    }

    pub(crate) fn empty() -> Self {
        Self { dropped: None }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::empty();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// As in the library.
pub(crate) fn call_index(call_id: u32) -> usize {
    (call_id & 0xffff) as usize
}
