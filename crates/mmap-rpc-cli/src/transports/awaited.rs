//! The calls of [`typed`](super::typed), by tasks of a current-thread runtime: alone on their channel, or
//! beside a stream that says nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use mmap_rpc::health::{Health, HealthCheckRequest, HealthClient};
use mmap_rpc::{Channel, Method, Server};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::buffers::Buffer;
use crate::transports::typed::{EchoService, METHOD, channel, run};
use crate::transports::{Echo, Flood, Place, Transport};
use crate::work;

/// The size at which it shows how long a task waits.
const SIZE: usize = 64;

/// Typed unary calls that are awaited.
#[derive(Debug)]
pub struct Awaited {
    /// Whether another task waits on the channel, for a message that does not come.
    beside: bool,
}

/// One task at a time, and nobody else.
pub const ALONE: Awaited = Awaited { beside: false };
/// Beside another task that waits.
pub const BESIDE: Awaited = Awaited { beside: true };

impl Transport for Awaited {
    fn name(&self) -> &'static str {
        if self.beside { "awaited-beside" } else { "awaited" }
    }

    fn modes(&self) -> &'static [Mode] {
        if self.beside { &[Mode::Latency] } else { &[Mode::Latency, Mode::Flood, Mode::Wake] }
    }

    fn sizes(&self, wanted: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        wanted.iter().copied().filter(|&size| size == SIZE || !self.beside).collect()
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        // What it reports never changes: whoever watches waits.
        let (health, _reporter) = Health::new();
        run(serving, Server::builder().service(EchoService::<false>).service(health))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
        let channel = channel(place)?;
        if self.beside {
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
        let (tasks, answered) = (LocalSet::new(), Rc::new(Cell::new(0)));
        let tasks_under_way: Vec<_> = (0..flood.depth)
            .map(|_| {
                let Caller { channel, method, .. } = &self.caller;
                let (channel, method) = (channel.clone(), *method);
                let mut caller = Caller { channel, method, request: Buffer::default() };
                let answered = answered.clone();
                tasks.spawn_local(async move {
                    /// Calls of a task between two looks at the clock.
                    const CALLS_PER_LOOK: u64 = 8;
                    while Instant::now() < flood.until {
                        for _ in 0..CALLS_PER_LOOK {
                            caller.echo(flood.size, flood.first + answered.get()).await?;
                            answered.set(answered.get() + 1);
                        }
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        self.runtime.block_on(tasks.run_until(async {
            for task in tasks_under_way {
                task.await.context("a task panicked")??;
            }
            anyhow::Ok(())
        }))?;
        Ok(answered.get())
    }
}
