//! The private copy of an entry: what the ring moves, and how much of it.
//!
//! The ring itself knows two things of an entry's meaning: whether its body ends within the entry's first
//! cache line, so that a short message touches no more than that, and what a NOP looks like, so that a
//! position can be given up. Everything else is `entry`'s.

#[cfg(not(mmap_rpc_loom))]
use std::mem::offset_of;
use std::ops::Range;

#[cfg(not(mmap_rpc_loom))]
use crate::layout::copy_from_shared;
use crate::layout::words::{BODY_WORDS, EntryCell, HEAD_WORDS};
use crate::sync::Ordering;

/// Value of the kind byte of an entry that means nothing: the filling of a position that was given up.
pub(crate) const NOP: u8 = 5;

/// Flag: the message lies in a slot, and the body is its offset and length.
#[cfg(not(mmap_rpc_loom))]
pub(super) const FLAG_SLOT: u8 = 1;

/// Flag beside [`FLAG_SLOT`]: the message is still being written there, and two more words of the body say
/// how its reader follows.
#[cfg(not(mmap_rpc_loom))]
pub(super) const FLAG_FILL: u8 = 2;

/// Flag of a request: the reply may be a stream, or the request is one.
#[cfg(not(mmap_rpc_loom))]
pub(super) const FLAG_STREAM: u8 = 4;

/// Flag beside [`FLAG_STREAM`]: the request's messages follow, and none is here.
#[cfg(not(mmap_rpc_loom))]
pub(super) const FLAG_MORE: u8 = 8;

/// Index of each field's word in the head, in the order of the drawing in `ring`.
#[cfg(not(mmap_rpc_loom))]
pub(super) mod word {
    /// `kind u8 | flags u8 | meta_len u16`, from the lowest byte up.
    pub(crate) const KIND: usize = 0;
    pub(crate) const CALL_ID: usize = 1;
    /// Method id of a request, status code of a reply.
    pub(crate) const CODE: usize = 2;
    /// `deadline_us` of a request, released handle + 1 of a reply.
    pub(crate) const DEADLINE: usize = 3;
    pub(crate) const HANDLE: usize = 4;
    pub(crate) const LENGTH: usize = 5;
    pub(crate) const RESERVED: usize = 6;
}

/// A private copy of one entry, laid out as an [`EntryCell`] is, so that it can be copied in wide words.
#[repr(C, align(16))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where a cell has its `seq`: always 0 here.
    unused: u32,
    pub(crate) head: [u32; HEAD_WORDS],
    pub(crate) body: [u64; BODY_WORDS],
}

#[cfg(not(mmap_rpc_loom))]
const _: () = {
    assert!(size_of::<Record>() == size_of::<EntryCell>());
    assert!(offset_of!(Record, head) == offset_of!(EntryCell, head));
    assert!(offset_of!(Record, body) == offset_of!(EntryCell, body));
};

/// Body words that lie in the entry's first cache line, behind `seq` and the head.
pub(crate) const FIRST_LINE: usize = if BODY_WORDS < 4 { BODY_WORDS } else { 4 };

/// Whether the body of an entry with this head ends within the entry's first cache line: then the second one
/// is neither written nor read.
///
/// Whether the head makes sense is `admit`'s question; here any head has an answer.
#[cfg(not(mmap_rpc_loom))]
#[inline(always)]
pub(crate) fn ends_in_first_line(head: &[u32; HEAD_WORDS]) -> bool {
    let in_slot = (head[word::KIND] >> 8) as u8 & FLAG_SLOT != 0;
    in_slot || head[word::LENGTH] <= FIRST_LINE as u32 * 8
}

/// The models' heads have no room for a length: every body word belongs to the entry.
#[cfg(mmap_rpc_loom)]
pub(crate) fn ends_in_first_line(_head: &[u32; HEAD_WORDS]) -> bool {
    false
}

impl Record {
    /// An entry of these words.
    #[inline(always)]
    pub(crate) const fn new(head: [u32; HEAD_WORDS], body: [u64; BODY_WORDS]) -> Self {
        Self { unused: 0, head, body }
    }

    /// An entry that means nothing.
    pub(crate) fn nop() -> Self {
        let mut head = [0; HEAD_WORDS];
        head[0] = u32::from(NOP);
        Self::new(head, [0; BODY_WORDS])
    }

    /// Copies an entry out of the ring. Each shared word is read once, and the head's copy decides how much
    /// of the body follows, so a peer that changes the entry meanwhile changes nothing that was checked.
    ///
    /// In 16-byte words, because whoever reads the copy reads such words: a load that spans two younger
    /// stores waits until both have left the processor's queue.
    #[cfg(not(mmap_rpc_loom))]
    #[inline(always)]
    pub(super) fn load(&mut self, cell: &EntryCell) {
        /// Words of the head that lie beside `seq` in the first 16 bytes.
        const BESIDE_SEQ: usize = 3;
        const WIDE: usize = 16;
        const LINE: usize = 64;

        // Relaxed loads, and copies in their place: the caller's fence(Acquire) after its load of `seq`
        // orders them (E1).
        for (private, shared) in self.head[..BESIDE_SEQ].iter_mut().zip(&cell.head) {
            *private = shared.load(Ordering::Relaxed);
        }
        let (from, to) = ((&raw const *cell).cast::<u8>(), (&raw mut *self).cast::<u8>());
        // SAFETY: cell and record have one layout, of two lines: see the assertion above. The record is
        // ours, the cell is mapped, and the peer may write it.
        unsafe { copy_from_shared(from.add(WIDE), to.add(WIDE), LINE - WIDE) };
        if !ends_in_first_line(&self.head) {
            // SAFETY: as above.
            unsafe { copy_from_shared(from.add(LINE), to.add(LINE), LINE) };
        }
    }

    /// The same in the models, by the words that they know.
    #[cfg(mmap_rpc_loom)]
    pub(super) fn load(&mut self, cell: &EntryCell) {
        // Relaxed throughout: the caller's fence(Acquire) after its load of `seq` orders the copy (E1).
        self.head = std::array::from_fn(|i| cell.head[i].load(Ordering::Relaxed));
        self.body = std::array::from_fn(|i| cell.body[i].load(Ordering::Relaxed));
    }

    /// Copies the entry into the ring, all but `seq`.
    #[inline(always)]
    pub(super) fn store(&self, cell: &EntryCell) {
        // Relaxed throughout: the caller's Release store of `seq` orders the copy (E1).
        for (private, shared) in self.head.iter().zip(&cell.head) {
            shared.store(*private, Ordering::Relaxed);
        }
        let copy = |words: Range<usize>| {
            words.for_each(|i| cell.body[i].store(self.body[i], Ordering::Relaxed));
        };
        copy(0..FIRST_LINE);
        if !ends_in_first_line(&self.head) {
            copy(FIRST_LINE..BODY_WORDS);
        }
    }
}
