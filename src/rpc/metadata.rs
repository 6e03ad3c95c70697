//! Metadata as callers and handlers see them.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::rpc::rare::Rare;
use crate::wire::{Metadata, Pair, check_key, check_text};

/// What is said of a call apart from its messages: keys, each with one or more values.
///
/// Keys are made of lower-case letters, digits, `-`, `_` and `.`. The values of a key that ends with `-bin`
/// are any bytes; those of any other are text of visible ASCII characters and spaces. As in gRPC, but for
/// capital letters, which are refused and not lowered.
///
/// All metadata of one message together, encoded, may be as long as
/// [`max_metadata_size`](crate::ChannelBuilder::max_metadata_size) says.
///
/// ```
/// use mmap_rpc::MetadataMap;
///
/// let mut metadata = MetadataMap::new();
/// metadata.insert("x-tenant", "blue")?;
/// metadata.insert_bin("x-trace-bin", vec![0, 255])?;
/// assert_eq!(metadata.get("x-tenant"), Some("blue"));
/// assert_eq!(metadata.get_bin("x-trace-bin").unwrap()[..], [0, 255]);
/// assert!(metadata.insert("X-Tenant", "blue").is_err());
/// # Ok::<_, mmap_rpc::MetadataError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MetadataMap(
    /// One word wide where there is nothing, because most calls have nothing to say.
    Rare<Vec<Pair>>,
);

/// Why metadata are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the metadata {0}")]
pub struct MetadataError(String);

/// A value of a [`MetadataMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataValue<'a> {
    /// Of a key that does not end with `-bin`.
    Text(&'a str),
    /// Of a key that ends with `-bin`.
    Binary(&'a Bytes),
}

impl<'a> MetadataValue<'a> {
    /// The bytes of either.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl MetadataMap {
    /// An empty map.
    pub const fn new() -> Self {
        Self(Rare::NONE)
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_none_or(Vec::is_empty)
    }

    /// How many values there are, of all keys.
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Gives a key this value and no other.
    ///
    /// # Errors
    /// If the key or the value is not of the form that [`MetadataMap`] describes, or the key ends with
    /// `-bin`.
    pub fn insert(&mut self, key: impl AsRef<str>, value: impl Into<String>) -> Result<(), MetadataError> {
        self.put(true, key.as_ref(), text(value))
    }

    /// Gives a key this value as well.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert).
    pub fn append(&mut self, key: impl AsRef<str>, value: impl Into<String>) -> Result<(), MetadataError> {
        self.put(false, key.as_ref(), text(value))
    }

    /// Gives a key that ends with `-bin` this value and no other.
    ///
    /// # Errors
    /// If the key is not of the form that [`MetadataMap`] describes, or does not end so.
    pub fn insert_bin(&mut self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Result<(), MetadataError> {
        self.put(true, key.as_ref(), Value::Binary(value.into()))
    }

    /// Gives a key that ends with `-bin` this value as well.
    ///
    /// # Errors
    /// As for [`insert_bin`](Self::insert_bin).
    pub fn append_bin(&mut self, key: impl AsRef<str>, value: impl Into<Bytes>) -> Result<(), MetadataError> {
        self.put(false, key.as_ref(), Value::Binary(value.into()))
    }

    /// The first text of a key.
    pub fn get(&self, key: impl AsRef<str>) -> Option<&str> {
        self.get_all(key).find_map(|value| match value {
            MetadataValue::Text(text) => Some(text),
            MetadataValue::Binary(_) => None,
        })
    }

    /// The first bytes of a key that ends with `-bin`.
    pub fn get_bin(&self, key: impl AsRef<str>) -> Option<&Bytes> {
        self.get_all(key).find_map(|value| match value {
            MetadataValue::Text(_) => None,
            MetadataValue::Binary(bytes) => Some(bytes),
        })
    }

    /// All values of a key, in the order in which they were added.
    pub fn get_all<'a>(&'a self, key: impl AsRef<str>) -> impl Iterator<Item = MetadataValue<'a>> {
        self.iter().filter(move |(name, _)| *name == key.as_ref()).map(|(_, value)| value)
    }

    /// Every key with every value, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, MetadataValue<'_>)> {
        self.pairs().iter().map(|pair| {
            // Checked when it came in, from whichever side.
            let value = match str::from_utf8(&pair.value) {
                Ok(text) if check_key(&pair.key) == Ok(false) => MetadataValue::Text(text),
                _ => MetadataValue::Binary(&pair.value),
            };
            (&*pair.key, value)
        })
    }

    /// Takes a key and its values out; how many values that were.
    pub fn remove(&mut self, key: impl AsRef<str>) -> usize {
        let before = self.len();
        if let Some(pairs) = self.0.get_mut() {
            pairs.retain(|pair| pair.key != key.as_ref());
        }
        before - self.len()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0 = Rare::NONE;
    }

    fn put(&mut self, only: bool, key: &str, value: Value) -> Result<(), MetadataError> {
        let is_binary = check_key(key).map_err(MetadataError)?;
        let value = match value {
            Value::Text(_) if is_binary => return Err(misplaced(key, "needs insert_bin or append_bin")),
            Value::Text(text) => {
                check_text(text.as_bytes())
                    .map_err(|problem| misplaced(key, &format!("has a value that {problem}")))?;
                Bytes::from(text)
            }
            Value::Binary(_) if !is_binary => {
                return Err(misplaced(key, "has text: bytes need a key that ends with \"-bin\""));
            }
            Value::Binary(bytes) => bytes,
        };
        if only {
            self.remove(key);
        }
        self.0.get_or_default().push(Pair { key: key.to_owned(), value });
        Ok(())
    }

    fn pairs(&self) -> &[Pair] {
        self.0.get().map_or(&[], Vec::as_slice)
    }

    /// As they travel.
    pub(crate) fn to_pairs(&self) -> Vec<Pair> {
        self.pairs().to_vec()
    }

    /// As they precede a request.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        Metadata { initial: self.to_pairs(), ..Metadata::default() }.encode()
    }

    /// The same, given up.
    pub(crate) fn into_pairs(mut self) -> Vec<Pair> {
        self.0.take().unwrap_or_default()
    }

    /// Those before a message, if any came.
    #[inline(always)]
    pub(crate) fn initial(metadata: Option<Box<Metadata>>) -> Self {
        metadata.map_or(Self(Rare::NONE), Self::initial_of)
    }

    #[cold]
    #[expect(clippy::boxed_local, reason = "unpacked out of line")]
    fn initial_of(metadata: Box<Metadata>) -> Self {
        Self::from_pairs(metadata.initial)
    }

    /// As they came, and were checked.
    pub(crate) fn from_pairs(pairs: Vec<Pair>) -> Self {
        Self(if pairs.is_empty() { Rare::NONE } else { Rare::new(pairs) })
    }
}

