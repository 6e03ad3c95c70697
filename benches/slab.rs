//! Claim and release of one slot: the bit-set against its rivals, on one thread and on two; and an echo of
//! 4 KiB with it and with stacks that both sides change.
//!
//! Each rival keeps 256 slots, as a class does. `cargo bench --bench slab`

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use mmap_rpc::internals::slab::SlabFixture;

const SLOTS: u32 = 256;

/// A linked stack of indices; the upper half of `top` is a tag against ABA.
struct TaggedStack {
    top: AtomicU64,
    next: Vec<AtomicU32>,
}

impl TaggedStack {
    fn new(slots: u32) -> Self {
        let next = (0..slots).map(|n| AtomicU32::new(if n + 1 < slots { n + 1 } else { u32::MAX }));
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

        let stack = TaggedStack::new(SLOTS);
        case("tagged_stack", &|_| stack.push(black_box(stack.pop()).unwrap()));

        // What one that is shared cannot do without; each thread has a word of its own here.
        let words: [CachePadded<AtomicU64>; 2] = Default::default();
        case("two_locked_instructions", &|me| {
            black_box(words[me].fetch_or(1, Ordering::Acquire));
            black_box(words[me].fetch_and(!1, Ordering::Release));
        });

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

/// Bytes of an echoed message, and how many slots a run of them has.
const MESSAGE: usize = 4096;
const RUN: u32 = 64;

/// Slots from which one thread takes what another gives back.
trait Slots: Sync {
    fn claim(&self) -> u32;
    fn give_back(&self, slot: u32);
}

impl Slots for TaggedStack {
    fn claim(&self) -> u32 {
        self.pop().expect("few are in use")
    }

    fn give_back(&self, slot: u32) {
        self.push(slot);
    }
}

impl Slots for SlabFixture {
    fn claim(&self) -> u32 {
        let size = MESSAGE as u64;
        let slot = Self::claim(self, size, 0).unwrap_or_else(|| {
            self.harvest_for(size).unwrap();
            Self::claim(self, size, 0).expect("few are in use")
        });
        self.publish(slot);
        slot
    }

    fn give_back(&self, slot: u32) {
        Self::give_back(self, slot);
    }
}

/// One direction: its slots, their bytes, and where it says in which slot its latest message lies.
struct Way<'a> {
    slots: &'a dyn Slots,
    words: Vec<AtomicU64>,
    latest: CachePadded<AtomicU64>,
}

impl<'a> Way<'a> {
    fn new(slots: &'a dyn Slots) -> Self {
        let words = (0..RUN as usize * MESSAGE / 8).map(|_| AtomicU64::new(0)).collect();
        Self { slots, words, latest: CachePadded::default() }
    }

    fn message(&self, slot: u32) -> &[AtomicU64] {
        let start = (slot % RUN) as usize * MESSAGE / 8;
        &self.words[start..start + MESSAGE / 8]
    }

    fn send(&self, number: u32) {
        let slot = self.slots.claim();
        self.message(slot).iter().for_each(|word| word.store(number.into(), Ordering::Relaxed));
        self.latest.store(u64::from(number) << 32 | u64::from(slot), Ordering::Release);
    }

    fn receive(&self, number: u32) {
        let slot = loop {
            match self.latest.load(Ordering::Acquire) {
                latest if latest >> 32 == u64::from(number) => break latest as u32,
                _ => spin_loop(),
            }
        };
        let sum: u64 = self.message(slot).iter().map(|word| word.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, u64::from(number) * (MESSAGE / 8) as u64);
        self.slots.give_back(slot);
    }
}

/// So many echoes between two threads; nanoseconds of each.
fn echoes(count: u32, [requests, replies]: [&dyn Slots; 2]) -> f64 {
    let (requests, replies) = (Way::new(requests), Way::new(replies));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=count {
                requests.receive(number);
                replies.send(number);
            }
        });
        let start = Instant::now();
        for number in 1..=count {
            requests.send(number);
            replies.receive(number);
        }
        start.elapsed().as_nanos() as f64 / f64::from(count)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints how long an echo takes with either, and the ratio: the two take turns, because a host moves its
/// processors nearer to each other and further apart.
fn echo(_: &mut Criterion) {
    const TURNS: usize = 41;
    const ECHOES: u32 = 10_000;
    let bitsets = [(); 2].map(|()| SlabFixture::new(&[(MESSAGE as u64, RUN)]));
    let stacks = [(); 2].map(|()| TaggedStack::new(RUN));
    let turn = |_| {
        (echoes(ECHOES, bitsets.each_ref().map(as_slots)), echoes(ECHOES, stacks.each_ref().map(as_slots)))
    };
    let turns: Vec<(f64, f64)> = (0..TURNS).map(turn).collect();
    let (bitset, stack): (Vec<_>, Vec<_>) = turns.iter().copied().unzip();
    let ratio = median(turns.iter().map(|(bitset, stack)| stack / bitset).collect());
    println!(
        "median echo of {MESSAGE} bytes: bitset {:.0} ns, tagged stack {:.0} ns: {ratio:.2} x",
        median(bitset),
        median(stack)
    );
}

fn as_slots<S: Slots>(slots: &S) -> &dyn Slots {
    slots
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = claim_and_release, echo
}
criterion_main!(benches);
