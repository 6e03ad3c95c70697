//! One connection as its reactor serves it.

mod handler;

use std::mem;
use std::sync::Arc;

use self::handler::Handler;
use crate::connection::{CloseReason, Link, Polled, Session, SocketState, Watch, read_control};
use crate::os::{Interest, Poller, RoomWatch, current_cpu};
use crate::ring::UNKNOWN_CPU;
use crate::server::flows::Flows;
use crate::server::peer::Peer;
use crate::server::reactor::Shared;
use crate::server::seats::Seat;
use crate::sync::Ordering;

/// Entries of one connection that are served before the others have their turn.
const ENTRIES_PER_TURN: usize = 256;

/// The same in bytes of payload.
const BYTES_PER_TURN: usize = 8 << 20;

/// How a socket is watched until its connection is armed for the first time: a handshake may have to wait for
/// room.
pub(super) const WATCHED: Interest = Interest::EdgeWithWrite;

/// Turns after which a connection that has nothing, among others that have, is armed.
const PATIENCE: u32 = 64;

/// A connection and its receiving half.
pub(super) struct Connection {
    peer: Arc<Peer>,
    _seat: Seat,
    session: Session,
    room: RoomWatch,
    flows: Flows,
    /// What our `cpu` word says.
    cpu: u32,
    /// What the peer had read of our ring when we last looked.
    ring_read: u64,
    /// The socket may hold something.
    unread: bool,
    /// Turns in a row that found nothing.
    fruitless: u32,
}

/// What a turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Worked,
    Idle,
    /// The connection has ended.
    Over,
}

impl Connection {
    pub(super) fn new(link: Link, seat: Seat, session: Session) -> Self {
        Self {
            peer: Peer::new(link),
            _seat: seat,
            session,
            room: RoomWatch::new(WATCHED),
            flows: Flows::default(),
            cpu: UNKNOWN_CPU,
            ring_read: 0,
            // The client may have written more behind its request.
            unread: true,
            fruitless: 0,
        }
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.session.is_ready(&self.peer.link)
    }

    /// What is done before the first look at a ring that has just been empty: readies the slot of the next
    /// reply, and lets the client write several requests, if it seems to have them.
    #[inline]
    pub(super) fn before_waiting(&mut self) {
        self.peer.link.fetch_next_slot();
        if !self.is_socket_lane() {
            self.session.hold_back(&self.peer.link);
        }
    }

