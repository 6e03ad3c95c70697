//! The peer's segments as we have mapped them: from a descriptor in an entry to bytes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::connection::link::{Link, PeerBase};
use crate::connection::received::ReceivedSlot;
use crate::error::Violation;
use crate::layout::words::HANDLE_WORDS;
use crate::layout::{Handle, RawOffset, SlotBounds};
use crate::os::{Mapping, admit_sealed};
use crate::ring::Descriptor;
use crate::sync::{AtomicU64, Ordering};
use crate::wire::SegmentAdded;

/// What is mapped of the peer's region, by bit-set word of its handles. Owned by the connection's driver.
pub(crate) struct PeerSegments {
    /// Those of the segments until now: most connections have few of the many that there can be.
    words: Vec<Option<Word>>,
    segments: Vec<Segment>,
    /// Bytes of all mapped segments, base included.
    bytes: Arc<AtomicU64>,
}

/// A segment of the peer's. It counts until it is unmapped, which a payload that is still held delays.
pub(crate) struct PeerSegment {
    mapping: Mapping,
    bytes: Arc<AtomicU64>,
}

impl Drop for PeerSegment {
    fn drop(&mut self) {
        // Relaxed: a number to compare with the cap. An honest peer cannot announce the successor of these
        // bytes before it saw the return of their last slot, which follows this.
        self.bytes.fetch_sub(self.mapping.len() as u64, Ordering::Relaxed);
    }
}

/// 64 handles' worth of slots.
struct Word {
    /// `None` for the base segment.
    mapping: Option<Arc<PeerSegment>>,
    slot_size: u64,
    /// Slots of this word: handles beyond them name nothing.
    slots: u32,
    /// Offset of the word's first slot within its segment.
    offset: u64,
}

struct Segment {
    id: u32,
    words: std::ops::Range<usize>,
}

impl PeerSegments {
    pub(crate) fn new(base: &PeerBase) -> Self {
        let mut segments = Self {
            words: Vec::new(),
            segments: Vec::new(),
            bytes: Arc::new(AtomicU64::new(base.geometry.total_len)),
        };
        for class in base.geometry.classes.iter() {
            let first = class.first_handle as usize / 64;
            segments.insert_words(first, class.slot_size, class.slot_count, class.offset, None);
        }
        segments
    }

    fn insert_words(
        &mut self,
        first: usize,
        size: u64,
        count: u32,
        offset: u64,
        mapping: Option<Arc<PeerSegment>>,
    ) {
        let words = first..first + count.div_ceil(64) as usize;
        if self.words.len() < words.end {
            self.words.resize_with(words.end, || None);
        }
        for (index, word) in self.words[words].iter_mut().enumerate() {
            let before = index as u32 * 64;
            *word = Some(Word {
                mapping: mapping.clone(),
                slot_size: size,
                slots: (count - before).min(64),
                offset: offset + u64::from(before) * size,
            });
        }
    }

    /// Maps a segment that the peer announced. `cap` is what we told the peer that we are willing to map.
    pub(crate) fn add(&mut self, added: &SegmentAdded, fd: OwnedFd, cap: u64) -> Result<(), Violation> {
        if self.segments.iter().any(|segment| segment.id == added.segment_id) {
            return Err(Violation::Segment(format!("id {} is in use", added.segment_id)));
        }
        let mapped = self.bytes.load(Ordering::Relaxed);
        if added.bytes > cap.saturating_sub(mapped) {
            return Err(Violation::Limit(format!(
                "{} more bytes of segments on top of {mapped}, the cap is {cap}",
                added.bytes
            )));
        }
        let first = added.first_handle as usize / 64;
        let words = first..first.saturating_add(added.slot_count.div_ceil(64) as usize);
        if words.end > HANDLE_WORDS {
            return Err(Violation::Segment("handles beyond the protocol's maximum".into()));
        }
        if self.words.iter().skip(words.start).take(words.len()).any(Option::is_some) {
            return Err(Violation::Segment("handles of another segment".into()));
        }
        let mapping = admit_sealed(fd, added.bytes).map_err(|error| Violation::Segment(error.to_string()))?;
        self.bytes.fetch_add(added.bytes, Ordering::Relaxed);
        let segment = Arc::new(PeerSegment { mapping, bytes: self.bytes.clone() });
        self.insert_words(first, added.slot_size, added.slot_count, 0, Some(segment));
        self.segments.push(Segment { id: added.segment_id, words });
        Ok(())
    }

