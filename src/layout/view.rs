//! The one place where mapped bytes become words.
//!
//! A [`RegionView`] is a base pointer and a geometry, made anew for each operation: a few additions. The
//! words it hands out are atomics, so their references stay sound whatever the other process stores; slot
//! bytes are never handed out as references here.
//!
//! On a peer's region the mapping is read-only. There std guarantees only relaxed loads, of at most a
//! pointer's width, plus a fence for the ordering: an acquire load or a failing compare-exchange may be
//! compiled to a store, and that store would be a SIGSEGV. Code that reads a peer's words therefore loads
//! Relaxed and then calls `fence(Acquire)`.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::layout::copy::copy_from_shared;
use crate::layout::geometry::Geometry;
use crate::layout::header::HEADER_BYTES;
use crate::layout::words::{CONTROL_LINE, Control, EntryCell, FreeWord, HANDLE_WORDS};
use crate::sync::AtomicU64;

// Offsets are u64 in the header; here they are pointer distances without further checks.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// A mapped region, seen as words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegionView<'a> {
    base: NonNull<u8>,
    geometry: &'a Geometry,
    mapping: PhantomData<&'a AtomicU64>,
}

impl<'a> RegionView<'a> {
    /// Sees the `len` mapped bytes at `base` through `geometry`.
    ///
    /// # Panics
    /// If `base` is null; with debug assertions also if it is not 128-aligned, or `len` is below the
    /// geometry's total: bugs of ours, since mappings are page-aligned and a geometry is validated against
    /// the segment's real length.
    ///
    /// # Safety
    /// `geometry` is as `Geometry::plan` or `Header::validate` made it. The mapping is readable for all of
    /// `'a`, and writable too if it is our own region. For all of `'a` this process accesses the sections
    /// behind the header and before the slots through such views only, and a peer's region by relaxed
    /// loads only.
    #[inline(always)]
    pub(crate) unsafe fn new(base: *const u8, len: usize, geometry: &'a Geometry) -> RegionView<'a> {
        let base = NonNull::new(base.cast_mut()).expect("a mapping is not null");
        // Several times on the path of every call, hence only with debug assertions.
        debug_assert!(base.addr().get().is_multiple_of(CONTROL_LINE), "a mapping is page-aligned");
        debug_assert!(len as u64 >= geometry.total_len, "the mapping is shorter than its geometry");
        Self { base, geometry, mapping: PhantomData }
    }

    /// The entries of the owner's ring. Their number is a power of two.
    #[inline(always)]
    pub(crate) fn ring(&self) -> &'a [EntryCell] {
        // SAFETY: the geometry places `ring_capacity` aligned entries inside the mapping, apart from all
        // other sections; they are atomics throughout, so any bits are a value and sharing is sound.
        unsafe {
            let first = self.at(self.geometry.ring_offset).cast();
            std::slice::from_raw_parts(first.as_ptr(), self.geometry.ring_capacity as usize)
        }
    }

    /// The owner's control words.
    #[inline(always)]
    pub(crate) fn control(&self) -> &'a Control {
        // SAFETY: as for `ring`; the geometry 128-aligns the control section.
        unsafe { self.at(self.geometry.control_offset).cast().as_ref() }
    }

    /// The owner's return words, [`HANDLE_WORDS`] of them.
    #[inline(always)]
    pub(crate) fn ret(&self) -> &'a [AtomicU64] {
        // SAFETY: as for `ring`; the section holds HANDLE_WORDS words of 8 bytes.
        unsafe { std::slice::from_raw_parts(self.at(self.geometry.ret_offset).cast().as_ptr(), HANDLE_WORDS) }
    }

    /// The owner's free words, [`HANDLE_WORDS`] of them.
    #[inline(always)]
    pub(crate) fn free(&self) -> &'a [FreeWord] {
        // SAFETY: as for `ring`; the section holds HANDLE_WORDS words of 64 bytes.
        unsafe {
            std::slice::from_raw_parts(self.at(self.geometry.free_offset).cast().as_ptr(), HANDLE_WORDS)
        }
    }

    /// # Safety
    /// `offset` is at most the geometry's total.
    #[inline(always)]
    unsafe fn at(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: the caller keeps the offset within the mapping, which is one allocation.
        unsafe { self.base.add(offset as usize) }
    }
}

