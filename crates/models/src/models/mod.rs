//! The models, one file per room of the library.

mod calls;
mod lead;
mod park;
mod ring;
mod slab;
mod space;
mod space_waiters;
