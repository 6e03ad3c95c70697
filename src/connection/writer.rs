//! Encoding where a message travels: into a slot by our own copy, in pieces where somebody waits for them.

use std::mem;

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut};

use crate::layout::copy_to_slot;
use crate::rpc::{Encode, Excess, Status, encoded, put_repeated, put_slices};

/// Encodes a message into `bytes`, which are as many as `encoded_len` promised.
///
/// # Errors
/// `Internal` if it is not as long.
#[inline]
pub(super) fn encode<M: Encode>(message: &M, bytes: &mut [u8]) -> Result<(), Status> {
    encode_in_pieces(message, bytes, usize::MAX, |_| ())
}

/// Encodes a message, and says after each `piece` bytes or a little more how many there are; not after the
/// last.
///
/// # Errors
/// As for [`encode`].
#[inline]
pub(super) fn encode_in_pieces<M: Encode>(
    message: &M,
    bytes: &mut [u8],
    piece: usize,
    on_piece: impl FnMut(usize),
) -> Result<(), Status> {
    let (len, due) = (bytes.len(), piece.min(bytes.len()));
    let mut writer = Writer { bytes, written: 0, excess: Excess::default(), due, piece, on_piece };
    let outcome = message.encode(&mut writer);
    encoded(outcome, len, writer.excess.beside(writer.written))
}

/// Encodes a message that travels in its entry, whose bytes need no copying of ours.
///
/// # Errors
/// As for [`encode`].
#[inline]
pub(super) fn encode_short<M: Encode>(message: &M, bytes: &mut [u8]) -> Result<(), Status> {
    let len = bytes.len();
    let mut room = Room { rest: bytes, excess: Excess::default() };
    let outcome = message.encode(&mut room);
    encoded(outcome, len, room.excess.beside(len - room.rest.len()))
}

/// Short memory, from front to back. What a slice as such does as well, except that it panics where there is
/// no room.
struct Room<'a> {
    rest: &'a mut [u8],
    excess: Excess,
}

// SAFETY: `chunk_mut` is the rest of the memory, and `advance_mut` leaves what is advanced past.
unsafe impl BufMut for Room<'_> {
    #[inline]
    fn remaining_mut(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.rest.len(), "advanced past the end of an entry");
        self.rest = &mut mem::take(&mut self.rest)[count..];
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        UninitSlice::new(self.rest)
    }

    #[inline]
    fn put<T: Buf>(&mut self, source: T) {
        put_slices(self, source);
    }

    #[inline]
    fn put_bytes(&mut self, byte: u8, count: usize) {
        if count > self.remaining_mut() {
            return self.excess.drop(count);
        }
        put_repeated(self, byte, count);
    }

    #[inline]
    fn put_slice(&mut self, source: &[u8]) {
        if source.len() > self.rest.len() {
            return self.excess.drop(source.len());
        }
        let (now, rest) = mem::take(&mut self.rest).split_at_mut(source.len());
        now.copy_from_slice(source);
        self.rest = rest;
    }
}

struct Writer<'a, F> {
    bytes: &'a mut [u8],
    written: usize,
    excess: Excess,
    /// Where the piece ends.
    due: usize,
    piece: usize,
    on_piece: F,
}

impl<F: FnMut(usize)> Writer<'_, F> {
    #[inline]
    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.due && self.written < self.bytes.len() {
            (self.on_piece)(self.written);
            self.due = self.written.saturating_add(self.piece).min(self.bytes.len());
        }
    }

    /// What is left of the piece.
    #[inline]
    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.written..self.due]
    }
}

// SAFETY: `chunk_mut` is `bytes` from `written` on, and `written` never passes their end.
unsafe impl<F: FnMut(usize)> BufMut for Writer<'_, F> {
    #[inline]
    fn remaining_mut(&self) -> usize {
        self.bytes.len() - self.written
    }

    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.remaining_mut(), "advanced past the end of a slot");
        self.advance(count);
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        UninitSlice::new(self.room())
    }

    #[inline]
    fn put<T: Buf>(&mut self, source: T) {
        put_slices(self, source);
    }

    fn put_bytes(&mut self, byte: u8, count: usize) {
        if count > self.remaining_mut() {
            return self.excess.drop(count);
        }
        put_repeated(self, byte, count);
    }

    #[inline]
    fn put_slice(&mut self, mut source: &[u8]) {
        if source.len() > self.remaining_mut() {
            return self.excess.drop(source.len());
        }
        while !source.is_empty() {
            let room = self.room();
            let (now, rest) = source.split_at(source.len().min(room.len()));
            copy_to_slot(now, &mut room[..now.len()]);
            self.advance(now.len());
            source = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::CodecError;
    use bytes::Bytes;

    /// Encodes a `BytesValue`, and returns its bytes and what was said on the way.
    fn pieces(len: usize, piece: usize) -> (Vec<u8>, Vec<usize>) {
        let message = Bytes::from((0..len).map(|i| i as u8).collect::<Vec<_>>());
        let (mut bytes, mut said) = (vec![0; message.encoded_len()], Vec::new());
        encode_in_pieces(&message, &mut bytes, piece, |written| said.push(written)).unwrap();
        assert_eq!(bytes, prost::Message::encode_to_vec(&message));
        (bytes, said)
    }

    #[test]
    fn each_piece_is_told_but_the_last() {
        // A tag, a length of two bytes, and 997 bytes: 1000.
        assert_eq!(pieces(997, 300).1, [300, 600, 900]);
        assert_eq!(pieces(997, 500).1, [500]);
        assert!(pieces(997, 1000).1.is_empty());
        assert!(pieces(997, usize::MAX).1.is_empty());
        assert!(pieces(0, 10).0.is_empty());
        assert_eq!(pieces(997, 1).1, (1..1000).collect::<Vec<_>>());
    }

    /// Bytes that are written by each of the ways that there are.
    struct Mixed(usize);

    impl Encode for Mixed {
        fn encoded_len(&self) -> usize {
            self.0 * 3 + 13
        }

        fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
            to.put_slice(&vec![1; self.0]);
            to.put_u8(2);
            to.put(Bytes::from(vec![3; self.0]).chain(&b"four"[..]));
            to.put_u64_le(5);
            to.put_bytes(6, self.0);
            Ok(())
        }
    }

    impl Mixed {
        fn encoded(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            Encode::encode(self, &mut bytes).unwrap();
            bytes
        }
    }

    #[test]
    fn all_ways_to_write_are_one() {
        for len in [0, 1, 64, 65, 500] {
            let (message, mut bytes) = (Mixed(len), vec![0; len * 3 + 13]);
            encode_short(&message, &mut bytes).unwrap();
            assert_eq!(bytes, message.encoded());
            for piece in [1, 100, usize::MAX] {
                bytes.fill(0);
                encode_in_pieces(&message, &mut bytes, piece, |_| ()).unwrap();
                assert_eq!(bytes, message.encoded(), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_message_of_another_length_is_an_error_that_names_both() {
        let all = [Mixed(10), Mixed(100)].map(|message| message.encoded_len());
        for (message, all) in [Mixed(10), Mixed(100)].iter().zip(all) {
            for len in (0..all + 20).filter(|&len| len != all) {
                let says = format!("encoded_len() says {len} bytes, and it encodes to {all}");
                for write in [encode, encode_short] {
                    let failure = write(message, &mut vec![0; len]).unwrap_err();
                    assert!(failure.message().contains(&says), "{failure}");
                }
            }
        }
    }
}
