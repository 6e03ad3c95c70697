//! A reactor: one thread that serves its share of the connections.
//!
//! ```text
//!   serve every active connection a turn ──something──► again (and look at the epoll now and then)
//!      │ nothing
//!   spin over the active rings ──an entry came──► again
//!      │ nothing came
//!   arm every active connection, look again, wait in the epoll ──► those that were rung are active ──► again
//! ```
//!
//! A connection is *active* while its ring is looked at, and *armed* while its client would ring the
//! doorbell. Only active ones cost anything, and a thousand idle clients wait in one system call.

mod classic;
mod newcomers;
mod waiting;

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::connection::{CloseReason, Config};
use crate::os::{Event, Interest, Listener, Poller};
use crate::ring::AdaptiveSpin;
use crate::server::admission::Admission;
use crate::server::classic::{ClassicConnection, ClassicFiles};
use crate::server::connection::{Connection, Turn};
use crate::server::handshake::Handshake;
use crate::server::inboxes::Inboxes;
use crate::server::pool::Dispatch;
use crate::server::router::Router;
use crate::server::seats::Seats;
use crate::server::shutdown::Shutdown;

const LISTENER: u64 = 0;
const BELL: u64 = 1;
/// Each place has two tokens from here on: its socket, and one above it its doorbell.
const PLACES: u64 = 2;

/// Busy rounds between two looks at the epoll.
const ROUNDS_PER_POLL: u32 = 64;

/// How often a reactor that drains looks whether it is done: replies from a pool do not wake it.
const DRAIN_TICK: Duration = Duration::from_millis(5);

/// What all reactors of a server share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) router: Arc<Router>,
    pub(super) dispatch: Dispatch,
    /// `None` if clients of the classic protocol are not served.
    pub(super) classic: Option<ClassicFiles>,
    pub(super) shutdown: Arc<Shutdown>,
    /// How long calls that run may take to finish once shutdown is requested.
    pub(super) grace: Duration,
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) admission: Admission,
    pub(super) seats: Arc<Seats>,
    /// For those who are not admitted, until they have been told.
    pub(super) refused: Arc<Seats>,
    pub(super) established: AtomicU64,
}

impl Shared {
    pub(super) fn methods(&self) -> &[String] {
        self.router.names()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.shutdown.is_requested()
    }

    /// Names a connection in the logs of both sides.
    pub(super) fn next_connection_id(&self) -> String {
        format!("{}-{}", std::process::id(), self.established.fetch_add(1, Ordering::Relaxed))
    }
}

/// One entry of the table of connections.
enum Place {
    Handshake(Handshake),
    Open(Box<Connection>),
    Classic(Box<ClassicConnection>),
}

/// One thread's share.
pub(super) struct Reactor {
    shared: Arc<Shared>,
    number: usize,
    poller: Poller,
    events: Vec<Event>,
    /// The first reactor's alone, and not even its own if clients come through the inboxes only.
    listener: Option<Listener>,
    /// When to listen again after a failed accept.
    resume_accepting: Option<Instant>,
    places: Vec<Option<Place>>,
    vacant: Vec<usize>,
    /// Places of handshakes.
    handshakes: Vec<usize>,
    /// Places of connections that are not armed.
    active: Vec<usize>,
    /// The connection that was served last: its client is the one whose processor matters.
    recent: usize,
    spin: AdaptiveSpin,
    spun: bool,
    /// The handler of a stream has been woken, and this thread has not made way for it.
    woke: bool,
    /// A socket had more than a turn's worth: such rounds are long, and the epoll is looked at after each.
    flooded: bool,
    /// Since when, at the latest, everything ends.
    ends_at: Option<Instant>,
}

impl Reactor {
    pub(super) fn new(shared: Arc<Shared>, number: usize, listener: Option<Listener>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(shared.shutdown.bell(number), BELL, Interest::Edge)?;
        if let Some(listener) = &listener {
            poller.add(listener, LISTENER, Interest::Level)?;
        }
        let spin = AdaptiveSpin::new(shared.config.spin);
        Ok(Self {
            shared,
            number,
            poller,
            events: Vec::new(),
            listener,
            resume_accepting: None,
            places: Vec::new(),
            vacant: Vec::new(),
            handshakes: Vec::new(),
            active: Vec::new(),
            recent: 0,
            spin,
            spun: false,
            woke: false,
            flooded: false,
            ends_at: None,
        })
    }

    /// Serves until shutdown.
    pub(super) fn run(mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let _entered = shared.dispatch.executor().enter();
        let mut rounds = 0_u32;
        loop {
            let worked = self.serve_active();
            if self.shared.is_draining() && self.is_over() {
                return Ok(());
            }
            // A spin that came to nothing counts too: a client that shows an entry and takes it back must not
            // keep us from the epoll.
            if worked || self.spin() {
                rounds = rounds.wrapping_add(1);
                if mem::take(&mut self.flooded) || rounds.is_multiple_of(ROUNDS_PER_POLL) {
                    self.poll(Some(Duration::ZERO))?;
                }
            } else {
                self.park()?;
            }
        }
    }

    // ---- serving -------------------------------------------------------------------------------------

