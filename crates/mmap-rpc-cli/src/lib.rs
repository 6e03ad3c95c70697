//! The command `mmap-rpc`: it measures calls between two processes beside what the machine itself can do.

pub mod allocations;
pub mod args;
pub mod machine;
pub mod process;
pub mod row;
pub mod serving;
pub mod transports;
pub mod units;
pub mod work;
