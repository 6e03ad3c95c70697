//! Memory for the few bytes that travel in an entry: no slot, and mostly no allocation.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use crate::ring::INLINE_BYTES;

type Room = Box<[u8; INLINE_BYTES]>;

thread_local! {
    /// What the thread used last and nobody holds.
    static SPARE: Cell<Option<Room>> = const { Cell::new(None) };
}

/// As many bytes as an entry holds. Dropped, the memory is its thread's, for the next ones.
///
/// In memory of its own, and not a part of what is handed around: bytes that were just written one by one are
/// slow to move.
pub(super) struct Short(Option<Room>);

impl Short {
    /// Zeros.
    #[inline]
    pub(super) fn zeros() -> Self {
        let Some(mut room) = SPARE.try_with(Cell::take).ok().flatten() else {
            return Self(Some(Box::new([0; INLINE_BYTES])));
        };
        // What was there before may have been for another peer.
        room.fill(0);
        Self(Some(room))
    }
}

impl Deref for Short {
    type Target = [u8; INLINE_BYTES];

    #[inline]
    fn deref(&self) -> &[u8; INLINE_BYTES] {
        self.0.as_ref().expect("taken by drop alone")
    }
}

impl DerefMut for Short {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; INLINE_BYTES] {
        self.0.as_mut().expect("taken by drop alone")
    }
}

impl Drop for Short {
    #[inline]
    fn drop(&mut self) {
        let room = self.0.take();
        // A thread that is at its end keeps nothing.
        let _ = SPARE.try_with(|spare| spare.set(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_round_and_comes_back_as_zeros() {
        let mut first = Short::zeros();
        first.fill(7);
        let (place, mut second) = (first.as_ptr(), Short::zeros());
        assert_ne!(second.as_ptr(), place, "the first is still held");
        second.fill(8);
        drop(second);
        drop(first);
        let again = Short::zeros();
        assert_eq!((again.as_ptr(), *again), (place, [0; INLINE_BYTES]));
    }

    #[test]
    fn a_thread_may_end_with_what_another_one_took() {
        let mut taken = std::thread::spawn(Short::zeros).join().unwrap();
        taken[0] = 1;
        std::thread::spawn(move || drop(taken)).join().unwrap();
    }
}
