//! A loan: writable memory that a message will travel in.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::connection::{Link, Slot};
use crate::rpc::Status;

/// Bytes to be filled and then sent without another copy.
///
/// It reads and writes as a slice of bytes. What is in it at first is unspecified: zeros, or what an earlier
/// message left there, which the same peer has seen before. Dropping it unsent gives the memory back.
///
/// A loan must not be used in a process that was forked from the one that took it.
pub struct Loan {
    memory: Memory,
    len: usize,
}

enum Memory {
    /// A slot of our region.
    Slot(Slot<Arc<Link>>),
    /// No slot was free, and the caller cannot wait: the bytes are copied once there is one.
    Private(Box<[u8]>),
}

impl Loan {
    pub(crate) fn of_slot(slot: Slot<Arc<Link>>, len: usize) -> Self {
        Self { memory: Memory::Slot(slot), len }
    }

    pub(crate) fn private(len: usize) -> Self {
        Self { memory: Memory::Private(vec![0; len].into()), len }
    }

    /// Shortens it: only the first `len` bytes will be sent. Does nothing if it is not longer than that.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Whether it is ordinary memory, of no connection.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.memory, Memory::Private(_))
    }

    /// The slot, or the bytes that have none; fails for a loan of another connection.
    pub(super) fn into_parts(self, link: &Link) -> Result<Parts, Status> {
        match self.memory {
            Memory::Slot(slot) if slot.is_of(link) => Ok(Parts::Slot(slot, self.len)),
            Memory::Slot(_) => Err(another_connection()),
            Memory::Private(bytes) => {
                let mut bytes = bytes.into_vec();
                bytes.truncate(self.len);
                Ok(Parts::Private(bytes))
            }
        }
    }
}

/// Why a loan cannot be sent.
#[cold]
pub(super) fn another_connection() -> Status {
    Status::invalid_argument("the loan was taken on another connection; take it where it is to be sent")
}

/// What a loan is made of.
pub(super) enum Parts {
    Slot(Slot<Arc<Link>>, usize),
    Private(Vec<u8>),
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Slot(slot) => slot.bytes(self.len),
            Memory::Private(bytes) => &bytes[..self.len],
        }
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Slot(slot) => slot.bytes_mut(self.len),
            Memory::Private(bytes) => &mut bytes[..self.len],
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("len", &self.len).finish_non_exhaustive()
    }
}
