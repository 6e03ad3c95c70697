//! The rivals, each as a row of the bench.

mod tonic;

use mmap_rpc_cli::transports::Catalog;

/// All of them, in the order of the table.
pub(crate) const RIVALS: Catalog = &[&tonic::Tonic, &tonic::Headline];
