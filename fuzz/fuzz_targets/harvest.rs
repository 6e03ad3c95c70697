//! Any steps of the owner of slots, and any bits in its peer's return words.
//!
//! Properties, against a plain model of where each slot is: a claim hands out a free slot of the best size,
//! and never one that somebody holds; a return counts if its slot was with the peer, and closes the
//! connection if not, exactly then; the counts are the model's, also after a violation.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::Violation;
use mmap_rpc::internals::slab::SlabFixture;

const MIB: u64 = 1 << 20;
/// Slot size and count; each run starts on a word of its own, and slots above 1 MiB form no class.
const RUNS: [(u64, u32); 6] = [(256, 5), (4096, 70), (256, 64), (16384, 1), (2 * MIB, 2), (MIB, 3)];
const MAX_CLASS_SIZE: u64 = MIB;
const MAX_HANDLES: u32 = 128 * 64;

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let slab = SlabFixture::new(&RUNS);
    let mut model = Model::new();
    while !u.is_empty() {
        let handle = model.slots[u.choose_index(model.slots.len())?].handle;
        match u.int_in_range(0..=9)? {
            0..=2 => {
                let size =
                    *u.choose(&[0, 1, 256, 257, 4096, 5000, 16385, MIB, MIB + 1, 3 * MIB, u64::MAX])?;
                model.claimed(size, slab.claim(size, u.arbitrary::<u16>()?.into()));
            }
            3 if model.move_from(handle, Place::Claimed, Place::Free) => slab.abort(handle),
            4 | 5 if model.move_from(handle, Place::Claimed, Place::InFlight) => slab.publish(handle),
            6 => {
                slab.give_back(handle);
                model.flip(handle / 64, 1 << (handle % 64));
            }
            7 => {
                let (word, bits) = (u.int_in_range(0..=127)?, u.arbitrary::<u64>()? & u.arbitrary::<u64>()?);
                slab.scribble(word as usize, bits);
                model.flip(word, bits);
            }
            8 => {
                let size =
                    if u.arbitrary()? { Some(*u.choose(&[1, 257, 5000, MIB, MIB + 1])?) } else { None };
                let harvest = size.map_or_else(|| slab.harvest(), |size| slab.harvest_for(size));
                assert_eq!(harvest, model.harvested(size), "harvest for {size:?}");
            }
            9 => {
                let handle = if u.arbitrary()? { handle } else { u.arbitrary()? };
                let held = model.move_from(handle, Place::InFlight, Place::Free);
                let expected = if held { Ok(()) } else { Err(Violation::ForgedRelease { handle }) };
                assert_eq!(slab.release(handle), expected);
            }
            _ => {}
        }
        assert_eq!(slab.counts(), (model.count(Place::Free), model.count(Place::InFlight)));
    }
    // Whatever has been: each slot that is free can be claimed, once, and no other one.
    for size in RUNS.map(|(size, _)| size) {
        while model.claimed(size, slab.claim(size, 0)) {}
    }
    assert_eq!(slab.counts().0, 0, "a free slot that no claim finds");
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Claimed,
    InFlight,
    /// The peer returned it together with a slot that it did not hold: nobody's, until the region goes.
    Lost,
}

#[derive(Debug)]
struct Slot {
    handle: u32,
    size: u64,
    place: Place,
}

struct Model {
    slots: Vec<Slot>,
    /// Bits that the peer flipped and no harvest has accounted for.
    flipped: [u64; MAX_HANDLES as usize / 64],
}

impl Model {
    fn new() -> Self {
        let mut slots = Vec::new();
        let mut first = 0;
        for (size, count) in RUNS {
            slots.extend((first..first + count).map(|handle| Slot { handle, size, place: Place::Free }));
            first += count.next_multiple_of(64);
        }
        Self { slots, flipped: [0; MAX_HANDLES as usize / 64] }
    }

    fn count(&self, place: Place) -> u32 {
        self.slots.iter().filter(|slot| slot.place == place).count() as u32
    }

    fn flip(&mut self, word: u32, bits: u64) {
        self.flipped[word as usize] ^= bits;
    }

    /// Moves the slot if it is in the one place; whether it was.
    fn move_from(&mut self, handle: u32, from: Place, to: Place) -> bool {
        let slot = self.slots.iter_mut().find(|slot| slot.handle == handle && slot.place == from);
        slot.map(|slot| slot.place = to).is_some()
    }

    /// The sizes that may serve a request, best first: two classes, or every large run.
    fn serving(size: u64) -> Vec<u64> {
        let mut sizes: Vec<u64> = RUNS.map(|(size, _)| size).into_iter().filter(|s| *s >= size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let is_class = |size: &u64| *size <= MAX_CLASS_SIZE;
        match sizes.first().is_some_and(is_class) {
            true => sizes.into_iter().filter(is_class).take(2).collect(),
            false => sizes,
        }
    }

    /// Judges the answer to a claim; whether there was a slot.
    fn claimed(&mut self, size: u64, handle: Option<u32>) -> bool {
        let is_free = |size: &u64| self.slots.iter().any(|s| s.size == *size && s.place == Place::Free);
        let expected = Self::serving(size).into_iter().find(is_free);
        let got = handle.map(|handle| {
            let slot = self.slots.iter().find(|slot| slot.handle == handle).expect("a handle of no run");
            assert_eq!(slot.place, Place::Free, "handle {handle} was handed out twice");
            slot.size
        });
        assert_eq!(got, expected, "a claim of {size} bytes");
        handle.is_some_and(|handle| self.move_from(handle, Place::Free, Place::Claimed))
    }

    /// What a harvest answers: of all words, or of those that serve a size.
    fn harvested(&mut self, size: Option<u64>) -> std::result::Result<u32, Violation> {
        let mut sizes = size.map(Self::serving);
        if let Some(sizes) = &mut sizes
            && sizes.first().is_some_and(|size| *size <= MAX_CLASS_SIZE)
        {
            sizes.truncate(1);
        } else if size.is_some() {
            sizes = Some(RUNS.map(|(size, _)| size).into_iter().filter(|s| *s > MAX_CLASS_SIZE).collect());
        }
        let looks_at = |size: u64| sizes.as_ref().is_none_or(|sizes| sizes.contains(&size));
        let mut freed = 0;
        for word in 0..self.flipped.len() {
            let slots = || self.slots.iter().filter(|slot| slot.handle as usize / 64 == word);
            if !slots().next().is_some_and(|slot| looks_at(slot.size)) {
                continue;
            }
            let held = slots().filter(|slot| slot.place == Place::InFlight);
            let held = held.fold(0, |bits, slot| bits | 1u64 << (slot.handle % 64));
            let flipped = self.flipped[word];
            let forged = flipped & !held;
            for bit in (0..64).filter(|bit| flipped & held & 1 << bit != 0) {
                let to = if forged == 0 { Place::Free } else { Place::Lost };
                self.move_from(word as u32 * 64 + bit, Place::InFlight, to);
                freed += 1;
            }
            if forged != 0 {
                return Err(Violation::ForgedReturn { word, bits: forged });
            }
            self.flipped[word] = 0;
        }
        Ok(freed)
    }
}
