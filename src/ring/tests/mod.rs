//! The ring on the heap: its bytes, its edges, an oracle, and threads.

mod admission;
mod oracle;
mod stress;
mod words;

use super::record::Record;
use super::*;
use crate::layout::words::{BODY_WORDS, HEAD_WORDS};

/// A record that carries `value` in its call id and body.
fn numbered(value: u32) -> Record {
    *Entry::request_inline(1, value, 0, &u64::from(value).to_le_bytes()).record()
}

/// The number that such a record carries.
fn number(record: Record) -> u32 {
    let entry = Entry::admit(record).expect("one of ours");
    assert_eq!(entry.body(), Body::Inline(&u64::from(entry.call_id()).to_le_bytes()));
    entry.call_id()
}