    /// Gives every active connection a turn; true if any had something.
    fn serve_active(&mut self) -> bool {
        let (mut worked, mut at) = (false, 0);
        while let Some(&index) = self.active.get(at) {
            let Some(Place::Open(connection)) = &mut self.places[index] else {
                unreachable!("active places are open connections")
            };
            match connection.turn(&self.shared, self.active.len() == 1) {
                Turn::Worked => {
                    (worked, self.recent) = (true, index);
                    self.flooded |= connection.is_flooded();
                    self.woke |= connection.take_woke();
                    at += 1;
                }
                Turn::Idle
                    if connection.is_done_for_now(self.active.len())
                        && connection.arm(&self.poller, token(index)) =>
                {
                    self.active.swap_remove(at);
                }
                Turn::Idle => at += 1,
                Turn::Over => {
                    self.active.swap_remove(at);
                    self.vacate(index);
                    worked = true;
                }
            }
        }
        worked
    }

    fn next_deadline(&self) -> Option<Instant> {
        let handshakes = self.handshakes.iter().filter_map(|&index| match &self.places[index] {
            Some(Place::Handshake(handshake)) => Some(handshake.deadline()),
            _ => None,
        });
        let tick = self.ends_at.map(|ends_at| ends_at.min(Instant::now() + DRAIN_TICK));
        handshakes.chain(self.resume_accepting).chain(tick).min()
    }

    // ---- events --------------------------------------------------------------------------------------

    /// Takes what the epoll has, waiting for it as long as `timeout`.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = mem::take(&mut self.events);
        let polled = self.poller.wait(&mut events, timeout);
        for event in &events {
            match event.token {
                LISTENER => self.accept(),
                BELL => self.take_inbox(),
                token => self.on_place(((token - PLACES) / 2) as usize, (token - PLACES) % 2 == 1, *event),
            }
        }
        self.events = events;
        if !self.handshakes.is_empty() || self.resume_accepting.is_some() {
            self.on_time(Instant::now());
        }
        polled
    }

    fn on_place(&mut self, index: usize, is_bell: bool, event: Event) {
        match self.places.get_mut(index).and_then(Option::as_mut) {
            // It ended in this very turn of events.
            None => {}
            Some(Place::Handshake(_)) => self.step(index),
            Some(Place::Classic(_)) => self.on_classic(index, is_bell, event),
            Some(Place::Open(connection)) => {
                if !is_bell {
                    if event.writable {
                        connection.flush_control();
                    }
                    if event.readable || event.hangup {
                        connection.on_readable();
                    }
                }
                if connection.is_armed() {
                    connection.disarm();
                    self.active.push(index);
                }
            }
        }
    }

    fn on_time(&mut self, now: Instant) {
        let late = |index: &usize| match &self.places[*index] {
            Some(Place::Handshake(handshake)) => handshake.deadline() <= now,
            _ => false,
        };
        for index in self.handshakes.iter().copied().filter(late).collect::<Vec<_>>() {
            if let Some(Place::Handshake(handshake)) = self.remove(index) {
                handshake.expire(&self.shared);
            }
        }
        if self.resume_accepting.is_some_and(|at| at <= now) {
            self.resume_accepting = None;
            if let Some(listener) = &self.listener
                && let Err(error) = self.poller.add(listener, LISTENER, Interest::Level)
            {
                tracing::error!(%error, "the server cannot listen any more");
            }
        }
    }

    // ---- the end -------------------------------------------------------------------------------------

    /// Empties a place.
    fn remove(&mut self, index: usize) -> Option<Place> {
        self.handshakes.retain(|&each| each != index);
        self.vacant.push(index);
        self.places[index].take()
    }

    /// Forgets a connection that has ended. Its memory goes with the last handler that still works for it.
    fn vacate(&mut self, index: usize) {
        if let Some(Place::Open(connection)) = self.remove(index) {
            let link = &connection.peer().link;
            // By hand: a copy of the bell is with the peer, and handlers may keep the link for a while.
            link.unwatch_bells(&self.poller);
            let _ = self.poller.remove(link.socket());
        }
    }

    /// Once shutdown is requested: begins to drain, and says when nothing is left or the grace is over.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let ends_at = match self.ends_at {
            Some(ends_at) => ends_at,
            None => self.begin_to_end(now),
        };
        let drained = self.shared.dispatch.executor().is_idle()
            && self.is_classic_drained()
            && self.open().all(|connection| connection.peer().is_drained() && !connection.is_ready());
        if !drained && now < ends_at {
            return false;
        }
        self.open().for_each(|connection| connection.peer().link.close(CloseReason::Local));
        true
    }

    fn begin_to_end(&mut self, now: Instant) -> Instant {
        // No further clients: the path is free for a successor from here on.
        self.listener = None;
        for index in mem::take(&mut self.handshakes) {
            self.remove(index);
        }
        self.take_inbox();
        self.open().for_each(|connection| connection.peer().goaway());
        if self.number == 0 {
            self.shared.router.shutting_down();
        }
        let ends_at = now + self.shared.grace;
        self.ends_at = Some(ends_at);
        ends_at
    }

    fn open(&self) -> impl Iterator<Item = &Connection> {
        self.places.iter().filter_map(|place| match place {
            Some(Place::Open(connection)) => Some(&**connection),
            _ => None,
        })
    }
}

/// What the events of a place's socket carry; those of its doorbell the next number.
fn token(index: usize) -> u64 {
    PLACES + 2 * index as u64
}
