//! Our own region: the base segment, the slots in it, and its growth by further segments.
//!
//! Claiming reads three private arrays and one free word; only growth takes a lock, because it maps memory
//! and talks to the peer, which costs a thousand times what the lock does.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::layout::words::{HANDLE_WORDS, SlabView};
use crate::layout::{Class, Geometry, HEADER_BYTES, Handle, Header, PAGE, RegionView};
use crate::os::{Mapping, create_sealed};
use crate::slab::{Claim, MAX_CLASS_SIZE, Slab};

/// Slot size and count of a run that is added when its class is exhausted. Up to about 4 MiB of a class go
/// round without leaving the cache behind; of the largest, more slots only cost more.
///
/// A value of a round size still fits with the message around it: one of 4 KiB into two pages, and from
/// 16 KiB up a slot is a little larger than the round number, so that slots do not compete for the same cache
/// sets either. From 4 KiB up a slot begins with a page, because the processor fetches ahead within one only.
const RUNS: [(u64, u32); 8] = [
    (256, 64),
    (1 << 10, 64),
    (4 << 10, 64),
    (8 << 10, 64),
    (20 << 10, 64),
    (68 << 10, 64),
    (272 << 10, 8),
    (MAX_CLASS_SIZE, 4),
];

/// A class of the base segment gets more slots after it was found empty so often. The few that it has cost a
/// look at the peer's returns every few calls; an idle connection is better off without more.
const EMPTIES_TO_WIDEN: u32 = 64;

/// The region that this side writes and allocates in.
pub(crate) struct OwnRegion {
    base: Mapping,
    geometry: Geometry,
    pub(crate) slab: Slab,
    places: Box<[Place]>,
    growth: Mutex<Growth>,
    /// How often a class of the base segment was found empty. Only ever counted: relaxed throughout.
    empties: AtomicU32,
}

/// Where the first slot of a bit-set word lies. Written under the growth lock before the word's free bits are
/// published (Release in `Slab::add_run`), read only by holders of a slot of that word.
struct Place {
    address: AtomicPtr<u8>,
    /// Offset within its segment, in bytes.
    offset: AtomicU64,
    /// Id of that segment.
    segment: AtomicU32,
}

/// The segments beyond the base segment. Guarded by a lock that no call takes unless it runs out of slots.
pub(crate) struct Growth {
    segments: Vec<Segment>,
    /// Bytes of the base segment and of every segment that is reserved or live.
    bytes: u64,
    next_id: u32,
    /// Segments that have their numbers, but whose announcement is still on its way out.
    opening: Vec<Reserved>,
    /// Words of dropped segments whose drop the peer has not acknowledged: not to be used again yet.
    dropping: Vec<(u32, Range<usize>)>,
}

/// One segment that was added to a region.
struct Segment {
    reserved: Reserved,
    /// Keeps the slots mapped.
    _mapping: Mapping,
}

/// The numbers of a segment: nobody else has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) id: u32,
    pub(crate) run: Run,
    /// The bit-set words of its handles.
    pub(crate) words: Range<usize>,
}

/// The slots of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) slot_size: u64,
    pub(crate) slot_count: u32,
}

impl Run {
    /// The run that a message of `len` bytes makes a region grow by: at most a quarter of the region's `cap`
    /// in bytes, unless that is less than a slot.
    pub(crate) fn for_message(len: u64, cap: u64) -> Option<Self> {
        if let Some(&(slot_size, most)) = RUNS.iter().find(|&&(size, _)| size >= len) {
            let fitting = (cap / 4 / slot_size).clamp(1, u64::from(most));
            return Some(Self { slot_size, slot_count: fitting as u32 });
        }
        // Rounded up by less than an eighth, so that messages of nearly equal size share a segment.
        let step = (len.checked_next_power_of_two()? / 16).max(PAGE);
        Some(Self { slot_size: len.checked_next_multiple_of(step)?, slot_count: 1 })
    }

    pub(crate) fn bytes(self) -> u64 {
        (self.slot_size * u64::from(self.slot_count)).next_multiple_of(PAGE)
    }

