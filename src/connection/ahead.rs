//! The slot that will be written next, fetched while there is nothing else to do.
//!
//! The lines of a slot that went round are still in the cache of the peer, who has read them, and to take
//! them back as they are written takes a good part of a call of a few KiB. A side that has sent a message in
//! a slot, and then waits, is likely to send another one of its kind. So it asks for the lines of the slot
//! that it will probably claim, and waits all the same.

use crossbeam_utils::CachePadded;

use crate::connection::link::Link;
use crate::layout::{Handle, prefetch_bytes_for_write};
use crate::sync::{AtomicU64, Ordering};

/// The longest message whose successor is fetched: longer ones take less of their time for the first lines,
/// and would push out what the near caches hold.
const MOST: u64 = 8 << 10;

/// Handle and length of a message that was sent in a slot, the length in the high half; zero if none was
/// since the slot after the last one was fetched. Written by any thread that sends or waits: a hint.
#[derive(Debug, Default)]
pub(super) struct LastSent(CachePadded<AtomicU64>);

impl LastSent {
    /// A message of `len` bytes is about to be sent in this slot.
    #[inline]
    pub(super) fn note(&self, handle: Handle, len: u64) {
        if len <= MOST {
            // Relaxed, here and below: a hint.
            self.0.store(len << 32 | u64::from(handle.get()), Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The slot and the length of the message, once.
    fn take(&self) -> Option<(Handle, usize)> {
        let noted = self.0.load(Ordering::Relaxed);
        self.0.store(0, Ordering::Relaxed);
        let handle = Handle::new(noted as u32).filter(|_| noted != 0)?;
        Some((handle, (noted >> 32) as usize))
    }
}

impl Link {
    /// Fetches the slot of the next message, if it is likely to be one like the last. For whoever is about to
    /// wait; it takes less time than an answer does.
    #[inline(always)]
    pub(crate) fn fetch_next_slot(&self) {
        if self.last_sent.is_there() {
            self.fetch_likely_slot();
        }
    }

    /// Apart: most waits are for the answer to a message that travelled in its entry.
    #[inline(never)]
    fn fetch_likely_slot(&self) {
        if let Some((handle, len)) = self.last_sent.take() {
            prefetch_bytes_for_write(self.own.likely_after(handle), len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_last_is_told_once() {
        let last = LastSent::default();
        assert_eq!(last.take(), None);
        last.note(Handle::at(3, 5), 100);
        last.note(Handle::at(3, 6), MOST);
        assert_eq!(last.take(), Some((Handle::at(3, 6), MOST as usize)));
        assert_eq!(last.take(), None);
        last.note(Handle::at(0, 0), MOST + 1);
        assert_eq!(last.take(), None, "too long");
        last.note(Handle::at(0, 0), 97);
        assert_eq!(last.take(), Some((Handle::at(0, 0), 97)));
    }
}
