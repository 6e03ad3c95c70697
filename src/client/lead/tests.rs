//! The lead between real threads: no caller is forgotten, whatever the leader does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;

/// Longer than any test here takes, so that a lost wake-up is a failure and not a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A channel to a server that answers each call with its number.
struct Channel {
    lead: Lead<Receiver<usize>>,
    served: Vec<AtomicBool>,
}

impl Channel {
    fn new(callers: usize) -> (Arc<Self>, Sender<usize>) {
        let (server, replies) = channel();
        let served = (0..callers).map(|_| AtomicBool::new(false)).collect();
        (Arc::new(Self { lead: Lead::new(replies, callers), served }), server)
    }

    /// Waits for the reply to call `me`, as leader or not.
    fn wait(&self, me: usize) {
        if let Some(leader) = self.lead.try_lead_directly() {
            return self.drive(leader, me);
        }
        let mut waiting = self.lead.register(me);
        while !self.take_reply(me) {
            match waiting.try_lead() {
                Ok(leader) => return self.drive(leader, me),
                Err(still) => waiting = still,
            }
            waiting.park(None);
        }
    }

    fn drive(&self, leader: Leader<'_, Receiver<usize>>, me: usize) {
        while !self.take_reply(me) {
            let call = leader.recv().expect("the server answers every call");
            self.served[call].store(true, Ordering::Release);
            self.lead.wake(call);
        }
    }

    fn take_reply(&self, me: usize) -> bool {
        self.served[me].swap(false, Ordering::Acquire)
    }

    /// Blocks until `count` waiters are registered.
    fn await_waiters(&self, count: u32) {
        while self.lead.state.load(Ordering::Relaxed) / WAITER != u64::from(count) {
            thread::yield_now();
        }
    }
}

/// Runs `work` in a thread and says when it is through.
fn run(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (done, through) = channel();
    thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    through
}

#[test]
fn every_call_of_every_thread_is_served() {
    const CALLERS: usize = 67; // two words of bits
    let (shared, server) = Channel::new(CALLERS);
    let callers: Vec<_> = (0..CALLERS)
        .map(|me| {
            let (shared, server) = (shared.clone(), server.clone());
            run(move || {
                for _ in 0..200 {
                    server.send(me).unwrap();
                    shared.wait(me);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.recv_timeout(PATIENCE).expect("a caller was forgotten");
    }
    assert_eq!(shared.lead.state.load(Ordering::Relaxed), 0, "nobody leads, nobody waits");
    assert!(shared.lead.waiting.iter().all(|bits| bits.load(Ordering::Relaxed) == 0));
}

#[test]
fn a_panicking_leader_hands_the_lead_on() {
    let (shared, server) = Channel::new(1);
    let leader = shared.lead.try_lead_directly().unwrap();
    assert!(shared.lead.is_led() && shared.lead.try_lead_directly().is_none());
    let waiter = shared.clone();
    let waiter = run(move || waiter.wait(0));
    shared.await_waiters(1);
    server.send(0).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let _leader = leader;
        std::panic::resume_unwind(Box::new("a handler failed"));
    }));
    assert!(panic.is_err());
    waiter.recv_timeout(PATIENCE).expect("the waiter was not woken");
    assert!(!shared.lead.is_led());
}

#[test]
fn bad_news_reaches_whoever_is_about_to_park() {
    let lead = Arc::new(Lead::new((), 2));
    let leader = lead.try_lead_directly();
    lead.wake_all();
    let waiter = lead.clone();
    let waiter = run(move || waiter.register(1).park(None));
    waiter.recv_timeout(PATIENCE).expect("the wake-up was lost");
    drop(leader);
}

#[test]
#[should_panic(expected = "waiter 3 of 3")]
fn a_number_out_of_range_is_refused() {
    drop(Lead::new((), 3).register(3));
}
