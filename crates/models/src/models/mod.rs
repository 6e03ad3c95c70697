//! The models, one file per room of the library.

mod calls;
mod calls_tasks;
mod fill;
mod flow;
mod lead;
mod lead_tasks;
mod park;
mod ring;
mod slab;
mod space;
mod space_waiters;
