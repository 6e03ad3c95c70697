//! Netstrings: `<length>:<body>,` with the length in ASCII decimals.
//!
//! Strict, incremental, without I/O. Each length has exactly one spelling: digits only, no sign, no space,
//! no leading zero, so `0:,` is the one empty frame (the doorbell). The verdict on a stream depends on its
//! bytes alone, never on how they were cut into reads: an error names the first byte that no valid
//! stream could have in that place. After it the decoder stays failed, because a stream that went wrong
//! once has no place from which to start over.

use std::io::Write;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Largest body of a frame, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Digits that the largest length takes.
const MAX_DIGITS: usize = 5;

const _: () =
    assert!(MAX_BODY >= 10usize.pow(MAX_DIGITS as u32 - 1) && MAX_BODY < 10usize.pow(MAX_DIGITS as u32));

/// Why bytes are not a netstring.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NetstringError {
    /// A digit follows a first `0`.
    #[error("the length of a frame starts with a zero")]
    LeadingZero,
    /// A byte of the length is neither a digit nor the colon after at least one digit.
    #[error(
        "expected the decimal length of a frame, found {}: the peer seems to speak another protocol",
        printable(*found)
    )]
    NotADigit {
        /// The byte that came instead.
        found: u8,
    },
    /// A sixth digit.
    #[error("the length of a frame has more than {MAX_DIGITS} digits")]
    TooManyDigits,
    /// The length exceeds [`MAX_BODY`].
    #[error("a frame of {len} bytes exceeds the maximum of {max}")]
    TooLong {
        /// The length as announced by the peer, or as asked of [`encode`].
        len: usize,
        /// [`MAX_BODY`].
        max: usize,
    },
    /// The byte after the body is not a comma.
    #[error("expected a comma after the body of a frame, found {}", printable(*found))]
    MissingComma {
        /// The byte that came instead.
        found: u8,
    },
}

/// Shows a byte as its character where it has a visible one, and always as its number.
fn printable(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("'{}' ({byte:#04x})", byte as char)
    } else {
        format!("byte {byte:#04x}")
    }
}

/// Appends `body` to `out` as one frame.
///
/// # Errors
/// [`NetstringError::TooLong`] for more than [`MAX_BODY`] bytes; `out` is then unchanged.
pub(crate) fn encode(body: &[u8], out: &mut Vec<u8>) -> Result<(), NetstringError> {
    encode_with(body.len(), out, |out| out.extend_from_slice(body))
}

/// Appends a frame whose body of `len` bytes `fill` appends: no buffer lies between.
///
/// # Errors
/// As [`encode`]; `fill` is then not called.
pub(super) fn encode_with(
    len: usize,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>),
) -> Result<(), NetstringError> {
    if len > MAX_BODY {
        return Err(NetstringError::TooLong { len, max: MAX_BODY });
    }
    out.reserve(MAX_DIGITS + 1 + len + 1);
    write!(out, "{len}:").expect("a Vec takes every write");
    let start = out.len();
    fill(out);
    assert_eq!(out.len() - start, len, "the body has the length that its frame announces");
    out.push(b',');
    Ok(())
}

/// Cuts a stream of bytes into the bodies of its frames.
///
/// It buffers what was fed and not yet taken. A caller that takes frames until `None` after each `feed`
/// bounds that by one read plus one incomplete frame: at most [`MAX_BODY`] + 7 bytes stay behind. A failed
/// decoder holds nothing and takes nothing in.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Bytes from the start of the first frame that is not yet taken.
    bytes: BytesMut,
    /// The error that ended the stream.
    failed: Option<NetstringError>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes of the stream, cut anywhere.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The body of the next complete frame; `None` when more bytes are needed.
    ///
    /// The body shares the decoder's buffer: a caller that keeps it copies it out.
    ///
    /// # Errors
    /// The first error of the stream, after all frames before it, and then again for every later call.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, NetstringError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.parse().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.bytes = BytesMut::new();
        })
    }

    /// Bytes that were fed and not yet taken as frames.
    pub(crate) fn buffered(&self) -> usize {
        self.bytes.len()
    }

    fn parse(&mut self) -> Result<Option<Bytes>, NetstringError> {
        let Some((digits, len)) = parse_length(&self.bytes)? else {
            return Ok(None);
        };
        let body = digits + 1;
        match self.bytes.get(body + len) {
            None => return Ok(None),
            Some(b',') => {}
            Some(&found) => return Err(NetstringError::MissingComma { found }),
        }
        self.bytes.advance(body);
        // A doorbell touches no reference count.
        let frame = if len == 0 { Bytes::new() } else { self.bytes.split_to(len).freeze() };
        self.bytes.advance(1);
        Ok(Some(frame))
    }
}

/// Reads `<length>:` at the start of `bytes`: the number of digits, and the length. `None` if it is
/// incomplete.
fn parse_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, NetstringError> {
    let mut len = 0;
    // At most MAX_DIGITS + 1 rounds: each later byte is past the colon or past an error.
    for (digits, &byte) in bytes.iter().enumerate() {
        match byte {
            b':' if digits > 0 => return Ok(Some((digits, len))),
            b'0'..=b'9' if digits == MAX_DIGITS => return Err(NetstringError::TooManyDigits),
            b'0'..=b'9' if digits > 0 && len == 0 => return Err(NetstringError::LeadingZero),
            b'0'..=b'9' => len = len * 10 + usize::from(byte - b'0'),
            found => return Err(NetstringError::NotADigit { found }),
        }
        if len > MAX_BODY {
            return Err(NetstringError::TooLong { len, max: MAX_BODY });
        }
    }
    Ok(None)
}
