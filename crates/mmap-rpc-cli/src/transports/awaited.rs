//! The calls of [`typed`](super::typed), by tasks: of a runtime of one thread, alone on their channel or
//! beside a stream that says nothing; and of a runtime of two threads.

use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use mmap_rpc::health::{Health, HealthCheckRequest, HealthClient};
use mmap_rpc::{Channel, Method, Server};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::buffers::Buffer;
use crate::transports::typed::{EchoService, METHOD, channel, run};
use crate::transports::{Echo, Flood, Place, Transport};
use crate::work;

/// The size at which it shows how long a task waits.
const SIZE: usize = 64;

/// Typed unary calls that are awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// By tasks of one thread, and nobody else.
    Alone,
    /// Beside another task that waits on the channel, for a message that does not come.
    Beside,
    /// By tasks of two threads.
    Threads,
}

impl Transport for Awaited {
    fn name(&self) -> &'static str {
        match self {
            Self::Alone => "awaited",
            Self::Beside => "awaited-beside",
            Self::Threads => "awaited-threads",
        }
    }

    fn modes(&self) -> &'static [Mode] {
        match self {
            Self::Alone => &[Mode::Latency, Mode::Flood, Mode::Wake],
            Self::Beside => &[Mode::Latency],
            Self::Threads => &[Mode::Flood],
        }
    }

    fn sizes(&self, wanted: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        wanted.iter().copied().filter(|&size| size == SIZE || *self == Self::Alone).collect()
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        // What it reports never changes: whoever watches waits.
        let (health, _reporter) = Health::new();
        run(serving, Server::builder().service(EchoService::<false>).service(health))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let mut builder = match self {
            Self::Alone | Self::Beside => Builder::new_current_thread(),
            Self::Threads => Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(2).enable_all().build().context("cannot make a runtime")?;
        let channel = channel(place)?;
        if *self == Self::Beside {
            let health = HealthClient::new(channel.clone());
            let mut statuses =
                runtime.block_on(async { health.watch(HealthCheckRequest::default()).await })?.into_inner();
            runtime.block_on(async { statuses.message().await })?;
            runtime.spawn(async move { statuses.message().await.map(drop) });
        }
        let method = channel.method(METHOD);
        Ok(Box::new(Client { runtime, caller: Caller { channel, method, request: Buffer::default() } }))
    }
}

struct Client {
    runtime: Runtime,
    caller: Caller,
}

/// A task's half of it.
struct Caller {
    channel: Channel,
    method: Method,
    request: Buffer,
}

impl Caller {
    /// Calls until the time is over; returns how often.
    async fn flood(mut self, flood: Flood) -> anyhow::Result<u64> {
        /// Calls between two looks at the clock.
        const CALLS_PER_LOOK: u64 = 8;
        let mut answered = 0;
        while Instant::now() < flood.until {
            for _ in 0..CALLS_PER_LOOK {
                self.echo(flood.size, flood.first + answered).await?;
                answered += 1;
            }
        }
        Ok(answered)
    }

    #[inline]
    async fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let seed = work::seed(number);
        let request = self.request.filled(size, |bytes| work::fill(bytes, seed));
        let reply = self.channel.unary::<Bytes, Bytes>(&self.method, request.into()).await?;
        work::check(reply.get_ref(), size, seed)
    }
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let Self { runtime, caller } = self;
        runtime.block_on(caller.echo(size, number))
    }

    /// As many tasks as calls are to be under way, each with one.
    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let Caller { channel, method, .. } = &self.caller;
        let caller = || Caller { channel: channel.clone(), method: *method, request: Buffer::default() };
        self.runtime.block_on(async {
            let mut tasks: JoinSet<_> = (0..flood.depth).map(|_| caller().flood(flood)).collect();
            let mut answered = 0;
            while let Some(task) = tasks.join_next().await {
                answered += task.context("a task panicked")??;
            }
            Ok(answered)
        })
    }
}
