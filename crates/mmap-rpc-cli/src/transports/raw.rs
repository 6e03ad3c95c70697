//! Calls of plain bytes of this library: copied, filled and read where they travel, or not touched at all.

use std::cell::RefCell;
use std::time::Duration;

use mmap_rpc::server::Replier;
use mmap_rpc::{Channel, Lane, Method, Payload, RawBody, Request, Server, ServerBuilder, Status};

use crate::args::Mode;
use crate::machine;
use crate::serving::Serving;
use crate::transports::typed::{answer, channel, channel_with, run};
use crate::transports::{Echo, Place, Transport};
use crate::work;

const COPIED: &str = "/bench.Raw/Copied";
const BORROWED: &str = "/bench.Raw/Borrowed";
const IGNORED: &str = "/bench.Raw/Ignored";

/// How long both sides of [`Borrowed`] look for a message: longer than the work on 4 MiB takes, as the rows
/// that it is compared with never sleep.
const SPIN: Duration = Duration::from_millis(1);

/// Messages up to this length are copied into their entries, loans as well.
const IN_AN_ENTRY: usize = 96;

/// Sizes of the messages that nobody touches.
const UNTOUCHED: [usize; 5] = [4 << 10, 64 << 10, 1 << 20, 64 << 20, 1 << 30];

/// Bytes that were filled elsewhere, copied in by the call and out by the receiver.
#[derive(Debug)]
pub struct Raw;

/// Bytes that are filled where they travel, and read where they lie, by sides that spin for long.
#[derive(Debug)]
pub struct Borrowed;

/// The same over the socket lane: what a frame that names offset and length saves, where nobody copies.
#[derive(Debug)]
pub struct BorrowedOnSocket;

/// A message that nobody fills or reads, answered by an empty one: what a hand-off costs by size.
#[derive(Debug)]
pub struct Untouched;

/// A server with all three methods.
fn serve(serving: &Serving, builder: ServerBuilder) -> anyhow::Result<()> {
    run(serving, builder.raw(COPIED, copied).raw(BORROWED, borrowed).raw(IGNORED, ignored))
}

thread_local! {
    /// Where the receiving thread, which also runs the handlers, copies its requests to.
    static REQUEST: RefCell<Vec<u8>> = RefCell::default();
}

/// Copies a payload to memory that is used again and again.
#[inline]
fn copy_out<'a>(payload: &Payload, memory: &'a mut Vec<u8>) -> &'a [u8] {
    if memory.len() != payload.len() {
        memory.resize(payload.len(), 0);
    }
    payload.copy_to_slice(0, memory);
    memory
}

fn copied(request: Request<Payload>, replier: &Replier<'_>) -> Result<RawBody<'static>, Status> {
    let payload = request.get_ref();
    REQUEST.with_borrow_mut(|memory| {
        let request = copy_out(payload, memory);
        if request.len() > IN_AN_ENTRY {
            return Ok(answer(request).into());
        }
        let mut reply = replier.loan(request.len())?;
        work::fill(&mut reply, work::reply_seed(work::sum(request)));
        Ok(reply.into())
    })
}

fn borrowed(request: Request<Payload>, replier: &Replier<'_>) -> Result<RawBody<'static>, Status> {
    let request = request.get_ref();
    // SAFETY: the client is this very program, and writes to a request only before it is sent.
    let sum = work::sum(unsafe { request.as_slice() });
    let mut reply = replier.loan(request.len())?;
    work::fill(&mut reply, work::reply_seed(sum));
    Ok(reply.into())
}

fn ignored(_: Request<Payload>, _: &Replier<'_>) -> Result<RawBody<'static>, Status> {
    Ok(RawBody::Slice(&[]))
}

/// The client of all three.
struct Client {
    channel: Channel,
    method: Method,
    call: fn(&mut Self, usize, u64) -> anyhow::Result<()>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

fn connect(
    channel: Channel,
    method: &'static str,
    call: fn(&mut Client, usize, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Box<dyn Echo>> {
    let method = channel.method(method);
    Ok(Box::new(Client { channel, method, call, request: Vec::new(), reply: Vec::new() }))
}

impl Client {
    fn copied(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        if self.request.len() != size {
            self.request.resize(size, 0);
        }
        work::fill(&mut self.request, work::seed(number));
        let reply = self.channel.raw(&self.method, &self.request).wait()?;
        work::check(copy_out(&reply, &mut self.reply), size, work::seed(number))
    }

    fn borrowed(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let mut request = self.channel.loan(size)?;
        work::fill(&mut request, work::seed(number));
        let reply = self.channel.raw(&self.method, request).wait()?;
        // SAFETY: the server is this very program, and writes to a reply only before it is sent.
        work::check(unsafe { reply.as_slice() }, size, work::seed(number))
    }

    fn untouched(&mut self, size: usize, _: u64) -> anyhow::Result<()> {
        let request = self.channel.loan(size)?;
        let reply = self.channel.raw(&self.method, request).wait()?;
        anyhow::ensure!(reply.is_empty(), "a message that nobody reads is answered by nothing");
        Ok(())
    }
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        (self.call)(self, size, number)
    }
}

impl Transport for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        serve(serving, Server::builder())
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        connect(channel(place)?, COPIED, Client::copied)
    }
}

impl Transport for Borrowed {
    fn name(&self) -> &'static str {
        "borrowed"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        serve(serving, Server::builder().spin(SPIN))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        connect(channel_with(place, Channel::builder().spin(SPIN))?, BORROWED, Client::borrowed)
    }
}

impl Transport for BorrowedOnSocket {
    fn name(&self) -> &'static str {
        "socket-lane-loans"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        serve(serving, Server::builder())
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let channel = channel_with(place, Channel::builder().lane(Lane::Socket))?;
        connect(channel, BORROWED, Client::borrowed)
    }
}

impl Transport for Untouched {
    fn name(&self) -> &'static str {
        "untouched"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn compares_sizes(&self) -> bool {
        true
    }

    /// Its own, as long as the machine could hold two of them.
    fn sizes(&self, _: &[usize], notes: &mut Vec<String>) -> Vec<usize> {
        let available = machine::available_memory();
        let (fits, too_large): (Vec<_>, Vec<_>) =
            UNTOUCHED.into_iter().partition(|&size| 2 * size as u64 <= available);
        if let Some(size) = too_large.first() {
            notes.push(format!(
                "untouched: no messages of {size} bytes and more, because {available} bytes of memory are free"
            ));
        }
        fits
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        serve(serving, Server::builder())
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        connect(channel(place)?, IGNORED, Client::untouched)
    }
}
