//! Which protocol a fresh connection speaks, told by its first bytes.

use crate::wire::{ClassicDecoder, ClassicError, is_classic};

/// What has been heard of a client.
pub(super) enum Opening {
    /// Too little to tell.
    Unheard(Vec<u8>),
    /// Our own protocol.
    Netstrings,
    /// The classic one.
    Classic(ClassicDecoder),
}

impl Opening {
    pub(super) fn new() -> Self {
        Self::Unheard(Vec::new())
    }

    /// Whether it is known what the client speaks.
    pub(super) fn is_heard(&self) -> bool {
        !matches!(self, Self::Unheard(_))
    }

    /// Takes in what one read delivered. A server without the classic protocol does not wait for the bytes
    /// that would tell it from garbage.
    pub(super) fn hear(&mut self, bytes: &[u8], may_be_classic: bool) {
        match self {
            Self::Netstrings => {}
            Self::Classic(decoder) => decoder.feed(bytes),
            Self::Unheard(heard) => {
                heard.extend_from_slice(bytes);
                *self = match is_classic(heard) {
                    Some(true) => {
                        let mut decoder = ClassicDecoder::default();
                        decoder.feed(heard);
                        Self::Classic(decoder)
                    }
                    None if may_be_classic => return,
                    _ => Self::Netstrings,
                };
            }
        }
    }

    /// Whether the client speaks the classic protocol, and has sent a whole frame.
    pub(super) fn has_classic_frame(&self) -> Result<bool, ClassicError> {
        match self {
            Self::Classic(decoder) => decoder.has_frame(),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_by_its_first_bytes_however_they_come() {
        let classic = b"\x2d\0\0\0:";
        let mut opening = Opening::new();
        for byte in classic {
            assert!(matches!(opening, Opening::Unheard(_)));
            opening.hear(&[*byte], true);
        }
        let Opening::Classic(decoder) = opening else { panic!("it is classic") };
        assert_eq!(decoder.buffered(), classic.len());

        let mut opening = Opening::new();
        opening.hear(b"3", true);
        assert!(matches!(opening, Opening::Unheard(_)));
        opening.hear(b"0:", true);
        assert!(matches!(opening, Opening::Netstrings));
    }

    #[test]
    fn short_garbage_is_not_waited_for_where_it_cannot_be_classic() {
        let mut opening = Opening::new();
        opening.hear(b"GET", false);
        assert!(matches!(opening, Opening::Netstrings));
    }
}
