//! A message as its decoder reads it: all there, or still being written.
//!
//! A long message that is being written is decoded behind its writer, through a window: a small private
//! buffer that is filled again and again with what its [`Source`] finds. So most of it never lies anywhere
//! between where it travels and the field where it ends. A decoder cannot stop in the middle, though. So if
//! the source gives up, it reads zeros to its end, and what it makes of them is thrown away.

use std::sync::LazyLock;

use bytes::{Buf, Bytes};

use crate::rpc::pool::PooledBuf;
use crate::rpc::private::{Private, SHARE_FROM};

/// Room in the window: small enough for the fastest cache.
const WINDOW: usize = 16 << 10;

/// Where a message comes from.
pub(crate) trait Source {
    /// Waits for the next bytes, and makes `target` longer by at most as many as said. False if it has given
    /// up.
    fn more(&mut self, target: &mut PooledBuf, at_most: usize) -> bool;
}

/// The longest message that is decoded while it comes.
pub(crate) const LONGEST_COMING: usize = 16 << 20;

/// What a decoder reads that has to come to an end. Nobody writes to it, so that it takes no memory.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; LONGEST_COMING]);

/// A private payload, read from front to back.
pub(crate) struct Reading<'s> {
    /// What is there and has not been read: all of the message, or the window.
    there: Private,
    /// Bytes of the message that have not been read.
    left: usize,
    /// What the window is filled from. `None` if there is none.
    source: Option<&'s mut dyn Source>,
    /// The source has given up.
    given_up: bool,
}

impl<'s> Reading<'s> {
    /// A message that is there.
    #[inline]
    pub(crate) fn whole(message: Private) -> Self {
        Self { left: message.remaining(), there: message, source: None, given_up: false }
    }

    /// A message of `len` bytes that `source` has.
    ///
    /// # Panics
    /// If it is longer than [`LONGEST_COMING`].
    pub(crate) fn coming(len: usize, source: &'s mut dyn Source) -> Self {
        assert!(len <= LONGEST_COMING, "too long to be decoded while it comes");
        let there = Private::pooled(PooledBuf::with_room_for(WINDOW));
        let mut reading = Self { there, left: len, source: Some(source), given_up: false };
        reading.move_window();
        reading
    }

    /// Whether all of the message has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.left == 0 && !self.given_up
    }

    /// Has the window show the next bytes, if it has shown all that it had.
    #[inline]
    fn move_window(&mut self) {
        if self.source.is_some() && self.left > 0 && !self.there.has_remaining() {
            self.fill_window();
        }
    }

    #[cold]
    fn fill_window(&mut self) {
        let Self { there, left, source: Some(source), given_up } = self else { return };
        while !*given_up && !there.has_remaining() {
            *given_up = !there.refill(|window| source.more(window, WINDOW.min(*left)));
        }
    }

    /// A field that reaches beyond the window, or is better not copied a second time.
    #[cold]
    fn take_long(&mut self, len: usize) -> Bytes {
        let Self { there, source: Some(source), given_up, .. } = self else {
            unreachable!("what is there is not taken so")
        };
        let mut field = PooledBuf::with_room_for(len);
        let shown = len.min(there.remaining());
        field.extend_from_slice(&there.chunk()[..shown]);
        there.advance(shown);
        while !*given_up && field.as_slice().len() < len {
            let missing = len - field.as_slice().len();
            *given_up = !source.more(&mut field, missing);
        }
        if *given_up {
            return Bytes::from_static(&ZEROS[..len]);
        }
        if len < SHARE_FROM { Bytes::copy_from_slice(field.as_slice()) } else { Bytes::from_owner(field) }
    }
}

