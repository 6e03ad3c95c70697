//! Loom models of mmap-rpc's lock-free protocols, and the mutants that prove the models can fail.
//!
//! The crate compiles the library's own files by path, under `cfg(mmap_rpc_loom)`, where `sync.rs` re-exports
//! loom's atomics: what is modelled is the product, not a copy of its idea. Each model is named for its
//! question. The build script makes the mutants; see `README.md` and `mutants/`.
#![cfg(test)]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the models use a part of what the files offer"
)]

#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/layout/mod.rs"]
mod layout;
#[path = "../../../src/ring/mod.rs"]
mod ring;
#[path = "../../../src/slab/mod.rs"]
mod slab;
#[path = "../../../src/sync.rs"]
mod sync;

#[path = "../../../src/client"]
mod client {
    pub(crate) mod calls;
    pub(crate) mod lead;
    pub(crate) mod space;
}

mod connection;
mod harness;
mod models;

mod rpc {
    /// What a call has failed with.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Status;
}

mod wire {
    /// What is said of a call apart from its messages: nothing.
    #[derive(Debug, Default)]
    pub(crate) struct Metadata;
}

/// The library's files, each time with one line changed, and the tests that expect a model to fail on them.
#[allow(
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated; a mutant may leave a variable unused"
)]
mod mutants {
    include!(concat!(env!("OUT_DIR"), "/mutants.rs"));
}