    /// What to look at for the next request.
    #[inline]
    pub(super) fn watch(&self) -> Watch<'_> {
        self.session.watch(&self.peer.link)
    }

    /// Whether requests wait until the client has taken some replies.
    pub(super) fn is_congested(&self) -> bool {
        self.peer.is_congested()
    }

    /// Tells the client which processor serves it, and returns the client's own.
    pub(super) fn exchange_cpu(&mut self) -> (u32, u32) {
        let (link, cpu) = (&self.peer.link, current_cpu());
        // Relaxed: a hint, compared and nothing else.
        if cpu != self.cpu {
            link.own_control().cpu.0.store(cpu, Ordering::Relaxed);
            self.cpu = cpu;
        }
        (cpu, link.peer_cpu())
    }

    /// Whether the handler of a stream has something to do since this was asked last.
    #[inline]
    pub(super) fn take_woke(&mut self) -> bool {
        self.flows.take_woke()
    }

    /// Whether the last turn left something in the socket.
    #[inline]
    pub(super) fn is_flooded(&self) -> bool {
        self.unread
    }

    /// Whether an idle connection, one of so many that are active, is to be armed before the others are.
    #[inline]
    pub(super) fn is_done_for_now(&self, active: usize) -> bool {
        self.fruitless >= PATIENCE && active > 1 || self.is_socket_lane()
    }

    /// The socket has something to read, or has hung up.
    pub(super) fn on_readable(&mut self) {
        self.unread = true;
    }

    /// Serves what has come in, up to a turn's worth. `alone` says that no other connection is active.
    #[inline]
    pub(super) fn turn(&mut self, shared: &Shared, alone: bool) -> Turn {
        let worked = self.flush_backlog() | self.serve(shared, alone) | self.read_socket(shared);
        if self.peer.link.is_closed() {
            self.ended(shared);
            return Turn::Over;
        }
        self.fruitless = if worked { 0 } else { self.fruitless.saturating_add(1) };
        if worked { Turn::Worked } else { Turn::Idle }
    }

    #[inline]
    fn serve(&mut self, shared: &Shared, alone: bool) -> bool {
        let mut bytes = 0;
        for served in 0..ENTRIES_PER_TURN {
            if self.peer.is_congested() {
                return served > 0;
            }
            let mut handler = Handler { peer: &self.peer, flows: &mut self.flows, shared, alone };
            match self.session.poll(&self.peer.link, &mut handler) {
                Ok(Polled::Event(len) | Polled::Part(len)) => bytes += len,
                Ok(Polled::Nothing) => {}
                Ok(Polled::Empty) => return served > 0,
                Ok(Polled::ReadSocket) => {
                    self.unread = true;
                    self.read_socket(shared);
                    if self.unread || self.peer.link.is_closed() {
                        return true;
                    }
                }
                Err(violation) => {
                    self.peer.link.violated(violation);
                    return true;
                }
            }
            if bytes >= BYTES_PER_TURN {
                break;
            }
        }
        true
    }

    /// Reads the socket once if it may hold something.
    #[inline]
    fn read_socket(&mut self, shared: &Shared) -> bool {
        // What was read before is served first: else a client that takes no replies fills our memory.
        if self.is_held_up() || !mem::take(&mut self.unread) {
            return false;
        }
        match read_control(&mut self.session, &self.peer.link) {
            // The client says that it is through, and a moment later its socket says so too. Not to wait for
            // that keeps a client that only says so from having us look for ever.
            Ok(SocketState::Dry { .. }) if self.peer.link.peer_has_closed() => self.hung_up(shared),
            Ok(SocketState::Dry { freed_space }) => self.note_space(freed_space),
            Ok(SocketState::More { freed_space }) => {
                self.note_space(freed_space);
                self.unread = true;
            }
            Ok(SocketState::HungUp) => self.hung_up(shared),
            // The failure has closed the connection.
            Err(_) => {}
        }
        true
    }

    /// The socket may have brought room for our region to grow.
    fn note_space(&self, freed: bool) {
        if freed {
            // The next turn looks, whether or not anybody waits.
            self.peer.link.space.freed();
        }
    }

    /// Whether what came over the socket waits until the client has taken some replies.
    fn is_held_up(&self) -> bool {
        self.session.has_waiting() && self.peer.is_congested()
    }

    /// Whether requests are seen by waiting for the socket, and in no other way.
    #[inline]
    pub(super) fn is_socket_lane(&self) -> bool {
        self.peer.link.is_socket_lane()
    }

    /// Writes control messages that the socket had no room for.
    pub(super) fn flush_control(&mut self) {
        // A failure closes the connection, which the next turn sees.
        let _ = self.peer.link.flush();
    }

    /// Sends replies that wait, if space may have come free.
    #[inline]
    fn flush_backlog(&mut self) -> bool {
        if !self.peer.backlog.waits() {
            return false;
        }
        let link = &self.peer.link;
        let ring_read = link.ring_read();
        let ring_moved = mem::replace(&mut self.ring_read, ring_read) != ring_read;
        let returned = matches!(link.harvest(), Ok(1..));
        if !(link.space.take_news() || ring_moved || returned) {
            return false;
        }
        let flushed = self.peer.backlog.flush(link);
        // Those who wait with a message find space for themselves, and do not look here.
        self.peer.backlog.wake_crowd(link);
        flushed
    }

    // ---- parking -------------------------------------------------------------------------------------

    /// Marks this side asleep. False if there is something to do first.
    ///
    /// `poller` is what the reactor sleeps in, and the socket's events carry `token` there.
    #[must_use]
    pub(super) fn arm(&mut self, poller: &Poller, token: u64) -> bool {
        let link = &self.peer.link;
        if let Err(error) = self.room.set(link.frames_wait(), poller, link.socket(), token) {
            link.close(CloseReason::Os(error.to_string()));
            return false;
        }
        let want_space = link.space.any();
        // While it is congested, its requests are no reason to stay awake: the client's returns are.
        let mut may_sleep = self.session.arm(link, want_space) || self.peer.is_congested();
        may_sleep &= !self.unread || self.is_held_up();
        if want_space && may_sleep {
            // The second look at space, like the one at the ring, comes after the mark.
            let ring_read = link.ring_read();
            let ring_moved = mem::replace(&mut self.ring_read, ring_read) != ring_read;
            let returned = matches!(link.harvest(), Ok(1..));
            may_sleep = !self.peer.backlog.flush(link);
            if ring_moved || returned {
                self.peer.backlog.wake_crowd(link);
            }
        }
        if may_sleep && link.peer_has_closed() {
            self.unread = true;
            may_sleep = false;
        }
        if !may_sleep {
            self.session.disarm(link);
        }
        may_sleep
    }

    pub(super) fn is_armed(&self) -> bool {
        self.session.is_armed()
    }

    pub(super) fn disarm(&mut self) {
        self.session.disarm(&self.peer.link);
        self.fruitless = 0;
    }

    // ---- the end -------------------------------------------------------------------------------------

    fn hung_up(&mut self, shared: &Shared) {
        self.drain(shared);
        self.peer.link.close(CloseReason::PeerGone);
    }

    /// What an honest client wrote before it left is still served.
    fn drain(&mut self, shared: &Shared) {
        self.session.on_dry();
        for _ in 0..self.session.most_left(&self.peer.link) {
            let mut handler = Handler { peer: &self.peer, flows: &mut self.flows, shared, alone: false };
            match self.session.poll_late(&self.peer.link, &mut handler) {
                Ok(Polled::Event(_) | Polled::Nothing | Polled::Part(_)) => {}
                Ok(Polled::ReadSocket) => self.session.on_dry(),
                Ok(Polled::Empty) => return,
                Err(violation) => return drop(self.peer.link.violated(violation)),
            }
        }
    }

    #[cold]
    fn ended(&mut self, shared: &Shared) {
        if !self.peer.link.broken() {
            self.drain(shared);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nobody waits for what its handlers have still to answer.
        self.flows.cancel_all(&self.peer.calls);
    }
}
