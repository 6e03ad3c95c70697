//! Receive buffers that come back when nobody holds their bytes any more: a value may be kept for long, and
//! new memory of megabytes costs more than to fill it.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Most buffers of one size that wait for their next use.
const KEPT: usize = 4;

/// Buffers that are free, by the power of two that is their size.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<[Shelf; 32]>);

/// Free buffers of one size.
type Shelf = Mutex<Vec<Box<[u8]>>>;

impl Buffers {
    /// A buffer of `len` bytes, at most 2 GiB, with anything in them.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let size = len.next_power_of_two();
        let shelf = size.trailing_zeros() as usize;
        let free = self.0[shelf].lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = free.unwrap_or_else(|| vec![0; size].into());
        Buffer { bytes, len, shelf, home: self.clone() }
    }
}

/// A buffer in use.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    shelf: usize,
    home: Buffers,
}

impl Buffer {
    /// The bytes for sharing; the buffer comes home after the last of them.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut shelf = self.home.0[self.shelf].lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.len() < KEPT {
            shelf.push(mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_after_its_last_byte_is_let_go() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(1000);
        buffer.as_mut().fill(7);
        let address = buffer.as_ref().as_ptr();
        let whole = buffer.freeze();
        let part = whole.slice(10..20);
        drop(whole);
        assert_ne!(buffers.take(1000).as_ref().as_ptr(), address);
        assert_eq!(part, vec![7; 10]);
        drop(part);
        // Any length that needs the same power of two.
        let again = buffers.take(513);
        assert_eq!((again.as_ref().as_ptr(), again.as_ref().len()), (address, 513));
    }

    #[test]
    fn sizes_from_nothing_on_fit() {
        let buffers = Buffers::default();
        for len in [0, 1, 2, 3, 4096, 4097] {
            assert_eq!(buffers.take(len).as_mut().len(), len);
        }
    }

    #[test]
    fn only_so_many_buffers_wait() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..KEPT + 3).map(|_| buffers.take(64)).collect();
        drop(taken);
        assert_eq!(buffers.0[6].lock().unwrap().len(), KEPT);
    }
}