    fn words(self) -> usize {
        self.slot_count.div_ceil(64) as usize
    }
}

/// A segment that is mapped and has its numbers, but is not yet known to the peer nor open to claims.
#[derive(Debug)]
pub(crate) struct NewSegment {
    pub(crate) reserved: Reserved,
    pub(crate) fd: OwnedFd,
    pub(crate) mapping: Mapping,
}

#[cfg(test)]
impl NewSegment {
    pub(crate) fn for_test(id: u32, run: Run, fd: OwnedFd, mapping: Mapping) -> Self {
        Self { reserved: Reserved { id, run, words: 64..64 + run.words() }, fd, mapping }
    }
}

/// Why a region does not grow now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoGrowth {
    /// The segment would exceed the cap even in an otherwise empty region.
    TooLarge { needed: u64 },
    /// The cap is reached: drop idle segments, or wait for returns.
    AtCap,
    /// All handles are taken: drop idle segments, or wait for acknowledged drops.
    NoHandles,
    /// Slots of this size are on their way.
    Opening,
}

impl OwnRegion {
    /// Creates the base segment; the descriptor goes to the peer.
    pub(crate) fn create(geometry: Geometry) -> io::Result<(Self, OwnedFd)> {
        let (fd, base) = create_sealed("mmap-rpc-base", geometry.total_len)?;
        let header = Header::encode(&geometry, 0);
        // SAFETY: the mapping is writable, at least `total_len` (larger than a header) long, and nobody else
        // has it yet.
        unsafe { ptr::copy_nonoverlapping(header.as_ptr(), base.as_mut_ptr(), HEADER_BYTES) };
        Ok((Self::over(base, geometry), fd))
    }

    /// A region in private memory, for one that lies elsewhere and is copied there.
    pub(crate) fn mirrored(geometry: Geometry) -> io::Result<Self> {
        Ok(Self::over(Mapping::private(geometry.total_len as usize)?, geometry))
    }

    /// The base segment in a mapping of its length, zero but for a header.
    fn over(base: Mapping, geometry: Geometry) -> Self {
        let region = Self {
            slab: Slab::new(),
            places: (0..HANDLE_WORDS)
                .map(|_| Place {
                    address: AtomicPtr::new(ptr::null_mut()),
                    offset: AtomicU64::new(0),
                    segment: AtomicU32::new(0),
                })
                .collect(),
            empties: AtomicU32::new(0),
            growth: Mutex::new(Growth {
                segments: Vec::new(),
                bytes: geometry.total_len,
                next_id: 1,
                opening: Vec::new(),
                dropping: Vec::new(),
            }),
            geometry,
            base,
        };
        for class in region.geometry.classes.iter() {
            // SAFETY: the geometry keeps every class inside the segment.
            let address = unsafe { region.base.as_mut_ptr().add(class.offset as usize) };
            let run = Run { slot_size: class.slot_size, slot_count: class.slot_count };
            region.open_run(class.first_handle as usize / 64, run, address, (0, class.offset));
        }
        region
    }

