//! The blocking driver: what the leading thread runs, for itself and for all that wait.
//!
//! ```text
//!   served? ─yes─► leave
//!      │ no
//!   take entries out of the ring, hand each to its caller ──some──► again
//!      │ none
//!   spin ──an entry came──► again
//!      │ nothing came
//!   mark ourselves asleep, look again, wait for doorbell, socket or deadline, unmark ──► again
//! ```

#[cfg(feature = "tokio")]
mod task;
#[cfg(feature = "tokio")]
pub(super) use task::{Step, Vigil};

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::awaited::{Awaited, Nothing};
use crate::client::core::Core;
use crate::client::deliver::{Delivery, Handed};
use crate::connection::{CloseReason, Link, Polled, Session, SocketState, read_control};
use crate::os::{Event, Interest, Poller, RoomWatch, current_cpu};
use crate::ring::{AdaptiveSpin, Inline, UNKNOWN_CPU, WAKING_SPIN_BUDGET, glance, spin_until};
use crate::sync::Ordering;

const SOCKET: u64 = 0;
const BELL: u64 = 1;

/// Entries that one turn hands out at most before it looks whether its own caller is served.
const TURN: usize = 256;

/// Rounds between two looks at the clock: more than a call that is answered takes.
const ROUNDS_PER_LOOK: u32 = 64;

/// Why a leader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What it waited for is there.
    Done,
    /// The connection is closed, and what had come before is handed out.
    Closed,
    /// Its deadline passed.
    Deadline,
}

/// The receiving half of a channel, and what it waits on.
pub(crate) struct Driver {
    session: Session,
    poller: Arc<Poller>,
    room: RoomWatch,
    events: Vec<Event>,
    spin: AdaptiveSpin,
    /// What our `cpu` word says.
    cpu: u32,
    /// What the peer had read of our ring when we last looked.
    ring_read: u64,
    /// The socket may hold more than the last turn read: its next edge will not say so.
    unread: bool,
}

