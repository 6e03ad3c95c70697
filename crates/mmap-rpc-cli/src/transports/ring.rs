//! The ring of the floors: what a hand-off through shared memory costs without any library.
//!
//! ```text
//!      0   control   bells and marks of sleep, each on a cache line of its own
//!   4096   entries of the requests, 128 × 128 bytes, then as many of the replies
//!  36864   slots of the requests, then those of the replies
//!
//! entry:  seq u32 │ length u32 │ up to 96 bytes of payload │ unused
//! ```
//!
//! The message at position `p` of a direction lies in entry `p` modulo 128 and is announced by storing
//! `p + 1` in the entry's `seq`. What is longer than an entry lies in a slot that follows from `p` and the
//! length: 64 slots of up to 64 KiB go round, and 2 from 1 MiB on, because those two stay in the caches. No
//! index of what was read is needed: a client has at most [`Side::depth`] calls under way, and a reply says
//! that its request was read.
//!
//! Both sides trust each other and fill and read the bytes where they lie.

use std::hint::black_box;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::serving::Serving;
use crate::transports::shared::Shared;
use crate::transports::{Echo, Flood, Place};
use crate::work;

const ENTRY: usize = 128;
const ENTRIES: usize = 128;
const LENGTH: usize = 4;
const INLINE: usize = 8;
const INLINE_BYTES: usize = 96;
const CONTROL: usize = 4096;
const RING: usize = ENTRY * ENTRIES;
const SLOTS: usize = CONTROL + 2 * RING;

/// Bytes of a direction's slots, if no message is longer than half of it.
const AREA: usize = 4 << 20;

/// How long a client waits for a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a slot is chosen: how many there are of a length.
fn slots(len: usize) -> usize {
    if len >= 1 << 20 { 2 } else { (AREA / stride(len)).clamp(2, 64) }
}

/// The distance of two slots.
fn stride(len: usize) -> usize {
    len.next_multiple_of(4096)
}

/// Bytes of a direction's slots.
fn area(max_size: usize) -> usize {
    AREA.max(2 * stride(max_size))
}

fn total(max_size: usize) -> usize {
    SLOTS + 2 * area(max_size)
}

/// Where one direction's words and bytes lie.
#[derive(Debug, Clone, Copy)]
struct Lane {
    bell: usize,
    mark: usize,
    entries: usize,
    slots: usize,
    area: usize,
}

impl Lane {
    fn new(number: usize, max_size: usize) -> Self {
        let area = area(max_size);
        let (bell, mark) = (number * 512, number * 512 + 256);
        Self { bell, mark, entries: CONTROL + number * RING, slots: SLOTS + number * area, area }
    }

    fn entry(&self, position: u32) -> usize {
        self.entries + position as usize % ENTRIES * ENTRY
    }

    /// Where the payload of a message lies.
    fn payload(&self, position: u32, len: usize) -> usize {
        if len <= INLINE_BYTES {
            return self.entry(position) + INLINE;
        }
        let start = position as usize % slots(len) * stride(len);
        assert!(start + len <= self.area, "a message of {len} bytes is longer than was agreed");
        self.slots + start
    }
}

/// What a side does while there is nothing to read.
pub(super) trait Wait: 'static {
    /// Waits until `ready`, or until `give_up`; says which.
    fn wait(
        bell: &AtomicU32,
        mark: &AtomicU32,
        ready: impl Fn() -> bool,
        give_up: impl FnMut() -> bool,
    ) -> bool;

    /// Tells a waiting side that something was announced.
    fn announced(bell: &AtomicU32, mark: &AtomicU32);
}

/// Spins without a pause between looks, and never sleeps.
pub(super) struct Spin;

impl Wait for Spin {
    #[inline]
    fn wait(
        _: &AtomicU32,
        _: &AtomicU32,
        ready: impl Fn() -> bool,
        mut give_up: impl FnMut() -> bool,
    ) -> bool {
        /// Looks between two thoughts of giving up.
        const LOOKS: u32 = 1 << 14;
        loop {
            if (0..LOOKS).any(|_| ready()) {
                return true;
            }
            if give_up() {
                return false;
            }
        }
    }

