//! The allocator as a whole: single steps, random steps against an oracle, and real threads.

mod fill;
mod oracle;
mod stress;

use super::*;
use crate::error::Violation;
use crate::layout::handle::Handle;
use crate::layout::words::{FreeWord, HANDLE_WORDS, MAX_HANDLES, SlabView};
use crate::sync::{AtomicU64, Ordering};

const MIB: u64 = 1 << 20;

/// An allocator and both sides' words.
struct World {
    slab: Slab,
    free: Vec<FreeWord>,
    ret: Vec<AtomicU64>,
}

impl World {
    /// Runs of (first word, slot size, slot count).
    fn new(runs: &[(usize, u64, u32)]) -> Self {
        let free = (0..HANDLE_WORDS).map(|_| FreeWord(AtomicU64::new(0))).collect();
        let ret = (0..HANDLE_WORDS).map(|_| AtomicU64::new(0)).collect();
        let world = Self { slab: Slab::new(), free, ret };
        for &(word, size, count) in runs {
            world.slab.add_run(world.view(), word, size, count);
        }
        world
    }

    fn view(&self) -> SlabView<'_> {
        SlabView { free: &self.free, ret: &self.ret }
    }

    fn claim(&self, size: u64, hint: usize) -> Option<(u32, u64)> {
        self.slab.claim(self.view(), size, hint).map(|claim| (claim.handle.get(), claim.slot_size))
    }

    /// Claims a slot and sends it.
    fn send(&self, size: u64) -> Handle {
        let claim = self.slab.claim(self.view(), size, 0).unwrap();
        self.slab.publish(claim.handle);
        claim.handle
    }

    fn counts(&self) -> (u32, u32) {
        let counts = self.slab.counts(self.view());
        (counts.free, counts.in_flight)
    }
}

#[test]
fn an_empty_allocator_has_nothing_and_harvests_nothing() {
    let world = World::new(&[]);
    assert_eq!(world.claim(0, 0), None);
    assert_eq!(world.claim(u64::MAX, usize::MAX), None);
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(0)));
    assert_eq!(world.slab.harvest_for(world.view(), 1), Ok(Harvest::Freed(0)));
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_claim_takes_the_smallest_class_that_fits_and_spills_one_up() {
    let world = World::new(&[(0, 65536, 1), (1, 256, 1), (2, 4096, 1)]);
    assert_eq!(world.claim(0, 7), Some((64, 256)));
    assert_eq!(world.claim(256, 7), Some((128, 4096)), "the class above serves when its own is empty");
    assert_eq!(world.claim(256, 7), None, "but not the one after that");
    assert_eq!(world.claim(4096, 7), Some((0, 65536)));
    assert_eq!(world.claim(65537, 7), None);
}

#[test]
fn threads_start_in_words_of_their_own_and_go_round() {
    let world = World::new(&[(3, 256, 192)]);
    let first: Vec<_> = (0..4).map(|hint| world.claim(1, hint).unwrap().0 / 64).collect();
    assert_eq!(first, [3, 4, 5, 3]);
    let rest = (0..192 - 4).map(|_| world.claim(1, 1).unwrap().0).max();
    assert_eq!(rest, Some(3 * 64 + 191));
    assert_eq!(world.claim(1, 1), None);
}

#[test]
fn large_requests_get_the_best_fit_and_classes_stay_apart_from_them() {
    let world = World::new(&[(0, MIB, 1), (1, 64 * MIB, 1), (2, 2 * MIB, 1), (3, 8 * MIB, 1)]);
    assert_eq!(world.claim(MIB + 1, 0), Some((128, 2 * MIB)));
    assert_eq!(world.claim(MIB + 1, 0), Some((192, 8 * MIB)));
    assert_eq!(world.claim(9 * MIB, 0), Some((64, 64 * MIB)));
    assert_eq!(world.claim(9 * MIB, 0), None);
    world.slab.abort(world.view(), Handle::at(1, 0));
    assert_eq!(world.claim(MIB, 0), Some((0, MIB)));
    assert_eq!(world.claim(MIB, 0), None, "a class does not spill into large slots");
}

#[test]
fn a_batch_is_one_word_of_one_size() {
    let world = World::new(&[(0, 256, 70)]);
    let batch = world.slab.claim_batch(world.view(), 1, 0, 10).unwrap();
    assert_eq!(batch.len(), 10);
    assert!(batch.map(|claim| claim.handle.get()).eq(0..10));
    assert_eq!(world.slab.claim_batch(world.view(), 1, 0, 1000).unwrap().count(), 54);
    assert_eq!(world.slab.claim_batch(world.view(), 1, 0, 1000).unwrap().count(), 6, "the partial word");
    assert!(world.slab.claim_batch(world.view(), 1, 0, 1).is_none());
    assert!(world.slab.claim_batch(world.view(), 1, 0, 0).is_none());
}