impl Driver {
    pub(crate) fn new(link: &Link, session: Session, spin: Duration) -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        poller.add(link.socket(), SOCKET, Interest::Edge)?;
        link.watch_bells(&poller, BELL)?;
        Ok(Self {
            session,
            poller,
            room: RoomWatch::new(Interest::Edge),
            events: Vec::new(),
            spin: AdaptiveSpin::new(spin),
            cpu: UNKNOWN_CPU,
            ring_read: 0,
            unread: false,
        })
    }

    /// Drives the connection until what the leading caller awaits has come, the deadline passes, or the
    /// connection closes.
    pub(super) fn drive<A: Awaited>(
        &mut self,
        core: &Core,
        deadline: Option<Instant>,
        awaited: &mut A,
    ) -> Stop {
        let mut round = 0_u32;
        loop {
            round = round.wrapping_add(1);
            if awaited.has_come() {
                return Stop::Done;
            }
            // A server that always has something for a glance must not outlast the deadline either.
            if round.is_multiple_of(ROUNDS_PER_LOOK) && has_passed(deadline) {
                return Stop::Deadline;
            }
            self.turn(core, awaited);
            if awaited.has_come() {
                return Stop::Done;
            }
            if core.link.is_closed() {
                return self.closed(core, awaited);
            }
            if self.unread {
                self.read_socket(core, awaited);
                // A server that never stops sending must not outlast the deadline.
                if has_passed(deadline) {
                    return Stop::Deadline;
                }
                continue;
            }
            if core.link.space.any() && self.offer_space(core) {
                // The leader may be one of those who wait for it.
                continue;
            }
            if !self.wait(core, deadline, awaited) {
                return Stop::Deadline;
            }
        }
    }

    /// The reply that the leader was [handed](Handed::InHand) last.
    #[inline(always)]
    pub(super) fn received(&self) -> Inline<'_> {
        self.session.inline()
    }

    /// Hands out what has come, until `done` says so or nothing more can have: never waits.
    pub(crate) fn reap(&mut self, core: &Core, mut done: impl FnMut() -> bool) {
        for _ in 0..core.calls.capacity().div_ceil(TURN) {
            if core.link.is_socket_lane() {
                self.read_socket(core, &mut Nothing);
            }
            self.turn(core, &mut Nothing);
            if done() || core.link.is_closed() {
                return;
            }
        }
    }

    /// Takes in what has come, also that the server has gone: never waits.
    pub(super) fn look_around(&mut self, core: &Core) {
        self.read_socket(core, &mut Nothing);
        if !core.link.is_closed() {
            self.turn(core, &mut Nothing);
        }
        if core.link.is_closed() {
            self.closed(core, &mut Nothing);
        }
    }

    /// Hands out what the ring holds, up to a turn's worth.
    #[inline]
    fn turn<A: Awaited>(&mut self, core: &Core, awaited: &mut A) {
        for _ in 0..TURN {
            match self.session.poll(&core.link, &mut Delivery { core, awaited, in_hand: true }) {
                Ok(Polled::Empty | Polled::Event(Handed::InHand)) => return,
                // Alone, a caller does not look at the next entry: that would only pull its cache line away
                // from the server, which is about to write it.
                Ok(Polled::Event(Handed::InCell)) if !core.lead.has_waiters() => return,
                Ok(Polled::Event(_) | Polled::Nothing | Polled::Part(_)) => {}
                Ok(Polled::ReadSocket) => {
                    self.read_socket(core, awaited);
                    if self.unread || core.link.is_closed() {
                        return;
                    }
                }
                Err(violation) => return drop(core.link.violated(violation)),
            }
        }
    }

    /// Waits for the next entry or event: first by spinning, then asleep. False once the deadline has passed.
    fn wait<A: Awaited>(&mut self, core: &Core, deadline: Option<Instant>, awaited: &mut A) -> bool {
        let link = &core.link;
        link.fetch_next_slot();
        let next = self.session.watch(link);
        // What comes over the socket is not to be seen in memory.
        let on_socket = link.is_socket_lane();
        if !on_socket && self.spin.is_hot() && glance(|| next.is_there()) {
            self.spin.succeeded();
            return true;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        let spin = self.spin.should_spin(publish_cpu(&mut self.cpu, link), link.peer_cpu());
        if spin {
            let budget = self.spin.budget();
            let budget = if link.peer_is_asleep() { budget.max(WAKING_SPIN_BUDGET) } else { budget };
            let budget = left.map_or(budget, |left| left.min(budget));
            if on_socket && self.poller.spin(&mut self.events, budget) {
                self.spin.succeeded();
                self.on_events(core, awaited);
                return true;
            }
            if !on_socket && spin_until(budget, || next.is_there()) {
                self.spin.succeeded();
                return true;
            }
        }
        let parked = Instant::now();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(parked));
        self.park(core, timeout, awaited);
        if spin {
            self.spin.failed_then_slept(parked.elapsed());
        }
        true
    }

    /// Sleeps until the doorbell rings, the socket has something, or `timeout` has passed.
    fn park<A: Awaited>(&mut self, core: &Core, timeout: Option<Duration>, awaited: &mut A) {
        core.lead.end_rest();
        if !self.arm(core, awaited) {
            return;
        }
        let waited = self.poller.wait(&mut self.events, timeout);
        self.session.disarm(&core.link);
        if let Err(error) = waited {
            return core.link.close(CloseReason::Os(error.to_string()));
        }
        self.on_events(core, awaited);
    }

    /// Announces that this side sleeps. False if there is something to do first.
    fn arm<A: Awaited>(&mut self, core: &Core, awaited: &mut A) -> bool {
        let link = &core.link;
        let want_space = link.space.any();
        let may_sleep = self.session.arm(link, want_space);
        // The second look at space, like the one at the ring, comes after the mark.
        if !may_sleep || (want_space && self.offer_space(core)) {
            self.session.disarm(link);
            return false;
        }
        if link.peer_has_closed() {
            self.session.disarm(link);
            self.hung_up(core, awaited);
            return false;
        }
        if let Err(error) = self.room.set(link.frames_wait(), &self.poller, link.socket(), SOCKET) {
            self.session.disarm(link);
            link.close(CloseReason::Os(error.to_string()));
            return false;
        }
        true
    }

    /// Does what the poller has reported.
    fn on_events<A: Awaited>(&mut self, core: &Core, awaited: &mut A) {
        for event in mem::take(&mut self.events) {
            if event.token == BELL {
                continue;
            }
            if event.writable && core.link.flush().is_err() {
                return;
            }
            if event.readable || event.hangup {
                self.read_socket(core, awaited);
            }
        }
    }

    /// Reads the socket once.
    fn read_socket<A: Awaited>(&mut self, core: &Core, awaited: &mut A) {
        let state = read_control(&mut self.session, &core.link);
        self.unread = matches!(state, Ok(SocketState::More { .. }));
        match state {
            Ok(SocketState::HungUp) => self.hung_up(core, awaited),
            Ok(SocketState::Dry { freed_space: true } | SocketState::More { freed_space: true }) => {
                core.wake_space_waiters();
            }
            // A failure has closed the connection.
            Ok(_) | Err(_) => {}
        }
    }

    /// If space came free, wakes those who wait for it. True if there is news.
    fn offer_space(&mut self, core: &Core) -> bool {
        core.flush_cancels();
        let link = &core.link;
        let ring_read = link.ring_read();
        let ring_moved = mem::replace(&mut self.ring_read, ring_read) != ring_read;
        let returned = matches!(link.harvest(), Ok(1..));
        // Asked last: a harvest is news too, of which its own report says nothing more.
        let news = link.space.take_news() || ring_moved || returned;
        if news {
            core.wake_space_waiters();
        }
        news
    }

    // ---- the end -------------------------------------------------------------------------------------

    fn hung_up<A: Awaited>(&mut self, core: &Core, awaited: &mut A) {
        self.drain(core, awaited);
        core.link.close(CloseReason::PeerGone);
    }

    /// What an honest peer wrote before it left is still delivered.
    fn drain<A: Awaited>(&mut self, core: &Core, awaited: &mut A) {
        self.session.on_dry();
        for _ in 0..self.session.most_left(&core.link) {
            match self.session.poll_late(&core.link, &mut Delivery { core, awaited, in_hand: false }) {
                Ok(Polled::ReadSocket) => self.session.on_dry(),
                Ok(Polled::Event(_) | Polled::Nothing | Polled::Part(_)) => {}
                Ok(Polled::Empty) => return,
                Err(violation) => return drop(core.link.violated(violation)),
            }
        }
    }

    #[cold]
    fn closed<A: Awaited>(&mut self, core: &Core, awaited: &mut A) -> Stop {
        if !core.link.broken() {
            self.drain(core, awaited);
        }
        core.wake_all();
        if awaited.has_come() { Stop::Done } else { Stop::Closed }
    }
}

/// Tells the server which processor we run on, if that is news to `told`; returns it.
#[inline]
fn publish_cpu(told: &mut u32, link: &Link) -> u32 {
    let cpu = current_cpu();
    if cpu != *told {
        // Relaxed: a hint, compared and nothing else.
        link.own_control().cpu.0.store(cpu, Ordering::Relaxed);
        *told = cpu;
    }
    cpu
}

pub(super) fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}
