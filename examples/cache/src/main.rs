//! A cache that other processes of the machine use: what a project built on mmap-rpc looks like, and how fast
//! it is here.
//!
//! The service is `proto/cache.proto` with its three lines of `build.rs`, [`store`], [`server`] and
//! [`client`]. All the rest measures it: [`compare`] makes the same calls over a plain Unix socket, and
//! [`process`] starts this program twice more, as the server and as the client.

mod args;
mod client;
mod compare;
mod process;
mod server;
mod store;

/// Messages, client and server, generated from `proto/cache.proto`.
mod cache {
    mmap_rpc::include_proto!("cache");
}

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::args::{Args, Options, Role};
use crate::process::Process;

fn main() -> ExitCode {
    let Args { role, options } = Args::parse();
    let done = match role {
        None => demo(&options),
        Some(Role::Serve { directory, files }) => server::serve(&directory, files.as_deref()),
        Some(Role::Measure { directory }) => compare::run(&directory, &options),
        Some(Role::Echo) => compare::floor::echo(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a server process and a client process, and leaves nothing behind.
fn demo(options: &Options) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("mmap-rpc-cache-")
        .tempdir()
        .context("cannot create a directory for the sockets; set TMPDIR to one that is writable")?;
    let server = Process::server(directory.path())?;
    let client = Process::client(directory.path(), options)?;
    client.join()?;
    server.stop()
}
