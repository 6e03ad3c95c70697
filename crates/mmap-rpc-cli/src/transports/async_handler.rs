//! The calls of [`typed`](super::typed) to an async handler, which is ready when it is polled first.

use mmap_rpc::Server;

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::streams::runtime;
use crate::transports::typed::{Client, EchoService, channel, run};
use crate::transports::{Echo, Place, Transport};

/// The size at which a handler's own cost shows.
const SIZE: usize = 64;

/// Typed unary calls whose handler is a future.
#[derive(Debug)]
pub struct AsyncHandler;

impl Transport for AsyncHandler {
    fn name(&self) -> &'static str {
        "async-handler"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood]
    }

    fn sizes(&self, wanted: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        wanted.iter().copied().filter(|&size| size == SIZE).collect()
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        run(serving, Server::builder().service(EchoService::<true>).runtime(runtime()?))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        Ok(Box::new(Client::new(channel(place)?)))
    }
}