    /// Forgets a segment that the peer dropped. It stays mapped, and counted, while a payload of it is held.
    pub(crate) fn remove(&mut self, id: u32) -> Result<(), Violation> {
        let Some(index) = self.segments.iter().position(|segment| segment.id == id) else {
            return Err(Violation::Segment(format!("drop of id {id}, which is not mapped")));
        };
        let segment = self.segments.swap_remove(index);
        self.words[segment.words].fill_with(|| None);
        Ok(())
    }

    /// Whether a handle's segment has been announced.
    pub(crate) fn knows(&self, handle: u32) -> bool {
        Handle::new(handle).is_some_and(|handle| matches!(self.words.get(handle.word()), Some(Some(_))))
    }

    /// The handle of the slot that lies at this offset of a segment: a number that [`admit`](Self::admit) has
    /// yet to check.
    pub(crate) fn handle_at(&self, segment_id: u32, offset: u64) -> Result<u32, Violation> {
        let segment = self.segments.iter().find(|segment| segment.id == segment_id);
        let words = match (segment_id, segment) {
            (0, _) => 0..self.words.len(),
            (_, Some(segment)) => segment.words.clone(),
            (id, None) => {
                return Err(Violation::Segment(format!("a message in segment {id}, never announced")));
            }
        };
        let is_base = segment_id == 0;
        let slots = self.words[words.clone()].iter().zip(words).filter_map(|(word, number)| {
            let word = word.as_ref().filter(|word| word.mapping.is_none() == is_base)?;
            let into = offset.checked_sub(word.offset)? / word.slot_size;
            (into < u64::from(word.slots)).then(|| number as u32 * 64 + into as u32)
        });
        let no_slot = || Violation::Segment(format!("no slot at offset {offset} of segment {segment_id}"));
        slots.into_iter().next().ok_or_else(no_slot)
    }

    /// Turns a peer's descriptor into a payload guard, after every check that it can fail.
    pub(crate) fn admit(&self, link: &Arc<Link>, descriptor: Descriptor) -> Result<ReceivedSlot, Violation> {
        let Descriptor { handle: raw, offset, length } = descriptor;
        let violation = |check| Violation::Descriptor { handle: raw, offset, length, check };
        let handle = Handle::new(raw).ok_or_else(|| violation("handle beyond the maximum"))?;
        let word = self.words.get(handle.word()).and_then(Option::as_ref);
        let word = word.ok_or_else(|| violation("segment not announced"))?;
        if handle.bit() >= word.slots {
            return Err(violation("handle beyond the segment's slots"));
        }
        if length > link.limits().max_message_size {
            return Err(violation("longer than the agreed max_message_size"));
        }
        let start = word.offset + u64::from(handle.bit()) * word.slot_size;
        let slot = SlotBounds { start, end: start + word.slot_size };
        let offset = RawOffset(offset).check(length, slot).map_err(violation)?;
        let base = match &word.mapping {
            Some(segment) => segment.mapping.as_ptr(),
            None => link.peer_base().mapping.as_ptr(),
        };
        // SAFETY: the offset was checked to lie, with its length, inside a slot, and every slot inside its
        // segment: by the header's validation for the base, by `SegmentAdded`'s for the others. The segment's
        // `Arc`, or the link for the base, goes into the guard.
        Ok(unsafe {
            let address = base.add(offset.start() as usize);
            ReceivedSlot::new(link.clone(), word.mapping.clone(), address, length as usize, handle)
        })
    }
}