impl Buf for Reading<'_> {
    #[inline]
    fn remaining(&self) -> usize {
        self.left
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        if self.given_up {
            return &ZEROS[..self.left];
        }
        self.there.chunk()
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        assert!(count <= self.left, "advanced past the end of a payload");
        let end = self.left - count;
        while self.left > end {
            if self.given_up {
                self.left = end;
                return;
            }
            let shown = self.there.remaining().min(self.left - end);
            self.there.advance(shown);
            self.left -= shown;
            self.move_window();
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.left, "read past the end of a payload");
        let bytes = match self.source {
            Some(_) if len >= SHARE_FROM || len > self.there.remaining() => self.take_long(len),
            _ => self.there.copy_to_bytes(len),
        };
        self.left -= len;
        self.move_window();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use bytes::BufMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Has the numbers from 0 on, modulo 256, in pieces of a length, and gives up after so many.
    struct Pieces {
        next: usize,
        len: usize,
        until: usize,
    }

    impl Source for Pieces {
        fn more(&mut self, target: &mut PooledBuf, at_most: usize) -> bool {
            let end = self.until.min(self.next + self.len.min(at_most));
            target.extend_from_slice(&numbers(self.next..end));
            end > std::mem::replace(&mut self.next, end)
        }
    }

    fn numbers(range: Range<usize>) -> Vec<u8> {
        range.map(|number| number as u8).collect()
    }

    const LEN: usize = 3 * WINDOW;

    /// Reads a short field, words and bytes across the ends of pieces, a long field, and the rest.
    fn read(reading: &mut Reading<'_>) -> Vec<u8> {
        let mut all = reading.copy_to_bytes(100).to_vec();
        for _ in 0..50 {
            all.extend(reading.get_u64_le().to_le_bytes());
        }
        let mut some = vec![0; 1000];
        reading.copy_to_slice(&mut some);
        all.extend(some);
        all.extend(reading.copy_to_bytes(5000));
        // As a field is skipped that is not known.
        reading.advance(WINDOW + 100);
        all.extend(numbers(all.len()..all.len() + WINDOW + 100));
        while reading.has_remaining() {
            let chunk = reading.chunk().len();
            assert!(chunk > 0, "a decoder would wait for ever");
            all.extend(reading.copy_to_bytes(chunk.min(7)));
            all.extend(reading.copy_to_bytes(reading.remaining().min(9)));
        }
        all
    }

    #[test]
    fn what_comes_in_pieces_is_read_as_if_it_were_there() {
        for len in [1, 3, 99, 101, 1024, 4097, WINDOW, LEN, 2 * LEN] {
            let mut source = Pieces { next: 0, len, until: LEN };
            let mut reading = Reading::coming(LEN, &mut source);
            assert_eq!(read(&mut reading), numbers(0..LEN), "pieces of {len}");
            assert!(reading.is_at_end());
        }
    }

    #[test]
    fn what_does_not_come_is_zeros() {
        for until in [0, 1, 50, 100, 101, 777, 1499, 1500, 6000, 6500, WINDOW, LEN - 1] {
            let mut source = Pieces { next: 0, len: 64, until };
            let mut reading = Reading::coming(LEN, &mut source);
            let came = read(&mut reading);
            assert_eq!((came.len(), came[LEN - 1]), (LEN, 0));
            assert!(!reading.is_at_end(), "only {until} bytes came");
        }
    }

    /// Reads as a decoder might, by numbers that say how and how much.
    fn read_by(reading: &mut Reading<'_>, steps: &[(u8, usize)]) -> Vec<u8> {
        let (mut all, mut steps) = (Vec::new(), steps.iter().cycle());
        while reading.has_remaining() {
            let &(how, len) = steps.next().expect("there are some, again and again");
            let len = len.min(reading.remaining());
            match how % 4 {
                0 => all.extend(reading.copy_to_bytes(len)),
                1 => {
                    let mut bytes = vec![0; len];
                    reading.copy_to_slice(&mut bytes);
                    all.extend(bytes);
                }
                2 => all.put(reading.take(len)),
                _ => all.push(reading.get_u8()),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn whatever_a_decoder_does_it_reads_what_came(
            len in 1..LEN,
            piece in 1..2 * WINDOW,
            missing in prop_oneof![Just(0), 1..LEN],
            steps in vec((any::<u8>(), prop_oneof![1..20_usize, 1..3000_usize, 1..LEN]), 1..20),
        ) {
            let until = len.saturating_sub(missing);
            let mut source = Pieces { next: 0, len: piece, until };
            let mut reading = Reading::coming(len, &mut source);
            let all = read_by(&mut reading, &steps);
            prop_assert_eq!(all.len(), len);
            prop_assert_eq!(reading.is_at_end(), until == len);
            let right = all.iter().zip(numbers(0..len)).take_while(|(read, came)| *read == came).count();
            // Of a field whose end did not come nothing may be there, and all after it is zeros.
            prop_assert!(right == len || all[right..].iter().all(|&byte| byte == 0));
            prop_assert!(until < len || right == len);
        }
    }

    #[test]
    fn a_decoder_that_stops_early_has_not_read_everything() {
        let mut source = Pieces { next: 0, len: LEN, until: LEN };
        let mut reading = Reading::coming(LEN, &mut source);
        reading.advance(100);
        assert!(!reading.is_at_end());
    }

    #[test]
    fn no_more_is_asked_for_than_the_message_has() {
        let mut source = Pieces { next: 0, len: LEN, until: LEN };
        let mut reading = Reading::coming(10, &mut source);
        assert_eq!(reading.chunk(), numbers(0..10));
        reading.advance(10);
        assert_eq!(source.next, 10);
    }

    #[test]
    fn a_message_that_is_there_shares_its_memory() {
        let copy = |len| {
            let mut buffer = PooledBuf::with_room_for(len);
            buffer.extend_from_slice(&numbers(0..len));
            Private::pooled(buffer)
        };
        let mut reading = Reading::whole(copy(LEN));
        let (first, second) = (reading.copy_to_bytes(1024), reading.copy_to_bytes(2048));
        assert_eq!(second.as_ptr().addr(), first.as_ptr().addr() + 1024);
        assert_eq!(read(&mut Reading::whole(copy(LEN))), numbers(0..LEN));
    }

    #[test]
    #[should_panic(expected = "past the end")]
    fn reading_past_the_end_panics() {
        Reading::whole(Private::copied(b"abc")).advance(4);
    }
}
