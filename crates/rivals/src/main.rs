//! The bench of the command `mmap-rpc` with other ways to call another process beside it: the same work, the
//! same turns, one table.
//!
//! ```sh
//! cargo run --release -p rivals -- bench
//! ```

mod ratios;
mod rows;

use std::process::ExitCode;

use clap::Parser;
use mmap_rpc_cli::allocations::Counting;
use mmap_rpc_cli::args::Args;
use mmap_rpc_cli::transports::{ALL, Transport};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> anyhow::Result<ExitCode> {
    let rows: Vec<&'static dyn Transport> = ALL.iter().chain(rows::RIVALS).copied().collect();
    mmap_rpc_cli::run(Args::parse(), rows.leak(), ratios::ratios)
}
