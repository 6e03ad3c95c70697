//! Single steps: the bytes of the drawing, positions at their edges, epochs.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::error::Violation;
use crate::layout::words::EntryCell;
use crate::sync::AtomicU32;

/// The 128 bytes of a cell, in the order in which they lie in memory on a little-endian machine.
fn bytes_of(cell: &EntryCell) -> Vec<u8> {
    let mut bytes = cell.seq.load(Relaxed).to_le_bytes().to_vec();
    cell.head.iter().for_each(|word| bytes.extend(word.load(Relaxed).to_le_bytes()));
    cell.body.iter().for_each(|word| bytes.extend(word.load(Relaxed).to_le_bytes()));
    bytes
}

fn push(ring: &HeapRing, producer: &Producer, entry: &Entry) {
    producer.reserve(ring.producer_view()).expect("room").commit(entry.record());
}

#[test]
fn an_entry_lies_as_drawn() {
    let ring = HeapRing::new(4);
    let producer = Producer::new();
    push(&ring, &producer, &Entry::request_inline(0x0a0b, 0x0c0d_0e0f, 0x1000_0001, b"hello"));
    let slot = Descriptor { handle: 0x77, offset: 0x1_2345_6789, length: 0xabcd_ef01_2345 };
    push(&ring, &producer, &Entry::reply_slot(9, 16, Some(41), slot));

    let request = bytes_of(&ring.consumer_view().entries[0]);
    assert_eq!(request[0..4], 1u32.to_le_bytes(), "seq is position + 1");
    assert_eq!(request[4..8], [1, 0, 0, 0], "kind, flags, meta_len");
    assert_eq!(request[8..12], 0x0c0d_0e0fu32.to_le_bytes(), "call_id");
    assert_eq!(request[12..16], 0x0a0bu32.to_le_bytes(), "method");
    assert_eq!(request[16..20], 0x1000_0001u32.to_le_bytes(), "deadline_us");
    assert_eq!(request[20..24], [0; 4], "handle");
    assert_eq!(request[24..28], 5u32.to_le_bytes(), "length");
    assert_eq!(request[28..32], [0; 4], "reserved");
    assert_eq!(request[32..37], *b"hello");

    let reply = bytes_of(&ring.consumer_view().entries[1]);
    assert_eq!(reply[0..4], 2u32.to_le_bytes());
    assert_eq!(reply[4..8], [2, 1, 0, 0], "kind, flag SLOT, meta_len");
    assert_eq!(reply[8..12], 9u32.to_le_bytes());
    assert_eq!(reply[12..16], 16u32.to_le_bytes(), "status");
    assert_eq!(reply[16..20], 42u32.to_le_bytes(), "released handle + 1");
    assert_eq!(reply[20..24], 0x77u32.to_le_bytes());
    assert_eq!(reply[24..28], [0; 4], "no inline length");
    assert_eq!(reply[32..40], 0x1_2345_6789u64.to_le_bytes());
    assert_eq!(reply[40..48], 0xabcd_ef01_2345u64.to_le_bytes());
}

#[test]
fn only_the_words_that_matter_are_written_and_read() {
    const STALE: u64 = 0x5555_5555_5555_5555;
    // Bytes of a message, and body words that lie in the cache lines which it touches.
    let lengths = [(0, 4), (1, 4), (31, 4), (32, 4), (33, 12), (95, 12), (96, 12)];
    for (length, words) in lengths {
        let ring = HeapRing::new(2);
        let cell = &ring.consumer_view().entries[0];
        cell.body.iter().for_each(|word| word.store(STALE, Relaxed));
        push(&ring, &Producer::new(), &Entry::request_inline(1, 1, 0, &vec![0xff; length]));
        let written = cell.body.iter().take_while(|word| word.load(Relaxed) != STALE).count();
        assert_eq!(written, words, "{length} bytes");
        assert!(cell.body[words..].iter().all(|word| word.load(Relaxed) == STALE));
        let record = Consumer::new().pop(ring.consumer_view()).expect("pushed").record;
        assert!(record.body[words..].iter().all(|word| *word == 0), "not read");
    }
    let slot = Entry::request_slot(1, 1, 0, Descriptor { handle: 0, offset: 0, length: u64::MAX });
    assert!(record::ends_in_first_line(&slot.record().head));
    // Whatever a peer claims, there is an answer, and no more words are read than there are.
    assert!(!record::ends_in_first_line(&[0, 0, 0, 0, 0, u32::MAX, 0]));
    assert!(!record::ends_in_first_line(&[0xffff_0000, 0, 0, 0, 0, 33, 0]));
}

