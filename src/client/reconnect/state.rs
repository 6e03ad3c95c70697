//! How a channel is: gRPC's connectivity states.

/// What a channel's connection is like, in gRPC's words: see [`Channel::state`](crate::Channel::state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelState {
    /// There is no connection, and nobody makes one: the next call does.
    Idle,
    /// A connection is being made.
    Connecting,
    /// There is a connection.
    Ready,
    /// The last attempt has failed, and the next one is made once its time has come and somebody calls.
    TransientFailure,
    /// There is no connection, and there will be none.
    Shutdown,
}
