//! RPC between processes of one machine, through shared memory.
//!
//! A `.proto` service becomes a typed client and server. Messages travel through memory that both processes
//! have mapped, a Unix socket carries only the handshake, wake-ups and the news of a peer's death. Neither
//! side trusts the other: each writes its own memory only, and checks on a private copy whatever the other
//! wrote.
//!
//! # A service
//!
//! With the stubs that `mmap-rpc-build` generates from a `.proto` file (see `examples/hello` for a whole
//! project in 40 lines, and `examples/cache` for a larger one):
//!
//! ```ignore
//! mmap_rpc::include_proto!("cache");
//!
//! struct Store(Mutex<HashMap<String, Bytes>>);
//!
//! impl BlockingCache for Store {
//!     fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
//!         let value = self.0.lock().unwrap().get(&request.get_ref().key).cloned();
//!         let value = value.ok_or_else(|| Status::not_found("no such key"))?;
//!         Ok(Response::new(GetResponse { value, found: true }))
//!     }
//! }
//!
//! // One process:
//! Server::builder().service(CacheServer::blocking(store)).bind("/run/cache.sock")?.run()?;
//! // Another one:
//! let client = CacheClient::connect("/run/cache.sock").wait()?;
//! let reply = client.get(GetRequest { key: "a".into() }).timeout(Duration::from_millis(5)).wait()?;
//! ```
//!
//! With the feature `tokio`, which is on unless turned off, whatever can be waited for can be awaited, by any
//! number of tasks and threads side by side, and a service can have async methods:
//!
//! ```ignore
//! impl Cache for Store {
//!     async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
//!         let value = self.database.find(&request.get_ref().key).await?;
//!         Ok(Response::new(GetResponse { value, found: true }))
//!     }
//! }
//!
//! Server::builder().service(CacheServer::new(store)).serve("/run/cache.sock").await?;
//!
//! let client = CacheClient::connect("/run/cache.sock").await?;
//! let reply = client.get(GetRequest { key: "a".into() }).timeout(Duration::from_millis(5)).await?;
//! ```
//!
//! # Plain bytes
//!
//! Methods of plain bytes need no `.proto`, and can be filled and read without a copy:
//!
//! ```
//! use mmap_rpc::{Channel, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("socket");
//! let server = Server::builder()
//!     .raw("/demo.Text/Reverse", |request, reply| {
//!         let text = request.into_inner();
//!         let mut answer = reply.loan(text.len())?; // the memory that the answer travels in
//!         text.copy_to_slice(0, &mut answer);
//!         answer.reverse();
//!         Ok(answer.into())
//!     })
//!     .bind(&path)?;
//! let stop = server.shutdown_handle();
//! let serving = std::thread::spawn(move || server.run());
//!
//! let channel = Channel::connect(&path).wait()?;
//! let reverse = channel.method("/demo.Text/Reverse");
//! let reply = channel.raw(&reverse, b"stressed").wait()?;
//! assert_eq!(reply.to_vec(), b"desserts");
//!
//! stop.shutdown();
//! serving.join().unwrap()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Other messages
//!
//! Messages are protobuf unless they are something else: bytes, plain values, or what a type makes of itself.
//! See [`codec`].
//!
//! # Tests
//!
//! [`testing::pair`] joins a server and a client in one process, in one line, over memory that is as real as
//! between two. [`ServerBuilder::unary`] makes a mock of the methods that a test needs.
//!
//! # Tools
//!
//! A server with generated services tells what they are ([`descriptors`]), and the command `mmap-rpc` shows
//! it: `mmap-rpc list SOCKET`, `mmap-rpc describe SOCKET [NAME]`. With [`health`] it also tells how it is.
//!
//! # Who calls what
//!
//! An [`Interceptor`] looks at each call, on either side: see [`ChannelBuilder::interceptor`] and
//! [`ServerBuilder::interceptor`]. With the feature `tracing` each call has a span on both sides,
//! `rpc.client.call` and `rpc.server.call`, which is the current one for interceptors and handlers. Its
//! fields are those of OpenTelemetry's conventions: `rpc.system` (`mmap_rpc`), `rpc.service`, `rpc.method`,
//! `network.transport` (`unix`), and at its end `rpc.grpc.status_code`, a number, and `error.type`. A
//! caller's span is no parent of its server's unless interceptors carry it over, as
//! `examples/interceptors.rs` does.
//!
//! With the feature `metrics`, the recorder of that crate is told of `rpc.client.call.duration` and
//! `rpc.server.call.duration` (histograms, in seconds), `rpc.client.calls` and `rpc.server.calls` (counters),
//! all by service, method and `rpc.grpc.status_code`, and of `rpc.client.active_calls` and
//! `rpc.server.active_calls` (gauges), by service and method. Methods are those that the program names: a
//! peer cannot add any. What a call's reply is told after the handler, that it is too long for instance, the
//! server's numbers do not know.
//!
//! With the feature `tower`, a method of a channel is a service for its layers: see `Channel::service`.
//!
//! # What to expect
//!
//! - A call fails with a [`Status`] that has one of gRPC's codes. A dead server is [`Code::Unavailable`], at
//!   once; a deadline ends a call on both sides; a limit that is too small is named.
//! - Waiting threads spin for some 50 µs, then sleep. An idle connection uses no processor time on either
//!   side.
//! - A received message is decoded from a private copy, made once; its `bytes` fields share that copy.
//! - Linux on little-endian 64-bit machines; both processes of one user, unless a server
//!   [admits](ServerBuilder::allow_uid) others.
//!
//! # The house
//!
//! Imports go down only:
//!
//! ```text
//!  testing · health        a client and a server joined in one process; the standard health service
//!  client · server         typed calls, drivers, reactors
//!  raw                     loans and payloads of plain bytes
//!  connection              handshake, session: the only layer that sees both planes
//!  rpc                     status, request and response, codecs, private copies
//!  wire │ ring · slab      control messages │ data structures over shared words
//!  layout                  the bytes of a region; the one cast from mapped bytes to words
//!  os                      memfds and seals, mappings, sockets with descriptors, doorbells, epoll
//!  sync · error            atomics and parking (or loom's), what a peer can do wrong
//! ```
//!
//! The words: a *region* is all memory that one side may write for a connection; it has a base *segment* with
//! a *ring* of *entries* and *slabs* of equal-sized *slots*, and further segments on demand. A *loan* is a
//! claimed slot that its writer fills, a *payload* a received message; a *doorbell* wakes a parked peer.

