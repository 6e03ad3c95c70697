//! Encoding where a message travels: into a slot by our own copy, in pieces where somebody waits for them.

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut};
use prost::Message;

use crate::layout::copy_to_slot;
use crate::rpc::Status;

/// Encodes a message into `bytes`, which are as many as `encoded_len` promised.
///
/// # Errors
/// `Internal` if it is not as long.
#[inline]
pub(super) fn encode<M: Message>(message: &M, bytes: &mut [u8]) -> Result<(), Status> {
    encode_in_pieces(message, bytes, usize::MAX, |_| ())
}

/// Encodes a message, and says after each `piece` bytes or a little more how many there are; not after the
/// last.
///
/// # Errors
/// As for [`encode`].
#[inline]
pub(super) fn encode_in_pieces<M: Message>(
    message: &M,
    bytes: &mut [u8],
    piece: usize,
    on_piece: impl FnMut(usize),
) -> Result<(), Status> {
    let due = piece.min(bytes.len());
    let mut writer = Writer { bytes, written: 0, due, piece, on_piece };
    match message.encode(&mut writer) {
        Ok(()) if writer.remaining_mut() == 0 => Ok(()),
        _ => Err(Status::wrong_length()),
    }
}

/// Encodes a message that travels in its entry, whose bytes need no copying of ours.
///
/// # Errors
/// As for [`encode`].
#[inline]
pub(super) fn encode_short<M: Message>(message: &M, mut bytes: &mut [u8]) -> Result<(), Status> {
    match message.encode(&mut bytes) {
        Ok(()) if bytes.is_empty() => Ok(()),
        _ => Err(Status::wrong_length()),
    }
}

struct Writer<'a, F> {
    bytes: &'a mut [u8],
    written: usize,
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
    fn put<T: Buf>(&mut self, mut source: T) {
        while source.has_remaining() {
            let count = source.chunk().len();
            self.put_slice(source.chunk());
            source.advance(count);
        }
    }

    #[inline]
    fn put_slice(&mut self, mut source: &[u8]) {
        assert!(source.len() <= self.remaining_mut(), "written past the end of a slot");
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
    use bytes::Bytes;

    /// Encodes a `BytesValue`, and returns its bytes and what was said on the way.
    fn pieces(len: usize, piece: usize) -> (Vec<u8>, Vec<usize>) {
        let message = Bytes::from((0..len).map(|i| i as u8).collect::<Vec<_>>());
        let (mut bytes, mut said) = (vec![0; message.encoded_len()], Vec::new());
        encode_in_pieces(&message, &mut bytes, piece, |written| said.push(written)).unwrap();
        assert_eq!(bytes, message.encode_to_vec());
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

    #[test]
    fn a_message_of_another_length_is_an_error() {
        let message = Bytes::from_static(b"abc");
        for len in [0, 4, 6, 100] {
            let failure = encode(&message, &mut vec![0; len]).unwrap_err();
            assert!(failure.message().contains("encoded_len"), "{failure}");
        }
        encode(&message, &mut [0; 5]).unwrap();
        assert!(encode_short(&message, &mut [0; 6]).is_err() && encode_short(&message, &mut [0; 4]).is_err());
        encode_short(&message, &mut [0; 5]).unwrap();
    }
}