/// Copies a segment's header once, so that it can be judged where the peer cannot change it.
///
/// # Safety
/// [`HEADER_BYTES`] bytes at `base` are mapped and readable during the call; anybody may write them.
pub(crate) unsafe fn read_header(base: *const u8) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    // SAFETY: the caller vouches for the source; the destination is a private array of that length.
    unsafe { copy_from_shared(base, bytes.as_mut_ptr(), HEADER_BYTES) };
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::header::Header;
    use crate::sync::Ordering;
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    /// Zeroed bytes on a page boundary, as a mapping would be.
    struct Mapping {
        base: *mut u8,
        layout: Layout,
    }

    impl Mapping {
        fn new(len: u64) -> Self {
            let layout = Layout::from_size_align(len as usize, 4096).unwrap();
            // SAFETY: the layout is not empty.
            let base = unsafe { alloc_zeroed(layout) };
            assert!(!base.is_null());
            Self { base, layout }
        }

        fn u64_at(&self, offset: u64) -> u64 {
            assert!(offset + 8 <= self.layout.size() as u64);
            // SAFETY: inside the allocation, and no other thread exists in these tests.
            unsafe { self.base.add(offset as usize).cast::<u64>().read_unaligned() }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.base, self.layout) }
        }
    }

    #[test]
    fn words_lie_where_the_drawing_says() {
        let geometry = Geometry::plan(8, &[(64, 3), (4096, 1)]).unwrap();
        let mapping = Mapping::new(geometry.total_len);
        // SAFETY: the allocation outlives the view, is as long as the plan, and only this thread uses it.
        let view = unsafe { RegionView::new(mapping.base, mapping.layout.size(), &geometry) };

        let sizes = (view.ring().len(), view.ret().len(), view.free().len());
        assert_eq!(sizes, (8, 128, 128));
        view.ring()[7].seq.store(0x11, Ordering::Relaxed);
        view.ring()[7].body[11].store(0x22, Ordering::Relaxed);
        view.control().rx_head.0.store(0x33, Ordering::Relaxed);
        view.control().closed.0.store(0x44, Ordering::Relaxed);
        view.control().fills[7].given_up.store(0x77, Ordering::Relaxed);
        view.ret()[127].store(0x55, Ordering::Relaxed);
        view.free()[127].0.store(0x66, Ordering::Relaxed);

        let ring_end = 4096 + 8 * 128;
        assert_eq!(mapping.u64_at(ring_end - 128), 0x11);
        assert_eq!(mapping.u64_at(ring_end - 8), 0x22);
        assert_eq!(mapping.u64_at(ring_end), 0x33);
        assert_eq!(mapping.u64_at(ring_end + 4 * 128), 0x44);
        assert_eq!(mapping.u64_at(ring_end + 12 * 128 + 8), 0x77);
        assert_eq!(mapping.u64_at(ring_end + 13 * 128 + 127 * 8), 0x55);
        assert_eq!(mapping.u64_at(ring_end + 13 * 128 + 1024 + 127 * 64), 0x66);
        let written = (0..geometry.total_len).step_by(8).filter(|at| mapping.u64_at(*at) != 0).count();
        assert_eq!(written, 7, "no store went anywhere else");
    }

    #[test]
    fn the_header_comes_back_as_written() {
        let geometry = Geometry::standard();
        let mapping = Mapping::new(geometry.total_len);
        let written = Header::encode(&geometry, 0);
        // SAFETY: the allocation is longer than a header.
        unsafe { mapping.base.copy_from_nonoverlapping(written.as_ptr(), HEADER_BYTES) };
        // SAFETY: as above.
        let read = unsafe { read_header(mapping.base) };
        assert_eq!(Header::validate(&read, geometry.total_len).unwrap().geometry, geometry);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "shorter than its geometry")]
    fn a_short_mapping_is_a_bug() {
        let geometry = Geometry::standard();
        let mapping = Mapping::new(geometry.total_len);
        // SAFETY: panics before any access.
        unsafe { RegionView::new(mapping.base, mapping.layout.size() - 1, &geometry) };
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "page-aligned")]
    fn a_misaligned_mapping_is_a_bug() {
        let geometry = Geometry::standard();
        let mapping = Mapping::new(geometry.total_len + 64);
        // SAFETY: panics before any access.
        unsafe { RegionView::new(mapping.base.add(64), mapping.layout.size() - 64, &geometry) };
    }
}
