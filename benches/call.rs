//! A call between two processes, by size of its message, and the cache-line ping-pong that bounds it.
//!
//! The program starts itself once more as the server. Every call echoes its bytes, so a message of n bytes
//! crosses twice. `cargo bench --bench call`

use std::env;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Channel, Request, Response, Server};

/// Tells the second process where to listen.
const SOCKET: &str = "MMAP_RPC_BENCH_SOCKET";

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

fn serve(path: &Path) {
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
    println!("ready");
    server.run().expect("serve");
}

/// Starts the server process and waits until it listens.
fn start_server(path: &Path) -> Child {
    let mut child = Command::new(env::current_exe().expect("our own path"))
        .env(SOCKET, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the server process");
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut String::new()).expect("the server says when it is ready");
    child
}

/// Two threads that hand a number to and fro, without a pause between looks: what a round trip costs before
/// any protocol.
fn ping_pong(criterion: &mut Criterion) {
    #[repr(align(128))]
    struct Line(AtomicU64);
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
    let mut number = 0;
    criterion.bench_function("floor/ping-pong", |bencher| {
        bencher.iter(|| {
            number += 1;
            lines[0].0.store(number, Ordering::Release);
            while lines[1].0.load(Ordering::Acquire) != number {}
        });
    });
    lines[0].0.store(u64::MAX, Ordering::Release);
    echo.join().expect("the echo ends");
}

fn calls(criterion: &mut Criterion, channel: &Channel) {
    let (typed, raw) = (channel.method("/bench.Echo/Typed"), channel.method("/bench.Echo/Raw"));
    for size in [0, 64, 4 << 10, 64 << 10, 1 << 20, 4 << 20] {
        let message = Bytes::from(vec![7; size]);
        let mut group = criterion.benchmark_group("call");
        group.throughput(Throughput::Bytes(2 * size as u64));
        group.bench_function(format!("typed/{size}"), |bencher| {
            bencher.iter(|| {
                let call = channel.unary::<Bytes, Bytes>(&typed, message.clone().into());
                let reply = call.wait().expect("echo").into_inner();
                assert_eq!(black_box(reply).len(), size);
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

/// 64 small calls under way at once, from one thread.
fn flood(criterion: &mut Criterion, channel: &Channel) {
    const DEPTH: usize = 64;
    let method = channel.method("/bench.Echo/Typed");
    let message = Bytes::from(vec![7; 64]);
    let mut group = criterion.benchmark_group("flood");
    group.throughput(Throughput::Elements(DEPTH as u64));
    group.bench_function("typed/64", |bencher| {
        bencher.iter(|| {
            let start =
                |_| channel.unary::<Bytes, Bytes>(&method, message.clone().into()).start().expect("room");
            let pending: [_; DEPTH] = std::array::from_fn(start);
            for call in pending {
                black_box(call.wait().expect("echo"));
            }
        });
    });
}

fn main() {
    if let Some(path) = env::var_os(SOCKET) {
        return serve(Path::new(&path));
    }
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let path = directory.path().join("socket");
    let mut server = start_server(&path);
    let channel = Channel::connect(&path).expect("connect");
    let mut criterion = Criterion::default().configure_from_args();
    ping_pong(&mut criterion);
    calls(&mut criterion, &channel);
    flood(&mut criterion, &channel);
    criterion.final_summary();
    server.kill().expect("end the server process");
    server.wait().expect("reap the server process");
}
