//! Asking for a cache line before it is written.

use crate::layout::words::EntryCell;

/// Has the processor fetch both lines of an entry that will be written soon, as its only owner.
///
/// The lines of an entry that went round the ring are still in the reader's cache, and to call them back
/// takes as long as a hop between the two processors. Asked for some entries ahead, they are there when they
/// are written, and a fence that follows the write has nothing to wait for. A hint: it changes no memory, and
/// does nothing on processors without it and in the models.
#[inline(always)]
pub(crate) fn prefetch_for_write(cell: &EntryCell) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(mmap_rpc_loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        let line = (&raw const *cell).cast::<i8>();
        // SAFETY: a prefetch reads and writes nothing that the program can see, at any address; both of
        // these are inside the entry.
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(line);
            _mm_prefetch::<_MM_HINT_ET0>(line.add(64));
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(mmap_rpc_loom))))]
    let _ = cell;
}
