//! The command `mmap-rpc`, with the rows of this crate.

use std::process::ExitCode;

use clap::Parser;
use mmap_rpc_cli::allocations::Counting;
use mmap_rpc_cli::args::Args;
use mmap_rpc_cli::ratios::ratios;
use mmap_rpc_cli::transports::ALL;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> anyhow::Result<ExitCode> {
    mmap_rpc_cli::run(Args::parse(), ALL, ratios)
}
