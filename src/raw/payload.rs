//! A received payload: bytes that lie in the peer's region until somebody copies them, or is done with them.

use std::fmt;

use bytes::Bytes;

use crate::connection::Received;

/// The bytes of a raw request or reply.
///
/// They still lie in memory that the peer can write, so no safe method lends them as a slice: each of the
/// copying ones reads every byte exactly once. Dropping the payload returns its slot to the peer, so a
/// payload that is kept for long takes from what the peer can send.
///
/// A payload must not be used in a process that was forked from the one that received it.
pub struct Payload(Received);

impl Payload {
    pub(crate) fn new(received: Received) -> Self {
        Self(received)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `target.len()` bytes, from byte `start` of the payload on, into `target`.
    ///
    /// # Panics
    /// If the payload ends before.
    pub fn copy_to_slice(&self, start: usize, target: &mut [u8]) {
        self.0.copy_range(start, target);
    }

    /// Copies everything into a vector.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// Copies everything into recycled private memory and returns the slot. Clones and slices of the result
    /// share that memory.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// The bytes where they lie, without a copy.
    ///
    /// # Safety
    /// The peer must not write to them while the borrow lives. Nothing enforces that: its process has them
    /// mapped writable. Whoever calls this trusts the peer's code as it trusts its own; a peer that breaks
    /// the promise makes the behaviour undefined.
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the caller's promise is that of the callee.
        unsafe { self.0.as_trusted_slice() }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("len", &self.len()).finish_non_exhaustive()
    }
}
