//! The vocabulary of calls: words that need no live connection.

mod budget;
pub mod codec;
pub mod descriptors;
mod file;
mod interceptor;
mod metadata;
mod pool;
mod private;
mod rare;
mod reading;
mod record;
mod request;
mod room;
mod status;
pub(crate) mod text;
mod waiting;
mod wanted;

pub(crate) use budget::budgeted;
pub(crate) use codec::{CodecError, Decode, Encode, encode_to_vec, encoded};
pub(crate) use file::{Letter, read_message, write_bytes, write_message};
pub(crate) use interceptor::Chain;
pub use interceptor::{IncomingCall, Interceptor, OutgoingCall, Verdict};
pub use metadata::{MetadataError, MetadataMap, MetadataValue};
pub(crate) use pool::PooledBuf;
pub(crate) use private::{Private, Short};
pub(crate) use reading::{LONGEST_COMING, Reading, Source};
pub(crate) use record::{Entered, IS_ON, Record, Side, Span, lasting};
pub(crate) use request::Context;
pub use request::{Request, Response};
pub(crate) use room::{Excess, put_repeated, put_slices};
pub(crate) use status::REFUSED;
pub use status::{Code, Status};
pub(crate) use waiting::block_on;
pub(crate) use wanted::{Callers, Listing, Wanted};
