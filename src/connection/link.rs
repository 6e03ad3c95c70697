//! What all threads of a connection share: both regions and the sending half.
//!
//! Its other sides have files of their own: how the region grows (`growth`), how control messages leave
//! (`post`), and how it ends (`close`).
//!
//! The receiving half is [`Session`](crate::connection::Session): one thread at a time drives it.

use std::fmt;
use std::io;
use std::sync::Mutex;

use crate::connection::ahead::LastSent;
use crate::connection::bells::Bells;
use crate::connection::close::Closed;
use crate::connection::lane::SocketLane;
use crate::connection::outbox::Outbox;
use crate::connection::region::OwnRegion;
use crate::connection::send::{SendFailure, too_large, too_large_for_file};
use crate::connection::space::SpaceNews;
use crate::error::Violation;
use crate::layout::words::{ConsumerView, Control, ProducerView, SlabView};
use crate::layout::{Geometry, Handle, RegionView};
use crate::os::{Credentials, Doorbell, ForkMark, Mapping, Socket};
use crate::ring::{Entry, Kicker, Producer, ReserveError, UNKNOWN_CPU};
use crate::slab::{self, Claim, Fill, Fills};
use crate::sync::{AtomicBool, Ordering};
use crate::wire::{Limits, Message};

/// The peer's base segment: mapped read-only, or a mirror of one.
pub(crate) struct PeerBase {
    pub(crate) mapping: Mapping,
    pub(crate) geometry: Geometry,
}

impl PeerBase {
    #[inline(always)]
    pub(super) fn view(&self) -> RegionView<'_> {
        // SAFETY: `admit_sealed`, or `Mapping::private`, mapped exactly the length that the header, checked
        // against it, names; seals forbid shrinking, and the mapping outlives the borrow. Only atomics are
        // reached through the view.
        unsafe { RegionView::new(self.mapping.as_ptr(), self.mapping.len(), &self.geometry) }
    }
}

/// The parts that a handshake has agreed on.
pub(crate) struct Agreed {
    pub(crate) own: OwnRegion,
    pub(crate) peer: PeerBase,
    /// What the peer waits on; `None` if it waits on the socket alone.
    pub(crate) peer_bell: Option<Doorbell>,
    /// What we wait on.
    pub(crate) own_bell: Doorbell,
    /// `None` for the ring lane.
    pub(crate) lane: Option<SocketLane>,
    pub(crate) limits: Limits,
    /// Cap of our own region, in bytes: what we want and what the peer is willing to map.
    pub(crate) own_cap: u64,
    /// Cap of the peer's region, in bytes: what we told it.
    pub(crate) peer_cap: u64,
    /// Full method names; a method's id is its index. Empty on the server of a ring lane, which has its
    /// router.
    pub(crate) methods: Vec<String>,
    pub(crate) connection_id: String,
}

/// One established connection.
pub(crate) struct Link {
    pub(crate) own: OwnRegion,
    peer: PeerBase,
    producer: Producer,
    pub(super) last_sent: LastSent,
    /// Which of our fill lines are in use.
    fills: Fills,
    /// Remembers the peer's park epoch that was kicked last.
    kicker: Kicker,
    /// The same for the peer's wait for space.
    space_kicker: Kicker,
    pub(super) bells: Bells,
    /// How entries travel, unless by the ring.
    pub(super) lane: Option<Box<SocketLane>>,
    pub(super) socket: Socket,
    pub(super) outbox: Mutex<Outbox>,
    /// Whether the outbox holds frames, written under its lock.
    pub(super) frames_wait: AtomicBool,
    /// Who of this side waits for slots or ring room.
    pub(crate) space: SpaceNews,
    pub(super) closed: Closed,
    limits: Limits,
    own_cap: u64,
    peer_cap: u64,
    methods: Vec<String>,
    pub(super) connection_id: String,
    pub(super) credentials: Credentials,
    /// The process that made the connection, and alone may use it.
    fork: ForkMark,
}

impl Link {
    /// # Errors
    /// If descriptors are short.
    pub(crate) fn new(agreed: Agreed, socket: Socket, credentials: Credentials) -> io::Result<Self> {
        Ok(Self {
            own: agreed.own,
            peer: agreed.peer,
            producer: Producer::new(),
            last_sent: LastSent::default(),
            fills: Fills::new(),
            kicker: Kicker::new(),
            space_kicker: Kicker::new(),
            bells: Bells::new(agreed.own_bell, agreed.peer_bell, credentials)?,
            lane: agreed.lane.map(Box::new),
            socket,
            outbox: Mutex::new(Outbox::default()),
            frames_wait: AtomicBool::new(false),
            space: SpaceNews::new(),
            closed: Closed::default(),
            limits: agreed.limits,
            own_cap: agreed.own_cap,
            peer_cap: agreed.peer_cap,
            methods: agreed.methods,
            connection_id: agreed.connection_id,
            credentials,
            fork: ForkMark::get(),
        })
    }