    /// The words of our own base segment.
    #[inline]
    pub(crate) fn view(&self) -> RegionView<'_> {
        // SAFETY: the mapping is as long as the geometry says (it was created so) and outlives the borrow.
        unsafe { RegionView::new(self.base.as_ptr(), self.base.len(), &self.geometry) }
    }

    /// Our half of the slab's words, for what never looks at returns.
    fn own_words(&self) -> SlabView<'_> {
        SlabView { free: self.view().free(), ret: &[] }
    }

    /// The memory of a claimed slot, and its offset within its segment.
    #[inline]
    pub(crate) fn place(&self, claim: Claim) -> (*mut u8, u64) {
        let place = &self.places[claim.handle.word()];
        let into_word = u64::from(claim.handle.bit()) * claim.slot_size;
        // Relaxed suffices: the claim of the slot was an Acquire of the Release that published the word.
        let address = place.address.load(Ordering::Relaxed);
        // SAFETY: a claimed handle names a slot of a run that `open_run` placed inside one mapping, and a run
        // is retired only after every slot of it was claimed by the retirer.
        (unsafe { address.add(into_word as usize) }, place.offset.load(Ordering::Relaxed) + into_word)
    }

    /// Where the slot lies that is likely to be claimed next of those that this one belongs to: the lowest
    /// that is free, or the first one, which a harvest frees. A guess: not to be read or written through.
    pub(super) fn likely_after(&self, handle: Handle) -> *const u8 {
        let word = handle.word();
        // Relaxed throughout: a run that has been retired since leaves an address of nothing.
        let free = self.own_words().free[word].0.load(Ordering::Relaxed);
        let bit = if free == 0 { 0 } else { u64::from(free.trailing_zeros()) };
        let into_word = bit * self.slab.slot_size(word);
        self.places[word].address.load(Ordering::Relaxed).wrapping_add(into_word as usize)
    }

    /// The segment that a claimed slot lies in.
    pub(super) fn segment_of(&self, handle: Handle) -> u32 {
        // Relaxed, as in `place`.
        self.places[handle.word()].segment.load(Ordering::Relaxed)
    }

    /// Bytes of the largest slot of the base segment.
    pub(super) fn largest_slot(&self) -> Option<u64> {
        self.geometry.classes.last().map(|class| class.slot_size)
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Length of the base segment, in bytes.
    pub(crate) fn base_bytes(&self) -> u64 {
        self.geometry.total_len
    }

    /// Whether the class of `len` bytes, which was found empty, has only the few slots of the base segment
    /// and a connection that makes good use of them. To be asked each time that a class is found empty.
    pub(crate) fn is_due_to_widen(&self, len: u64) -> bool {
        self.geometry.classes.last().is_some_and(|largest| len <= largest.slot_size)
            && self.slab.words_serving(len) == 1
            && self.empties.fetch_add(1, Ordering::Relaxed) % EMPTIES_TO_WIDEN == EMPTIES_TO_WIDEN - 1
    }

    pub(crate) fn lock_growth(&self) -> MutexGuard<'_, Growth> {
        // The lock guards bookkeeping that is consistent between any two statements that can panic.
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a run that lies at this offset of the segment with this id.
    fn open_run(&self, first_word: usize, run: Run, address: *mut u8, (segment, offset): (u32, u64)) {
        for word in 0..run.words() {
            let into_run = word as u64 * 64 * run.slot_size;
            let place = &self.places[first_word + word];
            place.address.store(address.wrapping_add(into_run as usize), Ordering::Relaxed);
            place.offset.store(offset + into_run, Ordering::Relaxed);
            place.segment.store(segment, Ordering::Relaxed);
        }
        self.slab.add_run(self.own_words(), first_word, run.slot_size, run.slot_count);
    }

    /// Reserves the numbers of a new segment within `cap` bytes. Create it, announce it, then
    /// [`open`](Self::open) it; or [`Growth::cancel`].
    pub(crate) fn reserve(&self, growth: &mut Growth, run: Run, cap: u64) -> Result<Reserved, NoGrowth> {
        // A run of many serves everybody who found its class empty; a dedicated slot serves one message.
        if run.slot_count > 1 && growth.opening.iter().any(|opening| opening.run == run) {
            return Err(NoGrowth::Opening);
        }
        let bytes = run.bytes();
        if growth.bytes + bytes > cap {
            let needed = self.geometry.total_len + bytes;
            return Err(if needed > cap { NoGrowth::TooLarge { needed } } else { NoGrowth::AtCap });
        }
        let words = growth.free_words(&self.geometry, run.words()).ok_or(NoGrowth::NoHandles)?;
        let reserved = Reserved { id: growth.next_id, run, words };
        // Ids stay unique for the life of any connection that is not four billion segments long.
        growth.next_id = growth.next_id.checked_add(1).unwrap_or(1);
        growth.bytes += bytes;
        growth.opening.push(reserved.clone());
        Ok(reserved)
    }

    /// Opens an announced segment to claims.
    pub(crate) fn open(&self, growth: &mut Growth, new: NewSegment) {
        let NewSegment { reserved, mapping, .. } = new;
        self.open_run(reserved.words.start, reserved.run, mapping.as_mut_ptr(), (reserved.id, 0));
        growth.opening.retain(|opening| *opening != reserved);
        growth.segments.push(Segment { reserved, _mapping: mapping });
    }

    /// Retires idle segments, oldest first, until `bytes` more fit under `cap`, and at least one; returns the
    /// ids to announce as dropped. Harvest before this: a slot that is returned and not harvested is in use.
    pub(crate) fn retire(&self, growth: &mut Growth, bytes: u64, cap: u64) -> Vec<u32> {
        let mut dropped = Vec::new();
        let mut index = 0;
        while index < growth.segments.len() && (dropped.is_empty() || growth.bytes + bytes > cap) {
            let Reserved { run, words, .. } = &growth.segments[index].reserved;
            if self.slab.retire_run(self.own_words(), words.start, run.slot_count) {
                let Reserved { id, run, words } = growth.segments.remove(index).reserved;
                growth.bytes -= run.bytes();
                growth.dropping.push((id, words));
                dropped.push(id);
            } else {
                index += 1;
            }
        }
        dropped
    }

    /// The peer has unmapped a dropped segment. False if no such drop was announced.
    #[must_use]
    pub(crate) fn drop_acknowledged(&self, id: u32) -> bool {
        let mut growth = self.lock_growth();
        let Some(index) = growth.dropping.iter().position(|&(dropping, _)| dropping == id) else {
            return false;
        };
        growth.dropping.swap_remove(index);
        true
    }
}

