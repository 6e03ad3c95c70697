//! A typed call of this library: a message with one `bytes` field, encoded by prost, received as it is unless
//! anything is set.
//!
//! `Bytes` is the message `google.protobuf.BytesValue`.

use std::cell::RefCell;
use std::collections::VecDeque;

use anyhow::Context;
use bytes::Bytes;
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, ChannelBuilder, Method, Pending, Request, Response, Server, ServerBuilder, Status};

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::buffers::Buffer;
use crate::transports::{Echo, Flood, Place, Transport, socket};
use crate::work;

pub(super) const METHOD: &str = "/bench.Echo/Typed";

/// Typed unary calls.
#[derive(Debug)]
pub struct Typed;

impl Transport for Typed {
    fn name(&self) -> &'static str {
        "typed"
    }

    fn modes(&self) -> &'static [Mode] {
        use Mode::{Connections, Flood, Idle, Latency, OneCore, Threads, Wake};
        &[Latency, Flood, Wake, Idle, OneCore, Connections, Threads]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        run(serving, Server::builder().service(EchoService::<false>))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        Ok(Box::new(Client::new(channel(place)?)))
    }
}

/// Message and region limits that differ from the library's own only where a message would not fit.
pub(super) fn limits(max_size: usize) -> (u64, u64) {
    let message = (max_size as u64 + 1024).max(64 << 20);
    (message, (3 * message).max(256 << 20))
}

/// Serves at the socket of a place until the bench ends.
pub(super) fn run(serving: &Serving, builder: ServerBuilder) -> anyhow::Result<()> {
    let (message, region) = limits(serving.max_size());
    let builder = builder.max_message_size(message).max_region_bytes(region);
    let path = socket(serving.directory());
    let server = builder.bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
    serving.ready("");
    server.run().context("the server failed")
}

/// A channel to the server of a place.
pub(super) fn channel(place: &Place) -> anyhow::Result<Channel> {
    channel_with(place, Channel::builder())
}

/// The same with other settings.
pub(super) fn channel_with(place: &Place, builder: ChannelBuilder) -> anyhow::Result<Channel> {
    let (message, region) = limits(place.max_size);
    let builder = builder.max_message_size(message).max_region_bytes(region);
    builder.connect(socket(&place.directory)).wait().context("cannot connect")
}

/// Echoes typed messages, by a handler that returns or by one that is a future, ready when it is polled
/// first.
pub(super) struct EchoService<const ASYNC: bool>;

thread_local! {
    /// Where the receiving thread, which also runs the handlers, fills its replies.
    static REPLY: RefCell<Buffer> = RefCell::default();
}

/// The server's half of the work.
pub fn answer(request: &[u8]) -> Bytes {
    let seed = work::reply_seed(work::sum(request));
    REPLY.with_borrow_mut(|reply| reply.filled(request.len(), |bytes| work::fill(bytes, seed)))
}

impl<const ASYNC: bool> Service for EchoService<ASYNC> {
    fn name(&self) -> &'static str {
        "bench.Echo"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[METHOD]
    }

    fn may_begin_anew(&self) -> bool {
        true
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 if ASYNC => exchange.unary_async(|request| async move { echo(&request) }),
            0 => exchange.unary(|request| echo(&request)),
            _ => exchange.unimplemented(),
        }
    }
}

fn echo(request: &Request<Bytes>) -> Result<Response<Bytes>, Status> {
    Ok(Response::new(answer(request.get_ref())))
}

/// A channel, and what is sent on it.
pub(super) struct Client {
    channel: Channel,
    method: Method,
    request: Buffer,
}

impl Client {
    pub(super) fn new(channel: Channel) -> Self {
        Self { method: channel.method(METHOD), channel, request: Buffer::default() }
    }
}

/// Sends the call of a number.
#[inline]
fn start<'a>(
    channel: &'a Channel,
    method: &Method,
    request: &mut Buffer,
    (size, number): (usize, u64),
) -> anyhow::Result<Pending<'a, Bytes>> {
    let request = request.filled(size, |bytes| work::fill(bytes, work::seed(number)));
    Ok(channel.unary::<Bytes, Bytes>(method, request.into()).start()?)
}

/// Waits for the reply and checks it.
#[inline]
fn finish(call: Pending<'_, Bytes>, size: usize, number: u64) -> anyhow::Result<()> {
    work::check(call.wait()?.get_ref(), size, work::seed(number))
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        finish(start(&self.channel, &self.method, &mut self.request, (size, number))?, size, number)
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let Self { channel, method, request } = self;
        let size = flood.size;
        let mut state = (VecDeque::with_capacity(flood.depth + 1), request);
        flood.run(
            &mut state,
            |(pending, request), number| {
                pending.push_back(start(channel, method, request, (size, number))?);
                Ok(())
            },
            |(pending, _), number| finish(pending.pop_front().context("a call is under way")?, size, number),
        )
    }

    fn share(&self) -> anyhow::Result<Box<dyn Echo + Send>> {
        Ok(Box::new(Self::new(self.channel.clone())))
    }
}
