//! Asking for cache lines before they are written.

use crate::layout::words::EntryCell;

/// Bytes of a cache line.
#[cfg(not(mmap_rpc_loom))]
pub(crate) const CACHE_LINE: usize = 64;

/// Has the processor fetch both lines of an entry that will be written soon, as its only owner.
///
/// The lines of an entry that went round the ring are still in the reader's cache, and to call them back
/// takes as long as a hop between the two processors. Asked for some entries ahead, they are there when they
/// are written, and a fence that follows the write has nothing to wait for. A hint: it changes no memory, and
/// does nothing on processors without it and in the models.
#[inline(always)]
pub(crate) fn prefetch_for_write(cell: &EntryCell) {
    prefetch_bytes_for_write((&raw const *cell).cast(), size_of::<EntryCell>());
}

/// The same for `len` bytes from the line on that begins at `start`, which may be any address: where nothing
/// is mapped, nothing happens.
#[inline(always)]
pub(crate) fn prefetch_bytes_for_write(start: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(mmap_rpc_loom)))]
    if x86_64::has_prefetchw() {
        (0..len).step_by(CACHE_LINE).for_each(|at| x86_64::prefetchw(start.wrapping_add(at)));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(mmap_rpc_loom))))]
    let _ = (start, len);
}

#[cfg(all(target_arch = "x86_64", not(miri), not(mmap_rpc_loom)))]
mod x86_64 {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid;

    use crate::sync::{AtomicU32, Ordering};

    const UNKNOWN: u32 = 0;
    const ABSENT: u32 = 1;
    const PRESENT: u32 = 2;

    /// What this processor has. Written by whoever asks first; all find the same.
    static PREFETCHW: AtomicU32 = AtomicU32::new(UNKNOWN);

    #[inline(always)]
    pub(super) fn has_prefetchw() -> bool {
        // Relaxed: the word is all there is to know.
        match PREFETCHW.load(Ordering::Relaxed) {
            UNKNOWN => find_out(),
            known => known == PRESENT,
        }
    }

    #[cold]
    fn find_out() -> bool {
        /// The leaf that says how many there are of its kind, and the one that has the bit.
        const EXTENDED: [u32; 2] = [0x8000_0000, 0x8000_0001];
        const PREFETCHW_BIT: u32 = 1 << 8;
        let [count, features] = EXTENDED;
        let present = __cpuid(count).eax >= features && __cpuid(features).ecx & PREFETCHW_BIT != 0;
        PREFETCHW.store(if present { PRESENT } else { ABSENT }, Ordering::Relaxed);
        present
    }

    /// Fetches a line.
    ///
    /// As an instruction, because the intrinsic becomes one that fetches for reading, and leaves the reader
    /// its copy, unless the whole program is compiled for processors that have this one.
    #[inline(always)]
    pub(super) fn prefetchw(line: *const u8) {
        // SAFETY: a prefetch reads and writes nothing that the program can see, at any address.
        unsafe {
            asm!("prefetchw [{line}]", line = in(reg) line, options(readonly, nostack, preserves_flags));
        }
    }
}
