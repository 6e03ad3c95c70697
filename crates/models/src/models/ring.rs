//! Does each entry arrive once, whole and in order, and is an honest peer's position always believed?

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::harness::{bounded, unbounded};
use crate::layout::words::{BODY_WORDS, HEAD_WORDS};
use crate::ring::{Consumer, HeapRing, Producer, Record, ReserveError};

/// Both sides of a ring, without its consumer, which belongs to one thread.
struct Channel {
    producer: Producer,
    ring: HeapRing,
    /// Stand for the bytes of the cells, which the consumer reads and the next producer writes over.
    bytes: Box<[UnsafeCell<u64>]>,
}

impl Channel {
    /// A ring whose first `filled` entries have been pushed.
    fn new(capacity: usize, filled: usize) -> Arc<Self> {
        let channel = Self {
            producer: Producer::new(),
            ring: HeapRing::new(capacity),
            bytes: (0..capacity).map(|_| UnsafeCell::new(0)).collect(),
        };
        for _ in 0..filled {
            assert!(channel.push());
        }
        Arc::new(channel)
    }

    /// Pushes one entry that says at which position it is; false if there is no room.
    fn push(&self) -> bool {
        let reservation = match self.producer.reserve(self.ring.producer_view()) {
            Ok(reservation) => reservation,
            Err(ReserveError::Full) => return false,
            Err(ReserveError::Violation(violation)) => panic!("an honest peer: {violation}"),
        };
        let position = reservation.position();
        // SAFETY: loom checks that no other access overlaps.
        self.cell(position).with_mut(|bytes| unsafe { *bytes = position });
        reservation.commit(&Record::new([position as u32; HEAD_WORDS], [position; BODY_WORDS]));
        true
    }

    /// Pops one entry, and reads the cell's bytes as long as the consumer has not published its position.
    fn pop(&self, consumer: &mut Consumer) -> bool {
        let position = consumer.position();
        let Some(popped) = consumer.pop(self.ring.consumer_view()) else {
            return false;
        };
        assert_eq!(popped.record.head, [position as u32; HEAD_WORDS], "entry out of order");
        assert_eq!(popped.record.body, [position; BODY_WORDS], "entry not whole");
        if !popped.published {
            // SAFETY: loom checks that no write overlaps.
            self.cell(position).with(|bytes| unsafe { assert_eq!(*bytes, position) });
        }
        true
    }

    fn cell(&self, position: u64) -> &UnsafeCell<u64> {
        &self.bytes[position as usize % self.bytes.len()]
    }

    /// Pops what is left, when all producers have been joined.
    fn drain(&self, consumer: &mut Consumer) {
        while self.pop(consumer) {}
        assert_eq!(consumer.position(), self.producer.position(), "an entry is missing");
    }
}

/// One producer, one consumer, two entries of capacity two: does an entry arrive whole?
#[test]
pub(crate) fn entry_arrives_whole() {
    unbounded(|| {
        let channel = Channel::new(2, 0);
        let other = channel.clone();
        let producer = thread::spawn(move || assert!(other.push() && other.push()));
        let mut consumer = Consumer::new();
        let _ = channel.pop(&mut consumer) && channel.pop(&mut consumer);
        producer.join().unwrap();
        channel.drain(&mut consumer);
    });
}

/// A full ring of capacity two, two producers and a consumer: across the wrap, does each entry arrive once
/// and in order, and is the consumer's position always within the bounds that the producers check?
#[test]
pub(crate) fn two_producers_across_the_wrap() {
    bounded(3, || {
        let channel = Channel::new(2, 2);
        let producers = [(); 2].map(|()| {
            let channel = channel.clone();
            thread::spawn(move || channel.push())
        });
        let mut consumer = Consumer::new();
        for _ in 0..3 {
            channel.pop(&mut consumer);
        }
        let pushed = producers.map(|producer| producer.join().unwrap());
        channel.drain(&mut consumer);
        assert_eq!(consumer.position(), 2 + pushed.iter().filter(|&&pushed| pushed).count() as u64);
    });
}

/// A full ring that the consumer publishes two entries at a time: is a cell written over before it was read,
/// also by the producer that learns of the room from another?
#[test]
pub(crate) fn cell_is_read_before_it_is_written_over() {
    bounded(2, || {
        let channel = Channel::new(8, 8);
        let producers = [(); 2].map(|()| {
            let channel = channel.clone();
            thread::spawn(move || channel.push())
        });
        let mut consumer = Consumer::new();
        for _ in 0..2 {
            assert!(channel.pop(&mut consumer));
        }
        for producer in producers {
            producer.join().unwrap();
        }
        channel.drain(&mut consumer);
    });
}
