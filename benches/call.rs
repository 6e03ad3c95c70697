//! A call between two processes, by size of its message, and the cache-line ping-pong that bounds it.
//!
//! The program starts itself once more as the server. Every call echoes its bytes, so a message of n bytes
//! crosses twice. `cargo bench --bench call`
//!
//! The last lines are medians of calls and of ping-pongs that take turns within a second of each other, and
//! their ratios: two processors of a virtual machine may be near or far from each other, and change.

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, Method, Request, Response, Server};
use testkit::{Child, Parent};

/// What the second process is started as.
const ROLE: &str = "echo";

struct Echo;

impl Service for Echo {
    fn name(&self) -> &'static str {
        "bench.Echo"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["/bench.Echo/Typed"]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            // `Bytes` is the message `google.protobuf.BytesValue`.
            0 => exchange.unary(|request: Request<Bytes>| Ok(Response::new(request.into_inner()))),
            _ => exchange.unimplemented(),
        }
    }
}

fn serve(parent: &Parent) {
    let path = parent.argument("socket");
    let server = Server::builder()
        .service(Echo)
        .raw("/bench.Echo/Raw", |request, reply| {
            let payload = request.into_inner();
            let mut loan = reply.loan(payload.len())?;
            payload.copy_to_slice(0, &mut loan);
            Ok(loan.into())
        })
        .bind(path)
        .expect("a socket in a directory of our own");
    parent.say("ready");
    server.run().expect("serve");
}

/// Two threads that hand a number to and fro, without a pause between looks: what a round trip costs before
/// any protocol.
struct PingPong {
    lines: Arc<[Line; 2]>,
    echo: Option<JoinHandle<()>>,
    number: u64,
}

#[repr(align(128))]
struct Line(AtomicU64);

impl PingPong {
    fn start() -> Self {
        let lines = Arc::new([Line(AtomicU64::new(0)), Line(AtomicU64::new(0))]);
        let echo = thread::spawn({
            let lines = lines.clone();
            move || {
                let mut seen = 0;
                while seen != u64::MAX {
                    let ping = lines[0].0.load(Ordering::Acquire);
                    if ping != seen {
                        seen = ping;
                        lines[1].0.store(ping, Ordering::Release);
                    }
                }
            }
        });
        Self { lines, echo: Some(echo), number: 0 }
    }

    /// One round trip.
    fn play(&mut self) {
        self.number += 1;
        self.lines[0].0.store(self.number, Ordering::Release);
        while self.lines[1].0.load(Ordering::Acquire) != self.number {}
    }
}

impl Drop for PingPong {
    fn drop(&mut self) {
        self.lines[0].0.store(u64::MAX, Ordering::Release);
        self.echo.take().expect("joined once").join().expect("the echo ends");
    }
}

fn floor(criterion: &mut Criterion) {
    let mut game = PingPong::start();
    criterion.bench_function("floor/ping-pong", |bencher| bencher.iter(|| game.play()));
}

/// One call that echoes the message.
fn echo(channel: &Channel, method: &Method, message: &Bytes) -> Bytes {
    channel.unary::<Bytes, Bytes>(method, message.clone().into()).wait().expect("echo").into_inner()
}

fn calls(criterion: &mut Criterion, channel: &Channel) {
    let (typed, raw) = (channel.method("/bench.Echo/Typed"), channel.method("/bench.Echo/Raw"));
    for size in [0, 64, 4 << 10, 64 << 10, 1 << 20, 4 << 20] {
        let message = Bytes::from(vec![7; size]);
        let mut group = criterion.benchmark_group("call");
        group.throughput(Throughput::Bytes(2 * size as u64));
        group.bench_function(format!("typed/{size}"), |bencher| {
            bencher.iter(|| {
                assert_eq!(black_box(echo(channel, &typed, &message)).len(), size);
            });
        });
        group.bench_function(format!("raw/{size}"), |bencher| {
            bencher.iter(|| {
                let reply = channel.raw(&raw, &message[..]).wait().expect("echo");
                assert_eq!(black_box(reply).len(), size);
            });
        });
    }
}

/// How many calls a flood has under way at once.
const DEPTH: usize = 64;

/// [`DEPTH`] calls under way at once, from one thread.
fn flood_once(channel: &Channel, method: &Method, message: &Bytes) {
    let start = |_| channel.unary::<Bytes, Bytes>(method, message.clone().into()).start().expect("room");
    let pending: [_; DEPTH] = std::array::from_fn(start);
    for call in pending {
        black_box(call.wait().expect("echo"));
    }
}

fn flood(criterion: &mut Criterion, channel: &Channel) {
    let method = channel.method("/bench.Echo/Typed");
    let message = Bytes::from(vec![7; 64]);
    let mut group = criterion.benchmark_group("flood");
    group.throughput(Throughput::Elements(DEPTH as u64));
    group.bench_function("typed/64", |bencher| bencher.iter(|| flood_once(channel, &method, &message)));
}

/// Nanoseconds that `step` takes, measured `BATCHES` times over a few steps each.
fn time_batches(times: &mut Vec<f64>, mut step: impl FnMut()) {
    const BATCHES: usize = 500;
    /// Enough that the clock's 25 ns do not count.
    const STEPS: u32 = 16;
    for _ in 0..BATCHES {
        let start = Instant::now();
        (0..STEPS).for_each(|_| step());
        times.push(start.elapsed().as_nanos() as f64 / f64::from(STEPS));
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Calls and ping-pongs in turns.
fn ratios(channel: &Channel) {
    const TURNS: usize = 100;
    let method = channel.method("/bench.Echo/Typed");
    let mut ping_pongs = Vec::new();
    let mut calls = [0, 64].map(|size| (size, Bytes::from(vec![7; size]), Vec::new()));
    let mut floods = Vec::new();
    for _ in 0..TURNS {
        let mut game = PingPong::start();
        time_batches(&mut ping_pongs, || game.play());
        // Ends before the calls begin: its echo would take one of two processors.
        drop(game);
        for (_, message, times) in &mut calls {
            time_batches(times, || _ = black_box(echo(channel, &method, message)));
        }
        time_batches(&mut floods, || flood_once(channel, &method, &calls[1].1));
    }
    let floor = median(ping_pongs);
    println!("median ping-pong {floor:.0} ns");
    for (size, _, times) in calls {
        let call = median(times);
        println!("median call of {size} bytes {call:.0} ns: {:.2} x ping-pong", call / floor);
    }
    println!("median of {DEPTH} calls of 64 bytes in flight {:.0} ns each", median(floods) / DEPTH as f64);
}

fn main() {
    // Does nothing unless this is the second process, which then never returns.
    testkit::child::run(&[(ROLE, serve)]);
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let path = directory.path().join("socket");
    let server = Child::start(ROLE, &[("socket", path.to_str().expect("a path of our own"))]);
    server.expect("ready");
    let channel = Channel::connect(&path).wait().expect("connect");
    let mut criterion = Criterion::default().configure_from_args();
    floor(&mut criterion);
    calls(&mut criterion, &channel);
    flood(&mut criterion, &channel);
    criterion.final_summary();
    if env::args().any(|arg| arg == "--bench") {
        ratios(&channel);
    }
}
