//! Fills: what the reader sees of an honest writer at any time, and of words that nobody honest wrote.

use proptest::prelude::*;

use super::*;
use crate::layout::words::{FILLS, FillLine};

fn lines() -> [FillLine; FILLS] {
    std::array::from_fn(|_| FillLine { level: AtomicU64::new(0), given_up: AtomicU64::new(0) })
}

#[test]
fn a_reader_sees_what_was_raised_and_a_late_one_the_whole() {
    let (world, lines, fills) = (World::new(&[(0, 256, 2)]), lines(), Fills::new());
    let slot = world.slab.claim(world.view(), 1, 0).unwrap().handle;
    let fill = fills.begin(&lines, 100).unwrap();
    let mut filling = Filling::admit(fill.line(), fill.start(), 100).unwrap();
    assert!(!filling.has_more(&lines));
    assert_eq!(filling.look(&lines), Ok(Level::Bytes(0)));
    for written in [10, 60] {
        fill.raise(written);
        assert!(filling.has_more(&lines));
        assert_eq!(filling.look(&lines), Ok(Level::Bytes(written)));
        assert!(!filling.has_more(&lines));
    }
    assert_eq!(world.counts(), (1, 0), "a loan until the last raise");
    fill.finish(&world.slab, slot);
    assert_eq!(world.counts(), (1, 1));
    let other = world.slab.claim(world.view(), 1, 0).unwrap().handle;
    let next = fills.begin(&lines, 1000).unwrap();
    assert_eq!((next.line(), next.start()), (0, 100));
    next.raise(900);
    assert_eq!(filling.look(&lines), Ok(Level::Bytes(100)), "no more than it has");
    next.give_up(&world.slab, other);
    assert_eq!(filling.look(&lines), Ok(Level::Bytes(100)), "that was another");
    let mut lost = Filling::admit(0, 100, 1000).unwrap();
    assert_eq!(lost.look(&lines), Ok(Level::GivenUp));
    assert_eq!(fills.begin(&lines, 1).unwrap().line(), 1, "the line is lost");
}

#[test]
fn an_early_return_is_forged_and_frees_nothing() {
    let (world, lines, fills) = (World::new(&[(0, 256, 1)]), lines(), Fills::new());
    let slot = world.slab.claim(world.view(), 1, 0).unwrap().handle;
    let fill = fills.begin(&lines, 100).unwrap();
    give_back(&world.ret, slot);
    assert!(matches!(world.slab.harvest(world.view()), Err(Violation::ForgedReturn { .. })));
    assert_eq!(world.claim(1, 0), None, "its writer is still in it");
    fill.finish(&world.slab, slot);
}

#[test]
fn there_are_so_many_lines() {
    let (lines, fills) = (lines(), Fills::new());
    let mut taken: Vec<_> = std::iter::from_fn(|| fills.begin(&lines, 1)).collect();
    assert_eq!(taken.len(), FILLS);
    taken.pop().unwrap().cancel();
    assert!(fills.begin(&lines, 1).is_some());
}

#[test]
fn numbers_that_no_fill_has_are_refused() {
    for (line, start, len) in
        [(FILLS as u64, 0, 1), (u64::MAX, 0, 1), (0, 0, 0), (0, u64::MAX, 1), (0, 2, u64::MAX)]
    {
        assert!(matches!(Filling::admit(line, start, len), Err(Violation::Fill(_))), "{line} {start} {len}");
    }
    assert!(Filling::admit(FILLS as u64 - 1, u64::MAX - 1, 1).is_ok());
}

proptest! {
    /// Whatever the peer's words hold, what may be read never shrinks and never exceeds the message.
    #[test]
    fn any_levels_stay_in_bounds(
        start in prop_oneof![0u64..300, any::<u64>()],
        len in prop_oneof![0u64..300, any::<u64>()],
        levels in prop::collection::vec((prop_oneof![0u64..700, any::<u64>()], 0u64..700), 1..20),
    ) {
        let lines = lines();
        let Ok(mut filling) = Filling::admit(0, start, len) else { return Ok(()) };
        let mut before = 0;
        for (level, given_up) in levels {
            lines[0].level.store(level, Ordering::Relaxed);
            lines[0].given_up.store(given_up, Ordering::Relaxed);
            match filling.look(&lines) {
                Ok(Level::Bytes(there)) => {
                    prop_assert!(there >= before && there <= len);
                    prop_assert_eq!(there, len.min(level - start));
                    before = there;
                }
                Ok(Level::GivenUp) => {
                    prop_assert!(level >= start + len && given_up == start + len);
                    before = len;
                }
                Err(violation) => {
                    prop_assert!(level < start + before, "{}", violation);
                    return Ok(());
                }
            }
        }
    }
}
