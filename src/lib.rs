//! RPC between processes of one machine, through shared memory.
#![allow(dead_code, unused_imports)]

mod error;
mod layout;
mod os;

mod sync;

pub use error::Violation;
pub use os::Credentials;
