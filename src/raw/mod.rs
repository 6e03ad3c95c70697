//! Calls of plain bytes: payloads as they came, and loans of the slot that a message will travel in.
//!
//! A typed call encodes into the slot and decodes from a private copy, which costs one pass over the bytes
//! each. Whoever has bytes, not messages, can write them where they travel and read them where they lie.

mod body;
mod loan;
mod payload;
mod short;

pub use body::RawBody;
pub use loan::Loan;
pub use payload::Payload;
