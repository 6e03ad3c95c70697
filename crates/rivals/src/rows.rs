//! The rivals, each as a row of the bench.

mod iceoryx2;
mod shmipc;
mod tonic;

use anyhow::Context;
use mmap_rpc_cli::transports::Catalog;
use tokio::runtime::{self, Runtime};

/// All of them, in the order of the table.
pub(crate) const RIVALS: Catalog = &[
    &tonic::Tonic,
    &tonic::Headline,
    &iceoryx2::Iceoryx2 { sleeps: false },
    &iceoryx2::Iceoryx2 { sleeps: true },
    &shmipc::Shmipc,
];

/// A runtime of one thread, which runs only while something is waited for.
fn runtime() -> anyhow::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}
