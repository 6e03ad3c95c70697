//! The wakers of tasks: of those that have to do with a call, by its index, and of drivers.

use std::fmt;
use std::sync::OnceLock;
use std::task::Waker;

use crate::sync::AtomicWaker;

/// How many are made at once: an idle channel uses few of the thousand that it may.
const BLOCK: usize = 64;

/// Numbered values, made when the first of their block is needed.
pub(crate) struct Blocks<T>(Box<[OnceLock<Box<[T]>>]>);

impl<T: Default> Blocks<T> {
    pub(crate) fn new(count: usize) -> Self {
        let blocks = Self((0..count.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect());
        if cfg!(mmap_rpc_loom) {
            // The models' locks are made before their threads.
            (0..count).for_each(|index| _ = blocks.make(index));
        }
        blocks
    }

    /// The value of that number.
    pub(crate) fn make(&self, index: usize) -> &T {
        let block = self.0[index / BLOCK].get_or_init(|| (0..BLOCK).map(|_| T::default()).collect());
        &block[index % BLOCK]
    }

    /// The same, if it has been made.
    pub(crate) fn find(&self, index: usize) -> Option<&T> {
        self.0[index / BLOCK].get().map(|block| &block[index % BLOCK])
    }

    /// All that have been made, up to the first that has not.
    #[cfg(feature = "tokio")]
    pub(crate) fn made(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map_while(OnceLock::get).flatten()
    }
}

/// One waker for each number.
pub(crate) struct Wakers(Blocks<AtomicWaker>);

impl Wakers {
    pub(crate) fn new(count: usize) -> Self {
        Self(Blocks::new(count))
    }

    /// Leaves a waker where `wake` finds it, instead of the one before it.
    pub(crate) fn register(&self, index: usize, waker: &Waker) {
        self.0.make(index).register(waker);
    }

    /// Wakes whoever has said, in whatever way, that its waker is there.
    #[cold]
    pub(crate) fn wake(&self, index: usize) {
        self.0.find(index).inspect(|waker| waker.wake());
    }

    /// Drops a waker: it would hold its task, and the runtime with it.
    pub(crate) fn forget(&self, index: usize) {
        drop(self.0.find(index).and_then(AtomicWaker::take));
    }
}

impl fmt::Debug for Wakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakers").finish_non_exhaustive()
    }
}
