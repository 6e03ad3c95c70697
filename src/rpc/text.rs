//! Text fields as they are decoded: each piece is checked while it is in the fastest cache.
//!
//! prost copies a `string` field, all of it, and then looks through the copy whether it is UTF-8. What is
//! longer than the second cache has left it by then, so that this look takes as long as a copy. Generated
//! messages name [`merge`] where derived ones name prost's function; everything else of theirs is prost's own
//! (see `__private` in `lib.rs`).

use prost::DecodeError;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, check_wire_type, decode_varint, string};
use simdutf8::compat::from_utf8;

/// Bytes that are checked and copied at a time.
const PIECE: usize = 16 << 10;

/// Decodes a `string` field, in place of what `value` was.
///
/// # Errors
/// As prost's function, and the same ones: if the field is not of that wire type, longer than `buf`, or not
/// UTF-8. Then `value` is empty.
pub fn merge(
    wire_type: WireType,
    value: &mut String,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    value.clear();
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let len = decode_varint(buf)?;
    if len > buf.remaining() as u64 {
        return Err(refuse(&[1], ctx));
    }
    let mut left = len as usize;
    value.reserve(left);
    while left > 0 {
        let Some(taken) = take_piece(value, buf, left) else {
            value.clear();
            return Err(refuse(&[1, 0xff], ctx));
        };
        left -= taken;
    }
    Ok(())
}

/// Decodes one more of a field's values.
///
/// # Errors
/// As [`merge`].
pub fn merge_repeated(
    wire_type: WireType,
    values: &mut Vec<String>,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    let mut value = String::new();
    merge(wire_type, &mut value, buf, ctx)?;
    values.push(value);
    Ok(())
}

/// Takes some of the field's `left` bytes to the end of `value`, and says how many. `None` if they are not
/// text.
#[inline]
fn take_piece(value: &mut String, buf: &mut impl Buf, left: usize) -> Option<usize> {
    let chunk = buf.chunk();
    let piece = &chunk[..chunk.len().min(left).min(PIECE)];
    let text = match from_utf8(piece) {
        Ok(text) => text,
        Err(error) if error.error_len().is_some() => return None,
        // Its last character goes on in the next piece.
        Err(error) => from_utf8(&piece[..error.valid_up_to()]).ok()?,
    };
    let taken = text.len();
    if taken == 0 {
        return take_character(value, buf, left);
    }
    value.push_str(text);
    buf.advance(taken);
    Some(taken)
}

