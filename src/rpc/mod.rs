//! The vocabulary of calls: words that need no live connection.

pub mod descriptors;
mod file;
mod pool;
mod private;
mod request;
mod status;

pub(crate) use file::{Letter, read_message, write_bytes, write_message};
pub(crate) use pool::PooledBuf;
pub(crate) use private::{Private, Short};
pub(crate) use request::Context;
pub use request::{Request, Response};
pub(crate) use status::REFUSED;
pub use status::{Code, Status};
