//! The vocabulary of calls: words that need no live connection.

pub mod descriptors;
mod file;
mod metadata;
mod pool;
mod private;
mod request;
mod status;
mod wanted;

pub(crate) use file::{Letter, read_message, write_bytes, write_message};
pub use metadata::{MetadataError, MetadataMap, MetadataValue};
pub(crate) use pool::PooledBuf;
pub(crate) use private::{Private, Short};
pub(crate) use request::Context;
pub use request::{Request, Response};
pub(crate) use status::REFUSED;
pub use status::{Code, Status};
pub(crate) use wanted::{Callers, Listing, Wanted};
