//! A loan: writable memory that a message will travel in.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::connection::{Link, Slot};
use crate::raw::short::Short;
use crate::ring::INLINE_BYTES;
use crate::rpc::Status;

/// Bytes to be filled and then sent without another copy; unless they are so few, 96 at most, that they
/// travel in their ring entry. Those take nothing of the connection's memory.
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
    /// They need no slot.
    Short(Short),
}

impl Loan {
    pub(crate) fn of_slot(slot: Slot<Arc<Link>>, len: usize) -> Self {
        Self { memory: Memory::Slot(slot), len }
    }

    pub(crate) fn private(len: usize) -> Self {
        Self { memory: Memory::Private(vec![0; len].into()), len }
    }

    /// One for a message that travels in its entry, if it is so short.
    #[inline]
    pub(crate) fn short(len: usize) -> Option<Self> {
        (len <= INLINE_BYTES).then(|| Self { memory: Memory::Short(Short::zeros()), len })
    }

    /// The bytes, if they are so few that they never had a slot.
    #[inline]
    pub(super) fn as_short(&self) -> Option<&[u8]> {
        match &self.memory {
            Memory::Short(short) => Some(&short[..self.len]),
            Memory::Slot(_) | Memory::Private(_) => None,
        }
    }

    /// Shortens it: only the first `len` bytes will be sent. Does nothing if it is not longer than that.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Whether it is ordinary memory, of no connection.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.memory, Memory::Private(_) | Memory::Short(_))
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
            Memory::Short(short) => Ok(Parts::Private(short[..self.len].to_vec())),
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
            Memory::Short(short) => &short[..self.len],
        }
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Slot(slot) => slot.bytes_mut(self.len),
            Memory::Private(bytes) => &mut bytes[..self.len],
            Memory::Short(short) => &mut short[..self.len],
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("len", &self.len).finish_non_exhaustive()
    }
}
