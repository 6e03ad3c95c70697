//! Has a slot one holder at a time, does every slot come back, and can a peer's words change that?

use std::sync::atomic::AtomicBool;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::thread;

use crate::harness::{bounded, unbounded};
use crate::layout::Handle;
use crate::layout::words::{FreeWord, HANDLE_WORDS, SlabView};
use crate::slab::{Claim, Harvest, Slab, give_back};

/// Bytes per slot; any number does.
const SIZE: u64 = 64;

/// Both sides of a region with one word of slots.
struct Region {
    slab: Slab,
    free: Box<[FreeWord]>,
    ret: Box<[AtomicU64]>,
    /// The slots' bytes: loom reports a write that overlaps a read, or another write.
    bytes: Box<[UnsafeCell<u32>]>,
    /// Whether a loan of the slot exists. Not loom's, so that it orders nothing and costs no state.
    held: Box<[AtomicBool]>,
    /// The `seq` of the one entry that names a slot.
    seq: AtomicU32,
}

impl Region {
    fn new(slots: u32) -> Arc<Self> {
        let region = Self {
            slab: Slab::new(),
            free: (0..HANDLE_WORDS).map(|_| FreeWord(AtomicU64::new(0))).collect(),
            ret: (0..HANDLE_WORDS).map(|_| AtomicU64::new(0)).collect(),
            bytes: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
            held: (0..slots).map(|_| AtomicBool::new(false)).collect(),
            seq: AtomicU32::new(0),
        };
        region.slab.add_run(region.view(), 0, SIZE, slots);
        Arc::new(region)
    }

    fn view(&self) -> SlabView<'_> {
        SlabView { free: &self.free, ret: &self.ret }
    }

    /// Claims a slot and writes to it.
    fn claim(&self) -> Option<Handle> {
        self.slab.claim(self.view(), SIZE, 0).map(|claim| self.hold(claim))
    }

    fn hold(&self, claim: Claim) -> Handle {
        let slot = claim.handle.get() as usize;
        assert!(!self.held[slot].swap(true, std::sync::atomic::Ordering::Relaxed), "handed out twice");
        self.write(claim.handle);
        claim.handle
    }

    fn write(&self, handle: Handle) {
        // SAFETY: loom checks that no other access overlaps.
        self.bytes[handle.get() as usize].with_mut(|bytes| unsafe { *bytes += 1 });
    }

    fn unhold(&self, handle: Handle) {
        assert!(self.held[handle.get() as usize].swap(false, std::sync::atomic::Ordering::Relaxed));
    }

    fn abort(&self, handle: Handle) {
        self.write(handle);
        self.unhold(handle);
        self.slab.abort(self.view(), handle);
    }

    /// Sends the slot to the peer in the entry whose `seq` is `seq`.
    fn send(&self, handle: Handle, seq: u32) {
        self.unhold(handle);
        self.slab.publish(handle);
        self.seq.store(seq, Ordering::Release);
    }

    /// The peer's part: if the entry `seq` is there, reads its slot; says whether it did.
    fn receive(&self, handle: Handle, seq: u32) -> bool {
        if self.seq.load(Ordering::Relaxed) != seq {
            return false;
        }
        fence(Ordering::Acquire);
        // SAFETY: loom checks that no write overlaps.
        self.bytes[handle.get() as usize].with(|bytes| unsafe { assert_eq!(*bytes, seq) });
        true
    }

    fn give_back(&self, handle: Handle) {
        give_back(&self.ret, handle);
    }

    /// Harvests what an honest peer returned.
    fn harvest(&self) -> Harvest {
        self.slab.harvest(self.view()).expect("an honest peer")
    }

    /// How many slots are free and in flight, seen by a thread that has joined all others.
    fn counts(&self) -> (u32, u32) {
        let counts = self.slab.counts(self.view());
        (counts.free, counts.in_flight)
    }
}

fn slot(number: u32) -> Handle {
    Handle::new(number).unwrap()
}

/// Claim, claim and abort on one word: is a slot handed out twice, or lost?
#[test]
pub(crate) fn claim_claim_abort() {
    bounded(3, || {
        let region = Region::new(2);
        let first = region.claim().unwrap();
        let claimers = [(); 2].map(|()| {
            let region = region.clone();
            thread::spawn(move || region.claim())
        });
        region.abort(first);
        let claimed = claimers.map(|claimer| claimer.join().unwrap());
        let held = claimed.iter().flatten().count() as u32;
        assert!(held >= 1, "a slot was free all the time");
        assert_eq!(region.counts(), (2 - held, 0));
    });
}

