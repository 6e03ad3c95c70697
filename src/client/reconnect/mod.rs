//! A channel that connects again: one connection at a time, made by whoever calls.
//!
//! ```text
//!          a call that begins
//!                 │
//!   open? ──yes──► send ──sent──► wait ──reply──► done
//!     │ no          │ closed before it was sent      │ closed after
//!     ▼             ▼                                ▼
//!   one connects, the others wait ◄──────── marked idempotent? ──no──► Unavailable
//!     │ failed
//!   backoff: everybody waits, each within its own limits
//! ```
//!
//! The connection lies behind a pointer that a call reads without a lock; only a call that finds it closed
//! takes the mutex. A call keeps its connection alive by a reference of its own, so one that the server
//! drains is left by the calls that begin, and lives until the last of those under way has ended.
//!
//! There is no thread. What a caller leaves behind when its time is over, a handshake that is half done,
//! the next one goes on with: callers of little patience would otherwise never come to the end of one.

mod backoff;
mod call;
mod connecting;
mod look;
mod policy;
mod state;
#[cfg(feature = "tokio")]
mod task;

pub(super) use call::{Plain, Sent};
pub(super) use connecting::Reconnecting;
pub(super) use look::received;
pub use policy::Reconnect;
pub use state::ChannelState;
#[cfg(feature = "tokio")]
pub(super) use task::{Attempted, Movable};
