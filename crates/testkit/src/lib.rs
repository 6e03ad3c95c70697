//! What the integration tests of `mmap-rpc` share.
//!
//! - [`demo`]: the service of an example;
//! - [`echo`]: a service with one method for each way a call can go, and a server of it in this process;
//! - [`interop`]: gRPC's interoperability test service, by both traits that it becomes;
//! - [`lies`]: messages that are not what they say, and a service of them;
//! - [`child`], [`server`]: real processes. A test binary starts itself again with another role;
//! - [`proc`]: what the kernel tells about a process: descriptors, maps, processor time;
//! - [`way`](mod@way): a table of tests that hold whichever way the calls travel;
//! - [`data`], [`wait`]: noise with a checksum, and conditions that must come to hold within a limit.
//!
//! A test file whose tests start processes has this entry point for them:
//!
//! ```ignore
//! #[test]
//! #[ignore = "a role that other tests start as a process"]
//! fn testkit_child() {
//!     testkit::child::run(&[("client", client)]);
//! }
//! ```

pub mod child;
pub mod data;
pub mod echo;
pub mod interop;
pub mod lies;
pub mod proc;
pub mod server;
pub mod wait;
pub mod way;

pub use child::{Child, Parent};
pub use data::{Rng, checksum, noise};
pub use echo::LocalServer;
pub use server::{ServerProcess, Setup};
pub use wait::{PATIENCE, alone, eventually, median_of_3};
pub use way::{Way, by, channel_builder, connect, way};

/// Messages, client and server of `proto/demo.proto`.
pub mod demo {
    mmap_rpc::include_proto!("demo");
}

/// Messages, client and server of `proto/echo.proto`.
pub mod proto {
    mmap_rpc::include_proto!("testkit");
}