/// A claim of several at once beside a claim of one: do they overlap, or lose a slot?
#[test]
pub(crate) fn batch_beside_claim() {
    unbounded(|| {
        let region = Region::new(3);
        let other = region.clone();
        let claimer = thread::spawn(move || other.claim());
        let batch = region.slab.claim_batch(region.view(), SIZE, 0, 2).unwrap();
        let mut held = 0;
        for claim in batch {
            region.hold(claim);
            held += 1;
        }
        held += claimer.join().unwrap().is_some() as u32;
        assert_eq!(region.counts(), (3 - held, 0));
    });
}

/// A run is retired and its word serves another size while a claim is under way: does a claim ever go out
/// with the size of the old run and a slot of the new one? Bounded, because a claim reads half the class
/// table.
#[test]
pub(crate) fn claim_beside_retirement() {
    bounded(3, || {
        let region = Region::new(1);
        let write_size = |size: u64| {
            // SAFETY: loom checks that no other access overlaps.
            region.bytes[0].with_mut(|bytes| unsafe { *bytes = size as u32 });
        };
        write_size(SIZE);
        let other = region.clone();
        let claimer = thread::spawn(move || {
            if let Some(claim) = other.slab.claim(other.view(), SIZE, 0) {
                // SAFETY: loom checks that no write overlaps.
                let size = other.bytes[0].with(|size| unsafe { *size });
                assert_eq!(claim.slot_size, u64::from(size), "a slot of another size");
            }
        });
        if region.slab.retire_run(region.view(), 0, 1) {
            write_size(2 * SIZE);
            region.slab.add_run(region.view(), 0, 2 * SIZE, 1);
        }
        claimer.join().unwrap();
    });
}

/// One slot goes out, comes back by a flip and goes out again: does the owner write while the peer reads, or
/// is an honest return called forged?
#[test]
pub(crate) fn slot_reused_after_a_flip() {
    unbounded(|| {
        let region = Region::new(1);
        let peer = region.clone();
        let peer = thread::spawn(move || {
            for seq in 1..=2 {
                if !peer.receive(slot(0), seq) {
                    break;
                }
                peer.give_back(slot(0));
            }
        });
        let first = region.claim().unwrap();
        region.send(first, 1);
        let _ = region.harvest();
        if let Some(again) = region.claim() {
            region.send(again, 2);
        }
        let _ = region.harvest();
        peer.join().unwrap();
        let _ = region.harvest();
        let (free, in_flight) = region.counts();
        assert_eq!(free + in_flight, 1);
    });
}

/// One thread of the owner sends while another harvests: is the return of a slot that was just sent forged in
/// the harvester's eyes?
#[test]
pub(crate) fn send_beside_harvest() {
    unbounded(|| {
        let region = Region::new(1);
        let harvester = region.clone();
        let harvester = thread::spawn(move || harvester.harvest());
        let peer = region.clone();
        let peer = thread::spawn(move || {
            if peer.receive(slot(0), 1) {
                peer.give_back(slot(0));
            }
        });
        let first = region.claim().unwrap();
        region.send(first, 1);
        peer.join().unwrap();
        let _ = harvester.join().unwrap();
        let _ = region.harvest();
        let (free, in_flight) = region.counts();
        assert_eq!(free + in_flight, 1);
    });
}

/// A slot is sent and returned anew as soon as the harvest, or the reply, has made it free: does its second
/// flight survive the end of the first?
#[test]
pub(crate) fn second_flight_outlives_the_first() {
    for by_reply in [false, true] {
        unbounded(move || {
            let region = Region::new(1);
            let first = region.claim().unwrap();
            region.send(first, 1);
            let other = region.clone();
            let freer = if by_reply {
                thread::spawn(move || other.slab.release(other.view(), slot(0)).expect("in flight"))
            } else {
                region.give_back(first);
                thread::spawn(move || assert_eq!(other.harvest(), Harvest::Freed(1)))
            };
            if let Some(second) = region.claim() {
                region.send(second, 2);
                freer.join().unwrap();
                assert_eq!(region.counts(), (0, 1));
                region.give_back(second);
                assert_eq!(region.harvest(), Harvest::Freed(1));
            } else {
                freer.join().unwrap();
            }
            assert_eq!(region.counts(), (1, 0));
        });
    }
}

