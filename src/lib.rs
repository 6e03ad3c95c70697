//! RPC between processes of one machine, through shared memory.

mod error;
mod layout;
mod sync;

pub use error::Violation;