enum Value {
    Text(String),
    Binary(Bytes),
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

#[cold]
fn misplaced(key: &str, problem: &str) -> MetadataError {
    MetadataError(format!("key {key:?} {problem}"))
}

impl fmt::Debug for MetadataMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_values_in_order() {
        let mut map = MetadataMap::new();
        map.append("a", "1").unwrap();
        map.append("b", "2").unwrap();
        map.append("a", "3").unwrap();
        map.append_bin("c-bin", &b"\xff"[..]).unwrap();
        let all: Vec<_> = map.get_all("a").collect();
        assert_eq!(all, [MetadataValue::Text("1"), MetadataValue::Text("3")]);
        assert_eq!((map.get("a"), map.get("d"), map.get("c-bin")), (Some("1"), None, None));
        assert_eq!(map.get_bin("c-bin").unwrap(), &b"\xff"[..]);
        map.insert("a", "4").unwrap();
        assert_eq!(map.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "c-bin", "a"]);
        assert_eq!((map.remove("a"), map.remove("a"), map.len()), (1, 0, 2));
        assert_eq!(format!("{map:?}"), r#"{"b": Text("2"), "c-bin": Binary(b"\xff")}"#);
        map.clear();
        assert!(map.is_empty());
    }

    #[test]
    fn what_may_not_travel_is_refused_with_a_remedy() {
        let mut map = MetadataMap::new();
        let error = map.insert("x-bin", "text").unwrap_err().to_string();
        assert!(error.contains("insert_bin"), "{error}");
        let error = map.insert_bin("x", vec![1]).unwrap_err().to_string();
        assert!(error.contains("ends with \"-bin\""), "{error}");
        let error = map.insert("x", "é").unwrap_err().to_string();
        assert!(error.contains("visible ASCII"), "{error}");
        let error = map.insert("X", "x").unwrap_err().to_string();
        assert!(error.contains("lower-case"), "{error}");
        assert!(map.is_empty());
    }
}