    #[inline]
    fn announced(_: &AtomicU32, _: &AtomicU32) {}
}

/// Sleeps in a futex at once.
///
/// The sleeper reads the bell, then sets its mark, then looks again; the other side announces, then looks at
/// the mark, and if it is set changes the bell and wakes. With a fence between the two steps on both sides,
/// either the sleeper sees the announcement or the other side sees the mark; and a bell that changed in
/// between keeps the sleeper from sleeping. Only the sleeper clears its mark: cleared by the other side, it
/// could be the mark of a later sleep.
pub(super) struct Sleep;

impl Wait for Sleep {
    #[inline]
    fn wait(
        bell: &AtomicU32,
        mark: &AtomicU32,
        ready: impl Fn() -> bool,
        mut give_up: impl FnMut() -> bool,
    ) -> bool {
        const NAP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
        while !ready() {
            let rung = bell.load(Ordering::Acquire);
            mark.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !ready() {
                // Returns at once if the bell was rung, and after a while in any case: then we look again.
                let _ = futex::wait(bell, futex::Flags::empty(), rung, Some(&NAP));
            }
            mark.store(0, Ordering::Relaxed);
            if !ready() && give_up() {
                return false;
            }
        }
        true
    }

    #[inline]
    fn announced(bell: &AtomicU32, mark: &AtomicU32) {
        fence(Ordering::SeqCst);
        if mark.load(Ordering::Relaxed) != 0 {
            bell.fetch_add(1, Ordering::Release);
            // Fails for no bell of ours.
            let _ = futex::wake(bell, futex::Flags::empty(), 1);
        }
    }
}

/// One side of the ring.
pub(super) struct Side<W> {
    shared: Shared,
    out: Lane,
    input: Lane,
    sent: u32,
    received: u32,
    waiting: PhantomData<fn() -> W>,
}

impl<W: Wait> Side<W> {
    fn new(shared: Shared, out: usize, max_size: usize) -> Self {
        let lane = |number| Lane::new(number, max_size);
        Self { shared, out: lane(out), input: lane(1 - out), sent: 0, received: 0, waiting: PhantomData }
    }

    /// How many calls of a length may be under way.
    fn depth(len: usize) -> usize {
        if len <= INLINE_BYTES { ENTRIES / 2 } else { slots(len) }
    }

    /// Sends a message that `fill` writes where it travels.
    #[inline]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let entry = self.out.entry(self.sent);
        // SAFETY: the other side reads these bytes only once they are announced below, and has read what lay
        // here before: no more calls are under way than there are entries, and slots of this length.
        fill(unsafe { self.shared.bytes_mut(self.out.payload(self.sent, len), len) });
        self.shared.word(entry + LENGTH).store(len as u32, Ordering::Relaxed);
        self.sent = self.sent.wrapping_add(1);
        self.shared.word(entry).store(self.sent, Ordering::Release);
        W::announced(self.shared.word(self.out.bell), self.shared.word(self.out.mark));
    }

    /// Waits for the next message and reads it where it lies; `None` if it gave up before.
    #[inline]
    fn receive<R>(&mut self, give_up: impl FnMut() -> bool, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let entry = self.input.entry(self.received);
        let (seq, next) = (self.shared.word(entry), self.received.wrapping_add(1));
        let (bell, mark) = (self.shared.word(self.input.bell), self.shared.word(self.input.mark));
        // A message of 64 bytes reaches into the entry's second cache line: asked for early, both come
        // together.
        let second_line = self.shared.word(entry + ENTRY / 2);
        let ready = || {
            black_box(second_line.load(Ordering::Relaxed));
            seq.load(Ordering::Acquire) == next
        };
        if !W::wait(bell, mark, ready, give_up) {
            return None;
        }
        let len = self.shared.word(entry + LENGTH).load(Ordering::Relaxed) as usize;
        // SAFETY: the other side announced these bytes, and writes here again only once it knows that they
        // were read: a client has our reply by then, a server a request that follows our having the reply.
        let bytes = unsafe { self.shared.bytes(self.input.payload(self.received, len), len) };
        let result = read(bytes);
        self.received = next;
        Some(result)
    }
}

