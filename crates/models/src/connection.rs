//! What the call cells know of a connection, without one: a payload whose end is counted; and the
//! connection's own file on waiting for space.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

#[path = "../../../src/connection/space.rs"]
mod space;
#[path = "../../../src/connection/wakers.rs"]
mod wakers;

pub(crate) use space::SpaceNews;
pub(crate) use wakers::Wakers;

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
