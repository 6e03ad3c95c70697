//! The bytes of a region: header, control words, slots, and the one place where mapped bytes become words.

pub(crate) mod handle;
pub(crate) mod words;

pub(crate) use handle::Handle;
