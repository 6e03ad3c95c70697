//! Waiting for many descriptors at once: one epoll instance.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

/// How many events one `wait` reports at most.
const TURN: usize = 64;

/// Longest single sleep. A day fits the oldest kernel interface, and nobody notices one wake-up a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Timeouts from here on are rounded up to whole milliseconds; the error is below one per cent.
const COARSE: Duration = Duration::from_millis(100);

/// When a registered descriptor is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Once for each arrival of bytes, and for a hang-up. What doorbells and sockets need.
    Edge,
    /// As `Edge`, and once each time a full send buffer has room again.
    EdgeWithWrite,
    /// As long as there is something to read. What a listener needs.
    Level,
}

/// What happened to one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// The number it was registered with.
    pub(crate) token: u64,
    /// There is something to read, the end of the stream included.
    pub(crate) readable: bool,
    /// There is room to write; reported for [`Interest::EdgeWithWrite`] only.
    pub(crate) writable: bool,
    /// The peer closed or shut down its end, or the descriptor failed. Bytes may still be there to read.
    pub(crate) hangup: bool,
}

/// An epoll instance. Any thread may register, remove and wait.
///
/// It is itself a descriptor that is readable while events wait, so that another event loop can watch it.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Registers `fd`. Its events carry `token`. What is already there counts as having just arrived.
    ///
    /// # Errors
    /// `AlreadyExists` if it is registered; else what the kernel says.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Changes when a registered `fd` is reported. What is already there counts as having just arrived.
    ///
    /// # Errors
    /// `NotFound` if it is not registered; else what the kernel says.
    fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Ends the registration. Needed before the descriptor is closed if copies of it live elsewhere: the
    /// kernel watches the open file, not the number.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, fd)?)
    }

    /// Replaces the contents of `events` by what happened, at most 64 events a turn.
    ///
    /// Sleeps until there is something, or `timeout` has passed (`None`: for ever). Returns nothing after a
    /// signal, and may do so without any reason. Allocates only while `events` has room for fewer than 64.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        events.reserve(TURN);
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        match self.wait_into(events, timeout) {
            Err(Errno::INTR) => Ok(()),
            done => Ok(done?),
        }
    }

    /// [`wait`](Self::wait) without sleeping: looks again and again until something has happened, or the time
    /// has passed; says which. A look is a system call, and yet a fraction of a wake-up.
    pub(crate) fn spin(&self, events: &mut Vec<Event>, budget: Duration) -> bool {
        let start = Instant::now();
        loop {
            // An error is for the wait that follows to report.
            if self.wait(events, Some(Duration::ZERO)).is_err() || !events.is_empty() {
                return !events.is_empty();
            }
            if start.elapsed() >= budget {
                return false;
            }
        }
    }

    fn wait_into(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> rustix::io::Result<()> {
        let timeout = match timeout {
            // `epoll_pwait` counts in milliseconds, and `epoll_pwait2` is missing on older kernels and in
            // some sandboxes. So `ppoll`, which counts in nanoseconds, sleeps on the epoll descriptor.
            Some(exact) if exact < COARSE && exact.subsec_nanos() % 1_000_000 != 0 => {
                let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
                if poll(&mut watched, Some(&timespec(exact)))? == 0 {
                    return Ok(());
                }
                Some(timespec(Duration::ZERO))
            }
            other => other.map(timespec),
        };
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); TURN];
        let (found, _) = epoll::wait(&self.0, &mut buffer, timeout.as_ref())?;
        events.extend(found.iter().map(|&raw| Event::from(raw)));
        Ok(())
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    use epoll::EventFlags as Flags;
    let edge = Flags::IN | Flags::RDHUP | Flags::ET;
    match interest {
        Interest::Edge => edge,
        Interest::EdgeWithWrite => edge | Flags::OUT,
        Interest::Level => Flags::IN,
    }
}

/// Whether a socket that is watched for bytes is watched for room as well.
///
/// Only while something waits to be written: room comes back whenever the peer reads, and each time would
/// wake whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct RoomWatch {
    interest: Interest,
}

impl RoomWatch {
    /// For a socket that was registered with this interest.
    pub(crate) fn new(interest: Interest) -> Self {
        Self { interest }
    }

