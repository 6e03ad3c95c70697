//! Is a wake-up ever lost? Loom calls a thread that sleeps for ever a deadlock.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::thread;

use crate::harness::{bounded, unbounded};
use crate::layout::words::{BODY_WORDS, FreeWord, HANDLE_WORDS, HEAD_WORDS, SlabView};
use crate::ring::{Consumer, HeapRing, Kicker, Producer, Record, ReserveError, Sleeper};
use crate::slab::{Harvest, Slab, give_back};
use crate::sync::Parker;

const RECORD: Record = Record::new([0; HEAD_WORDS], [0; BODY_WORDS]);

/// A ring, and what one side needs to sleep and the other to wake it.
struct Channel {
    producer: Producer,
    ring: HeapRing,
    /// The sleeper's word: the consumer's `sleep`, or the producer's `want_space`.
    word: AtomicU32,
    kicker: Kicker,
    /// Like an eventfd: a kick before the sleep is kept.
    doorbell: Parker,
}

impl Channel {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            producer: Producer::new(),
            ring: HeapRing::new(capacity),
            word: AtomicU32::new(0),
            kicker: Kicker::new(),
            doorbell: Parker::new(),
        })
    }

    fn push(&self) -> bool {
        match self.producer.reserve(self.ring.producer_view()) {
            Ok(reservation) => reservation.commit(&RECORD),
            Err(ReserveError::Full) => return false,
            Err(ReserveError::Violation(violation)) => panic!("an honest peer: {violation}"),
        }
        true
    }

    /// Rings the doorbell if the other side sleeps.
    fn kick(&self) {
        if self.kicker.should_kick(&self.word) {
            self.doorbell.unpark();
        }
    }

    /// Sleeps until `ready`, as a driver does: mark, look again, block, take the mark back.
    fn sleep_until(&self, sleeper: &mut Sleeper, mut ready: impl FnMut() -> bool) {
        while !ready() {
            sleeper.arm(&self.word);
            if !ready() {
                self.doorbell.park(None);
            }
            sleeper.disarm(&self.word);
        }
    }

    /// Pops `count` entries, and sleeps when there is none.
    fn pop(&self, count: usize) {
        let (mut consumer, mut sleeper) = (Consumer::new(), Sleeper::new());
        for _ in 0..count {
            self.sleep_until(&mut sleeper, || consumer.is_ready(self.ring.consumer_view()));
            assert!(
                consumer.pop(self.ring.consumer_view()).is_some(),
                "it is there, and this is the one consumer"
            );
        }
    }
}

/// One producer and a consumer that sleeps: is each entry noticed?
#[test]
pub(crate) fn producer_wakes_the_consumer() {
    unbounded(|| {
        let channel = Channel::new(2);
        let other = channel.clone();
        let producer = thread::spawn(move || {
            for _ in 0..2 {
                assert!(other.push());
                other.kick();
            }
        });
        channel.pop(2);
        producer.join().unwrap();
    });
}

/// Two producers, of whom the second may fill its position first, and a consumer that sleeps between entries:
/// is each entry noticed, though the producers share one memory of whom they kicked?
#[test]
pub(crate) fn two_producers_wake_the_consumer() {
    bounded(2, || {
        let channel = Channel::new(4);
        let producers = [1, 2].map(|count| {
            let channel = channel.clone();
            thread::spawn(move || {
                for _ in 0..count {
                    assert!(channel.push());
                    channel.kick();
                }
            })
        });
        channel.pop(3);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// A producer that waits for room in a full ring: does the consumer's progress reach it?
#[test]
pub(crate) fn room_wakes_the_producer() {
    unbounded(|| {
        let channel = Channel::new(2);
        assert!(channel.push() && channel.push());
        let other = channel.clone();
        let consumer = thread::spawn(move || {
            let mut consumer = Consumer::new();
            let popped = consumer.pop(other.ring.consumer_view()).expect("the ring is full");
            // Whoever made `rx_head` move owes the producer a look at its word.
            if popped.published || consumer.publish(other.ring.consumer_view()) {
                other.kick();
            }
        });
        let mut sleeper = Sleeper::new();
        let has_room = || channel.producer.has_room(channel.ring.producer_view()).expect("an honest peer");
        channel.sleep_until(&mut sleeper, has_room);
        assert!(channel.push());
        consumer.join().unwrap();
    });
}

/// A sender that waits for a slot: does the peer's return reach it?
#[test]
pub(crate) fn returned_slot_wakes_the_owner() {
    unbounded(|| {
        let channel = Channel::new(1);
        let slab = Slab::new();
        let free: Box<[FreeWord]> = (0..HANDLE_WORDS).map(|_| FreeWord(AtomicU64::new(0))).collect();
        let ret: Arc<[AtomicU64; HANDLE_WORDS]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let view = SlabView { free: &free, ret: &*ret };
        slab.add_run(view, 0, 64, 1);
        let handle = slab.claim(view, 64, 0).unwrap().handle;
        slab.publish(handle);

        let other = channel.clone();
        let returns = ret.clone();
        let peer = thread::spawn(move || {
            give_back(&*returns, handle);
            other.kick();
        });
        let mut sleeper = Sleeper::new();
        let mut claimed = None;
        channel.sleep_until(&mut sleeper, || {
            let _: Harvest = slab.harvest(view).expect("an honest peer");
            claimed = claimed.or_else(|| slab.claim(view, 64, 0));
            claimed.is_some()
        });
        peer.join().unwrap();
    });
}
