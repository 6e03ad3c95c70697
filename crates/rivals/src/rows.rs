//! The rivals, each as a row of the bench.

mod iceoryx2;
mod tonic;

use mmap_rpc_cli::transports::Catalog;

/// All of them, in the order of the table.
pub(crate) const RIVALS: Catalog = &[
    &tonic::Tonic,
    &tonic::Headline,
    &iceoryx2::Iceoryx2 { sleeps: false },
    &iceoryx2::Iceoryx2 { sleeps: true },
];