/// Two threads of the peer return slots of one word: does each return count?
#[test]
pub(crate) fn two_readers_of_one_word() {
    unbounded(|| {
        let region = Region::new(2);
        for _ in 0..2 {
            let handle = region.claim().unwrap();
            region.send(handle, 1);
        }
        let other = region.clone();
        let reader = thread::spawn(move || other.give_back(slot(0)));
        region.give_back(slot(1));
        reader.join().unwrap();
        assert_eq!(region.harvest(), Harvest::Freed(2));
        assert_eq!(region.counts(), (2, 0));
    });
}

/// Two threads of the owner harvest: is one return counted twice, and so an honest peer's called forged?
#[test]
pub(crate) fn two_harvesters() {
    unbounded(|| {
        let region = Region::new(2);
        let first = region.claim().unwrap();
        region.send(first, 1);
        region.give_back(first);
        let other = region.clone();
        let harvester = thread::spawn(move || other.harvest());
        let mine = region.harvest();
        let harvests = [mine, harvester.join().unwrap()];
        assert_eq!(harvests.iter().filter(|&&harvest| harvest == Harvest::Freed(1)).count(), 1);
        assert_eq!(region.counts(), (2, 0));
    });
}

/// The peer returns a slot and looks whether the owner sleeps, while one thread of the owner harvests and
/// another one marks itself asleep and looks again: does one of them learn of the slot?
#[test]
pub(crate) fn return_beside_two_harvests() {
    bounded(3, || {
        let region = Region::new(1);
        let first = region.claim().unwrap();
        region.send(first, 1);
        let asleep = Arc::new(AtomicU32::new(0));
        let (peer, word) = (region.clone(), asleep.clone());
        let peer = thread::spawn(move || {
            peer.give_back(first);
            fence(Ordering::SeqCst);
            word.load(Ordering::Relaxed) == 1
        });
        let harvester = region.clone();
        let harvester = thread::spawn(move || harvester.harvest());
        asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mine = region.harvest();
        let is_kicked = peer.join().unwrap();
        let harvests = [mine, harvester.join().unwrap()];
        let is_known = is_kicked || harvests.contains(&Harvest::Freed(1));
        assert!(is_known, "nobody knows of the slot");
    });
}

/// A peer flips a slot's bit and says "released" of the same slot: is it freed once only?
#[test]
pub(crate) fn released_by_flip_and_by_reply() {
    unbounded(|| {
        let region = Region::new(1);
        let first = region.claim().unwrap();
        region.send(first, 1);
        region.give_back(first);
        let other = region.clone();
        let harvester = thread::spawn(move || {
            let freed = matches!(other.slab.harvest(other.view()), Ok(Harvest::Freed(1)));
            (freed, other.claim())
        });
        let released = region.slab.release(region.view(), slot(0)).is_ok();
        let mine = region.claim();
        let (harvested, theirs) = harvester.join().unwrap();
        assert!(released != harvested, "freed once");
        assert_eq!(mine.is_some() as u32 + theirs.is_some() as u32 + region.counts().0, 1);
    });
}

/// A peer flips any bits, at any time, and names any slot as released. Slot 0 is in flight, slot 1 a loan and
/// slot 2 free: is the loan ever handed out again, or any other slot twice?
#[test]
pub(crate) fn hostile_words_and_replies() {
    for (flips, named) in [(0b001, 0), (0b010, 0), (0b111, 0), (0b001, 1), (0b101, 2), (0b110, 1)] {
        bounded(2, move || {
            let region = Region::new(3);
            let in_flight = region.claim().unwrap();
            let loan = region.claim().unwrap();
            region.send(in_flight, 1);

            let peer = region.clone();
            let peer = thread::spawn(move || {
                peer.ret[0].fetch_xor(flips, Ordering::Release);
            });
            let harvester = region.clone();
            let harvester = thread::spawn(move || {
                let harvest = harvester.slab.harvest(harvester.view());
                harvest.map(|_| harvester.claim().is_some())
            });
            let release = region.slab.release(region.view(), slot(named));
            assert!(named == 0 || release.is_err(), "slot {named} is not in flight");
            // Until a violation closes the connection, claims go on.
            let claims = [region.claim(), region.claim()];
            region.write(loan);
            peer.join().unwrap();
            let _ = harvester.join().unwrap();
            let known = claims.iter().flatten().chain([&loan]).filter(|&&handle| handle == loan).count();
            assert_eq!(known, 1, "the loan has one holder");
        });
    }
}
