//! What the ring costs: on one thread, across two, and in a flood, beside the bare cache line in the same
//! run.
//!
//! `cargo bench --bench ring`. The cross-thread rows need processors 0 and 1 for themselves (each thread is
//! pinned to one): a thread that waits for its processor costs milliseconds. The *bare line* row says what
//! the machine gives without us, so read the others against it.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use crossbeam_utils::CachePadded;
use mmap_rpc::internals::ring::{Ring, Wake};
use rustix::thread::{CpuSet, sched_setaffinity};

const CAPACITY: usize = 256;

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("push and pop, one thread");
    for length in [0, 32, 64, 96] {
        let message = vec![7; length];
        let ring = Ring::new(CAPACITY);
        let mut reader = ring.reader();
        group.bench_function(BenchmarkId::from_parameter(length), |b| {
            b.iter(|| {
                assert!(ring.push(1, &message));
                reader.pop(|_, message| message.first().copied()).expect("just pushed")
            });
        });
    }
    let mut wake = Wake::new();
    group.bench_function("should_kick, peer awake", |b| b.iter(|| wake.should_kick()));
    group.bench_function("arm and disarm", |b| b.iter(|| wake.arm_and_disarm()));
    group.finish();
}

/// Runs `other` on processor 1, and the time that `timed` takes on processor 0 beside it.
fn side_by_side(other: impl FnOnce() + Send, timed: impl FnOnce()) -> Duration {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_to(1);
            barrier.wait();
            other();
        });
        pin_to(0);
        barrier.wait();
        let start = Instant::now();
        timed();
        start.elapsed()
    })
}

fn pin_to(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    // Where it is not allowed, the numbers are only noisier.
    let _ = sched_setaffinity(None, &set);
}

/// Time for `rounds` round trips of a counter on two padded lines.
fn line_ping_pong(rounds: u64) -> Duration {
    let (ping, pong) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    let await_value = |word: &AtomicU64, value| {
        // Acquire pairs with the other thread's Release store.
        while word.load(Ordering::Acquire) != value {
            spin_loop();
        }
    };
    let echo = || {
        for round in 1..=rounds {
            await_value(&ping, round);
            pong.store(round, Ordering::Release);
        }
    };
    side_by_side(echo, || {
        for round in 1..=rounds {
            ping.store(round, Ordering::Release);
            await_value(&pong, round);
        }
    })
}

/// Time for `rounds` round trips of a message over two rings.
fn ring_ping_pong(rounds: u64, length: usize) -> Duration {
    let (requests, replies) = (Ring::new(CAPACITY), Ring::new(CAPACITY));
    let message = vec![7; length];
    let echo = || {
        let mut reader = requests.reader();
        for _ in 0..rounds {
            while reader.pop(|call_id, message| assert!(replies.push(call_id, message))).is_none() {
                spin_loop();
            }
        }
    };
    let mut reader = replies.reader();
    side_by_side(echo, || {
        for _ in 0..rounds {
            assert!(requests.push(1, &message));
            while reader.pop(|_, message| message.len()).is_none() {
                spin_loop();
            }
        }
    })
}

/// Time to move `messages` one way, as fast as the two threads can.
fn flood(messages: u64, length: usize, kick_every: u64) -> Duration {
    let ring = Ring::new(CAPACITY);
    let (message, wake) = (vec![7; length], Wake::new());
    let push_all = || {
        for i in 0..messages {
            while !ring.push(i as u32, &message) {
                spin_loop();
            }
            if i % kick_every == 0 {
                black_box(wake.should_kick());
            }
        }
    };
    let mut reader = ring.reader();
    side_by_side(push_all, || {
        for i in 0..messages {
            while reader.pop(|call_id, _| assert_eq!(call_id, i as u32)).is_none() {
                spin_loop();
            }
        }
    })
}

fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("round trip, two threads");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("bare line", |b| b.iter_custom(line_ping_pong));
    for length in [0, 32, 64, 96] {
        group.bench_function(BenchmarkId::new("ring", length), |b| {
            b.iter_custom(|rounds| ring_ping_pong(rounds, length));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("flood, two threads");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(1));
    for (length, kick_every) in [(32, 1), (32, 32), (64, 32), (96, 32)] {
        group.bench_function(BenchmarkId::new(format!("kick every {kick_every}"), length), |b| {
            b.iter_custom(|messages| flood(messages, length, kick_every));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = one_thread, two_threads
}
criterion_main!(benches);