/// Takes one character, wherever its bytes are.
#[cold]
fn take_character(value: &mut String, buf: &mut impl Buf, left: usize) -> Option<usize> {
    let mut bytes = [0; 4];
    for len in 1..=left.min(bytes.len()) {
        bytes[len - 1] = buf.get_u8();
        match from_utf8(&bytes[..len]) {
            Ok(character) => {
                value.push_str(character);
                return Some(len);
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return None,
        }
    }
    None
}

/// prost's own error, which nobody else can make: that for a field which consists of these bytes.
#[cold]
fn refuse(field: &[u8], ctx: DecodeContext) -> DecodeError {
    let refused = string::merge(WireType::LengthDelimited, &mut String::new(), &mut &field[..], ctx);
    refused.expect_err("a field that is no text")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::encoding::encode_varint;

    use super::*;

    /// Bytes that are seen in pieces of the lengths given, again and again.
    struct Pieces<'a> {
        rest: &'a [u8],
        /// Bytes of `rest` that are seen.
        seen: usize,
        lengths: std::iter::Cycle<std::slice::Iter<'a, usize>>,
        /// The most that was ever taken at once.
        longest: usize,
    }

    impl<'a> Pieces<'a> {
        fn new(all: &'a [u8], lengths: &'a [usize]) -> Self {
            let mut pieces = Self { rest: all, seen: 0, lengths: lengths.iter().cycle(), longest: 0 };
            pieces.advance(0);
            pieces
        }
    }

    impl Buf for Pieces<'_> {
        fn remaining(&self) -> usize {
            self.rest.len()
        }

        fn chunk(&self) -> &[u8] {
            &self.rest[..self.seen]
        }

        fn advance(&mut self, count: usize) {
            self.longest = self.longest.max(count);
            self.rest = &self.rest[count..];
            self.seen = self.seen.saturating_sub(count);
            if self.seen == 0 {
                self.seen = self.lengths.next().map_or(usize::MAX, |&len| len).min(self.rest.len());
            }
        }
    }

    /// A field of these bytes, without its key.
    fn field(bytes: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        encode_varint(bytes.len() as u64, &mut field);
        field.extend(bytes);
        field
    }

    fn decode(field: &[u8], lengths: &[usize]) -> (String, Result<usize, DecodeError>) {
        let (mut value, mut buf) = ("before".to_owned(), Pieces::new(field, lengths));
        let result = merge(WireType::LengthDelimited, &mut value, &mut buf, DecodeContext::default());
        (value, result.map(|()| buf.remaining()))
    }

    fn decode_as_prost(field: &[u8]) -> (String, Result<usize, DecodeError>) {
        let (mut value, mut buf) = ("before".to_owned(), field);
        let result = string::merge(WireType::LengthDelimited, &mut value, &mut buf, DecodeContext::default());
        (value, result.map(|()| buf.remaining()))
    }

    proptest! {
        #[test]
        fn text_in_pieces_is_that_text(
            text in "([a-z]{0,40}|ä|한|🦀){0,60}",
            behind in vec(any::<u8>(), 0..9),
            lengths in vec(1..50_usize, 1..9),
        ) {
            let field = [field(text.as_bytes()), behind.clone()].concat();
            prop_assert_eq!(decode(&field, &lengths), (text, Ok(behind.len())));
        }

        #[test]
        fn bytes_in_pieces_are_what_prost_says(
            parts in vec(prop_oneof![
                any::<char>().prop_map(|character| character.to_string().into_bytes()),
                "[a-z]{0,20}".prop_map(String::into_bytes),
                Just("🦀한".as_bytes().to_vec()),
                vec(0x80..=0xff_u8, 1..3),
            ], 0..30),
            cut in 0..4_usize,
            missing in 0..3_usize,
            lengths in vec(1..20_usize, 1..5),
        ) {
            let mut bytes = parts.concat();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let mut field = field(&bytes);
            field.truncate(field.len().saturating_sub(missing));
            prop_assert_eq!(decode(&field, &lengths), decode_as_prost(&field));
        }
    }

    #[test]
    fn long_text_is_taken_in_pieces_that_stay_in_the_cache() {
        for text in ["a".repeat(10 * PIECE + 7), "a".to_owned() + &"한".repeat(2 * PIECE)] {
            let field = field(text.as_bytes());
            let (mut value, mut buf) = (String::new(), Pieces::new(&field, &[usize::MAX]));
            merge(WireType::LengthDelimited, &mut value, &mut buf, DecodeContext::default()).unwrap();
            assert!(value == text && buf.longest <= PIECE, "{}", buf.longest);
        }
    }

    #[test]
    fn a_character_may_be_cut_at_the_end_of_a_piece_but_not_at_the_end_of_the_field() {
        for character in ["é", "한", "🦀"] {
            for fits in 1..character.len() {
                let text = "a".repeat(PIECE - fits) + character;
                assert_eq!(decode(&field(text.as_bytes()), &[usize::MAX]), (text.clone(), Ok(0)));
                let cut = &text.as_bytes()[..PIECE];
                let (value, result) = decode(&field(cut), &[usize::MAX]);
                assert_eq!((value.as_str(), result), ("", decode_as_prost(&field(cut)).1));
            }
        }
    }

    #[test]
    fn errors_are_those_of_prost() {
        // Without a length, with more than there is, with a length that is none, and no text.
        for field in
            [&[][..], &[3, b'a'], &[0xff; 11], &[2, b'a', 0xff], &[4, 0xf0, 0x9f, 0xa6, 0xa6, 1][..4]]
        {
            let (value, result) = decode(field, &[1]);
            assert_eq!((value.as_str(), &result), ("", &decode_as_prost(field).1), "{field:?}");
            assert!(result.is_err());
        }
        let ctx = DecodeContext::default();
        let mut value = "before".to_owned();
        let refused = merge(WireType::Varint, &mut value, &mut &[1, b'a'][..], ctx.clone()).unwrap_err();
        assert_eq!(
            refused,
            string::merge(WireType::Varint, &mut value, &mut &[1, b'a'][..], ctx).unwrap_err()
        );
    }

    #[test]
    fn values_of_a_repeated_field_follow_one_another() {
        let mut values = Vec::new();
        for value in ["a", "", "한"] {
            let field = field(value.as_bytes());
            let ctx = DecodeContext::default();
            merge_repeated(WireType::LengthDelimited, &mut values, &mut &field[..], ctx).unwrap();
        }
        assert_eq!(values, ["a", "", "한"]);
    }
}
