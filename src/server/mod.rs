//! The server: a socket, reactor threads, and the services behind them.
//!
//! ```text
//!   Listener ──► Handshake ──► Connection ──request──► Router ──► Exchange ──► handler
//!                                  ▲  ▲                                │
//!                                  │  └──── Backlog ◄── no space ──────┤ reply
//!                                  └───────────────────────────────────┘
//! ```
//!
//! Each connection belongs to one reactor, which spins briefly over the rings that were active, then waits in
//! one epoll for all of its connections. Handlers run on the reactor itself, or on a pool of threads: see
//! [`Handlers`].

mod admission;
mod backlog;
mod builder;
mod caller;
mod calls;
mod classic;
mod connection;
mod descriptors;
mod detached;
mod exchange;
mod executor;
mod flows;
mod handshake;
mod inboxes;
mod incoming;
mod intercepted;
mod interception;
mod kind;
mod opening;
mod panics;
mod peer;
mod pool;
mod reactor;
mod replier;
mod router;
mod seats;
#[cfg(feature = "tokio")]
mod serving;
mod shutdown;
mod streams;

pub use builder::{BindError, Handlers, Server, ServerBuilder};
pub use exchange::{Exchange, Handled};
pub(crate) use inboxes::Inboxes;
pub use intercepted::Intercepted;
pub use kind::{Async, Blocking};
pub use replier::Replier;
pub use router::Service;
#[cfg(feature = "tokio")]
pub use serving::ServeError;
pub use shutdown::ShutdownHandle;
