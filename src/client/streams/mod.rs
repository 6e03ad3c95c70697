//! Calls with streams.
//!
//! ```text
//!   ServerStreamingCall ──wait, .await──►           Response<Streaming>
//!   ClientStreamingCall ──wait, .await──► Sender,   Reply
//!   BidiStreamingCall   ──wait, .await──► Sender,   Streaming
//! ```
//!
//! Both halves keep the channel, and share the call's [`Flow`](crate::connection::Flow). The receiving half
//! holds the call's cell, and waits there; the sending half has a place of its own, where it waits as one
//! waits for space.

mod call;
mod held;
mod open;
mod places;
mod reply;
mod send_all;
mod sender;
mod source;

pub use call::{BidiStreamingCall, ClientStreamingCall, ServerStreamingCall};
pub(in crate::client) use places::Places;
pub use reply::Reply;
pub use send_all::SendAll;
#[cfg(feature = "tokio")]
pub use sender::SendFuture;
pub use sender::{SendMessage, Sender};
