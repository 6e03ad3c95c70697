//! Real threads: exclusive ownership while slots go round, and while runs come and go.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::mpsc;
use std::thread;

use super::*;

const ROUNDS: u32 = 20_000;
const NOBODY: u32 = 0;

/// Who has each slot, and the slot's "bytes".
struct Owners {
    owner: Vec<AtomicU32>,
    bytes: Vec<AtomicU64>,
}

impl Owners {
    fn new() -> Self {
        let owner = (0..MAX_HANDLES).map(|_| AtomicU32::new(NOBODY)).collect();
        let bytes = (0..MAX_HANDLES).map(|_| AtomicU64::new(0)).collect();
        Self { owner, bytes }
    }

    /// Relaxed throughout: the allocator's own orderings are to keep these apart.
    fn enter(&self, handle: Handle, me: u32, value: u64) {
        let at = handle.get() as usize;
        assert_eq!(self.owner[at].swap(me, Ordering::Relaxed), NOBODY, "{handle:?} has two owners");
        self.bytes[at].store(value, Ordering::Relaxed);
    }

    fn leave(&self, handle: Handle, me: u32, value: u64) {
        let at = handle.get() as usize;
        assert_eq!(self.bytes[at].load(Ordering::Relaxed), value, "{handle:?} was written by another");
        assert_eq!(self.owner[at].swap(NOBODY, Ordering::Relaxed), me);
    }
}

fn claim_or_harvest(world: &World, size: u64, hint: usize) -> Claim {
    loop {
        if let Some(claim) = world.slab.claim(world.view(), size, hint) {
            return claim;
        }
        // Busy is as good: another thread frees them.
        let _ = world.slab.harvest_for(world.view(), size).unwrap();
        thread::yield_now();
    }
}

/// Claims, aborts some, sends the others to a reader that gives them back by flip.
fn sender(world: &World, owners: &Owners, me: u32, size: u64, peer: mpsc::SyncSender<(Handle, u32, u64)>) {
    for round in 0..ROUNDS {
        let claim = claim_or_harvest(world, size, me as usize);
        assert!(claim.slot_size >= size);
        let value = u64::from(me) << 32 | u64::from(round);
        owners.enter(claim.handle, me, value);
        if round % 3 == 0 {
            owners.leave(claim.handle, me, value);
            world.slab.abort(world.view(), claim.handle);
        } else {
            world.slab.publish(claim.handle);
            peer.send((claim.handle, me, value)).unwrap();
        }
    }
}

fn reader(world: &World, owners: &Owners, entries: mpsc::Receiver<(Handle, u32, u64)>) {
    for (turn, (handle, from, value)) in entries.into_iter().enumerate() {
        owners.leave(handle, from, value);
        match turn % 4 {
            0 => world.slab.release(world.view(), handle).unwrap(),
            _ => give_back(&world.ret, handle),
        }
    }
}

#[test]
fn a_slot_has_one_owner_at_a_time() {
    // Few slots, so that threads meet in one word, and spill.
    let (world, owners) = (&World::new(&[(0, 256, 3), (1, 1024, 2)]), &Owners::new());
    thread::scope(|s| {
        let (to_peer, entries) = mpsc::sync_channel(16);
        for me in 1..=3 {
            let to_peer = to_peer.clone();
            s.spawn(move || sender(world, owners, me, 200, to_peer));
        }
        s.spawn(move || reader(world, owners, entries));
    });
    let _ = world.slab.harvest(world.view()).unwrap();
    assert_eq!(world.counts(), (5, 0), "everything came home");
}

#[test]
fn runs_come_and_go_under_traffic() {
    let (world, owners) = (&World::new(&[(0, 256, 2), (3, 4096, 2)]), &Owners::new());
    let done = &AtomicBool::new(false);
    let retired = thread::scope(|s| {
        let (to_peer, entries) = mpsc::sync_channel(16);
        // Two sizes share words 1 and 2 in turns: a stale number must never yield the other size's slot.
        let senders = [(1, 200), (2, 4000)].map(|(me, size)| {
            let to_peer = to_peer.clone();
            s.spawn(move || sender(world, owners, me, size, to_peer))
        });
        drop(to_peer);
        s.spawn(move || reader(world, owners, entries));
        let growth = s.spawn(move || {
            let mut retired = 0;
            for size in [256, 4096].into_iter().cycle() {
                world.slab.add_run(world.view(), 1, size, 66);
                thread::yield_now();
                while !world.slab.retire_run(world.view(), 1, 66) {
                    let _ = world.slab.harvest(world.view()).unwrap();
                    thread::yield_now();
                }
                retired += 1;
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            retired
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        done.store(true, Ordering::Relaxed);
        growth.join().unwrap()
    });
    assert!(retired > 0);
    let _ = world.slab.harvest(world.view()).unwrap();
    assert_eq!(world.counts(), (4, 0));
}

#[test]
fn readers_of_one_word_do_not_undo_each_others_flips() {
    let (world, start) = (&World::new(&[]), &std::sync::Barrier::new(2));
    thread::scope(|s| {
        for half in [0..32, 32..64] {
            s.spawn(move || {
                start.wait();
                // An odd number of flips for each bit: every one must count, and a lost one shows in its bit.
                for _ in 0..30_001 {
                    half.clone().for_each(|bit| give_back(&world.ret, Handle::at(0, bit)));
                }
            });
        }
    });
    assert_eq!(world.ret[0].load(Ordering::Relaxed), u64::MAX);
}