#[test]
fn seq_wraps_without_a_false_or_a_missing_entry() {
    for start in [(1 << 32) - 6, (1 << 32) - 1, 1 << 32, 3 << 32] {
        let ring = HeapRing::starting_at(4, start);
        let (producer, mut consumer) = (Producer::starting_at(start), Consumer::starting_at(start));
        for i in 0..16 {
            assert!(!consumer.is_ready(ring.consumer_view()), "position {} is not there", start + i);
            assert!(consumer.pop(ring.consumer_view()).is_none());
            let reservation = producer.reserve(ring.producer_view()).expect("room");
            assert_eq!(reservation.position(), start + i);
            reservation.commit(&numbered(i as u32));
            assert!(consumer.is_ready(ring.consumer_view()));
            assert_eq!(number(consumer.pop(ring.consumer_view()).expect("there").record), i as u32);
        }
        assert_eq!((producer.position(), consumer.position()), (start + 16, start + 16));
    }
}

#[test]
fn a_dropped_reservation_leaves_a_nop_and_no_hole() {
    let ring = HeapRing::new(4);
    let (producer, mut consumer) = (Producer::new(), Consumer::new());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _reservation = producer.reserve(ring.producer_view()).expect("room");
        panic!("while filling");
    }));
    assert!(result.is_err());
    push(&ring, &producer, &Entry::cancel(7));
    let mut next =
        || Entry::admit(consumer.pop(ring.consumer_view()).expect("no hole").record).expect("ours");
    assert_eq!(next(), Entry::nop());
    assert_eq!(next(), Entry::cancel(7));
}

#[test]
fn the_consumer_stops_at_a_hole() {
    let ring = HeapRing::new(4);
    let (producer, mut consumer) = (Producer::new(), Consumer::new());
    let hole = producer.reserve(ring.producer_view()).expect("room");
    producer.reserve(ring.producer_view()).expect("room").commit(&numbered(1));
    assert!(consumer.pop(ring.consumer_view()).is_none());
    hole.commit(&numbered(0));
    assert_eq!(number(consumer.pop(ring.consumer_view()).expect("filled").record), 0);
    assert_eq!(number(consumer.pop(ring.consumer_view()).expect("filled").record), 1);
}

#[test]
fn the_head_is_published_by_quarters_and_on_demand() {
    let ring = HeapRing::new(8);
    let (producer, mut consumer) = (Producer::new(), Consumer::new());
    let shared = || ring.producer_view().rx_head.load(Relaxed);
    assert!(!consumer.publish(ring.consumer_view()), "nothing to say");
    (0..8).for_each(|i| producer.reserve(ring.producer_view()).expect("room").commit(&numbered(i)));
    assert_eq!(producer.reserve(ring.producer_view()).unwrap_err(), ReserveError::Full);
    for (published, unpublished, head) in [(false, 1, 0), (true, 0, 2), (false, 1, 2)] {
        assert_eq!(consumer.pop(ring.consumer_view()).expect("there").published, published);
        assert_eq!((consumer.unpublished(), shared()), (unpublished, head));
    }
    assert!(consumer.publish(ring.consumer_view()));
    assert_eq!((consumer.unpublished(), shared()), (0, 3));
    assert_eq!(producer.has_room(ring.producer_view()), Ok(true));
}

#[test]
fn a_head_outside_the_window_is_a_violation() {
    let ring = HeapRing::new(4);
    let (producer, mut consumer) = (Producer::new(), Consumer::new());
    let rx_head = ring.producer_view().rx_head;
    for i in 0..4 {
        push(&ring, &producer, &Entry::cancel(i));
        let _ = consumer.pop(ring.consumer_view()).expect("pushed");
    }
    push(&ring, &producer, &Entry::cancel(4));
    assert_eq!(producer.has_room(ring.producer_view()), Ok(true));
    // The peer has published 4, and 5 positions are taken.
    for published in [3, 0, 6, u64::MAX, 1 << 63] {
        rx_head.store(published, Relaxed);
        let violation = Violation::RingHead { published, low: 4, high: 5 };
        assert_eq!(producer.has_room(ring.producer_view()), Err(violation));
    }
    rx_head.store(5, Relaxed);
    assert_eq!(producer.has_room(ring.producer_view()), Ok(true));
}

#[test]
fn each_sleep_is_kicked_once() {
    let word = AtomicU32::new(0);
    let (mut sleeper, kicker) = (Sleeper::new(), Kicker::new());
    assert!(!kicker.should_kick(&word), "awake from the start");
    for _ in 0..3 {
        sleeper.arm(&word);
        assert!(sleeper.is_armed() && word.load(Relaxed) & 1 == 1);
        assert!(kicker.should_kick(&word));
        assert!(!kicker.should_kick(&word), "kicked already");
        sleeper.disarm(&word);
        assert!(!sleeper.is_armed() && word.load(Relaxed) & 1 == 0);
        let awake = word.load(Relaxed);
        sleeper.disarm(&word);
        assert_eq!(word.load(Relaxed), awake, "taking back twice changes nothing");
        assert!(!kicker.should_kick(&word));
    }
    // Armed twice without waking between: a new sleep, so a new kick.
    sleeper.arm(&word);
    assert!(kicker.should_kick(&word));
    sleeper.arm(&word);
    assert!(sleeper.is_armed() && kicker.should_kick(&word));
}
