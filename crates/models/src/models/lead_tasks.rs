//! Is every task that waits woken, whoever receives its reply, and does a driver lead where no thread does?

use std::future::poll_fn;
use std::task::{Context, Poll};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;

use crate::client::lead::{Lead, Leader};
use crate::harness::{bounded, unbounded};
use crate::sync::AtomicWaker;

/// The call cell of the task.
const TASK: usize = 1;

/// A channel with a task that waits for its reply, and perhaps a driver.
struct Channel {
    lead: Lead<()>,
    /// The reply has come, and whoever leads can take it in.
    came: AtomicBool,
    /// A leader has put it into the task's cell.
    served: AtomicBool,
    /// The driver has announced that it sleeps.
    armed: AtomicBool,
    /// One for each driver.
    bells: Vec<Bell>,
    over: AtomicBool,
    /// Whether a driver that has handed something out pauses, as on a runtime of one thread, or gives the
    /// lead up as anybody does.
    pauses: bool,
}

/// What a driver hears.
struct Bell {
    /// Somebody has rung.
    rung: AtomicBool,
    /// Where the driver is woken then.
    waker: AtomicWaker,
}

impl Channel {
    fn new(came: bool, drivers: usize, pauses: bool) -> Arc<Self> {
        let bell = |_| Bell { rung: AtomicBool::new(false), waker: AtomicWaker::new() };
        Arc::new(Self {
            lead: Lead::new((), 2),
            came: AtomicBool::new(came),
            served: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            bells: (0..drivers).map(bell).collect(),
            over: AtomicBool::new(false),
            pauses,
        })
    }

    /// What a task does after it has sent its request.
    fn await_reply(&self) {
        let mut entered = false;
        block_on(poll_fn(|cx| {
            loop {
                if self.served.load(Ordering::Acquire) {
                    return Poll::Ready(());
                }
                if self.lead.watch(TASK, cx.waker()) {
                    self.lead.enter_task(std::mem::replace(&mut entered, true));
                    return Poll::Pending;
                }
            }
        }));
        self.lead.unwatch(TASK);
        if entered {
            self.lead.leave_task();
        }
    }

    /// What any leader does with a reply that has come.
    fn take_in(&self, _leader: &Leader<'_, ()>) -> bool {
        let unserved = self.has_unserved();
        if unserved {
            self.served.store(true, Ordering::Release);
            self.lead.wake(TASK);
        }
        unserved
    }

    fn has_unserved(&self) -> bool {
        self.came.load(Ordering::Acquire) && !self.served.load(Ordering::Relaxed)
    }

    /// What the peer does when it replies.
    fn reply(&self) {
        self.came.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) {
            for bell in &self.bells {
                bell.rung.store(true, Ordering::Release);
                bell.waker.wake();
            }
        }
    }

    fn drive(&self) {
        block_on(poll_fn(|cx| self.poll_driver(0, cx)));
    }

    fn poll_driver(&self, number: usize, cx: &mut Context<'_>) -> Poll<()> {
        let bell = &self.bells[number];
        self.lead.register_driver(number, cx.waker());
        bell.waker.register(cx.waker());
        if self.over.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        loop {
            bell.rung.swap(false, Ordering::AcqRel);
            let Some(leader) = self.lead.try_lead_for_tasks() else { return Poll::Pending };
            self.armed.store(false, Ordering::Relaxed);
            if !self.lead.has_tasks() {
                return Poll::Pending;
            }
            if self.take_in(&leader) {
                if self.pauses {
                    leader.pause(number);
                    // What the runtime does, once others have run.
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            self.armed.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            // The second look at what comes, and at the bell.
            if !self.has_unserved() && !bell.rung.load(Ordering::Relaxed) {
                leader.rest(number);
                return Poll::Pending;
            }
        }
    }

    /// Everybody is served: the driver ends.
    fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.lead.wake_drivers();
    }
}

