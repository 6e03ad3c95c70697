//! A typed call whose messages have fields of fixed size only, and so need no heap memory: eight words of a
//! message of 64 bytes.

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, Method, Pending, Request, Response, Server};

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::typed::{channel, run};
use crate::transports::{Echo, Flood, Place, Transport};
use crate::work;

const METHOD: &str = "/bench.Echo/Fixed";

/// Bytes of the message's fields.
const SIZE: usize = 64;

/// Typed unary calls of a message without heap memory.
#[derive(Debug)]
pub struct TypedFixed;

/// A message of eight words.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Words {
    #[prost(fixed64, tag = "1")]
    a: u64,
    #[prost(fixed64, tag = "2")]
    b: u64,
    #[prost(fixed64, tag = "3")]
    c: u64,
    #[prost(fixed64, tag = "4")]
    d: u64,
    #[prost(fixed64, tag = "5")]
    e: u64,
    #[prost(fixed64, tag = "6")]
    f: u64,
    #[prost(fixed64, tag = "7")]
    g: u64,
    #[prost(fixed64, tag = "8")]
    h: u64,
}

impl Words {
    /// The message that [`work::fill`] makes of a seed.
    fn filled(seed: u64) -> Self {
        let mut bytes = [0; SIZE];
        work::fill(&mut bytes, seed);
        let word = |at: usize| u64::from_le_bytes(bytes[8 * at..][..8].try_into().expect("eight bytes"));
        let [a, b, c, d, e, f, g, h] = std::array::from_fn(word);
        Self { a, b, c, d, e, f, g, h }
    }

    /// Its sum, by the loop that sums all messages.
    fn sum(&self) -> u64 {
        let Self { a, b, c, d, e, f, g, h } = *self;
        let mut bytes = [0; SIZE];
        for (to, word) in bytes.chunks_exact_mut(8).zip([a, b, c, d, e, f, g, h]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        work::sum(&bytes)
    }
}

impl Transport for TypedFixed {
    fn name(&self) -> &'static str {
        "typed-fixed"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood]
    }

    /// Its own, if it was asked for.
    fn sizes(&self, wanted: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        wanted.iter().copied().filter(|&size| size == SIZE).collect()
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        run(serving, Server::builder().service(EchoService))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let channel = channel(place)?;
        Ok(Box::new(Client { method: channel.method(METHOD), channel }))
    }
}

struct EchoService;

impl Service for EchoService {
    fn name(&self) -> &'static str {
        "bench.Echo"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[METHOD]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 => exchange.unary(|request: Request<Words>| {
                Ok(Response::new(Words::filled(work::reply_seed(request.get_ref().sum()))))
            }),
            _ => exchange.unimplemented(),
        }
    }
}

struct Client {
    channel: Channel,
    method: Method,
}

impl Client {
    #[inline]
    fn start(&self, number: u64) -> anyhow::Result<Pending<'_, Words>> {
        let request = Words::filled(work::seed(number));
        Ok(self.channel.unary::<Words, Words>(&self.method, request.into()).start()?)
    }
}

#[inline]
fn finish(call: Pending<'_, Words>, number: u64) -> anyhow::Result<()> {
    work::check_sum(call.wait()?.get_ref().sum(), SIZE, work::seed(number))
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        ensure!(size == SIZE, "these messages have {SIZE} bytes, not {size}");
        finish(self.start(number)?, number)
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        ensure!(flood.size == SIZE, "these messages have {SIZE} bytes, not {}", flood.size);
        let mut pending = VecDeque::with_capacity(flood.depth + 1);
        flood.run(
            &mut pending,
            |pending, number| {
                pending.push_back(self.start(number)?);
                Ok(())
            },
            |pending, number| finish(pending.pop_front().context("a call is under way")?, number),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_words_of_the_work() {
        let words = Words::filled(work::seed(5));
        assert_eq!(words.sum(), work::expected(SIZE, work::seed(5)));
        assert_eq!(words.b, words.a.wrapping_add(1));
        assert_ne!(words.sum(), Words { h: 0, ..words }.sum(), "every field counts");
    }
}
