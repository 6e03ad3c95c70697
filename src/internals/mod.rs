//! Doors for this crate's own benchmarks, tests and fuzz targets. Not part of the interface: anything here
//! may change in any version.

pub mod layout;
pub mod peer;
pub mod ring;
pub mod slab;
pub mod wire;

pub use crate::error::Violation;
