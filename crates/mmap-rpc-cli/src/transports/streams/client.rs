//! The client's half, on a thread.

use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::{Buf, Bytes};
use mmap_rpc::{Channel, Method, Response, Sender, Streaming};

use super::Way;
use super::service::{BOTH, DOWN, UP, order};
use crate::transports::buffers::Buffer;
use crate::transports::{Echo, Flood};
use crate::work;

/// Messages between two looks at the clock.
pub(super) const PER_LOOK: u64 = 64;

/// A channel, and the call of those that last.
pub(super) struct Client {
    way: Way,
    channel: Channel,
    open: Option<(Sender<Bytes>, Streaming<Bytes>)>,
    memory: Buffer,
}

/// Where messages are filled.
pub(super) fn filled(memory: &mut Buffer, size: usize, number: u64) -> Bytes {
    memory.filled(size, |bytes| work::fill(bytes, work::seed(number)))
}

/// Whether it is the message of that number, filled by the server.
pub(super) fn check(message: &Bytes, size: usize, number: u64) -> anyhow::Result<()> {
    let right = work::expected(size, work::seed(number));
    ensure!(message.len() == size && work::sum(message) == right, "message {number} is another one");
    Ok(())
}

/// Whether the server has summed the messages from `first` on.
pub(super) fn check_total(reply: Response<Bytes>, flood: Flood, sent: u64) -> anyhow::Result<()> {
    let sums = (0..sent).map(|number| work::expected(flood.size, work::seed(flood.first + number)));
    let right = sums.fold(0, u64::wrapping_add);
    ensure!(reply.into_inner().get_u64_le() == right, "the server has not got what was sent");
    Ok(())
}

impl Client {
    pub(super) fn new(way: Way, channel: Channel) -> Self {
        Self { way, channel, open: None, memory: Buffer::default() }
    }

    fn method(&self, name: &'static str) -> Method {
        self.channel.method(name)
    }

    fn down(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let request = order(flood.size, flood.first);
        let call = self.channel.server_streaming::<_, Bytes>(&self.method(DOWN), request.into());
        let (mut messages, mut count) = (call.wait()?.into_inner(), 0);
        while count % PER_LOOK != 0 || Instant::now() < flood.until {
            let message = messages.message().wait()?.context("the stream has ended")?;
            check(&message, flood.size, flood.first + count)?;
            count += 1;
        }
        Ok(count)
    }

    fn up(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let call = self.channel.client_streaming::<Bytes, Bytes>(&self.method(UP));
        let ((mut sender, reply), mut count) = (call.wait()?, 0);
        while count % PER_LOOK != 0 || Instant::now() < flood.until {
            sender.send(filled(&mut self.memory, flood.size, flood.first + count)).wait()?;
            count += 1;
        }
        sender.finish();
        check_total(reply.wait()?, flood, count)?;
        Ok(count)
    }
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.channel.bidi_streaming(&self.method(BOTH)).wait()?);
        }
        let (sender, answers) = self.open.as_mut().expect("opened above");
        sender.send(filled(&mut self.memory, size, number)).wait()?;
        let answer = answers.message().wait()?.context("the stream has ended")?;
        work::check(&answer, size, work::seed(number))
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        match self.way {
            Way::Up => self.up(flood),
            Way::Down | Way::Both => self.down(flood),
        }
    }
}
