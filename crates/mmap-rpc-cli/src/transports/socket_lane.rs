//! A typed call over the socket lane: made as [`typed`](super::typed) makes it over the ring, its messages in
//! the same memory, announced on the socket.

use mmap_rpc::{Channel, Lane, Server};

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::typed::{Client, EchoService, channel_with, run};
use crate::transports::{Echo, Place, Transport};

/// Typed unary calls that travel as frames.
#[derive(Debug)]
pub struct SocketLane;

impl Transport for SocketLane {
    fn name(&self) -> &'static str {
        "socket-lane"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        run(serving, Server::builder().service(EchoService::<false>))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let channel = channel_with(place, Channel::builder().lane(Lane::Socket))?;
        Ok(Box::new(Client::new(channel)))
    }
}
