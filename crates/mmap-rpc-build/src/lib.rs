//! Generates mmap-rpc clients and servers from `.proto` files, in pure Rust: nobody has to install `protoc`.
//!
//! A build script of three lines turns every message into a struct and every service into a client, a trait
//! to implement, and a server that calls the trait:
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     mmap_rpc_build::compile_protos(&["proto/cache.proto"], &["proto"])?;
//!     Ok(())
//! }
//! ```
//!
//! With `proto/cache.proto` being
//!
//! ```proto
//! syntax = "proto3";
//! package cache;
//!
//! // Keeps values by key.
//! service Cache {
//!   // Returns the value of a key.
//!   rpc Get(GetRequest) returns (GetResponse);
//! }
//! message GetRequest { string key = 1; }
//! message GetResponse { bytes value = 1; }
//! ```
//!
//! the crate then includes what was generated, implements the trait, and calls it:
//!
//! ```ignore
//! /// Messages and stubs of the package `cache`.
//! pub mod cache {
//!     mmap_rpc::include_proto!("cache");
//! }
//! use cache::{BlockingCache, CacheClient, CacheServer, GetRequest, GetResponse};
//! use mmap_rpc::{Request, Response, Status};
//!
//! struct Answers;
//!
//! impl BlockingCache for Answers {
//!     fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
//!         Ok(Response::new(GetResponse { value: request.into_inner().key.into() }))
//!     }
//! }
//!
//! let service = CacheServer::blocking(Answers); // goes to the server's builder; new() takes an `impl Cache`
//! let client = CacheClient::connect("/run/cache.sock").wait()?;
//! let reply = client.get(GetRequest { key: "a".into() }).wait()?;
//! ```
//!
//! # What is written
//!
//! Everything goes to `OUT_DIR`, or where [`Builder::out_dir`] points.
//!
//! | file | what |
//! |---|---|
//! | `<package>.rs` | messages and stubs of one package; `_.rs` holds what has no package |
//! | `mmap_rpc_includes.rs` | a module for each package, nested as the packages are |
//! | `<package>.descriptors.bin` | the descriptors of a package with services, which its servers embed |
//! | `file_descriptor_set.bin` | the descriptors of all packages, imports included, for tools of your own |
//!
//! Messages refer to messages of other packages by relative paths (`super::super::common::Key`), so packages
//! that import each other need modules nested as the packages are. Including the module tree is the easy way:
//!
//! ```ignore
//! /// Everything that the `.proto` files define.
//! pub mod proto {
//!     include!(concat!(env!("OUT_DIR"), "/mmap_rpc_includes.rs"));
//! }
//! ```
//!
//! # What the code looks like
//!
//! A service `Cache` becomes `CacheClient`, the trait `BlockingCache`, and `CacheServer`. Comments become doc
//! comments, and what has none gets a line of its own, so that a crate which denies missing documentation
//! stays quiet; code blocks inside comments are never run as doc tests. The code names nothing but the
//! `mmap_rpc` crate, has no conditional compilation and no unsafe blocks, and `bytes` fields are
//! `bytes::Bytes`, which share the buffer that they arrived in.
//!
//! A server carries the descriptors of its package, comments included, and whoever is connected can ask for
//! them: `mmap-rpc describe` shows a running server's methods and messages. They are as long as the `.proto`
//! files, about; [`Builder::embed_descriptors`] leaves them out.
//!
//! Methods are named in snake case, and keywords become raw identifiers: `rpc Move` is `r#move`. A method
//! whose name the client needs for itself (`new`, `with_interceptor`, `connect`, `channel`, `clone`) gets a
//! trailing underscore, in the client and in the trait alike: `rpc Connect` is `connect_`.
//!
//! # Streams
//!
//! Where a side of a method is a `stream`, so are the stubs. The service
//!
//! ```proto
//! service Files {
//!   rpc List(Folder) returns (stream File);
//!   rpc Upload(stream Chunk) returns (Digest);
//!   rpc Chat(stream Line) returns (stream Line);
//! }
//! ```
//!
//! is called and implemented like this:
//!
//! ```ignore
//! let files = client.list(Folder::default()).wait()?.into_inner(); // Streaming<File>, an iterator
//! let (chunks, digest) = client.upload().wait()?; // Sender<Chunk>, Reply<Digest>
//! let (lines, answers) = client.chat().wait()?; // Sender<Line>, Streaming<Line>
//!
//! impl BlockingFiles for Disk {
//!     type ListStream = Vec<Result<File, Status>>; // whatever can be iterated
//!     fn list(&self, folder: Request<Folder>) -> Result<Response<Self::ListStream>, Status> {
//!         // ...
//!     }
//!
//!     fn upload(&self, chunks: Request<Streaming<Chunk>>) -> Result<Response<Digest>, Status> {
//!         // ...
//!     }
//!
//!     type ChatStream = Box<dyn Iterator<Item = Result<Line, Status>>>;
//!     fn chat(&self, lines: Request<Streaming<Line>>) -> Result<Response<Self::ChatStream>, Status> {
//!         // ...
//!     }
//! }
//! ```
//!
//! In the trait `Files` the methods are futures, and the types are `mmap_rpc::Stream`s. They bear the name of
//! the method in upper camel case with `Stream` behind it, as with tonic; messages may bear the same name.
//!
//! # Limits
//!
//! Well-known types (`google.protobuf.Timestamp` and its like) become those of `prost-types`, taken from the
//! runtime. A deprecated field, enum value, method or service becomes `#[deprecated]` for whoever uses it; a
//! deprecated message or enum says so only in its documentation, because the attribute would make the code
//! derived for the message itself warn. A map whose values are enums cannot be named by a keyword
//! (`map<string, Kind> type`): what prost derives for it is no Rust.

mod builder;
mod descriptors;
mod docs;
mod error;
mod names;
mod output;
mod service;

pub use builder::{Builder, configure};
pub use error::Error;

use std::path::Path;

/// Generates clients and servers with the default settings.
///
/// `protos` are the files to compile, `includes` the folders that they and their imports are looked up in.
/// The code goes to `OUT_DIR`; a change to any file that was read makes cargo run the build script again.
///
/// # Errors
///
/// Fails if a file cannot be read or is not valid, if two names become one in Rust, or if the code cannot be
/// written. The message names the place, and the remedy.
pub fn compile_protos(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    configure().compile(protos, includes)
}
