//! An allocator on the heap, its private parts behind plain numbers.

use crate::error::Violation;
use crate::layout::handle::Handle;
use crate::layout::words::{FreeWord, HANDLE_WORDS, SlabView};
use crate::slab::{Harvest, Slab, give_back};
use crate::sync::{AtomicU64, Ordering};

/// An allocator over words on the heap, with both sides in one hand.
#[derive(Debug)]
pub struct SlabFixture {
    slab: Slab,
    free: Vec<FreeWord>,
    ret: Vec<AtomicU64>,
}

impl SlabFixture {
    /// Runs of (slot size, slot count), one behind the other.
    pub fn new(runs: &[(u64, u32)]) -> Self {
        let free = (0..HANDLE_WORDS).map(|_| FreeWord(AtomicU64::new(0))).collect();
        let ret = (0..HANDLE_WORDS).map(|_| AtomicU64::new(0)).collect();
        let fixture = Self { slab: Slab::new(), free, ret };
        let mut word = 0;
        for &(slot_size, slot_count) in runs {
            fixture.slab.add_run(fixture.view(), word, slot_size, slot_count);
            word += slot_count.div_ceil(64) as usize;
        }
        fixture
    }

    fn view(&self) -> SlabView<'_> {
        SlabView { free: &self.free, ret: &self.ret }
    }

    /// Claims a slot; its handle.
    pub fn claim(&self, size: u64, hint: usize) -> Option<u32> {
        self.slab.claim(self.view(), size, hint).map(|claim| claim.handle.get())
    }

    /// Claims up to `most` slots at once and shows each handle to `use_handle`; how many there were.
    pub fn claim_batch(&self, size: u64, hint: usize, most: u32, use_handle: impl FnMut(u32)) -> usize {
        let batch = self.slab.claim_batch(self.view(), size, hint, most);
        let handles = batch.into_iter().flatten().map(|claim| claim.handle.get());
        handles.map(use_handle).count()
    }

    /// Gives back a claimed slot.
    pub fn abort(&self, handle: u32) {
        if let Some(handle) = Handle::new(handle) {
            self.slab.abort(self.view(), handle);
        }
    }

    /// Marks a claimed slot as being with the peer.
    pub fn publish(&self, handle: u32) {
        if let Some(handle) = Handle::new(handle) {
            self.slab.publish(handle);
        }
    }

    /// The peer's part: returns a slot.
    pub fn give_back(&self, handle: u32) {
        if let Some(handle) = Handle::new(handle) {
            give_back(&self.ret, handle);
        }
    }

    /// A hostile peer's part: flips any bits of any return word (the number wraps).
    pub fn scribble(&self, word: usize, bits: u64) {
        self.ret[word % HANDLE_WORDS].fetch_xor(bits, Ordering::Release);
    }

    /// Frees what the peer returned; how many slots.
    pub fn harvest(&self) -> Result<u32, Violation> {
        self.slab.harvest(self.view()).map(count)
    }

    /// The same, in the words that serve a size only.
    pub fn harvest_for(&self, size: u64) -> Result<u32, Violation> {
        self.slab.harvest_for(self.view(), size).map(count)
    }

    /// A reply's part: frees a slot by name.
    pub fn release(&self, handle: u32) -> Result<(), Violation> {
        let named = Handle::new(handle).ok_or(Violation::ForgedRelease { handle })?;
        self.slab.release(self.view(), named)
    }

    /// Free slots, and slots in flight.
    pub fn counts(&self) -> (u32, u32) {
        let counts = self.slab.counts(self.view());
        (counts.free, counts.in_flight)
    }
}

fn count(harvest: Harvest) -> u32 {
    match harvest {
        Harvest::Busy => 0,
        Harvest::Freed(count) => count,
    }
}