#[test]
fn a_slot_goes_round_by_flip_and_by_reply() {
    let world = World::new(&[(0, 256, 2)]);
    for round in 0..5 {
        let (by_flip, by_reply) = (world.send(1), world.send(1));
        assert_eq!(world.counts(), (0, 2), "round {round}");
        give_back(&world.ret, by_flip);
        assert_eq!(world.claim(1, 0), None, "a return counts once it is harvested");
        assert_eq!(world.slab.harvest_for(world.view(), 200), Ok(Harvest::Freed(1)));
        world.slab.release(world.view(), by_reply).unwrap();
        assert_eq!(world.counts(), (2, 0));
        assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(0)));
    }
}

#[test]
fn a_harvest_for_one_size_leaves_the_others_alone() {
    let world = World::new(&[(0, 256, 1), (1, 4096, 1), (2, 2 * MIB, 1)]);
    for size in [1, 4000, 2 * MIB] {
        give_back(&world.ret, world.send(size));
    }
    assert_eq!(world.slab.harvest_for(world.view(), MIB), Ok(Harvest::Freed(1)), "the large ones");
    assert_eq!(world.slab.harvest_for(world.view(), 256), Ok(Harvest::Freed(1)));
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(1)));
}

#[test]
fn a_flip_of_a_slot_at_home_is_forged() {
    let world = World::new(&[(0, 256, 3)]);
    let sent = world.send(1);
    let held = world.claim(1, 0).unwrap().0;
    // One is free, one a loan, one lies beyond the run's end: none of them is with the peer.
    for bit in [2, held, 3, 63] {
        world.ret[0].fetch_xor(1 << bit, Ordering::Release);
        let forged = Violation::ForgedReturn { word: 0, bits: 1 << bit };
        assert_eq!(world.slab.harvest(world.view()), Err(forged));
        world.ret[0].fetch_xor(1 << bit, Ordering::Release);
    }
    give_back(&world.ret, sent);
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(1)));
}

#[test]
fn a_slot_released_twice_is_freed_once() {
    let world = World::new(&[(0, 256, 2)]);
    let forged = |handle: Handle| Err(Violation::ForgedRelease { handle: handle.get() });
    let handle = world.send(1);
    assert_eq!(world.slab.release(world.view(), handle), Ok(()));
    assert_eq!(world.slab.release(world.view(), handle), forged(handle));
    let handle = world.send(1);
    give_back(&world.ret, handle);
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(1)));
    assert_eq!(world.slab.release(world.view(), handle), forged(handle), "flip, then reply");
    let last = Handle::new(MAX_HANDLES - 1).unwrap();
    assert_eq!(world.slab.release(world.view(), last), forged(last), "a slot that no run has");
    assert_eq!(world.counts(), (2, 0));
}

#[test]
fn one_harvest_at_a_time() {
    let world = World::new(&[(0, 256, 1)]);
    give_back(&world.ret, world.send(1));
    world.slab.harvesting.store(1, Ordering::Relaxed);
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Busy));
    assert_eq!(world.slab.harvesting.load(Ordering::Relaxed), 3, "the holder has been asked to look again");
    world.slab.harvesting.store(0, Ordering::Relaxed);
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(1)));
    world.ret[0].store(0, Ordering::Relaxed); // the flip taken back
    assert!(world.slab.harvest(world.view()).is_err());
    assert!(world.slab.harvest(world.view()).is_err(), "a failed harvest gives up the lock");
}

#[test]
fn a_run_retires_when_all_its_slots_are_home() {
    let world = World::new(&[(0, 256, 64), (1, 4096, 70)]);
    let handle = world.send(4096);
    let last = Handle::at(2, 5);
    let late: Vec<_> = std::iter::from_fn(|| world.slab.claim(world.view(), 4096, 1)).collect();
    late.iter().filter(|c| c.handle != last).for_each(|c| world.slab.abort(world.view(), c.handle));
    give_back(&world.ret, handle);
    assert!(!world.slab.retire_run(world.view(), 1, 70), "returned, but not harvested");
    assert_eq!(world.slab.harvest(world.view()), Ok(Harvest::Freed(1)));
    assert!(!world.slab.retire_run(world.view(), 1, 70), "a loan in the second word");
    assert_eq!(world.counts().0, 64 + 69, "what a failed try took is back");
    world.slab.abort(world.view(), last);
    assert!(world.slab.retire_run(world.view(), 1, 70));
    assert_eq!(world.counts(), (64, 0));
    assert_eq!(world.claim(4096, 0), None);

    world.slab.add_run(world.view(), 2, 2 * MIB, 1);
    assert_eq!(world.claim(4096, 0), Some((128, 2 * MIB)), "with its class gone, 4096 is above every class");
}

#[test]
fn a_stale_word_number_yields_no_slot_of_another_size() {
    let world = World::new(&[(0, 4096, 64)]);
    // What a claimer that read the class list before a retirement meets: the word serves another size.
    world.slab.assigned[0].store(256, Ordering::Relaxed);
    assert_eq!(world.claim(4096, 0), None);
    assert_eq!(world.free[0].0.load(Ordering::Relaxed), u64::MAX, "the slot went back");
}

#[test]
#[should_panic(expected = "belongs to another run")]
fn runs_do_not_overlap() {
    World::new(&[(0, 256, 65), (1, 256, 1)]);
}

#[test]
#[should_panic(expected = "beyond the last handle")]
fn runs_stay_in_range() {
    World::new(&[(HANDLE_WORDS - 1, 256, 65)]);
}
