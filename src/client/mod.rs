//! The client: a channel that any number of threads share, and the calls on it.
//!
//! ```text
//!   Call, RawCall          encode, start, wait
//!        │
//!      Core ──── CallTable       a cell per call in flight
//!        │  ──── SpaceWaiters    who waits for slots or ring room
//!        │
//!      Lead ──── Driver          the one thread that drives the session for all
//! ```
//!
//! A channel to a server of the classic protocol has a pool of connections instead: see `classic`. One that
//! reconnects has one `Core` after the other: see `reconnect`.

#[cfg(feature = "tokio")]
mod alarm;
mod attempt;
mod awaited;
mod begin;
mod call;
mod calls;
mod cancels;
mod channel;
mod classic;
mod connect;
mod core;
#[cfg(feature = "tokio")]
mod crowd;
mod deliver;
mod driver;
#[cfg(feature = "tokio")]
mod drivers;
#[cfg(feature = "tokio")]
mod future;
mod intercepted;
mod lead;
mod limit;
#[cfg(feature = "tokio")]
mod looking;
mod method;
#[cfg(feature = "tokio")]
mod patience;
mod raw;
mod reading;
mod reconnect;
mod route;
mod sending;
mod space;
mod streams;
#[cfg(feature = "tower")]
mod tower;

pub use call::{Call, Pending};
pub use channel::{Channel, ChannelBuilder};
pub use connect::{Connect, ConnectError};
#[cfg(feature = "tokio")]
pub use future::{RawResponseFuture, ResponseFuture};
pub use method::Method;
pub use raw::{PendingRaw, RawCall};
pub use reconnect::{ChannelState, Reconnect};
#[cfg(feature = "tokio")]
pub use streams::SendFuture;
pub use streams::{
    BidiStreamingCall, ClientStreamingCall, Reply, SendAll, SendMessage, Sender, ServerStreamingCall,
};
#[cfg(feature = "tower")]
pub use tower::{RawService, UnaryService};
