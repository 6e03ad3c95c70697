//! Channels to servers of the classic protocol: see `wire/classic.rs` for its words.
//!
//! ```text
//!   Call, RawCall ──► Pool ──lease──► Connection ──frame──► socket
//!                      │                  │ pwrite, pread
//!                      └─ idle ones       └──────────────── file, from byte 0 on
//! ```
//!
//! A connection has one call at a time, so a channel has several of them, which it opens as calls under way
//! need them. A call takes a connection when it is sent, and gives it back when its reply has been read. If
//! the reply is never read, because the call was dropped or its deadline has passed, the connection is
//! closed: what would come next on it belongs to nobody.
//!
//! A connection whose server has gone is noticed before the next call is sent on it. That call opens another
//! one, and so reaches a server that was started anew; a call that was sent already fails.
//!
//! The server, or any other process of the user, can write and truncate the file at any time. So it is never
//! mapped here either: a reply is read once, with `pread`, into private memory, and decoded from there.

mod connection;
mod failure;
mod frames;
mod open;
mod pool;
#[cfg(test)]
mod tests;

pub(in crate::client) use pool::{Lease, Pool};
