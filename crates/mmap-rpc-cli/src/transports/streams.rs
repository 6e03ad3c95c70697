//! Messages through one stream of a call, which lasts as long as a turn: down to the client, up to the
//! server, or one at a time to the server and back. Both sides are threads, or both are tasks.

mod client;
mod service;
mod tasks;

use std::thread;

use anyhow::Context;
use mmap_rpc::Server;
use tokio::runtime::{Builder, Handle};

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::typed::{channel, run};
use crate::transports::{Echo, Place, Transport};

/// The sizes of messages: one that travels in its entry, and one that does not.
pub const SIZES: [usize; 2] = [64, 4 << 10];

/// Which way the messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
    Both,
}

/// Messages of one stream.
#[derive(Debug)]
pub struct Streams {
    name: &'static str,
    way: Way,
    tasks: bool,
}

/// A response of many messages.
pub const DOWN: Streams = Streams { name: "server-stream", way: Way::Down, tasks: false };
/// The same between tasks.
pub const DOWN_TASKS: Streams = Streams { name: "server-stream-tasks", way: Way::Down, tasks: true };
/// A request of many messages.
pub const UP: Streams = Streams { name: "client-stream", way: Way::Up, tasks: false };
/// The same between tasks.
pub const UP_TASKS: Streams = Streams { name: "client-stream-tasks", way: Way::Up, tasks: true };
/// Requests on an open call, each answered before the next one.
pub const BOTH: Streams = Streams { name: "bidi", way: Way::Both, tasks: false };
/// The same between tasks.
pub const BOTH_TASKS: Streams = Streams { name: "bidi-tasks", way: Way::Both, tasks: true };

impl Transport for Streams {
    fn name(&self) -> &'static str {
        self.name
    }

    fn modes(&self) -> &'static [Mode] {
        match self.way {
            Way::Down | Way::Up => &[Mode::Stream],
            Way::Both => &[Mode::Latency],
        }
    }

    fn sizes(&self, wanted: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        wanted.iter().copied().filter(|size| SIZES.contains(size)).collect()
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let server = Server::builder().service(service::Streams { tasks: self.tasks });
        run(serving, server.runtime(runtime()?))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let channel = channel(place)?;
        Ok(match self.tasks {
            false => Box::new(client::Client::new(self.way, channel)),
            true => Box::new(tasks::Client::new(self.way, channel)?),
        })
    }
}

/// A runtime of one thread, which lasts as long as the process.
///
/// # Errors
/// If there is none to be had.
pub(super) fn runtime() -> anyhow::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new().name("runtime".into()).spawn(run).context("cannot start a thread")?;
    Ok(handle)
}
