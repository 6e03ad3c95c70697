//! A method as a channel knows it: its number on the wire, agreed at connect.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::rpc::Status;

/// A method of the server at the other end of a channel, looked up once by name.
///
/// Names never travel with calls. A method that the server does not have can be looked up too; calls to it
/// return [`Code::Unimplemented`](crate::Code::Unimplemented) without leaving the process.
///
/// On a [classic](crate::Channel::connect_classic) channel names do travel. Such a server does not say what
/// methods it has, so all of them count as known, and only a call can tell. The same holds where a channel
/// [reconnects](crate::ChannelBuilder::reconnect): the next server may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// The channel that it was looked up on.
    channel: u32,
    /// `u32::MAX` if the server has no such method.
    id: u32,
    name: &'static str,
}

const UNKNOWN: u32 = u32::MAX;

/// Numbers the channels of this process.
static NEXT_CHANNEL: AtomicU32 = AtomicU32::new(0);

impl Method {
    /// A number that tells one channel's methods from those of others.
    pub(super) fn next_channel() -> u32 {
        NEXT_CHANNEL.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn new(channel: u32, id: Option<u32>, name: &'static str) -> Self {
        Self { channel, id: id.unwrap_or(UNKNOWN), name }
    }

    /// The full name, `/package.Service/Method`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the server has it; on a classic channel, and on one that reconnects, whether it may have it.
    pub fn is_known(&self) -> bool {
        self.id != UNKNOWN
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it can be called on this channel.
    #[inline]
    pub(crate) fn check(&self, channel: u32) -> Result<(), Status> {
        if self.channel == channel && self.is_known() { Ok(()) } else { Err(self.refusal(channel)) }
    }

    #[cold]
    fn refusal(&self, channel: u32) -> Status {
        let name = self.name;
        if self.channel != channel {
            return Status::invalid_argument(format!(
                "{name} was looked up on another channel; call method() on the one that is to be called"
            ));
        }
        Status::unimplemented(format!("the server has no method {name}"))
    }
}
