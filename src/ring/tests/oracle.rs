//! The ring against an oracle: a queue of positions, each empty until it is filled.
//!
//! Properties, for any interleaving of taking, filling in any order, giving up, popping and publishing:
//! positions are handed out in order, each once; there is room exactly when the oracle says so; entries come
//! out in the order of their positions, each once, never before it is filled. And for any words that a peer
//! writes: no panic, and no position while fewer than `capacity` have been published.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::error::Violation;
use crate::ring::producer::Reservation;

#[derive(Debug, Clone)]
enum Step {
    Reserve,
    /// Fill one of the positions that are taken, by index, modulo their number.
    Commit(usize),
    /// Give one of them up.
    Drop(usize),
    Pop,
    Publish,
    AskRoom,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Reserve),
        5 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::Drop),
        6 => Just(Step::Pop),
        1 => Just(Step::Publish),
        1 => Just(Step::AskRoom),
    ]
}

/// What a position holds: not filled yet, a NOP, or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Hole,
    Nop,
    Number(u32),
}

fn cell_of(record: Record) -> Cell {
    if record == Record::nop() { Cell::Nop } else { Cell::Number(number(record)) }
}

fn agrees_with_oracle(capacity: u64, start: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let ring = HeapRing::starting_at(capacity as usize, start);
    let (producer, mut consumer) = (Producer::starting_at(start), Consumer::starting_at(start));
    let mut taken: Vec<Reservation<'_>> = Vec::new();
    let mut oracle: VecDeque<Cell> = VecDeque::new();
    let (mut tail, mut head, mut published) = (start, start, start);

    // In the end everything is filled and popped.
    let rest = (0..capacity).map(|_| Step::Commit(0));
    let rest = rest.chain((0..capacity).map(|_| Step::Pop)).chain([Step::Publish]);
    for (n, step) in steps.into_iter().chain(rest).enumerate() {
        match step {
            Step::Reserve => match producer.reserve(ring.producer_view()) {
                Ok(reservation) => {
                    prop_assert!(tail - published < capacity, "took a position without room");
                    prop_assert_eq!(reservation.position(), tail);
                    tail += 1;
                    oracle.push_back(Cell::Hole);
                    taken.push(reservation);
                }
                Err(error) => {
                    prop_assert_eq!(error, ReserveError::Full);
                    prop_assert_eq!(tail - published, capacity, "refused although there is room");
                }
            },
            Step::Commit(_) | Step::Drop(_) if taken.is_empty() => {}
            Step::Commit(index) => {
                let reservation = taken.swap_remove(index % taken.len());
                oracle[(reservation.position() - head) as usize] = Cell::Number(n as u32);
                reservation.commit(&numbered(n as u32));
            }
            Step::Drop(index) => {
                let reservation = taken.swap_remove(index % taken.len());
                oracle[(reservation.position() - head) as usize] = Cell::Nop;
                drop(reservation);
            }
            Step::Pop => {
                let expected = oracle.front().copied().filter(|cell| *cell != Cell::Hole);
                prop_assert_eq!(consumer.is_ready(ring.consumer_view()), expected.is_some());
                let popped = consumer.pop(ring.consumer_view());
                prop_assert_eq!(popped.map(|popped| cell_of(popped.record)), expected);
                if let Some(popped) = popped {
                    oracle.pop_front();
                    head += 1;
                    if popped.published {
                        published = head;
                    }
                }
                prop_assert!(head - published < (capacity / 4).max(1), "published too late");
            }
            Step::Publish => {
                prop_assert_eq!(consumer.publish(ring.consumer_view()), published != head);
                published = head;
            }
            Step::AskRoom => {
                prop_assert_eq!(producer.has_room(ring.producer_view()), Ok(tail - published < capacity));
            }
        }
        prop_assert_eq!(ring.producer_view().rx_head.load(Relaxed), published);
        prop_assert_eq!((producer.position(), consumer.position()), (tail, head));
        prop_assert_eq!(consumer.unpublished(), head - published);
    }
    prop_assert!(oracle.is_empty() && head == tail, "something is left");
    Ok(())
}

/// A consumer's word written by somebody hostile, relative to what he published before and to our tail.
fn hostile_head() -> impl Strategy<Value = (bool, i64)> {
    (any::<bool>(), prop_oneof![6 => -3i64..4, 2 => -70i64..70, 1 => any::<i64>()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_interleaving_agrees_with_a_queue(
        bits in 1u32..7,
        start in prop_oneof![Just(0u64), Just((1 << 32) - 64), Just(1 << 40)],
        steps in prop::collection::vec(step(), 0..400),
    ) {
        agrees_with_oracle(1 << bits, start, steps)?;
    }

    #[test]
    fn a_hostile_head_is_a_violation_or_harmless(
        bits in 1u32..7,
        steps in prop::collection::vec(
            prop_oneof![3 => Just(None), 1 => hostile_head().prop_map(Some)],
            0..200,
        ),
    ) {
        let capacity = 1u64 << bits;
        let ring = HeapRing::new(capacity as usize);
        let producer = Producer::new();
        // What the producer has seen last, what the word says, how many positions are taken.
        let (mut seen, mut word, mut tail) = (0u64, 0u64, 0u64);
        for step in steps {
            if let Some((from_tail, distance)) = step {
                word = if from_tail { tail } else { seen }.wrapping_add_signed(distance);
                ring.producer_view().rx_head.store(word, Relaxed);
                continue;
            }
            let looked = tail - seen >= capacity;
            let expected = if !looked {
                Ok(tail)
            } else if word < seen || word > tail {
                Err(ReserveError::Violation(Violation::RingHead { published: word, low: seen, high: tail }))
            } else {
                seen = word;
                if tail - word < capacity { Ok(tail) } else { Err(ReserveError::Full) }
            };
            let reserved = producer.reserve(ring.producer_view());
            let position = reserved.as_ref().map(Reservation::position).map_err(Clone::clone);
            prop_assert_eq!(position, expected.clone());
            tail += u64::from(expected.is_ok());
            prop_assert_eq!(producer.position(), tail);
        }
    }

    #[test]
    fn a_hostile_ring_yields_one_copy_at_a_time_and_never_a_panic(
        seqs in prop::collection::vec(prop_oneof![4 => 0u32..9, 1 => any::<u32>()], 4),
        words in prop::collection::vec(any::<u32>(), 4 * HEAD_WORDS),
        pops in 0usize..20,
    ) {
        let ring = HeapRing::new(4);
        let view = ring.consumer_view();
        for (i, cell) in view.entries.iter().enumerate() {
            cell.seq.store(seqs[i], Relaxed);
            for (word, value) in cell.head.iter().zip(&words[i * HEAD_WORDS..]) {
                word.store(*value, Relaxed);
            }
        }
        let mut consumer = Consumer::new();
        for _ in 0..pops {
            let position = consumer.position();
            let there = seqs[position as usize % 4] == position as u32 + 1;
            let popped = consumer.pop(view);
            prop_assert_eq!(popped.is_some(), there);
            prop_assert_eq!(consumer.position(), position + u64::from(there));
            if let Some(popped) = popped {
                let _ = Entry::admit(popped.record);
            }
        }
    }
}
