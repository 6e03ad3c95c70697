//! Is the lead held by one caller at a time, and is every caller served or woken to lead?

use std::collections::VecDeque;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::client::lead::{Lead, Leader};
use crate::harness::{bounded, unbounded};

/// A channel whose replies have all arrived, in a given order of call cells.
struct Channel {
    lead: Lead<Replies>,
    /// The call cells: whether the reply was delivered by a leader of another thread.
    served: Box<[AtomicBool]>,
}

/// The receiving half: the calls to which the next replies belong.
struct Replies(VecDeque<usize>);

impl Channel {
    fn new(callers: usize, replies: &[usize]) -> Arc<Self> {
        Arc::new(Self {
            lead: Lead::new(Replies(replies.iter().copied().collect()), callers),
            served: (0..callers).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    fn is_served(&self, me: usize) -> bool {
        self.served[me].load(Ordering::Acquire)
    }

    /// What a blocking call does after it has sent its request.
    fn call(&self, me: usize) {
        if let Some(leader) = self.lead.try_lead_directly() {
            return self.drive(leader, me);
        }
        let mut waiting = self.lead.register(me);
        while !self.is_served(me) {
            match waiting.try_lead() {
                Ok(leader) => return self.drive(leader, me),
                Err(still) => waiting = still,
            }
            waiting.park(None);
        }
    }

    /// Takes replies until its own is there; the other callers' it delivers.
    fn drive(&self, mut leader: Leader<'_, Replies>, me: usize) {
        while !self.is_served(me) {
            let call = leader.0.pop_front().expect("a leader that is not served has a reply to come");
            if call == me {
                return;
            }
            self.served[call].store(true, Ordering::Release);
            self.lead.wake(call);
        }
    }

    /// A call whose deadline has passed when it looks at its cell for the first time.
    fn give_up(&self, me: usize) {
        drop(self.lead.register(me));
    }
}

/// Two callers, whose replies come so that the first to lead may leave before the other is served: does the
/// lead change hands, with all that the leader did to the driver?
#[test]
pub(crate) fn two_callers_hand_the_lead_on() {
    unbounded(|| {
        let channel = Channel::new(2, &[0, 1]);
        let other = channel.clone();
        let caller = thread::spawn(move || other.call(1));
        channel.call(0);
        caller.join().unwrap();
        assert!(!channel.lead.is_led());
    });
}

/// Three callers: is a wake-up that lands on one who is already served passed on to the third?
#[test]
pub(crate) fn three_callers_are_all_served() {
    bounded(2, || {
        let channel = Channel::new(3, &[1, 0, 2]);
        let callers = [1, 2].map(|me| {
            let channel = channel.clone();
            thread::spawn(move || channel.call(me))
        });
        channel.call(0);
        for caller in callers {
            caller.join().unwrap();
        }
        assert!(!channel.lead.is_led());
    });
}

/// One leads, one gives up, one waits: does the wake-up that the leaver was chosen for reach the waiter?
#[test]
pub(crate) fn a_leaver_passes_the_wake_up_on() {
    bounded(2, || {
        let channel = Channel::new(3, &[0, 2]);
        let leaver = channel.clone();
        let leaver = thread::spawn(move || leaver.give_up(1));
        let waiter = channel.clone();
        let waiter = thread::spawn(move || waiter.call(2));
        channel.call(0);
        leaver.join().unwrap();
        waiter.join().unwrap();
    });
}
