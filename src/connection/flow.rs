//! The streams of one call: what has come and is not read, and how much more may be sent.
//!
//! ```text
//!   sender                                              reader's side
//!   ──────                                              ─────────────
//!   balance > 0? ──no──► wait for credit                driver: allowance > 0? ──no──► violation
//!      │ yes                                               │ yes
//!   balance -= cost, send ══════ message ══════════════► allowance -= cost; inbox; wake the reader
//!                                                        reader: out of the inbox, owed += cost
//!   driver: balance += credit ◄═════ credit ════════════ half of the window is owed: allowance += owed
//! ```
//!
//! A message costs its length and [`MESSAGE_COST`]. Balance and allowance start at the window; a message may
//! be sent while the balance is above zero, whatever its length, so a reader holds at most the window and one
//! message. The reader raises the allowance before its credit leaves, so an honest sender's balance never
//! exceeds what the reader counts.
//!
//! | word | written by | ordering |
//! |---|---|---|
//! | balance | whoever sends subtracts, the driver adds | Relaxed: it carries nothing but itself, and whoever waits for it is woken by way of its own |
//! | allowance | the driver subtracts, the reader adds | Relaxed: the credit, which its sender acts upon, comes after it through ring and peer |
//! | owed | whoever takes out of the inbox: the reader, and once it is gone the driver too | Relaxed, by read-modify-write: it carries nothing but itself |
//! | deaf | the reader, once | `fence(SeqCst)` after it, and between the driver's push and its look: one of the two empties the inbox |
//! | awaited | the reader sets it, the driver clears it | Relaxed; `fence(SeqCst)` after it, and between the driver's push and its look: the reader finds the message, or is woken |
//! | ended | the driver, once | Release after the last message ↔ Acquire in `has_ended` |
//! | over | whoever ends the call, once | Release ↔ Acquire in `is_over` |

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use crate::connection::received::Received;
use crate::error::Violation;
use crate::rpc::Status;
use crate::sync::{AtomicBool, AtomicI64, AtomicWaker, Ordering, SegQueue, fence};
use crate::wire::Metadata;

/// What a message costs beside its own bytes: its entry.
pub(crate) const MESSAGE_COST: u32 = 128;

/// What is to be granted to a sender: one credit mostly, or none. A message of more than a credit can say has
/// several.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a sender that is not granted what was read waits for ever"]
pub(crate) struct Credits(i64);

impl Iterator for Credits {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let bytes = u32::try_from(self.0).unwrap_or(u32::MAX);
        self.0 -= i64::from(bytes);
        (bytes > 0).then_some(bytes)
    }
}

/// Both directions of one call's streams, as one side sees them.
pub(crate) struct Flow {
    window: u32,
    balance: AtomicI64,
    allowance: AtomicI64,
    owed: AtomicI64,
    inbox: SegQueue<Received>,
    headers: OnceLock<Metadata>,
    deaf: AtomicBool,
    awaited: AtomicBool,
    ended: AtomicBool,
    over: AtomicBool,
    /// What the call has failed with; set before it is over.
    failure: OnceLock<Status>,
    /// Who waits to read, where that is not a call's cell.
    pub(crate) reader: AtomicWaker,
    /// Who waits to send, likewise.
    pub(crate) writer: AtomicWaker,
}

impl Flow {
    /// Of a call that has just begun; `window` is the one that both sides agreed on.
    pub(crate) fn new(window: u32) -> Arc<Self> {
        Arc::new(Self {
            window,
            balance: AtomicI64::new(window.into()),
            allowance: AtomicI64::new(window.into()),
            owed: AtomicI64::new(0),
            inbox: SegQueue::new(),
            headers: OnceLock::new(),
            deaf: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
            failure: OnceLock::new(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        })
    }

    fn cost(len: usize) -> i64 {
        i64::try_from(len).unwrap_or(i64::MAX / 2) + i64::from(MESSAGE_COST)
    }

    // ---- sending -------------------------------------------------------------------------------------

    /// Takes what a message of `len` bytes costs off the balance, if the peer takes another one now. Before
    /// it is sent: its credit may be back before its sender has run on.
    #[inline]
    pub(crate) fn spend(&self, len: usize) -> bool {
        // One task or thread sends at a time, so nobody else subtracts.
        let may_send = self.may_send();
        if may_send {
            self.balance.fetch_sub(Self::cost(len), Ordering::Relaxed);
        }
        may_send
    }

    /// Whether the peer takes another message now.
    pub(crate) fn may_send(&self) -> bool {
        self.balance.load(Ordering::Relaxed) > 0
    }

    /// The message was not sent after all.
    pub(crate) fn unspend(&self, len: usize) {
        self.balance.fetch_add(Self::cost(len), Ordering::Relaxed);
    }

    // ---- the driver ----------------------------------------------------------------------------------

    /// The peer takes so much more.
    ///
    /// # Errors
    /// If that is more than it can have read.
    pub(crate) fn credit(&self, bytes: u32) -> Result<(), Violation> {
        let before = self.balance.fetch_add(bytes.into(), Ordering::Relaxed);
        if before + i64::from(bytes) > i64::from(self.window) {
            return Err(Violation::Limit(format!(
                "credit of {bytes} bytes lifts a stream above the agreed stream_window ({})",
                self.window
            )));
        }
        self.writer.wake();
        Ok(())
    }

    /// A message has come. What is returned is to be granted at once, because nobody reads any more.
    ///
    /// # Errors
    /// If it may not come.
    pub(crate) fn receive(&self, message: Received) -> Result<Credits, Violation> {
        if self.has_ended() {
            return Err(Violation::Entry("a message after the end of its stream"));
        }
        let cost = Self::cost(message.len());
        if self.allowance.fetch_sub(cost, Ordering::Relaxed) <= 0 {
            return Err(Violation::Limit(format!(
                "a message beyond the credit of its stream: the agreed stream_window is {}",
                self.window
            )));
        }
        self.inbox.push(message);
        // Pairs with the ones in `stop_reading` and `watch_reader`.
        fence(Ordering::SeqCst);
        if self.deaf.load(Ordering::Relaxed) {
            return Ok(self.empty());
        }
        if self.take_awaited() {
            self.reader.wake();
        }
        Ok(Credits(0))
    }

    /// Whether a reader waits for the next message, and so takes it from where it lies. A hint, true once
    /// each time that it begins to wait: one that has been woken need not come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    fn take_awaited(&self) -> bool {
        // Looked at first: mostly nobody waits. Relaxed: a wake-up that misses the waker comes before it, and
        // then the reader's last look finds what came before the wake-up.
        self.is_awaited() && self.awaited.swap(false, Ordering::Relaxed)
    }