impl Growth {
    /// Gives up numbers that were reserved.
    pub(crate) fn cancel(&mut self, reserved: &Reserved) {
        self.opening.retain(|opening| opening != reserved);
        self.bytes -= reserved.run.bytes();
    }

    /// The first `count` adjacent words that belong to nobody.
    fn free_words(&self, geometry: &Geometry, count: usize) -> Option<Range<usize>> {
        let mut used = [false; HANDLE_WORDS];
        let base = geometry.classes.iter().map(Class::words);
        let live = self.segments.iter().map(|segment| segment.reserved.words.clone());
        let opening = self.opening.iter().map(|reserved| reserved.words.clone());
        let dropping = self.dropping.iter().map(|(_, words)| words.clone());
        for words in base.chain(live).chain(opening).chain(dropping) {
            used[words].fill(true);
        }
        let first = used.windows(count).position(|window| window.iter().all(|&used| !used))?;
        Some(first..first + count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_room_for_others_under_its_cap() {
        let run = |len, cap| Run::for_message(len, cap).map(|run| (run.slot_size, run.slot_count)).unwrap();
        assert_eq!(run(65_540, 256 << 20), (68 << 10, 64), "a value of 64 KiB with its message around it");
        assert_eq!(run(65_540, 2 << 20), (68 << 10, 7));
        assert_eq!(run(65_540, 1 << 10), (68 << 10, 1), "whether it fits at all is another question");
        assert_eq!(run(4099, 256 << 20), (8 << 10, 64), "one of 4 KiB");
        assert_eq!(run(1, 256 << 20), (256, 64));
        assert_eq!(run(MAX_CLASS_SIZE, 256 << 20), (MAX_CLASS_SIZE, 4));
        assert_eq!(run(MAX_CLASS_SIZE + 1, 1), (MAX_CLASS_SIZE + (128 << 10), 1), "one message, one segment");
        assert!(Run::for_message(u64::MAX, u64::MAX).is_none());
    }

    #[test]
    fn the_next_slot_is_foreseen() {
        let geometry = Geometry::plan(16, &[(256, 3)]).unwrap();
        let (region, _fd) = OwnRegion::create(geometry).unwrap();
        let view = region.own_words();
        let place = |claim| region.place(claim).0.cast_const();
        let claims: Vec<_> = (0..3).map(|_| region.slab.claim(view, 100, 0).unwrap()).collect();
        assert_eq!(region.likely_after(claims[2].handle), place(claims[0]), "the first, once it comes back");
        region.slab.abort(view, claims[1].handle);
        assert_eq!(region.likely_after(claims[0].handle), place(claims[1]));
    }
}
