//! The models, one file per room of the library.

mod lead;
mod park;
mod ring;
mod slab;
