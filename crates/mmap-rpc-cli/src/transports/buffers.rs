//! Messages that are filled in the same memory again and again, so that no row measures how the system
//! hands out fresh pages.

use std::mem;

use bytes::{Bytes, BytesMut};

/// The memory of one message. It is used again once nobody else holds its bytes, without any allocation.
#[derive(Debug, Default)]
pub struct Buffer(Bytes);

impl Buffer {
    /// The memory for `len` bytes, with anything in them; give it back by [`share`](Self::share).
    pub fn take(&mut self, len: usize) -> BytesMut {
        match mem::take(&mut self.0).try_into_mut() {
            Ok(memory) if memory.len() == len => memory,
            _ => fresh(len),
        }
    }

    /// Freezes the memory that was taken; clones share it.
    pub fn share(&mut self, memory: BytesMut) -> Bytes {
        self.0 = memory.freeze();
        self.0.clone()
    }

    /// A message of `len` bytes that `fill` writes.
    pub fn filled(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
        let mut memory = self.take(len);
        fill(&mut memory);
        self.share(memory)
    }
}

fn fresh(len: usize) -> BytesMut {
    let mut memory = BytesMut::zeroed(len + 1);
    // A part was split off: from now on the memory is counted, and freezing or sharing it allocates nothing.
    drop(memory.split_off(len));
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_holds_is_used_again() {
        let mut buffer = Buffer::default();
        let first = buffer.filled(1000, |bytes| bytes.fill(1));
        let address = first.as_ptr();
        drop(first);
        let second = buffer.filled(1000, |bytes| bytes.fill(2));
        assert_eq!(second.as_ptr(), address);
        let third = buffer.filled(1000, |bytes| bytes.fill(3));
        assert_ne!(third.as_ptr(), address, "the second is still held");
        assert_eq!(second, vec![2; 1000]);
        assert_eq!(buffer.filled(3, |bytes| bytes.fill(4)), vec![4; 3]);
    }
}
