//! RPC between processes of one machine, through shared memory.
#![allow(dead_code, unused_imports)]

mod client;
mod error;
#[doc(hidden)]
pub mod internals;
mod layout;
mod os;
mod ring;
mod rpc;
mod slab;
mod sync;
mod wire;

pub use error::Violation;
pub use os::Credentials;
pub use rpc::{Code, Request, Response, Status};
