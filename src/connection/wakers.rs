//! The wakers of tasks that have to do with calls, by the index of the call.

use std::fmt;
use std::sync::OnceLock;
use std::task::Waker;

use crate::sync::AtomicWaker;

/// How many are made at once: an idle channel uses few of the thousand that it may.
const BLOCK: usize = 64;

/// One waker for each waiter, made when the first of its block is needed.
pub(crate) struct Wakers {
    blocks: Box<[OnceLock<Box<[AtomicWaker]>>]>,
}

impl Wakers {
    pub(crate) fn new(waiters: usize) -> Self {
        let wakers = Self { blocks: (0..waiters.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect() };
        if cfg!(mmap_rpc_loom) {
            // The models' locks are made before their threads.
            (0..waiters).for_each(|index| _ = wakers.make(index));
        }
        wakers
    }

    /// Leaves a waker where `wake` finds it, instead of the one before it.
    pub(crate) fn register(&self, index: usize, waker: &Waker) {
        self.make(index).register(waker);
    }

    /// Wakes a waiter that has said, in whatever way, that its waker is there.
    #[cold]
    pub(crate) fn wake(&self, index: usize) {
        if let Some(block) = self.blocks[index / BLOCK].get() {
            block[index % BLOCK].wake();
        }
    }

    fn make(&self, index: usize) -> &AtomicWaker {
        let block =
            self.blocks[index / BLOCK].get_or_init(|| (0..BLOCK).map(|_| AtomicWaker::new()).collect());
        &block[index % BLOCK]
    }
}

impl fmt::Debug for Wakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakers").finish_non_exhaustive()
    }
}