    /// Whether this is the process that made the connection. A forked child inherits the handles but not the
    /// memory behind them.
    #[inline]
    pub(crate) fn is_same_process(&self) -> bool {
        self.fork.is_same_process()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes that our own region may have.
    pub(crate) fn own_cap(&self) -> u64 {
        self.own_cap
    }

    /// Bytes of the peer's segments that we told it we map at most.
    pub(crate) fn peer_cap(&self) -> u64 {
        self.peer_cap
    }

    pub(crate) fn methods(&self) -> &[String] {
        &self.methods
    }

    pub(crate) fn connection_id(&self) -> &str {
        &self.connection_id
    }

    /// Who is at the other end, as the kernel told at connect.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    #[inline(always)]
    pub(crate) fn own_control(&self) -> &Control {
        self.own.view().control()
    }

    #[inline(always)]
    pub(crate) fn peer_control(&self) -> &Control {
        self.peer.view().control()
    }

    pub(crate) fn peer_base(&self) -> &PeerBase {
        &self.peer
    }

    #[inline(always)]
    pub(crate) fn producer_view(&self) -> ProducerView<'_> {
        ProducerView { entries: self.own.view().ring(), rx_head: &self.peer.view().control().rx_head.0 }
    }

    #[inline(always)]
    pub(crate) fn consumer_view(&self) -> ConsumerView<'_> {
        ConsumerView { entries: self.peer.view().ring(), rx_head: &self.own.view().control().rx_head.0 }
    }

    #[inline(always)]
    pub(crate) fn slab_view(&self) -> SlabView<'_> {
        SlabView { free: self.own.view().free(), ret: self.peer.view().ret() }
    }

    // ---- sending -------------------------------------------------------------------------------------

    /// Claims a slot of at least `len` bytes: from the free ones, then from what the peer has returned, then
    /// by growth. [`Slot::claim`](super::send::Slot::claim) is what keeps it.
    pub(super) fn claim(&self, len: u64) -> Result<Claim, SendFailure> {
        if len > self.limits.max_message_size {
            return Err(SendFailure::Failed(match self.file() {
                None => too_large(len, self.limits.max_message_size),
                Some(_) => too_large_for_file(len, self.limits.max_message_size),
            }));
        }
        let (slab, view, hint) = (&self.own.slab, self.slab_view(), thread_ordinal());
        if let Some(claim) = slab.claim(view, len, hint) {
            return Ok(claim);
        }
        self.refresh_returns()?;
        self.count_harvest(slab.harvest_for(view, len))?;
        if self.file().is_none() && self.own.is_due_to_widen(len) {
            self.widen(len);
        }
        if let Some(claim) = slab.claim(view, len, hint) {
            return Ok(claim);
        }
        // Before the region grows: the slots of all sizes, into one of which this message may spill.
        self.harvest()?;
        if let Some(claim) = slab.claim(view, len, hint) {
            return Ok(claim);
        }
        if self.file().is_none() {
            self.grow(len)?;
        }
        slab.claim(view, len, hint).ok_or(SendFailure::Wait)
    }

    /// Takes back the slots that the peer has returned; how many.
    pub(crate) fn harvest(&self) -> Result<u32, SendFailure> {
        self.refresh_returns()?;
        self.count_harvest(self.own.slab.harvest(self.slab_view()))
    }

    /// Makes the peer's return words those of now, where they are copied.
    fn refresh_returns(&self) -> Result<(), SendFailure> {
        match self.file() {
            Some(file) => file.refresh_returns(self).map_err(|violation| self.violated(violation)),
            None => Ok(()),
        }
    }

    fn count_harvest(&self, harvested: Result<slab::Harvest, Violation>) -> Result<u32, SendFailure> {
        match harvested {
            Ok(slab::Harvest::Freed(0)) => Ok(0),
            Ok(slab::Harvest::Freed(count)) => {
                // The caller takes one of them; the others may be what another thread sleeps for.
                self.freed_here();
                Ok(count)
            }
            // Someone else is at it, and looks once more for us; what it frees is news to whoever waits.
            Ok(slab::Harvest::Busy) => Ok(0),
            Err(violation) => Err(self.violated(violation)),
        }
    }

    /// A reply says that the peer has given up this slot.
    pub(crate) fn released(&self, handle: Handle) -> Result<(), Violation> {
        self.own.slab.release(self.slab_view(), handle)?;
        self.freed_here();
        Ok(())
    }

    /// Gives back a slot that was claimed and not sent.
    pub(crate) fn abort(&self, handle: Handle) {
        if !self.is_same_process() {
            return;
        }
        self.own.slab.abort(self.slab_view(), handle);
        self.freed_here();
    }

    /// After this side freed space: its driver passes the news on, if anybody waits for it.
    pub(super) fn freed_here(&self) {
        if self.space.freed() {
            self.nudge();
        }
    }

    /// Publishes an entry, with the slot that it describes, and wakes the peer if it sleeps.
    #[inline]
    pub(crate) fn push(&self, entry: &Entry, slot: Option<Handle>) -> Result<(), SendFailure> {
        if self.closed.is_set() {
            return Err(self.closed_failure());
        }
        if let Some(lane) = &self.lane {
            debug_assert!(slot.is_none(), "a message in a slot is sent with its bytes on this lane");
            return self.push_on_socket(lane, entry, &[]).map(drop);
        }
        let reservation = match self.producer.reserve(self.producer_view()) {
            Ok(reservation) => reservation,
            Err(ReserveError::Full) => return Err(SendFailure::Wait),
            Err(ReserveError::Violation(violation)) => return Err(self.violated(violation)),
        };
        if let Some(handle) = slot {
            // Before `seq`: the peer may return the slot the moment it sees the entry.
            self.own.slab.publish(handle);
        }
        reservation.commit(entry.record());
        self.kick();
        Ok(())
    }

    /// Takes a line for a message of `len` bytes that is to be read while it is written, if one is free.
    pub(super) fn begin_fill(&self, len: u64) -> Option<Fill<'_>> {
        self.fills.begin(&self.own_control().fills, len)
    }

    /// Wakes the peer's driver if it is parked. The Release of what it is to see has been done.
    #[inline]
    pub(super) fn kick(&self) {
        if self.kicker.should_kick(&self.peer.view().control().sleep.0) {
            self.ring_peer();
        }
    }

    /// Wakes the peer's driver, parked or not.
    fn ring_peer(&self) {
        if !self.bells.ring_peer() {
            // A failure closes the connection, which whoever sends next learns.
            let _ = self.post(&Message::Doorbell);
        }
    }

    /// Whether the peer's driver is parked, or has been woken and does not run yet. A hint.
    pub(crate) fn peer_is_asleep(&self) -> bool {
        // Relaxed: nobody concludes anything from it about other memory.
        self.peer_control().sleep.0.load(Ordering::Relaxed) & 1 == 1
    }

    /// The processor that the peer last said it runs on. A hint, compared and nothing else.
    #[inline]
    pub(crate) fn peer_cpu(&self) -> u32 {
        match self.file() {
            // Relaxed: a hint.
            None => self.peer_control().cpu.0.load(Ordering::Relaxed),
            // It says nothing there.
            Some(_) => UNKNOWN_CPU,
        }
    }

    /// Wakes this side's own driver, parked or not.
    pub(crate) fn nudge(&self) {
        self.bells.ring_own();
    }

    /// What the peer is known to have read of our ring: moves when room comes free.
    pub(crate) fn ring_read(&self) -> u64 {
        // Relaxed: only ever compared with itself, to see that it moved.
        self.peer_control().rx_head.0.load(Ordering::Relaxed)
    }

    // ---- returning -----------------------------------------------------------------------------------

    /// Returns one of the peer's slots.
    #[inline]
    pub(crate) fn give_back(&self, handle: Handle) {
        if !self.is_same_process() {
            return;
        }
        match self.file() {
            None => slab::give_back(self.own.view().ret(), handle),
            Some(file) => file.give_back(self, handle),
        }
        self.space_freed();
    }

    /// After a return, or after `rx_head` moved: wakes the peer if it waits for space.
    #[inline]
    pub(crate) fn space_freed(&self) {
        if let Some(file) = self.file() {
            file.refresh_want_space(self);
        }
        if self.space_kicker.should_kick(&self.peer.view().control().want_space.0) {
            self.ring_peer();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("connection", &self.connection_id)
            .field("peer", &self.credentials)
            .field("closed", &self.closed.reason())
            .finish()
    }
}

/// A small number of the calling thread's own: spreads threads over bit-set words.
#[inline]
pub(super) fn thread_ordinal() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static ORDINAL: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    ORDINAL.with(|ordinal| *ordinal)
}
