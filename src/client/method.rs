//! A method as a channel knows it: its number on the wire, agreed at connect.

use crate::rpc::Status;

/// A method of the server at the other end of a channel, looked up once by name.
///
/// Names never travel with calls. A method that the server does not have can be looked up too; calls to it
/// return [`Code::Unimplemented`](crate::Code::Unimplemented) without leaving the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// The channel that it was looked up on.
    channel: u32,
    /// `u32::MAX` if the server has no such method.
    id: u32,
    name: &'static str,
}

const UNKNOWN: u32 = u32::MAX;

impl Method {
    pub(crate) fn new(channel: u32, id: Option<u32>, name: &'static str) -> Self {
        Self { channel, id: id.unwrap_or(UNKNOWN), name }
    }

    /// The full name, `/package.Service/Method`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the server has it.
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
