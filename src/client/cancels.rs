//! What there was no room for and nobody waits with: cancellations, a bit per call cell, and the credits and
//! ends of streams. Sent by whoever finds room.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::client::calls::{CallTable, Ticket};
use crate::connection::{Link, SendFailure};
use crate::ring::Entry;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// The calls that were given up, and whose server does not know.
pub(super) struct Cancels {
    /// Whether there may be any: what is looked at instead of the bits.
    any: AtomicBool,
    bits: Box<[AtomicU64]>,
    /// Locked only where there is no room, and for a few instructions.
    others: Mutex<Vec<Entry>>,
}

impl Cancels {
    pub(super) fn new(cells: usize) -> Self {
        let bits = (0..cells.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { any: AtomicBool::new(false), bits, others: Mutex::default() }
    }

    /// Whether any may wait to be sent.
    #[inline]
    pub(super) fn any(&self) -> bool {
        // Relaxed: a hint; the swap in `flush` synchronises.
        self.any.load(Ordering::Relaxed)
    }

    /// Tells the server that a call was given up: now, or once there is room. True if that is later.
    pub(super) fn send(&self, link: &Link, ticket: Ticket) -> bool {
        match link.push(&Entry::cancel(ticket.call_id), None) {
            Err(SendFailure::Wait) => {}
            // A connection that is closed has nobody to be told.
            Ok(()) | Err(SendFailure::Failed(_)) => return false,
        }
        let index = ticket.index();
        // Relaxed: `any` publishes it.
        self.bits[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
        self.keep(link);
        true
    }

    /// Sends a credit or the end of a stream: now, or once there is room. True if that is later.
    pub(super) fn send_other(&self, link: &Link, entry: Entry) -> bool {
        match link.push(&entry, None) {
            Err(SendFailure::Wait) => {}
            // A connection that is closed has nobody to be told.
            Ok(()) | Err(SendFailure::Failed(_)) => return false,
        }
        self.others().push(entry);
        self.keep(link);
        true
    }

    /// Says that there is something to be sent.
    fn keep(&self, link: &Link) {
        // Release pairs with the Acquire in `flush`.
        if !self.any.swap(true, Ordering::Release) {
            // As one who waits for space: a leader then asks the server for a kick.
            link.space.register();
        }
        link.nudge();
    }

    fn others(&self) -> MutexGuard<'_, Vec<Entry>> {
        // An entry is in the list or not.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what there is room for.
    #[cold]
    pub(super) fn flush(&self, link: &Link, calls: &CallTable) {
        // Acquire pairs with the Release in `send`: the bits that it publishes are seen.
        if !self.any.swap(false, Ordering::Acquire) {
            return;
        }
        for (word, bits) in self.bits.iter().enumerate() {
            // Relaxed: see above.
            let mut taken = bits.swap(0, Ordering::Relaxed);
            while taken != 0 {
                let index = word * 64 + taken.trailing_zeros() as usize;
                // A cell that was answered meanwhile has nothing to cancel any more.
                let sent = match calls.abandoned(index) {
                    Some(call_id) => link.push(&Entry::cancel(call_id), None),
                    None => Ok(()),
                };
                if let Err(SendFailure::Wait) = sent {
                    bits.fetch_or(taken, Ordering::Relaxed);
                    return self.keep_on(link);
                }
                taken &= taken - 1;
            }
        }
        let mut others = self.others();
        let sent =
            others.iter().take_while(|entry| !matches!(link.push(entry, None), Err(SendFailure::Wait)));
        let sent = sent.count();
        others.drain(..sent);
        if others.is_empty() { link.space.leave() } else { self.keep_on(link) }
    }

    /// Still one who waits, unless somebody else has become one.
    fn keep_on(&self, link: &Link) {
        if self.any.swap(true, Ordering::Release) {
            link.space.leave();
        }
    }
}
