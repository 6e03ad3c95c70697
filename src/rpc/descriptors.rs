//! What a server tells about itself: the messages of `proto/mmap_rpc/descriptors.proto`.
//!
//! Generated services carry their descriptors, and a server that has such a service answers [`GET`] with
//! them: nothing has to be added, and [`ServerBuilder::descriptors`](crate::ServerBuilder::descriptors) takes
//! it away. `mmap-rpc list` and `mmap-rpc describe` show them. A program asks like this:
//!
//! ```
//! use mmap_rpc::descriptors::{self, GetRequest, GetResponse};
//! use mmap_rpc::{Request, prost_types::FileDescriptorProto};
//! use prost::Message;
//!
//! # use mmap_rpc::{Server, testing};
//! # use testkit::{echo::Service, proto::EchoServer};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pair = testing::pair(Server::builder().service(EchoServer::blocking(Service::default())))?;
//! # let channel = pair.channel();
//! let get = channel.method(descriptors::GET);
//! let told: GetResponse = channel.unary(&get, Request::new(GetRequest {})).wait()?.into_inner();
//! assert_eq!(told.methods[0], "/testkit.Echo/Echo");
//! let file = FileDescriptorProto::decode(told.files[0].clone())?;
//! assert_eq!(file.service[0].name(), "Echo");
//! # Ok(())
//! # }
//! ```
//!
//! Whoever can connect runs as the server's user and may call all of its methods, so what they are called is
//! no secret. To have the method costs nothing until it is called.

#[allow(unreachable_pub, clippy::all, clippy::pedantic)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/mmap_rpc.descriptors.v1.rs"));
}

pub use proto::{GetRequest, GetResponse};

/// Full name of the service.
pub const NAME: &str = "mmap_rpc.descriptors.v1.Descriptors";

/// Full name of its method.
pub const GET: &str = "/mmap_rpc.descriptors.v1.Descriptors/Get";

/// The service's own descriptors.
pub(crate) const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