    /// Watches for room, or no more. If there is some already, it is reported.
    #[inline]
    pub(crate) fn set(
        &mut self,
        wanted: bool,
        poller: &Poller,
        socket: impl AsFd,
        token: u64,
    ) -> io::Result<()> {
        let interest = if wanted { Interest::EdgeWithWrite } else { Interest::Edge };
        if interest != self.interest {
            poller.change(socket, token, interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos() as _ }
}

impl From<epoll::Event> for Event {
    fn from(raw: epoll::Event) -> Self {
        use epoll::EventFlags as Flags;
        // Copied out, because the kernel's struct is packed.
        let (flags, data) = (raw.flags, raw.data);
        Self {
            token: data.u64(),
            readable: flags.contains(Flags::IN),
            writable: flags.contains(Flags::OUT),
            hangup: flags.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(feature = "tokio")]
impl std::os::fd::AsRawFd for Poller {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const SOON: Option<Duration> = Some(Duration::from_secs(5));
    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn turn(poller: &Poller, timeout: Option<Duration>) -> Vec<Event> {
        let mut events = Vec::new();
        poller.wait(&mut events, timeout).unwrap();
        events
    }

    #[test]
    fn an_edge_is_reported_once_and_a_level_until_it_is_read() {
        for (interest, again) in [(Interest::Edge, 0), (Interest::Level, 1)] {
            let (mut a, mut b) = UnixStream::pair().unwrap();
            let poller = Poller::new().unwrap();
            poller.add(&a, u64::MAX, interest).unwrap();
            assert_eq!(turn(&poller, NOW), []);
            b.write_all(b"x").unwrap();
            let expected = Event { token: u64::MAX, readable: true, writable: false, hangup: false };
            assert_eq!(turn(&poller, SOON), [expected]);
            assert_eq!(turn(&poller, NOW).len(), again);
            a.read_exact(&mut [0]).unwrap();
            assert_eq!(turn(&poller, NOW), []);
        }
    }

    #[test]
    fn a_spin_ends_with_an_event_or_the_budget() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 5, Interest::Edge).unwrap();
        let (mut events, start) = (Vec::new(), Instant::now());
        assert!(!poller.spin(&mut events, Duration::from_millis(2)));
        assert!(start.elapsed() >= Duration::from_millis(2));
        b.write_all(b"x").unwrap();
        assert!(poller.spin(&mut events, Duration::ZERO), "looks once even without a budget");
        assert_eq!(events[0].token, 5);
    }

    #[test]
    fn room_is_reported_only_while_it_is_wanted() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 3, Interest::Edge).unwrap();
        let mut room = RoomWatch::new(Interest::Edge);
        let writable = |events: Vec<Event>| events.iter().filter(|event| event.writable).count();
        assert_eq!(writable(turn(&poller, NOW)), 0);
        room.set(true, &poller, &a, 3).unwrap();
        assert_eq!(writable(turn(&poller, SOON)), 1, "there is room already");
        room.set(true, &poller, &a, 3).unwrap();
        assert_eq!(writable(turn(&poller, NOW)), 0, "nothing has changed");
        room.set(false, &poller, &a, 3).unwrap();
        (&a).write_all(b"x").unwrap();
        b.read_exact(&mut [0]).unwrap();
        assert_eq!(writable(turn(&poller, NOW)), 0, "nobody waits for it any more");
    }

    #[test]
    fn room_to_write_is_reported_when_it_comes_back() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 1, Interest::EdgeWithWrite).unwrap();
        assert!(turn(&poller, SOON)[0].writable);
        assert_eq!(turn(&poller, NOW), []);
        let mut sent = 0;
        while let Ok(count) = a.write(&[0; 4096]) {
            sent += count;
        }
        assert_eq!(turn(&poller, NOW), []);
        b.read_exact(&mut vec![0; sent]).unwrap();
        assert!(turn(&poller, SOON)[0].writable);
    }

    #[test]
    fn a_closed_peer_is_a_hang_up() {
        let (a, b) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 3, Interest::Edge).unwrap();
        drop(b);
        let events = turn(&poller, SOON);
        assert!(events[0].hangup && events[0].readable && events[0].token == 3, "{events:?}");
    }

    #[test]
    fn a_half_closed_peer_is_a_hang_up() {
        let (a, b) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 3, Interest::Edge).unwrap();
        b.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(turn(&poller, SOON)[0].hangup);
    }

    #[test]
    fn a_removed_descriptor_is_silent() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 1, Interest::Level).unwrap();
        b.write_all(b"x").unwrap();
        assert_eq!(turn(&poller, SOON).len(), 1);
        poller.remove(&a).unwrap();
        assert_eq!(turn(&poller, NOW), []);
    }

    #[test]
    fn a_timeout_below_a_millisecond_is_not_rounded() {
        let poller = Poller::new().unwrap();
        let timeout = Duration::from_micros(100);
        let lasted = |_| {
            let start = Instant::now();
            assert_eq!(turn(&poller, Some(timeout)), []);
            start.elapsed()
        };
        // The best of many: a loaded machine makes any one of them late, and none of them early.
        let best = (0..200).map(lasted).min().unwrap();
        assert!(best >= timeout && best < Duration::from_millis(1), "{best:?}");
    }

    #[test]
    fn an_exact_timeout_ends_early_when_something_happens() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&a, 1, Interest::Edge).unwrap();
        b.write_all(b"x").unwrap();
        assert_eq!(turn(&poller, Some(Duration::from_micros(99_999))).len(), 1);
    }

    #[test]
    fn a_turn_brings_64_events_without_growing_the_vector() {
        let poller = Poller::new().unwrap();
        let pairs: Vec<_> = (0..TURN as u64 + 6)
            .map(|token| {
                let (a, mut b) = UnixStream::pair().unwrap();
                poller.add(&a, token, Interest::Edge).unwrap();
                b.write_all(b"x").unwrap();
                (a, b)
            })
            .collect();
        let mut events = Vec::with_capacity(TURN);
        let before = events.as_ptr();
        let mut tokens = Vec::new();
        for expected in [TURN, 6] {
            poller.wait(&mut events, SOON).unwrap();
            assert_eq!(events.len(), expected);
            assert_eq!(events.as_ptr(), before);
            tokens.extend(events.iter().map(|event| event.token));
        }
        tokens.sort_unstable();
        assert!(tokens.into_iter().eq(0..pairs.len() as u64));
    }
}
