//! The calls of one connection that have begun and not ended: a word for each index that a call id can have.

use std::task::Waker;

use crate::connection::{Wakers, call_index};
use crate::error::Violation;
use crate::sync::{AtomicU64, Ordering, fence};

/// Bit of a word: a call with the id in the low half is served.
const ACTIVE: u64 = 1 << 32;
/// Bit of a word: its caller gave it up.
const CANCELLED: u64 = 1 << 33;

/// Which calls are served, and which of them nobody waits for any more.
///
/// A word goes from zero to active by the connection's reactor alone, and back to zero by whoever answers the
/// call, before the answer is published: the client may use the index anew the moment it sees the reply.
pub(super) struct Calls {
    words: Box<[AtomicU64]>,
    /// Tasks that serve calls, to be woken when nobody waits for them any more.
    tasks: Wakers,
}

impl Calls {
    /// For at most `max_in_flight` calls at once.
    pub(super) fn new(max_in_flight: u32) -> Self {
        let words = (0..max_in_flight).map(|_| AtomicU64::new(0)).collect();
        Self { words, tasks: Wakers::new(max_in_flight as usize) }
    }

    /// A request has come in.
    ///
    /// # Errors
    /// If the client has more calls in flight than agreed, or two with one index.
    #[inline]
    pub(super) fn begin(&self, call_id: u32) -> Result<(), Violation> {
        let word = self.words.get(call_index(call_id)).ok_or_else(|| {
            Violation::Limit(format!("call id {call_id:#x} is beyond max_in_flight ({})", self.words.len()))
        })?;
        // Relaxed: the store below publishes nothing, and a client learns that the index is free from the
        // ring.
        if word.load(Ordering::Relaxed) != 0 {
            return Err(Violation::Entry("a second request with the index of a call in flight"));
        }
        word.store(ACTIVE | u64::from(call_id), Ordering::Relaxed);
        Ok(())
    }

    /// The caller has given up. A call that was answered in the meantime is none of ours any more.
    pub(super) fn cancel(&self, call_id: u32) {
        if let Some(word) = self.words.get(call_index(call_id)) {
            let active = ACTIVE | u64::from(call_id);
            // Relaxed: a hint to whoever serves the call.
            let changed =
                word.compare_exchange(active, active | CANCELLED, Ordering::Relaxed, Ordering::Relaxed);
            if changed.is_ok() {
                // Pairs with the one in `watch`: the task's waker is seen here, or the mark there. The waker
                // alone does not order the two, because its place may be made only now.
                fence(Ordering::SeqCst);
                self.tasks.wake(call_index(call_id));
            }
        }
    }

    /// Nobody waits for any call any more.
    pub(super) fn cancel_all(&self) {
        for word in &self.words {
            let active = word.load(Ordering::Relaxed);
            if active & ACTIVE != 0 {
                self.cancel(active as u32);
            }
        }
    }

    /// Leaves the waker of a task that serves a call. It must look whether the call is cancelled after that.
    pub(super) fn watch(&self, call_id: u32, waker: &Waker) {
        self.tasks.register(call_index(call_id), waker);
        // Pairs with the one in `cancel`.
        fence(Ordering::SeqCst);
    }

    /// Whether the caller has given up.
    #[inline]
    pub(super) fn is_cancelled(&self, call_id: u32) -> bool {
        self.words[call_index(call_id)].load(Ordering::Relaxed) & CANCELLED != 0
    }

    /// Whether the call is served and its caller has not given up.
    pub(super) fn awaits(&self, call_id: u32) -> bool {
        // Relaxed: a hint to whoever serves the call.
        let word = self.words[call_index(call_id)].load(Ordering::Relaxed);
        word == ACTIVE | u64::from(call_id)
    }

    /// Forgets the task that serves a call, which is about to be answered.
    pub(super) fn forget(&self, call_id: u32) {
        self.tasks.forget(call_index(call_id));
    }

    /// The call is about to be answered.
    #[inline]
    pub(super) fn end(&self, call_id: u32) {
        // Relaxed: the ring's Release publishes the reply, and with it this, to the client; its next request
        // comes back to the reactor through the ring's Acquire.
        self.words[call_index(call_id)].store(0, Ordering::Relaxed);
    }

    /// Whether no call is served.
    pub(super) fn is_idle(&self) -> bool {
        self.words.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_serves_one_call_at_a_time() {
        let calls = Calls::new(2);
        assert!(calls.is_idle());
        calls.begin(0x0007_0001).unwrap();
        assert!(!calls.is_idle());
        assert!(matches!(calls.begin(0x0008_0001), Err(Violation::Entry(_))));
        calls.end(0x0007_0001);
        calls.begin(0x0008_0001).unwrap();
    }

    #[test]
    fn an_index_beyond_the_agreed_number_is_a_violation() {
        assert!(matches!(Calls::new(2).begin(2), Err(Violation::Limit(_))));
    }

    #[test]
    fn only_the_call_that_is_served_is_cancelled() {
        let calls = Calls::new(1);
        calls.begin(0x0002_0000).unwrap();
        calls.cancel(0x0001_0000);
        assert!(!calls.is_cancelled(0x0002_0000));
        assert!(calls.awaits(0x0002_0000) && !calls.awaits(0x0001_0000));
        calls.cancel(0x0002_0000);
        assert!(calls.is_cancelled(0x0002_0000) && !calls.awaits(0x0002_0000));
        calls.end(0x0002_0000);
        calls.cancel(0x0002_0000);
        assert!(calls.is_idle());
    }
}
