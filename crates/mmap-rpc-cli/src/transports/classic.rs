//! A typed call over the classic lane, made as [`typed`](super::typed) makes it over the ring: its messages
//! lie in a file that both sides read and write, and are announced on a socket.
//!
//! The file is in the bench's directory for temporary files, as the sockets are; `TMPDIR=/dev/shm` puts it
//! into memory where that is a disk's.

use anyhow::Context;
use mmap_rpc::{Channel, Server};

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::typed::{Client, EchoService, limits, run};
use crate::transports::{Echo, Place, Transport, socket};

/// Typed unary calls to a server of the classic protocol.
#[derive(Debug)]
pub struct Classic;

impl Transport for Classic {
    fn name(&self) -> &'static str {
        "classic"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        // A file holds any message, and takes room only where there has been one.
        let (message, _) = limits(serving.max_size());
        let builder = Server::builder().classic(serving.directory().join("files")).classic_file_size(message);
        run(serving, builder.service(EchoService::<false>))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let (message, _) = limits(place.max_size);
        let channel = Channel::builder().max_message_size(message);
        let channel = channel.connect_classic(socket(&place.directory)).wait().context("cannot connect")?;
        Ok(Box::new(Client::new(channel)))
    }
}
