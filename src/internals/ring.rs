//! A ring on the heap, with inline messages in and out.

use crate::ring::{
    Body, Consumer, Descriptor, Entry, HeapRing, Kicker, Producer, Record, ReserveError, Sleeper,
};
use crate::sync::AtomicU32;

pub use crate::error::Violation;

/// Bytes of an inline message that lie in the first cache line of its entry.
pub const NEAR_BYTES: u64 = crate::ring::record::FIRST_LINE as u64 * 8;

/// One ring, which any number of threads may push to.
#[derive(Debug)]
pub struct Ring {
    words: HeapRing,
    producer: Producer,
}

/// The ring's one reader.
#[derive(Debug)]
pub struct Reader<'a> {
    ring: &'a Ring,
    consumer: Consumer,
}

impl Ring {
    /// An empty ring of `capacity` entries, a power of two.
    pub fn new(capacity: usize) -> Self {
        Self { words: HeapRing::new(capacity), producer: Producer::new() }
    }

    /// The reader; there must be only one at any time.
    pub fn reader(&self) -> Reader<'_> {
        Reader { ring: self, consumer: Consumer::new() }
    }

    /// Pushes a request with an inline message; false when the ring is full.
    #[inline]
    pub fn push(&self, call_id: u32, message: &[u8]) -> bool {
        match self.producer.reserve(self.words.producer_view()) {
            Ok(reservation) => {
                reservation.commit(Entry::request_inline(1, call_id, 0, message).record());
                true
            }
            Err(ReserveError::Full) => false,
            Err(ReserveError::Violation(violation)) => panic!("{violation}"),
        }
    }
}

impl Reader<'_> {
    /// Pops one entry, admits it, and shows its call id and inline message to `use_message`; `None` when
    /// there is none.
    #[inline]
    pub fn pop<R>(&mut self, use_message: impl FnOnce(u32, &[u8]) -> R) -> Option<R> {
        let popped = self.consumer.pop(self.ring.words.consumer_view())?;
        let entry = Entry::admit(popped.record).expect("our own entry");
        match entry.body() {
            Body::Inline(message) => Some(use_message(entry.call_id(), message)),
            Body::Slot(_) | Body::Fill(..) => unreachable!("only inline messages are pushed"),
        }
    }
}

/// The fence and the look at the sleeper's word that a sender pays once per batch.
#[derive(Debug)]
pub struct Wake {
    word: AtomicU32,
    kicker: Kicker,
    sleeper: Sleeper,
}

impl Wake {
    /// Somebody awake.
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0), kicker: Kicker::new(), sleeper: Sleeper::new() }
    }

    /// The waker's question.
    #[inline]
    pub fn should_kick(&self) -> bool {
        self.kicker.should_kick(&self.word)
    }

    /// What a sleeper does before and after blocking.
    #[inline]
    pub fn arm_and_disarm(&mut self) {
        self.sleeper.arm(&self.word);
        self.sleeper.disarm(&self.word);
    }
}

impl Default for Wake {
    fn default() -> Self {
        Self::new()
    }
}

/// Admits any words whatever, and looks at everything in them if they pass.
///
/// # Errors
/// The check that they did not pass.
pub fn admit(head: [u32; 7], body: [u64; 12]) -> Result<u64, Violation> {
    let entry = Entry::admit(Record::new(head, body))?;
    let in_slot = |slot: Descriptor| slot.offset ^ slot.length ^ u64::from(slot.handle);
    let length = match entry.body() {
        Body::Inline(message) => message.iter().map(|byte| u64::from(*byte)).sum(),
        Body::Slot(slot) => in_slot(slot),
        Body::Fill(slot, fill) => in_slot(slot) ^ fill.line ^ fill.start,
    };
    Ok(length ^ u64::from(entry.deadline_us()) ^ u64::from(entry.released().unwrap_or(0)))
}
