//! Calls with streams.
//!
//! ```text
//!   ServerStreamingCall ──wait, .await──►           Response<Streaming>
//!   ClientStreamingCall ──wait, .await──► Sender,   Reply
//!   BidiStreamingCall   ──wait, .await──► Sender,   Streaming
//! ```
//!
//! Both halves keep the channel, and share the call's [`Flow`](crate::connection::Flow). The receiving half holds
//! the call's cell, and waits there; the sending half waits beside it, as one waits for space.

mod call;
mod held;
mod reply;
mod sender;
mod source;

pub use call::{BidiStreamingCall, ClientStreamingCall, SendAll, ServerStreamingCall};
pub use reply::Reply;
#[cfg(feature = "tokio")]
pub use sender::SendFuture;
pub use sender::{SendMessage, Sender};
