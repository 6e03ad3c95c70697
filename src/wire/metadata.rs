//! Metadata: what is said of a call apart from its messages.
//!
//! On the socket lane it is a field of the frame; on the ring lane these bytes precede the message in its
//! entry or slot, and the entry says how many they are.

use bytes::Bytes;
use prost::Message as _;

use super::message::proto;

/// Longest metadata of one message, encoded, in bytes: with a status's text it fits a frame.
pub(crate) const MAX_METADATA: u32 = 48 << 10;

/// One key and one of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    /// Text, unless the key ends with [`BINARY`].
    pub(crate) value: Bytes,
}

/// What ends the key of a value that is any bytes.
const BINARY: &str = "-bin";

/// All that goes with one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Metadata {
    /// Of a request, or of a response before its first message.
    pub(crate) initial: Vec<Pair>,
    /// Of a response, at its end; of a failure.
    pub(crate) trailing: Vec<Pair>,
    /// Of a failure.
    pub(crate) details: Bytes,
}

impl Metadata {
    pub(crate) fn is_empty(&self) -> bool {
        self.initial.is_empty() && self.trailing.is_empty() && self.details.is_empty()
    }

    /// As it precedes a message: nothing, if it is empty.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.to_wire().map_or(Vec::new(), |wire| wire.encode_to_vec())
    }

    /// Length of what [`encode`](Self::encode) returns.
    pub(crate) fn encoded_len(&self) -> usize {
        self.to_wire().map_or(0, |wire| wire.encoded_len())
    }

    /// What precedes a message.
    ///
    /// # Errors
    /// A text: what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let wire = proto::Metadata::decode(bytes).map_err(|error| error.to_string())?;
        let metadata = Self::from_wire(Some(wire));
        metadata.check()?;
        Ok(metadata)
    }

    /// `None` if it is empty.
    pub(super) fn to_wire(&self) -> Option<proto::Metadata> {
        let pairs = |pairs: &[Pair]| {
            let pair =
                |pair: &Pair| proto::metadata::Pair { key: pair.key.clone(), value: pair.value.clone() };
            pairs.iter().map(pair).collect()
        };
        (!self.is_empty()).then(|| proto::Metadata {
            initial: pairs(&self.initial),
            trailing: pairs(&self.trailing),
            details: self.details.clone(),
        })
    }

    pub(super) fn from_wire(wire: Option<proto::Metadata>) -> Self {
        let pairs = |pairs: Vec<proto::metadata::Pair>| {
            pairs.into_iter().map(|pair| Pair { key: pair.key, value: pair.value }).collect()
        };
        wire.map_or_else(Self::default, |wire| Self {
            initial: pairs(wire.initial),
            trailing: pairs(wire.trailing),
            details: wire.details,
        })
    }

    /// Whether every pair is one that may be sent.
    pub(super) fn check(&self) -> Result<(), String> {
        for Pair { key, value } in self.initial.iter().chain(&self.trailing) {
            if !check_key(key)? {
                check_text(value).map_err(|problem| format!("has a value of {key:?} that {problem}"))?;
            }
        }
        Ok(())
    }
}

/// Whether the values of a key are any bytes, and not text.
///
/// # Errors
/// If it can be no key.
pub(crate) fn check_key(key: &str) -> Result<bool, String> {
    let admitted = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(admitted) {
        return Err(format!(
            "has the key {key:?}, which is not of lower-case letters, digits, '-', '_' and '.' alone"
        ));
    }
    Ok(key.ends_with(BINARY))
}

/// Whether bytes may be the value of a key that has text.
///
/// # Errors
/// If not.
pub(crate) fn check_text(value: &[u8]) -> Result<(), &'static str> {
    let admitted = |byte: &u8| matches!(byte, b' '..=b'~');
    if value.iter().all(admitted) {
        return Ok(());
    }
    Err("is not visible ASCII and spaces alone: such a value needs a key that ends with \"-bin\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &'static [u8]) -> Pair {
        Pair { key: key.to_owned(), value: Bytes::from_static(value) }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let metadata = Metadata {
            initial: vec![pair("a", b"text"), pair("a", b""), pair("b-bin", b"\xff\0")],
            trailing: vec![pair("t.0_-", b"~ ")],
            details: Bytes::from_static(b"any"),
        };
        assert_eq!(Metadata::decode(&metadata.encode()), Ok(metadata));
        assert_eq!(Metadata::default().encode(), b"");
    }

    #[test]
    fn a_pair_that_may_not_be_sent_is_not_believed_either() {
        for (key, value) in
            [("", "x"), ("A", "x"), ("a b", "x"), ("\u{e4}", "x"), ("a", "\n"), ("a", "\u{e4}")]
        {
            let bad = Pair { key: key.to_owned(), value: Bytes::from_static(value.as_bytes()) };
            let metadata = Metadata { trailing: vec![bad], ..Metadata::default() };
            assert!(Metadata::decode(&metadata.encode()).is_err(), "{key:?}: {value:?}");
        }
        assert!(Metadata::decode(&[0x0a, 9]).is_err(), "cut short");
    }
}
