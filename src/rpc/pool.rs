//! Recycled private memory for received payloads.
//!
//! A fresh megabyte costs a page fault per 4 KiB, several times what copying into it costs; a recycled one
//! costs nothing. Buffers come in sizes of powers of four and go back to a lock-free queue of their size
//! when the last `Bytes` that shares them is dropped, wherever that happens. The pool belongs to the
//! process and keeps at most 70 MiB; larger buffers, or those returned to a full queue, are freed.
//!
//! A buffer begins on the boundary of a cache line. A large heap block otherwise begins 16 bytes into a page,
//! and a slot at the start of one: for the processor's string instruction the worst of all distances (see
//! `layout/copy.rs`).

use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use crossbeam_queue::ArrayQueue;

use crate::layout::CACHE_LINE;

/// Size of a class in bytes, and how many free buffers of it are kept.
///
/// A sixteenth above the power of four: a value of a round size, with its message around it, still fits.
const CLASSES: [(usize, usize); 7] = [
    (padded(4 << 10), 64),
    (padded(16 << 10), 48),
    (padded(64 << 10), 32),
    (padded(256 << 10), 24),
    (padded(1 << 20), 8),
    (padded(4 << 20), 4),
    (padded(16 << 20), 2),
];

const fn padded(size: usize) -> usize {
    size + size / 16
}

/// Bytes that the pool keeps at most: what the module's text promises. And a buffer is found again by its
/// size, which is that of whole lines.
const _: () = {
    let (mut total, mut i) = (0, 0);
    while i < CLASSES.len() {
        assert!(CLASSES[i].0.is_multiple_of(CACHE_LINE));
        total += CLASSES[i].0 * CLASSES[i].1;
        i += 1;
    }
    assert!(total <= 70 << 20);
};

#[repr(C, align(64))]
struct Line([MaybeUninit<u8>; CACHE_LINE]);

type Block = Box<[Line]>;

static POOL: LazyLock<[ArrayQueue<Block>; CLASSES.len()]> =
    LazyLock::new(|| CLASSES.map(|(_, count)| ArrayQueue::new(count)));

/// A private buffer that is filled from its start; goes back to the pool on drop.
pub(crate) struct PooledBuf {
    /// Empty only during drop.
    block: Block,
    len: usize,
}

impl PooledBuf {
    /// An empty buffer that `room` bytes fit into.
    pub(crate) fn with_room_for(room: usize) -> Self {
        Self { block: take_block(room), len: 0 }
    }

    /// One that nothing fits into.
    pub(crate) fn without_room() -> Self {
        Self { block: Block::default(), len: 0 }
    }

    /// Makes it longer by `count` bytes that `fill` initialises.
    ///
    /// # Panics
    /// If there is no room for them.
    ///
    /// # Safety
    /// `fill` is given a pointer to `count` writable bytes and must have initialised all of them on return.
    pub(crate) unsafe fn extend_by(&mut self, count: usize, fill: impl FnOnce(*mut u8)) {
        fill(self.spare()[..count].as_mut_ptr().cast());
        self.len += count;
    }

    /// Makes it longer by what `fill` returns: the beginning, initialised, of the `count` bytes that it is
    /// given.
    ///
    /// # Panics
    /// If there is no room for `count` bytes, or `fill` returns others than it was given.
    pub(crate) fn extend_with<E>(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<&mut [u8], E>,
    ) -> Result<(), E> {
        let room = &mut self.spare()[..count];
        let start = room.as_ptr().cast();
        let filled = fill(room)?;
        assert!(filled.as_ptr() == start && filled.len() <= count, "other bytes were filled");
        self.len += filled.len();
        Ok(())
    }

    /// The room behind the bytes that it has.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        let (start, bytes) = (self.block.as_mut_ptr().cast(), self.block.len() * CACHE_LINE);
        // SAFETY: a line is as many bytes, of any content, and nothing between it and the next; the slice
        // borrows the block.
        let all: &mut [MaybeUninit<u8>] = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
        &mut all[self.len..]
    }

    /// Makes it longer by a copy of `bytes`.
    ///
    /// # Panics
    /// If there is no room for them.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        let copied = self.extend_with(bytes.len(), |room| Ok(room.write_copy_of_slice(bytes)));
        copied.unwrap_or_else(|never: Infallible| match never {});
    }

    /// Forgets what it has.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were initialised by `extend_by`, whose contract demands it, or by the
        // safe code of `extend_with`.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast(), self.len) }
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.block);
        if let Some(class) = CLASSES.iter().position(|&(size, _)| size == block.len() * CACHE_LINE) {
            // A full queue hands the block back, and it is freed.
            let _ = POOL[class].push(block);
        }
    }
}

fn take_block(len: usize) -> Block {
    match CLASSES.iter().position(|&(size, _)| size >= len) {
        Some(class) => POOL[class].pop().unwrap_or_else(|| new_block(CLASSES[class].0)),
        None => new_block(len),
    }
}

fn new_block(len: usize) -> Block {
    let block = Box::new_uninit_slice(len.div_ceil(CACHE_LINE));
    // SAFETY: a line is bytes that may be uninitialised.
    unsafe { block.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(len: usize, byte: u8) -> PooledBuf {
        let mut buffer = PooledBuf::with_room_for(len);
        for part in [len / 3, len - len / 3] {
            // SAFETY: `write_bytes` initialises all bytes of the part.
            unsafe { buffer.extend_by(part, |dst| dst.write_bytes(byte, part)) };
        }
        buffer
    }

    #[test]
    fn a_buffer_holds_what_was_filled_in() {
        for len in [0, 1, 4096, 4097, 20 << 20] {
            let buf = buffer(len, 7);
            assert_eq!(buf.as_slice().len(), len);
            assert!(buf.as_slice().iter().all(|&b| b == 7));
        }
    }

    #[test]
    fn it_begins_with_a_cache_line() {
        for len in [0, 1, 63, 64, 65, 4096, 20 << 20] {
            let mut buffer = PooledBuf::with_room_for(len);
            assert!(buffer.spare().len() >= len);
            assert!(buffer.spare().as_ptr().addr().is_multiple_of(CACHE_LINE), "{len} bytes");
        }
    }

    #[test]
    fn it_takes_slices_and_begins_anew() {
        let mut buffer = PooledBuf::with_room_for(10);
        buffer.extend_from_slice(b"hello ");
        buffer.extend_from_slice(b"you");
        assert_eq!(buffer.as_slice(), b"hello you");
        let room = buffer.spare().len();
        buffer.clear();
        assert_eq!(buffer.spare().len(), room + 9);
        assert!(buffer.as_slice().is_empty());
    }

    #[test]
    fn a_dropped_buffer_is_handed_out_again() {
        // Tests run side by side: hold enough buffers of the class that one of ours must come back.
        let held: Vec<_> = (0..8).map(|_| buffer(3 << 20, 1)).collect();
        let addresses: Vec<_> = held.iter().map(|b| b.as_slice().as_ptr()).collect();
        drop(held);
        let again: Vec<_> = (0..4).map(|_| buffer(3 << 20, 2)).collect();
        assert!(again.iter().any(|b| addresses.contains(&b.as_slice().as_ptr())));
    }
}