/// A thread leads while the task begins to wait: does the task see its reply, or the thread its waker?
#[test]
pub(crate) fn a_task_is_woken_by_the_thread_that_leads() {
    unbounded(|| {
        let channel = Channel::new(true, 0, false);
        let task = thread::spawn({
            let channel = channel.clone();
            move || channel.await_reply()
        });
        let leader = channel.lead.try_lead_directly().expect("tasks do not lead");
        assert!(channel.take_in(&leader));
        drop(leader);
        task.join().unwrap();
    });
}

/// A thread leads for a moment and leaves: does the driver go on, whoever came first?
#[test]
pub(crate) fn a_driver_goes_on_where_a_thread_leaves() {
    for pauses in [false, true] {
        bounded(2, move || {
            let channel = Channel::new(true, 1, pauses);
            let driver = thread::spawn({
                let channel = channel.clone();
                move || channel.drive()
            });
            let passer_by = thread::spawn({
                let channel = channel.clone();
                move || drop(channel.lead.try_lead_directly())
            });
            channel.await_reply();
            channel.end();
            driver.join().unwrap();
            passer_by.join().unwrap();
        });
    }
}

/// The reply comes while a thread leads, which has looked already, and rings the driver that rests: does the
/// driver get the lead afterwards?
#[test]
pub(crate) fn a_driver_that_is_rung_gets_the_lead_in_the_end() {
    for pauses in [false, true] {
        bounded(2, move || {
            let channel = Channel::new(false, 1, pauses);
            let driver = thread::spawn({
                let channel = channel.clone();
                move || channel.drive()
            });
            let passer_by = thread::spawn({
                let channel = channel.clone();
                move || {
                    let leader = channel.lead.try_lead_directly();
                    channel.reply();
                    drop(leader);
                }
            });
            channel.await_reply();
            channel.end();
            driver.join().unwrap();
            passer_by.join().unwrap();
        });
    }
}

/// One driver rests, and its runtime stands still from then on; another one is rung at that moment: does it
/// get the lead?
#[test]
pub(crate) fn a_driver_whose_runtime_stands_still_is_in_nobodys_way() {
    for pauses in [false, true] {
        bounded(2, move || {
            let channel = Channel::new(false, 2, pauses);
            channel.lead.enter_task(false);
            let still = thread::spawn({
                let channel = channel.clone();
                move || {
                    block_on(poll_fn(|cx| {
                        let _ = channel.poll_driver(1, cx);
                        Poll::Ready(())
                    }));
                }
            });
            let peer = thread::spawn({
                let channel = channel.clone();
                move || channel.reply()
            });
            block_on(poll_fn(|cx| {
                let ended = channel.poll_driver(0, cx);
                if channel.served.load(Ordering::Acquire) { Poll::Ready(()) } else { ended }
            }));
            still.join().unwrap();
            peer.join().unwrap();
        });
    }
}

/// One driver pauses, to look again soon, and its runtime stands still from then on; another one has found it
/// leading: does it get the lead?
#[test]
pub(crate) fn a_driver_that_pauses_and_stands_still_is_in_nobodys_way() {
    bounded(2, || {
        let channel = Channel::new(true, 2, true);
        channel.lead.enter_task(false);
        let still = thread::spawn({
            let channel = channel.clone();
            move || {
                if let Some(leader) = channel.lead.try_lead_for_tasks() {
                    leader.pause(1);
                }
            }
        });
        block_on(poll_fn(|cx| {
            let ended = channel.poll_driver(0, cx);
            if channel.served.load(Ordering::Acquire) { Poll::Ready(()) } else { ended }
        }));
        still.join().unwrap();
    });
}

/// A thread finds a driver leading, which pauses, and whose runtime stands still from then on: does the
/// thread lead?
#[test]
pub(crate) fn a_thread_leads_after_a_driver_that_pauses() {
    unbounded(|| {
        let channel = Channel::new(true, 1, true);
        let still = thread::spawn({
            let channel = channel.clone();
            move || {
                if let Some(leader) = channel.lead.try_lead_for_tasks() {
                    leader.pause(0);
                }
            }
        });
        let mut waiting = channel.lead.register(0);
        loop {
            match waiting.try_lead() {
                Ok(leader) => break drop(leader),
                Err(still) => waiting = still,
            }
            waiting.park(None);
        }
        still.join().unwrap();
    });
}
