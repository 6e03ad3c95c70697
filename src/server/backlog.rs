//! Replies that wait for a slot or a place in the ring, because nobody on the way may block.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::{Flow, Head, Link, Prepared, SendFailure, prepare_bytes_behind};
use crate::error::Violation;
use crate::ring::Entry;

/// One entry that could not be published yet.
pub(super) enum Queued {
    /// It lacks a place in the ring.
    Prepared(Prepared<Arc<Link>>),
    /// It lacks a slot as well.
    Bytes { head: Head, metadata: Vec<u8>, bytes: Vec<u8> },
    /// An entry that is complete in itself.
    Entry(Entry),
}

impl Queued {
    fn bytes(&self) -> usize {
        match self {
            Self::Prepared(_) | Self::Entry(_) => 0,
            Self::Bytes { metadata, bytes, .. } => metadata.len() + bytes.len(),
        }
    }

    /// Publishes it if there is space; false if it has to wait on, with what it has got so far.
    fn send(&mut self, link: &Arc<Link>) -> bool {
        if let Self::Bytes { head, metadata, bytes } = self {
            match prepare_bytes_behind(link.clone(), *head, metadata, bytes) {
                Ok(prepared) => *self = Self::Prepared(prepared),
                Err(SendFailure::Wait) => return false,
                Err(SendFailure::Failed(_)) => return true,
            }
        }
        let sent = match self {
            Self::Prepared(prepared) => prepared.send(link),
            Self::Entry(entry) => link.push(entry, None),
            Self::Bytes { .. } => unreachable!("prepared above"),
        };
        // A closed connection has nobody to reply to: then it has waited long enough as well.
        !matches!(sent, Err(SendFailure::Wait))
    }
}

/// The queue of one connection. An honest client never has more unseen replies than calls in flight, so it is
/// bounded by their number, and by the credits of their streams; the bytes that it copied aside are bounded
/// by the caller.
#[derive(Default)]
pub(super) struct Backlog {
    queue: Mutex<VecDeque<Queued>>,
    /// Length of the queue: what is looked at on every turn instead of the lock.
    len: AtomicUsize,
    /// Bytes that the queue holds outside of any slot.
    bytes: AtomicUsize,
    /// Streams that wait for space with a message in hand.
    crowd: Mutex<Vec<Arc<Flow>>>,
    /// Whether there are any, as `len`.
    is_crowded: AtomicBool,
}

impl Backlog {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // Relaxed: whoever queues wakes the reactor afterwards, which then sees it.
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Bytes held outside of any slot.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Queues an entry and makes sure that the connection's reactor looks at it.
    ///
    /// A client that asks on and takes no replies uses an index again before it can have seen the answer: it
    /// is cut off before the queue outgrows its calls.
    #[cold]
    pub(super) fn push(&self, link: &Link, entry: Queued) {
        let mut queue = self.lock();
        // Of each call a reply, or two credits of its stream and then a reply; and the farewell.
        if queue.len() > 3 * link.limits().max_in_flight as usize {
            drop(queue);
            let check = "more replies wait for the client than it may have calls in flight";
            link.violated(Violation::Limit(check.into()));
            return;
        }
        if queue.is_empty() {
            // Counts as one that waits for space: the reactor then asks the peer for a kick.
            link.space.register();
        }
        self.bytes.fetch_add(entry.bytes(), Ordering::Relaxed);
        queue.push_back(entry);
        self.len.store(queue.len(), Ordering::Relaxed);
        drop(queue);
        link.nudge();
    }

    /// Sends what can be sent, in order. True if anything was.
    #[cold]
    pub(super) fn flush(&self, link: &Arc<Link>) -> bool {
        let mut queue = self.lock();
        let before = queue.len();
        while let Some(entry) = queue.front_mut() {
            let bytes = entry.bytes();
            let sent = entry.send(link);
            // One that waits on may have got its slot.
            let kept = if sent { 0 } else { entry.bytes() };
            self.bytes.fetch_sub(bytes - kept, Ordering::Relaxed);
            if !sent {
                break;
            }
            queue.pop_front();
        }
        self.len.store(queue.len(), Ordering::Relaxed);
        if before > 0 && queue.is_empty() {
            link.space.leave();
        }
        queue.len() < before
    }

    /// Has a stream's writer woken when there may be space. It must try once more after this.
    #[cold]
    pub(super) fn wait(&self, link: &Link, flow: &Arc<Flow>) {
        let mut crowd = self.lock_crowd();
        if crowd.iter().any(|known| Arc::ptr_eq(known, flow)) {
            return;
        }
        if crowd.is_empty() {
            link.space.register();
        }
        crowd.push(flow.clone());
        self.is_crowded.store(true, Ordering::Relaxed);
        drop(crowd);
        link.nudge();
    }

    /// Whether anybody waits for space: entries, or streams.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        // Relaxed: as in `is_empty`.
        !self.is_empty() || self.is_crowded.load(Ordering::Relaxed)
    }

    /// Wakes the streams that wait for space. True if there were any.
    #[cold]
    pub(super) fn wake_crowd(&self, link: &Link) -> bool {
        let crowd = std::mem::take(&mut *self.lock_crowd());
        if crowd.is_empty() {
            return false;
        }
        self.is_crowded.store(false, Ordering::Relaxed);
        link.space.leave();
        crowd.iter().for_each(|flow| flow.writer.wake());
        true
    }

    fn lock_crowd(&self) -> MutexGuard<'_, Vec<Arc<Flow>>> {
        // A flow is in the list or not.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Queued>> {
        // An entry is in the queue or it is not: nothing is half done if its sending panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
