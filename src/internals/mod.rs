//! Doors for this crate's own benchmarks and fuzz targets. Not part of the interface: anything here may change
//! in any version.

pub mod ring;
pub mod slab;

pub use crate::error::Violation;
