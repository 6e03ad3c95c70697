//! Threads: two producers and a consumer that really sleep, on both sides.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::sync::{AtomicU32, Parker};

const PRODUCERS: u32 = 2;
const RECORDS: u32 = 100_000;
/// Nobody sleeps as long as this while his condition is true, unless a wake-up was lost.
const LOST: Duration = Duration::from_secs(20);

/// A word with its two halves and a doorbell: one direction of waking.
#[derive(Default)]
struct Bed {
    word: AtomicU32,
    kicker: Kicker,
    bell: Parker,
}

impl Bed {
    fn wake(&self) {
        if self.kicker.should_kick(&self.word) {
            self.bell.unpark();
        }
    }

    fn sleep_until(&self, sleeper: &mut Sleeper, mut ready: impl FnMut() -> bool) {
        while !ready() {
            sleeper.arm(&self.word);
            if !ready() {
                let asleep = Instant::now();
                self.bell.park(Some(LOST));
                assert!(asleep.elapsed() < LOST, "a wake-up was lost");
            }
            sleeper.disarm(&self.word);
        }
    }
}

/// A message that both sides can compute: of any length, or in a slot, so that cells change their shape.
fn message(producer: u32, i: u32) -> Vec<u8> {
    let mut state = u64::from(producer) << 32 | u64::from(i);
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    let length = usize::from(next()) % (INLINE_BYTES + 1);
    (0..length).map(|_| next()).collect()
}

fn entry(producer: u32, i: u32) -> Entry {
    let message = message(producer, i);
    if message.len().is_multiple_of(7) {
        let offset = message.iter().map(|byte| u64::from(*byte)).sum();
        Entry::reply_slot(i, producer, Some(i % 8), Descriptor { handle: i, offset, length: !offset })
    } else {
        Entry::request_inline(producer, i, i, &message)
    }
}

/// Runs both sides over a ring of `capacity`; the producers kick once per `batch`.
fn run(capacity: usize, batch: u32) {
    let ring = HeapRing::new(capacity);
    let producer = Producer::new();
    let (entries, room) = (Bed::default(), Bed::default());
    // Only one thread at a time sleeps on a word.
    let room_sleeper = Mutex::new(Sleeper::new());

    thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let (ring, producer, entries, room, room_sleeper) =
                (&ring, &producer, &entries, &room, &room_sleeper);
            scope.spawn(move || {
                let view = ring.producer_view();
                for i in 0..RECORDS {
                    let reservation = loop {
                        match producer.reserve(view) {
                            Ok(reservation) => break reservation,
                            Err(ReserveError::Full) => {
                                // What was pushed since the last batch must be seen before anybody waits.
                                entries.wake();
                                room.sleep_until(&mut room_sleeper.lock().unwrap(), || {
                                    producer.has_room(view).expect("an honest consumer")
                                });
                            }
                            Err(ReserveError::Violation(violation)) => panic!("{violation}"),
                        }
                    };
                    reservation.commit(entry(number, i).record());
                    if i % batch == batch - 1 {
                        entries.wake();
                    }
                }
                entries.wake();
            });
        }

        let view = ring.consumer_view();
        let (mut consumer, mut sleeper) = (Consumer::new(), Sleeper::new());
        let mut expected = [0; PRODUCERS as usize];
        while expected.iter().sum::<u32>() < PRODUCERS * RECORDS {
            if consumer.publish(view) {
                room.wake();
            }
            entries.sleep_until(&mut sleeper, || consumer.is_ready(view));
            while let Some(popped) = consumer.pop(view) {
                if popped.published {
                    room.wake();
                }
                let got = Entry::admit(popped.record).expect("an honest producer");
                let number = got.code();
                let next = &mut expected[number as usize];
                let wanted = entry(number, *next);
                assert_eq!(got.record().head, wanted.record().head, "lost, doubled or out of order");
                assert_eq!(got.body(), wanted.body(), "torn");
                *next += 1;
            }
        }
        assert!(!consumer.is_ready(view));
    });
}

#[test]
fn a_roomy_ring_with_batched_kicks() {
    run(256, 16);
}

#[test]
fn a_tight_ring_where_both_sides_sleep_often() {
    run(2, 1);
}