mod client;
mod connection;
mod error;
pub mod health;
#[doc(hidden)]
pub mod internals;
mod layout;
mod os;
mod raw;
mod ring;
mod rpc;
pub mod server;
mod slab;
mod streaming;
mod sync;
pub mod testing;
mod wire;

pub use client::{
    BidiStreamingCall, Call, Channel, ChannelBuilder, ChannelState, ClientStreamingCall, Connect,
    ConnectError, Method, Pending, PendingRaw, RawCall, Reconnect, Reply, SendAll, SendMessage, Sender,
    ServerStreamingCall,
};
#[cfg(feature = "tokio")]
pub use client::{RawResponseFuture, ResponseFuture, SendFuture};
#[cfg(feature = "tower")]
pub use client::{RawService, UnaryService};
pub use connection::{Backing, Lane};
pub use error::Violation;
pub use os::Credentials;
pub use raw::{Loan, Payload, RawBody};
pub use rpc::codec;
pub use rpc::descriptors;
pub use rpc::{
    Code, IncomingCall, Interceptor, MetadataError, MetadataMap, MetadataValue, OutgoingCall, Request,
    Response, Status, Verdict,
};
pub use server::{Server, ServerBuilder};
pub use streaming::{Messages, NextMessage, Streaming};

/// What a stream of messages is to a task: of the `futures-core` crate.
pub use futures_core::Stream;
#[doc(hidden)]
pub use prost_types;

/// What generated code names.
#[doc(hidden)]
pub mod __private {
    /// prost, except that text is checked as it is decoded.
    pub mod prost {
        pub use ::prost::*;

        pub mod encoding {
            pub use ::prost::encoding::*;

            pub mod string {
                pub use ::prost::encoding::string::*;

                // A name of its own goes before one of a glob.
                pub use crate::rpc::text::{merge, merge_repeated};
            }
        }
    }
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
