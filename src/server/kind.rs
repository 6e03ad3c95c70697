//! The two kinds of service implementations, as the type parameter of generated servers.

/// An implementation whose methods are futures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Async {}

/// An implementation whose methods run on a thread of the server until they return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {}
