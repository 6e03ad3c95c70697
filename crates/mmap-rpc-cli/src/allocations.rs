//! An allocator that counts: how often a process asked for memory.
//!
//! Both processes of a measurement run the same program, so its `main.rs` makes this one the global
//! allocator of both:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: mmap_rpc_cli::allocations::Counting = mmap_rpc_cli::allocations::Counting;
//! # assert!(mmap_rpc_cli::allocations::count() > 0);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A cache line of its own, so that counting slows down nobody who looks at something else.
#[repr(align(128))]
struct Counter(AtomicU64);

/// Threads that have a counter for themselves, which they raise without a locked instruction: a measured call
/// is not to take longer because it is watched. All later ones share the last.
const THREADS: usize = 64;

static COUNTERS: [Counter; THREADS + 1] = [const { Counter(AtomicU64::new(0)) }; THREADS + 1];

/// Numbers that were given to threads.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's number, once it has asked for memory. It needs no memory itself, and is not dropped.
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// How often memory was asked for until now: new, or by growing what there was. 0 for ever if [`Counting`]
/// is not the global allocator.
pub fn count() -> u64 {
    COUNTERS.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum()
}

/// The system's allocator, counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

impl Counting {
    // Relaxed, all of it: numbers that nothing else depends on.
    #[inline]
    fn one_more() {
        match COUNTERS[..THREADS].get(NUMBER.get()) {
            Some(Counter(own)) => own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            None => Self::first_or_shared(),
        }
    }

    #[cold]
    fn first_or_shared() {
        if NUMBER.get() == usize::MAX {
            NUMBER.set(NUMBERS.fetch_add(1, Ordering::Relaxed).min(THREADS));
        }
        COUNTERS[NUMBER.get()].0.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every method hands its arguments to the system's allocator as they are, and returns what that does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::one_more();
        // SAFETY: the caller's promise is that of the callee.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::one_more();
        // SAFETY: the caller's promise is that of the callee.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::one_more();
        // SAFETY: the caller's promise is that of the callee.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is that of the callee.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_thread_counts_and_none_is_lost() {
        const EACH: u64 = 1000;
        let threads = 2 * THREADS as u64;
        let before = count();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..EACH).for_each(|_| Counting::one_more()));
            }
        });
        // Nobody else counts: the allocator of this test is another one.
        assert_eq!(count() - before, threads * EACH);
    }
}