    /// The peer's last message has come.
    ///
    /// # Errors
    /// If it had before.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        if self.ended.swap(true, Ordering::Release) {
            return Err(Violation::Entry("a second end of a stream"));
        }
        self.reader.wake();
        Ok(())
    }

    /// The server has taken up the call.
    ///
    /// # Errors
    /// If it had before.
    pub(crate) fn take_headers(&self, metadata: Metadata) -> Result<(), Violation> {
        self.headers.set(metadata).map_err(|_| Violation::Entry("second headers of one call"))
    }

    // ---- reading -------------------------------------------------------------------------------------

    /// The next message, if there is one.
    pub(crate) fn take(&self) -> Option<Received> {
        self.inbox.pop()
    }

    /// Whether there is one.
    #[inline]
    pub(crate) fn has_message(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// A message of `len` bytes was read; what is to be granted now.
    pub(crate) fn was_read(&self, len: usize) -> Credits {
        self.read(Self::cost(len))
    }

    fn read(&self, cost: i64) -> Credits {
        let owed = self.owed.fetch_add(cost, Ordering::Relaxed) + cost;
        if owed < i64::from(self.window.div_ceil(2)) {
            return Credits(0);
        }
        // Beside another one who is here, one of the two grants it all.
        let owed = self.owed.swap(0, Ordering::Relaxed);
        self.allowance.fetch_add(owed, Ordering::Relaxed);
        Credits(owed)
    }

    /// Nobody reads any more: what is there is dropped, and so will be what comes. What is returned is to be
    /// granted, if the call goes on.
    pub(crate) fn stop_reading(&self) -> Credits {
        self.deaf.store(true, Ordering::Relaxed);
        // Pairs with the fence in `receive`.
        fence(Ordering::SeqCst);
        self.empty()
    }

    /// Drops what is there: that counts as read.
    fn empty(&self) -> Credits {
        let mut cost = 0;
        while let Some(message) = self.inbox.pop() {
            cost += Self::cost(message.len());
        }
        self.read(cost)
    }

    /// Whether no message follows those that are there.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn headers(&self) -> Option<&Metadata> {
        self.headers.get()
    }

    // ---- the end -------------------------------------------------------------------------------------

    /// The call has its outcome, or nobody wants it any more. Everybody who waits is woken.
    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// The same for a call that ends with a failure; of several ends the first one counts.
    #[cold]
    pub(crate) fn fail(&self, why: Status) {
        if !self.is_over() {
            let _ = self.failure.set(why);
        }
        self.finish();
    }

    /// What the call has failed with.
    pub(crate) fn failure(&self) -> Option<&Status> {
        self.failure.get()
    }

    /// Whether the call has ended.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Leaves the waker of whoever waits to read. It must look once more after that.
    pub(crate) fn watch_reader(&self, waker: &Waker) {
        self.reader.register(waker);
        self.awaited.store(true, Ordering::Relaxed);
        // Pairs with the one in `receive`: the look that follows finds the message, or is not the last one.
        fence(Ordering::SeqCst);
    }

    /// It does not wait after all.
    pub(crate) fn unwatch_reader(&self) {
        self.awaited.store(false, Ordering::Relaxed);
    }

    /// The same of whoever waits to send.
    pub(crate) fn watch_writer(&self, waker: &Waker) {
        self.writer.register(waker);
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("balance", &self.balance)
            .field("allowance", &self.allowance)
            .field("over", &self.is_over())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests {
    use super::*;
    use crate::connection::Outside;
    use crate::rpc::Private;

    fn message(len: usize) -> Received {
        Received::Outside(Outside::Private(Private::copied(&vec![0; len])))
    }

    #[test]
    fn a_reader_that_keeps_up_lets_a_sender_go_on() {
        let (sender, reader) = (Flow::new(1000), Flow::new(1000));
        for round in 0..1000 {
            assert!(sender.spend(72), "round {round}");
            assert_eq!(reader.receive(message(72)), Ok(Credits(0)));
            let len = reader.take().unwrap().len();
            reader.was_read(len).for_each(|credit| sender.credit(credit).unwrap());
        }
    }

    #[test]
    fn an_honest_sender_stops_before_it_is_refused() {
        let (sender, reader) = (Flow::new(1000), Flow::new(1000));
        let mut sent = 0;
        while sender.spend(72) {
            assert_eq!(reader.receive(message(72)), Ok(Credits(0)));
            sent += 1;
        }
        assert_eq!(sent, 5, "200 bytes each");
        assert!(matches!(reader.receive(message(0)), Err(Violation::Limit(_))));
    }

    #[test]
    fn a_message_longer_than_the_window_passes_alone() {
        let (sender, reader) = (Flow::new(1000), Flow::new(1000));
        assert!(sender.spend(5000) && !sender.spend(0));
        assert_eq!(reader.receive(message(5000)), Ok(Credits(0)));
        let len = reader.take().unwrap().len();
        reader.was_read(len).for_each(|credit| sender.credit(credit).unwrap());
        assert!(sender.spend(0));
    }

    #[test]
    fn a_message_beyond_what_a_credit_can_say_is_granted_whole() {
        let (sender, reader, len) = (Flow::new(1000), Flow::new(1000), 9 << 30);
        assert!(sender.spend(len));
        reader.was_read(len).for_each(|credit| sender.credit(credit).unwrap());
        assert!(sender.may_send() && sender.credit(1).is_err(), "no more and no less");
    }

    #[test]
    fn the_first_end_counts() {
        let failed = |code: Option<Status>| {
            let flow = Flow::new(1000);
            code.map_or_else(|| flow.finish(), |status| flow.fail(status));
            flow.fail(Status::aborted("later"));
            flow.failure().cloned()
        };
        assert_eq!(failed(None), None);
        assert_eq!(failed(Some(Status::not_found("first"))), Some(Status::not_found("first")));
    }

    #[test]
    fn a_message_that_is_not_sent_costs_nothing() {
        let sender = Flow::new(1000);
        for _ in 0..100 {
            assert!(sender.spend(5000));
            sender.unspend(5000);
        }
    }

    #[test]
    fn credit_for_what_was_not_sent_is_a_violation() {
        let sender = Flow::new(1000);
        assert!(matches!(sender.credit(1), Err(Violation::Limit(_))));
        let sender = Flow::new(1000);
        assert!(sender.spend(72));
        sender.credit(200).unwrap();
    }

    #[test]
    fn what_comes_when_nobody_reads_is_granted_again() {
        let (sender, reader) = (Flow::new(1000), Flow::new(1000));
        assert!(sender.spend(72));
        assert_eq!(reader.receive(message(72)), Ok(Credits(0)));
        assert_eq!(reader.stop_reading(), Credits(0));
        assert!(!reader.has_message());
        let mut granted = 0;
        for _ in 0..100 {
            assert!(sender.spend(72));
            for credit in reader.receive(message(72)).unwrap() {
                granted += 1;
                sender.credit(credit).unwrap();
            }
        }
        assert!(granted > 30 && !reader.has_message());
    }

    #[test]
    fn what_is_there_when_nobody_reads_any_more_is_granted_again() {
        let (sender, reader) = (Flow::new(1000), Flow::new(1000));
        while sender.spend(72) {
            assert_eq!(reader.receive(message(72)), Ok(Credits(0)));
        }
        reader.stop_reading().for_each(|credit| sender.credit(credit).unwrap());
        assert!(sender.may_send() && sender.credit(1).is_err(), "no more and no less");
    }

    #[test]
    fn a_reader_awaits_one_message_at_a_time() {
        let flow = Flow::new(1000);
        assert!(!flow.is_awaited());
        flow.watch_reader(Waker::noop());
        assert!(flow.is_awaited());
        drop(flow.receive(message(1)).unwrap());
        assert!(!flow.is_awaited(), "it has been woken");
        flow.watch_reader(Waker::noop());
        flow.unwatch_reader();
        assert!(!flow.is_awaited());
    }

    #[test]
    fn nothing_follows_the_end() {
        let flow = Flow::new(1000);
        flow.end().unwrap();
        assert_eq!(flow.end(), Err(Violation::Entry("a second end of a stream")));
        let after = Violation::Entry("a message after the end of its stream");
        assert_eq!(flow.receive(message(1)), Err(after));
        flow.take_headers(Metadata::default()).unwrap();
        assert!(flow.take_headers(Metadata::default()).is_err());
    }
}
