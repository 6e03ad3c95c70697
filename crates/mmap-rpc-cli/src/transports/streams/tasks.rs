//! The client's half, as a task of a current-thread runtime.

use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use mmap_rpc::{Channel, Method, Sender, Streaming};
use tokio::runtime::{Builder, Runtime};

use super::Way;
use super::client::{PER_LOOK, check, check_total, filled};
use super::service::{BOTH, DOWN, UP, order};
use crate::transports::buffers::Buffer;
use crate::transports::{Echo, Flood};
use crate::work;

/// A runtime, and what its task does.
pub(super) struct Client {
    runtime: Runtime,
    task: Task,
}

struct Task {
    way: Way,
    channel: Channel,
    open: Option<(Sender<Bytes>, Streaming<Bytes>)>,
    memory: Buffer,
}

impl Client {
    pub(super) fn new(way: Way, channel: Channel) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
        Ok(Self { runtime, task: Task { way, channel, open: None, memory: Buffer::default() } })
    }
}

impl Task {
    fn method(&self, name: &'static str) -> Method {
        self.channel.method(name)
    }

    async fn down(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let request = order(flood.size, flood.first);
        let call = self.channel.server_streaming::<_, Bytes>(&self.method(DOWN), request.into());
        let (mut messages, mut count) = (call.await?.into_inner(), 0);
        while count % PER_LOOK != 0 || Instant::now() < flood.until {
            let message = messages.message().await?.context("the stream has ended")?;
            check(&message, flood.size, flood.first + count)?;
            count += 1;
        }
        Ok(count)
    }

    async fn up(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let call = self.channel.client_streaming::<Bytes, Bytes>(&self.method(UP));
        let ((mut sender, reply), mut count) = (call.await?, 0);
        while count % PER_LOOK != 0 || Instant::now() < flood.until {
            sender.send(filled(&mut self.memory, flood.size, flood.first + count)).await?;
            count += 1;
        }
        sender.finish();
        check_total(reply.await?, flood, count)?;
        Ok(count)
    }

    async fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.channel.bidi_streaming(&self.method(BOTH)).await?);
        }
        let (sender, answers) = self.open.as_mut().expect("opened above");
        sender.send(filled(&mut self.memory, size, number)).await?;
        let answer = answers.message().await?.context("the stream has ended")?;
        work::check(&answer, size, work::seed(number))
    }
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        self.runtime.block_on(self.task.echo(size, number))
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let Self { runtime, task } = self;
        match task.way {
            Way::Up => runtime.block_on(task.up(flood)),
            Way::Down | Way::Both => runtime.block_on(task.down(flood)),
        }
    }
}
