//! The shared words: their sizes, who writes them, and the views through which algorithms see them.
//!
//! | word | written by | read by | range |
//! |---|---|---|---|
//! | [`EntryCell::seq`] | owner of the region, any producer thread | peer's consumer | low 32 bits of position + 1 |
//! | [`EntryCell::head`], [`EntryCell::body`] | owner, before `seq` | peer, after `seq`, once | anything: checked on a private copy |
//! | [`Control::rx_head`] | owner's consumer | peer's producers | a position in the PEER's ring |
//! | [`Control::sleep`] | owner's driver | peer's producers | odd: asleep since this epoch |
//! | [`Control::cpu`] | owner's driver | peer's driver | hint: processor number, `u32::MAX` unknown, 0 until it is written |
//! | [`Control::want_space`] | owner's driver | peer's consumer and readers | odd: waits for room or slots |
//! | [`Control::closed`] | owner, once | peer | 0 or 1 |
//! | [`FillLine::level`] | owner, the thread that writes the message | peer's driver | never falls; bytes since the start |
//! | [`FillLine::given_up`] | owner, the same thread | peer's driver | where a message that was given up ends |
//! | `ret` word | owner, by read-modify-write | peer's harvest | parity of each of the peer's handles |
//! | [`FreeWord`] | owner | nobody (an observer may look) | 1 = free |
//!
//! Under `cfg(mmap_rpc_loom)` the same types hold loom's atomics, live in boxes, and shrink.

use crate::sync::{AtomicU32, AtomicU64};

/// Bytes that a line of control words occupies: two 64-byte cache lines, because processors fetch pairs.
pub(crate) const CONTROL_LINE: usize = 128;

/// Bit-set words per region: the protocol's fixed maximum of handles, divided by 64.
pub(crate) const HANDLE_WORDS: usize = if cfg!(mmap_rpc_loom) { 2 } else { 128 };

/// Messages of one side that can be read while they are written, at one time.
pub(crate) const FILLS: usize = if cfg!(mmap_rpc_loom) { 1 } else { 8 };

/// Handles per region.
pub(crate) const MAX_HANDLES: u32 = HANDLE_WORDS as u32 * 64;

/// 32-bit words of an entry's head, after `seq`.
pub(crate) const HEAD_WORDS: usize = if cfg!(mmap_rpc_loom) { 1 } else { 7 };

/// 64-bit words of an entry's body: its inline bytes, or a descriptor's offset and length.
pub(crate) const BODY_WORDS: usize = if cfg!(mmap_rpc_loom) { 1 } else { 12 };

/// One entry of a ring as it lies in the region.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct EntryCell {
    /// Low 32 bits of the entry's position plus one; stored last, with Release.
    pub(crate) seq: AtomicU32,
    /// Kind, flags, call id, method or status, deadline, handle, length: see `ring::entry`.
    pub(crate) head: [AtomicU32; HEAD_WORDS],
    /// Inline bytes, or offset and length of a descriptor.
    pub(crate) body: [AtomicU64; BODY_WORDS],
}

/// A `u32` alone on its control line.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Line32(pub(crate) AtomicU32);

/// A `u64` alone on its control line.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Line64(pub(crate) AtomicU64);

/// How far the messages that are read while they are written have come: see `slab::fill`.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct FillLine {
    /// Bytes that were written of all messages of this line, first to last; raised with Release.
    pub(crate) level: AtomicU64,
    /// The level at which the last message ends that was given up; 0 before the first.
    pub(crate) given_up: AtomicU64,
}

/// The control words of a region.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Control {
    /// The owner's consumer position in the peer's ring, published lazily, with Release.
    pub(crate) rx_head: Line64,
    /// The owner's park epoch: odd while it sleeps or is about to.
    pub(crate) sleep: Line32,
    /// The processor that the owner last parked or spun on.
    pub(crate) cpu: Line32,
    /// Odd while the owner waits for ring room or returned slots.
    pub(crate) want_space: Line32,
    /// 1 once the owner has closed the connection.
    pub(crate) closed: Line32,
    /// A line for each message that the peer reads while the owner writes it.
    pub(crate) fills: [FillLine; FILLS],
}

/// One bit-set word of free slots, alone on a cache line so that two threads' words never share one.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct FreeWord(pub(crate) AtomicU64);

#[cfg(not(mmap_rpc_loom))]
const _: () = {
    assert!(size_of::<EntryCell>() == 128 && align_of::<EntryCell>() == 64);
    assert!(std::mem::offset_of!(EntryCell, seq) == 0);
    assert!(std::mem::offset_of!(EntryCell, head) == 4);
    assert!(std::mem::offset_of!(EntryCell, body) == 32);
    assert!(size_of::<Control>() == (5 + FILLS) * CONTROL_LINE && align_of::<Control>() == CONTROL_LINE);
    assert!(std::mem::offset_of!(Control, rx_head) == 0);
    assert!(std::mem::offset_of!(Control, sleep) == CONTROL_LINE);
    assert!(std::mem::offset_of!(Control, cpu) == 2 * CONTROL_LINE);
    assert!(std::mem::offset_of!(Control, want_space) == 3 * CONTROL_LINE);
    assert!(std::mem::offset_of!(Control, closed) == 4 * CONTROL_LINE);
    assert!(std::mem::offset_of!(Control, fills) == 5 * CONTROL_LINE);
    assert!(size_of::<FillLine>() == CONTROL_LINE && std::mem::offset_of!(FillLine, given_up) == 8);
    assert!(size_of::<FreeWord>() == 64);
};

/// The words that a producer works on: its own ring, and the peer's word that says how far it has read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProducerView<'a> {
    /// Our ring. The length is a power of two.
    pub(crate) entries: &'a [EntryCell],
    /// The PEER's `rx_head`.
    pub(crate) rx_head: &'a AtomicU64,
}

/// The words that a consumer works on: the peer's ring, and our word that says how far we have read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerView<'a> {
    /// The PEER's ring, read-only. The length is a power of two.
    pub(crate) entries: &'a [EntryCell],
    /// OUR `rx_head`.
    pub(crate) rx_head: &'a AtomicU64,
}

/// The words that the owner of slots works on: its own free words, and the peer's return words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlabView<'a> {
    /// OUR free words, [`HANDLE_WORDS`] of them.
    pub(crate) free: &'a [FreeWord],
    /// The PEER's return words, read-only, [`HANDLE_WORDS`] of them.
    pub(crate) ret: &'a [AtomicU64],
}
