//! RPC between processes of one machine, through shared memory.

mod client;
mod connection;
mod error;
#[doc(hidden)]
pub mod internals;
mod layout;
mod os;
mod raw;
mod ring;
mod rpc;
pub mod server;
mod slab;
mod sync;
mod wire;

pub use client::{Call, Channel, ChannelBuilder, ConnectError, Method, Pending, RawCall};
pub use error::Violation;
pub use os::Credentials;
pub use raw::{Loan, Payload, RawBody};
pub use rpc::{Code, Request, Response, Status};
pub use server::{Server, ServerBuilder};

#[doc(hidden)]
pub use prost_types;

/// What generated code names.
#[doc(hidden)]
pub mod __private {
    pub use prost;
}

/// Includes the messages and stubs that `mmap-rpc-build` generated for a package.
///
/// ```ignore
/// pub mod cache {
///     mmap_rpc::include_proto!("cache");
/// }
/// ```
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}
