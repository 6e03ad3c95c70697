//! Messages that are no protobuf: `cargo run --example codec --features zerocopy`.
//!
//! One service of three codecs: plain values that are sent as they lie in memory, bytes that nobody looks
//! at, and a format of this program's own.

use bytes::{Buf, BufMut};
use mmap_rpc::codec::{CodecError, Decode, Encode, Pod, Raw};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Request, Response, Server, Status, testing};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A price at a moment. Its layout is what client and server agree on.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Tick {
    microseconds: u64,
    bid: f64,
    ask: f64,
}

/// Names, one to a line.
#[derive(Debug, PartialEq)]
struct Names(Vec<String>);

impl Encode for Names {
    fn encoded_len(&self) -> usize {
        self.0.iter().map(|name| name.len() + 1).sum()
    }

    fn encode(&self, to: &mut impl BufMut) -> Result<(), CodecError> {
        for name in &self.0 {
            if name.contains('\n') {
                return Err(CodecError::new(format!("{name:?} has more than one line")));
            }
            to.put_slice(name.as_bytes());
            to.put_u8(b'\n');
        }
        Ok(())
    }
}

impl Decode for Names {
    fn decode(from: impl Buf) -> Result<Self, CodecError> {
        let text = std::str::from_utf8(from.chunk()).map_err(CodecError::new)?;
        Ok(Self(text.lines().map(str::to_owned).collect()))
    }
}

const NAMES: &str = "/demo.Prices/Names";
const MIDDLE: &str = "/demo.Prices/Middle";
const TICKS: &str = "/demo.Prices/Ticks";

struct Prices;

impl Prices {
    fn tick(name: &str, number: u64) -> Tick {
        let bid = name.len() as f64 + number as f64 / 4.0;
        Tick { microseconds: number, bid, ask: bid + 0.5 }
    }
}

impl Service for Prices {
    fn name(&self) -> &'static str {
        "demo.Prices"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[NAMES, MIDDLE, TICKS]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            // Bytes, answered in a format of our own.
            0 => exchange.unary(|beginning: Request<Raw>| {
                let all = ["barley", "oats", "wheat"].into_iter();
                let named = all.filter(|name| name.as_bytes().starts_with(&beginning.get_ref().0));
                Ok(Response::new(Names(named.map(str::to_owned).collect())))
            }),
            // A value, answered with a value.
            1 => exchange.unary(|tick: Request<Pod<Tick>>| {
                let Pod(Tick { bid, ask, .. }) = *tick.get_ref();
                Ok(Response::new(Pod((bid + ask) / 2.0)))
            }),
            // Names, answered with a stream of values.
            _ => exchange.server_streaming(|names: Request<Names>| {
                let Names(names) = names.into_inner();
                let ticks = (0..3).flat_map(move |number| {
                    names.iter().map(|name| Ok(Pod(Self::tick(name, number)))).collect::<Vec<_>>()
                });
                Ok(Response::new(ticks))
            }),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pair = testing::pair(Server::builder().service(Prices))?;
    let channel = pair.channel();
    let (names, middle, ticks) = (channel.method(NAMES), channel.method(MIDDLE), channel.method(TICKS));

    let found = channel.unary::<_, Names>(&names, Raw("o").into()).wait()?.into_inner();
    println!("names that begin with o: {:?}", found.0);
    assert_eq!(found.0, ["oats"]);

    let call = channel.server_streaming::<_, Pod<Tick>>(&ticks, found.into());
    for tick in call.wait()?.into_inner() {
        let Pod(tick) = tick?;
        let price = channel.unary::<_, Pod<f64>>(&middle, Pod(tick).into()).wait()?.into_inner();
        println!("after {} µs: {}", tick.microseconds, price.0);
        assert_eq!(price.0, (tick.bid + tick.ask) / 2.0);
    }

    // What is no message of a method's codec fails its call, and says why.
    let short = channel.unary::<_, Pod<f64>>(&middle, Raw("not a tick").into()).wait();
    println!("{}", told(short.map(drop)));
    let lines = Names(vec!["oats\nand wheat".to_owned()]);
    let refused = channel.server_streaming::<_, Pod<Tick>>(&ticks, lines.into()).wait();
    println!("{}", told(refused.map(drop)));
    Ok(())
}

/// A failure that is expected.
fn told(outcome: Result<(), Status>) -> Status {
    outcome.expect_err("these bytes are no message")
}
