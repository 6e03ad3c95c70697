//! Claim and release of one slot: the bit-set against its rivals, on one thread and on two.
//!
//! Each rival keeps 256 slots, as a class does. `cargo bench --bench slab`

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use mmap_rpc::internals::slab::SlabFixture;

const SLOTS: u32 = 256;

/// A linked stack of indices; the upper half of `top` is a tag against ABA.
struct TaggedStack {
    top: AtomicU64,
    next: Vec<AtomicU32>,
}

impl TaggedStack {
    fn new() -> Self {
        let next = (0..SLOTS).map(|n| AtomicU32::new(if n + 1 < SLOTS { n + 1 } else { u32::MAX }));
        Self { top: AtomicU64::new(0), next: next.collect() }
    }

    fn pop(&self) -> Option<u32> {
        let mut top = self.top.load(Ordering::Acquire);
        while top as u32 != u32::MAX {
            let next = self.next[top as u32 as usize].load(Ordering::Relaxed);
            let new = ((top >> 32) + 1) << 32 | u64::from(next);
            match self.top.compare_exchange_weak(top, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(top as u32),
                Err(now) => top = now,
            }
        }
        None
    }

    fn push(&self, index: u32) {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            self.next[index as usize].store(top as u32, Ordering::Relaxed);
            let new = ((top >> 32) + 1) << 32 | u64::from(index);
            match self.top.compare_exchange_weak(top, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

/// Runs `turn(thread's ordinal)` on `threads` threads, `iters` times each; the time of the slowest.
fn on_threads(threads: usize, iters: u64, turn: &(impl Fn(usize) + Sync)) -> Duration {
    let barrier = Barrier::new(threads);
    std::thread::scope(|s| {
        let work = |ordinal| {
            let barrier = &barrier;
            s.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                for _ in 0..iters {
                    turn(ordinal);
                }
                start.elapsed()
            })
        };
        let all: Vec<_> = (0..threads).map(work).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

fn claim_and_release(c: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = c.benchmark_group(format!("claim_release/{threads}_threads"));
        let mut case = |name: &str, turn: &(dyn Fn(usize) + Sync)| {
            group.bench_function(name, |b| b.iter_custom(|iters| on_threads(threads, iters, &turn)));
        };

        // The classes of a base segment, with 256 slots of the one that is used.
        let runs = [(256, SLOTS), (1024, 64), (4096, 64), (16384, 16), (65536, 8)];
        let slab = SlabFixture::new(&runs);
        case("bitset", &|me| slab.abort(black_box(slab.claim(200, me)).unwrap()));
        // A class of few slots has one word, which the threads share; and it comes fourth in the table.
        case("bitset_in_one_shared_word", &|me| {
            slab.abort(black_box(slab.claim(16000, me)).unwrap());
        });
        // The whole way, with the peer's part played by the same thread: harvests occur once in 128 or so.
        case("bitset_sent_and_returned", &|me| {
            let handle = slab.claim(200, me).unwrap_or_else(|| {
                slab.harvest_for(200).unwrap();
                slab.claim(200, me).unwrap_or(u32::MAX)
            });
            if handle != u32::MAX {
                slab.publish(handle);
                slab.give_back(black_box(handle));
            }
        });

        let stack = TaggedStack::new();
        case("tagged_stack", &|_| stack.push(black_box(stack.pop()).unwrap()));

        let list = Mutex::new((0..SLOTS).collect::<Vec<u32>>());
        case("mutex_vec", &|_| {
            let index = list.lock().unwrap().pop().unwrap();
            list.lock().unwrap().push(black_box(index));
        });

        let queue = ArrayQueue::new(SLOTS as usize);
        (0..SLOTS).for_each(|index| queue.push(index).unwrap());
        case("array_queue", &|_| {
            let index = queue.pop().unwrap();
            queue.push(black_box(index)).unwrap();
        });

        case("box_256", &|_| drop(black_box(Box::new([0u8; 256]))));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = claim_and_release
}
criterion_main!(benches);
