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
use std::sync::atomic::{AtomicU64, Ordering};

/// A cache line of its own, so that counting slows down nobody who looks at something else.
#[repr(align(128))]
struct Counter(AtomicU64);

static COUNT: Counter = Counter(AtomicU64::new(0));

/// How often memory was asked for until now: new, or by growing what there was. 0 for ever if [`Counting`]
/// is not the global allocator.
pub fn count() -> u64 {
    COUNT.0.load(Ordering::Relaxed)
}

/// The system's allocator, counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

impl Counting {
    #[inline]
    fn one_more() {
        // Relaxed: a number that nothing else depends on.
        COUNT.0.fetch_add(1, Ordering::Relaxed);
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