/// Answers requests until the bench ends; a side that spins does so only while it is its turn.
pub(super) fn serve<W: Wait>(serving: &Serving, spins: bool) -> anyhow::Result<()> {
    let shared = Shared::create(total(serving.max_size()))?;
    serving.ready(&shared.note());
    let mut side = Side::<W>::new(shared, 1, serving.max_size());
    loop {
        if spins {
            serving.wait_for_turn();
        }
        while let Some((len, sum)) =
            side.receive(|| spins && !serving.is_turn(), |bytes| (bytes.len(), work::sum(bytes)))
        {
            side.send(len, |bytes| work::fill(bytes, work::reply_seed(sum)));
        }
    }
}

/// The client's side of the server at a place.
pub(super) fn connect<W: Wait>(place: &Place) -> anyhow::Result<Box<dyn Echo>> {
    let shared = Shared::open(place, total(place.max_size))?;
    Ok(Box::new(Side::<W>::new(shared, 0, place.max_size)))
}

impl<W: Wait> Side<W> {
    #[inline]
    fn request(&mut self, size: usize, number: u64) {
        self.send(size, |bytes| work::fill(bytes, work::seed(number)));
    }

    #[inline]
    fn reply(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let mut end = None;
        let give_up = || Instant::now() >= *end.get_or_insert_with(|| Instant::now() + PATIENCE);
        let checked = self.receive(give_up, |bytes| work::check(bytes, size, work::seed(number)));
        checked.context("the server of the bare ring does not answer")?
    }
}

impl<W: Wait> Echo for Side<W> {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        self.request(size, number);
        self.reply(size, number)
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        ensure!(flood.depth > 0, "a flood has calls under way");
        let flood = Flood { depth: flood.depth.min(Self::depth(flood.size)), ..flood };
        let size = flood.size;
        let send = |side: &mut Self, number| {
            side.request(size, number);
            Ok(())
        };
        flood.run(self, send, |side, number| side.reply(size, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const MAX: usize = 4 << 20;

    fn pair<W: Wait>() -> (Side<W>, Side<W>) {
        let server = Shared::create(total(MAX)).unwrap();
        let pid = std::process::id();
        let place = Place { directory: "".into(), server: pid, note: server.note(), max_size: MAX };
        let client = Shared::open(&place, total(MAX)).unwrap();
        (Side::new(client, 0, MAX), Side::new(server, 1, MAX))
    }

    /// Runs a client against a server that answers `calls` calls.
    fn with_server<W: Wait>(calls: u64, client: impl FnOnce(&mut Side<W>)) {
        let (mut ours, mut theirs) = pair::<W>();
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..calls {
                    let (len, sum) =
                        theirs.receive(|| false, |bytes| (bytes.len(), work::sum(bytes))).unwrap();
                    theirs.send(len, |bytes| work::fill(bytes, work::reply_seed(sum)));
                }
            });
            client(&mut ours);
        });
    }

    #[test]
    fn calls_of_all_sizes_are_answered() {
        let sizes = [1, 96, 97, 4096, 64 << 10, 100_000, 1 << 20, MAX];
        with_server::<Sleep>(400, |client| {
            for number in 0..400 {
                client.echo(sizes[number % sizes.len()], number as u64).unwrap();
            }
        });
    }

    #[test]
    fn a_flood_goes_round_the_ring() {
        let flood = |size| Flood { size, depth: 64, until: Instant::now(), first: 9 };
        with_server::<Sleep>(128 * 3, |client| {
            for size in [64, 64, 4096] {
                assert_eq!(client.flood(flood(size)).unwrap(), 128);
            }
        });
    }

    #[test]
    fn slots_of_one_time_do_not_overlap() {
        let lane = Lane::new(1, MAX);
        for len in [97, 4096, 4097, 64 << 10, 100_000, 1 << 20, MAX] {
            let mut starts: Vec<_> =
                (0..Side::<Spin>::depth(len)).map(|position| lane.payload(position as u32, len)).collect();
            starts.sort_unstable();
            assert!(starts.windows(2).all(|pair| pair[0] + len <= pair[1]), "{len}");
            assert!(starts[starts.len() - 1] + len <= total(MAX));
        }
    }
}
