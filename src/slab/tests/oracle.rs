//! Random steps of both sides against a plain model of where each slot is.
//!
//! Properties: with an honest peer every answer and every word equals the model's; with a hostile one they do
//! so up to the first violation, which is reported exactly when the model says so, and from then on no
//! claimed slot is handed out again.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const SIZES: [u64; 6] = [1, 256, 300, 4096, MIB, 3 * MIB];
/// Runs lie in the first words only, so that steps meet.
const WORDS: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    Claim(u64, usize),
    Batch(u64, usize, u32),
    Abort(Index),
    Publish(Index),
    GiveBack(Index),
    Release(Index),
    ReleaseAny(u32),
    Harvest,
    HarvestFor(u64),
    AddRun(usize, u64, u32),
    Retire(Index),
    Noise(usize, u64),
}

fn step(hostile: bool) -> impl Strategy<Value = Step> {
    let size = || select(&SIZES[..]);
    let index = any::<Index>;
    let noise = if hostile { u64::MAX } else { 0 };
    let noise = any::<[u64; 3]>().prop_map(move |[a, b, c]| a & b & c & noise);
    prop_oneof![
        8 => (size(), any::<usize>()).prop_map(|(size, hint)| Step::Claim(size, hint)),
        3 => (size(), 0..9usize, 0..70u32).prop_map(|(size, hint, most)| Step::Batch(size, hint, most)),
        4 => index().prop_map(Step::Abort),
        9 => index().prop_map(Step::Publish),
        7 => index().prop_map(Step::GiveBack),
        3 => index().prop_map(Step::Release),
        1 => (0..MAX_HANDLES).prop_map(Step::ReleaseAny),
        3 => Just(Step::Harvest),
        2 => size().prop_map(Step::HarvestFor),
        4 => (0..WORDS, select(&SIZES[1..]), 1..130u32).prop_map(|(w, s, n)| Step::AddRun(w, s, n)),
        3 => index().prop_map(Step::Retire),
        1 => (0..WORDS, noise).prop_map(|(word, bits)| Step::Noise(word, bits)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Claimed,
    InFlight,
}

struct Oracle {
    world: World,
    hostile: bool,
    /// First word to (slot size, slot count).
    runs: BTreeMap<usize, (u64, u32)>,
    /// Every slot that exists.
    slots: BTreeMap<u32, Place>,
    /// Bits that the peer flipped since the last harvest.
    flipped: [u64; HANDLE_WORDS],
    dead: bool,
}

impl Oracle {
    fn new(hostile: bool) -> Self {
        let world = World::new(&[]);
        Self {
            world,
            hostile,
            runs: BTreeMap::new(),
            slots: BTreeMap::new(),
            flipped: [0; HANDLE_WORDS],
            dead: false,
        }
    }

    fn in_place(&self, place: Place) -> Vec<Handle> {
        let there = self.slots.iter().filter(|(_, p)| **p == place);
        there.map(|(&handle, _)| Handle::new(handle).unwrap()).collect()
    }

    fn mask(&self, word: usize, place: Place) -> u64 {
        self.in_place(place).into_iter().filter(|h| h.word() == word).fold(0, |bits, h| bits | h.mask())
    }

    /// Slot size of a word; 0 = none.
    fn size_of(&self, word: usize) -> u64 {
        let run = self.runs.range(..=word).next_back();
        run.filter(|(first, (_, n))| word < **first + n.div_ceil(64) as usize)
            .map_or(0, |(_, (size, _))| *size)
    }

    /// The sizes that may serve a request, best first.
    fn fitting(&self, size: u64) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.runs.values().map(|(size, _)| *size).filter(|&s| s >= size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The size that a claim must get: of the first two classes that fit, or else of any large run.
    fn expected(&self, size: u64) -> Option<u64> {
        let fitting = self.fitting(size);
        let classes: Vec<u64> = fitting.iter().copied().filter(|&s| s <= MAX_CLASS_SIZE).take(2).collect();
        let mut candidates = if classes.is_empty() { fitting } else { classes }.into_iter();
        candidates
            .find(|&s| (0..HANDLE_WORDS).any(|w| self.size_of(w) == s && self.mask(w, Place::Free) != 0))
    }

    fn check_claims(&mut self, size: u64, most: u32, claims: &[Claim]) {
        let Some(first) = claims.first() else {
            assert!(self.dead || self.expected(size).is_none(), "a free slot was not found");
            return;
        };
        assert!(claims.len() <= most as usize);
        let word = first.handle.word();
        for claim in claims {
            let place = self.slots.insert(claim.handle.get(), Place::Claimed);
            assert!(place.is_some_and(|p| p != Place::Claimed), "{claim:?} was {place:?}");
            assert!(self.dead || place == Some(Place::Free), "{claim:?} was {place:?}");
            assert_eq!((claim.handle.word(), claim.slot_size), (word, self.size_of(word)));
            assert!(claim.slot_size >= size);
        }
        if !self.dead {
            // Undo in thought, to ask what should have come.
            self.slots.extend(claims.iter().map(|c| (c.handle.get(), Place::Free)));
            assert_eq!(self.expected(size), Some(first.slot_size));
            let free = self.mask(word, Place::Free);
            assert_eq!(claims.len() as u32, free.count_ones().min(most));
            assert_eq!(first.handle.mask(), free & free.wrapping_neg(), "the lowest goes first");
            self.slots.extend(claims.iter().map(|c| (c.handle.get(), Place::Claimed)));
        }
    }

    fn check_harvest(&mut self, words: Vec<usize>, got: Result<Harvest, Violation>) {
        if self.dead {
            return;
        }
        let forged = |word: usize| self.flipped[word] & !self.mask(word, Place::InFlight);
        if words.iter().any(|&word| forged(word) != 0) {
            let Err(Violation::ForgedReturn { word, bits }) = got else { panic!("{got:?}") };
            assert!(words.contains(&word) && bits != 0 && bits == forged(word));
            self.dead = true;
            return;
        }
        let mut freed = 0;
        for word in words {
            for bit in (0..64).filter(|bit| self.flipped[word] & 1 << bit != 0) {
                self.slots.insert(Handle::at(word, bit).get(), Place::Free);
                freed += 1;
            }
            self.flipped[word] = 0;
        }
        assert_eq!(got, Ok(Harvest::Freed(freed)));
    }

    fn release(&mut self, handle: Handle) {
        let got = self.world.slab.release(self.world.view(), handle);
        let in_flight = self.slots.get(&handle.get()) == Some(&Place::InFlight);
        if in_flight && (got.is_ok() || !self.dead) {
            assert_eq!(got, Ok(()));
            self.slots.insert(handle.get(), Place::Free);
        } else {
            assert_eq!(got, Err(Violation::ForgedRelease { handle: handle.get() }));
        }
    }

    fn apply(&mut self, step: Step) {
        let view = SlabView { free: &self.world.free, ret: &self.world.ret };
        let slab = &self.world.slab;
        let pick = |place, index: Index| {
            let there = self.in_place(place);
            (!there.is_empty()).then(|| *index.get(&there))
        };
        // An honest peer returns a slot once; a hostile one may flip and reply.
        let fresh = |h: &Handle| self.hostile || self.flipped[h.word()] & h.mask() == 0;
        match step {
            Step::Claim(size, hint) => {
                let claims: Vec<Claim> = slab.claim(view, size, hint).into_iter().collect();
                self.check_claims(size, 1, &claims);
            }
            Step::Batch(size, hint, most) => {
                let claims: Vec<Claim> =
                    slab.claim_batch(view, size, hint, most).into_iter().flatten().collect();
                if most > 0 {
                    self.check_claims(size, most, &claims);
                }
            }
            Step::Abort(index) => {
                if let Some(handle) = pick(Place::Claimed, index) {
                    slab.abort(view, handle);
                    self.slots.insert(handle.get(), Place::Free);
                }
            }
            Step::Publish(index) => {
                if let Some(handle) = pick(Place::Claimed, index) {
                    slab.publish(handle);
                    self.slots.insert(handle.get(), Place::InFlight);
                }
            }
            Step::GiveBack(index) => {
                if let Some(handle) = pick(Place::InFlight, index).filter(fresh) {
                    give_back(view.ret, handle);
                    self.flipped[handle.word()] ^= handle.mask();
                }
            }
            Step::Release(index) => {
                if let Some(handle) = pick(Place::InFlight, index).filter(fresh) {
                    self.release(handle);
                }
            }
            Step::ReleaseAny(handle) => {
                let handle = Handle::new(handle).unwrap();
                if fresh(&handle) {
                    self.release(handle);
                }
            }
            Step::Harvest => {
                let words = (0..HANDLE_WORDS).filter(|&w| self.size_of(w) != 0).collect();
                let got = slab.harvest(view);
                self.check_harvest(words, got);
            }
            Step::HarvestFor(size) => {
                let class = self.fitting(size).first().copied().filter(|&s| s <= MAX_CLASS_SIZE);
                let serves = |s| class.map_or(s > MAX_CLASS_SIZE, |class| s == class);
                let words = (0..HANDLE_WORDS).filter(|&w| serves(self.size_of(w))).collect();
                let got = slab.harvest_for(view, size);
                self.check_harvest(words, got);
            }
            Step::AddRun(first, size, count) => {
                let words = count.div_ceil(64) as usize;
                if (first..first + words).all(|word| word < WORDS && self.size_of(word) == 0) {
                    slab.add_run(view, first, size, count);
                    self.runs.insert(first, (size, count));
                    self.slots.extend((0..count).map(|n| (first as u32 * 64 + n, Place::Free)));
                }
            }
            Step::Retire(index) => {
                if self.runs.is_empty() || self.dead {
                    return;
                }
                let &(&first, &(_, count)) = index.get(&self.runs.iter().collect::<Vec<_>>());
                let handles = first as u32 * 64..first as u32 * 64 + count;
                let home = handles.clone().all(|h| self.slots[&h] == Place::Free);
                assert_eq!(slab.retire_run(view, first, count), home);
                if home {
                    self.runs.remove(&first);
                    self.slots.retain(|handle, _| !handles.contains(handle));
                }
            }
            Step::Noise(word, bits) => {
                view.ret[word].fetch_xor(bits, Ordering::Release);
                self.flipped[word] ^= bits;
            }
        }
    }

    /// Every word equals the model's.
    fn check_words(&self) {
        for word in 0..WORDS {
            let free = self.world.free[word].0.load(Ordering::Relaxed);
            let in_flight = self.world.slab.inflight[word].0.load(Ordering::Relaxed);
            assert_eq!(free & in_flight, 0);
            assert_eq!(free & self.mask(word, Place::Claimed), 0, "a claimed slot of word {word} is free");
            if !self.dead {
                assert_eq!(free, self.mask(word, Place::Free), "free bits of word {word}");
                assert_eq!(in_flight, self.mask(word, Place::InFlight), "in-flight bits of word {word}");
            }
        }
    }
}

fn run(hostile: bool, steps: Vec<Step>) -> Oracle {
    let mut oracle = Oracle::new(hostile);
    oracle.apply(Step::AddRun(0, 256, 5));
    oracle.apply(Step::AddRun(1, 4096, 66));
    for step in steps {
        oracle.apply(step);
        oracle.check_words();
    }
    oracle
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_peer(steps in prop::collection::vec(step(false), 0..120)) {
        let mut oracle = run(false, steps);
        assert!(!oracle.dead);
        // I3: what is with the peer can come home, and then nothing is missing.
        for handle in oracle.in_place(Place::InFlight) {
            if oracle.flipped[handle.word()] & handle.mask() == 0 {
                give_back(&oracle.world.ret, handle);
                oracle.flipped[handle.word()] ^= handle.mask();
            }
        }
        oracle.apply(Step::Harvest);
        oracle.check_words();
        assert_eq!(oracle.in_place(Place::InFlight), []);
    }

    #[test]
    fn a_hostile_peer(steps in prop::collection::vec(step(true), 0..120)) {
        run(true, steps);
    }
}
