//! Doors for this crate's own benchmarks and fuzz targets. Not part of the interface: anything here may change
//! in any version.

pub mod slab;
