//! Plans: the standard one by its numbers, bad ones by their error, random ones by painting the bytes.

use super::*;
use crate::layout::header::Header;
use proptest::prelude::*;

#[test]
fn standard_is_the_drawing() {
    let g = Geometry::standard();
    assert_eq!((g.ring_capacity, g.ring_offset, g.control_offset), (256, 0x1000, 0x9000));
    assert_eq!((g.ret_offset, g.free_offset, g.total_len), (0x9680, 0x9a80, 0x10000));
    let offsets: Vec<u64> = g.classes.iter().map(|c| c.offset).collect();
    assert_eq!(offsets, [0xc000, 0xd000, 0xe000]);
    let handles: Vec<u32> = g.classes.iter().map(|c| c.first_handle).collect();
    assert_eq!(handles, [0, 64, 128]);
}

#[test]
fn each_refusal_has_its_error() {
    let many: Vec<(u64, u32)> = (1..=17).map(|i| (i * 64, 1)).collect();
    let of = |classes: &[(u64, u32)]| Geometry::plan(256, classes).unwrap_err();
    for capacity in [0, 1, 3, 255, 131_072] {
        let refused = Geometry::plan(capacity, &[(64, 1)]);
        assert_eq!(refused, Err(GeometryError::RingCapacity(capacity)));
    }
    assert_eq!(of(&[]), GeometryError::ClassCount(0));
    assert_eq!(of(&many), GeometryError::ClassCount(17));
    for size in [0, 1, 63, 96, 4096 + 64, u64::MAX] {
        assert_eq!(of(&[(size, 1)]), GeometryError::SlotSize { class: 0, size });
    }
    assert_eq!(of(&[(128, 1), (128, 1)]), GeometryError::SlotOrder { class: 1, size: 128 });
    assert_eq!(of(&[(128, 1), (64, 1)]), GeometryError::SlotOrder { class: 1, size: 64 });
    assert_eq!(of(&[(64, 0)]), GeometryError::SlotCount { class: 0 });
    assert_eq!(of(&[(64, u32::MAX)]), GeometryError::Handles { class: 0, first: 0, count: u32::MAX });
    // One slot takes a whole word of handles from those that follow.
    let full = GeometryError::Handles { class: 1, first: 64, count: MAX_HANDLES - 63 };
    assert_eq!(of(&[(64, 1), (128, MAX_HANDLES - 63)]), full);
    for huge in [(1 << 62, 1), (1 << 63, 1), (1 << 62, 2), (1 << 62, 4)] {
        let refused = Geometry::plan(2, &[(64, 1), (huge.0, huge.1), (huge.0 + 4096, 1)]);
        let class = if huge == (1 << 62, 1) { 2 } else { 1 };
        assert_eq!(refused, Err(GeometryError::TooLarge { class }));
    }
}

#[test]
fn limits_are_reachable() {
    assert!(Geometry::plan(2, &[(64, MAX_HANDLES)]).is_ok());
    assert!(Geometry::plan(65536, &[(64, 1), (128, MAX_HANDLES - 64)]).is_ok());
    let sixteen: Vec<(u64, u32)> = (1..=16).map(|i| (i * 64, 1)).collect();
    assert_eq!(Geometry::plan(2, &sixteen).unwrap().classes.len(), 16);
}

#[test]
fn words_and_masks_name_exactly_the_slots() {
    let class = Class { slot_size: 64, slot_count: 130, first_handle: 128, offset: 4096 };
    assert_eq!(class.words(), 2..5);
    assert_eq!([1, 2, 3, 4, 5].map(|w| class.mask(w)), [0, u64::MAX, u64::MAX, 3, 0]);
    let whole = Class { slot_count: 64, ..class };
    assert_eq!((whole.words(), whole.mask(2), whole.mask(3)), (2..3, u64::MAX, 0));
}

/// Ascending legal sizes and counts.
pub(crate) fn any_classes() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let size = prop_oneof![(1..64u64).prop_map(|n| n * 64), (1..9u64).prop_map(|n| n * 4096)];
    proptest::collection::btree_map(size, 1..200u32, 1..=MAX_CLASSES).prop_map(|m| m.into_iter().collect())
}

/// Marks `start..start + len`, in units of 64 bytes, and fails where something is marked already.
pub(crate) fn paint(bytes: &mut [bool], start: u64, len: u64, what: &str) -> Result<(), String> {
    let end = start.checked_add(len).ok_or("overflow")?;
    if !start.is_multiple_of(64) || !len.is_multiple_of(64) || end > bytes.len() as u64 * 64 {
        return Err(format!("{what} at {start}+{len} is unaligned or outside"));
    }
    for unit in &mut bytes[(start / 64) as usize..(end / 64) as usize] {
        if std::mem::replace(unit, true) {
            return Err(format!("{what} at {start}+{len} overlaps"));
        }
    }
    Ok(())
}

/// What a geometry must be, said again without the code under test: bytes and handles painted once each.
pub(crate) fn sound(g: &Geometry) -> Result<(), String> {
    let must = |good: bool, what: &str| good.then_some(()).ok_or_else(|| what.to_string());
    let mut bytes = vec![false; (g.total_len / 64) as usize];
    must(g.total_len.is_multiple_of(4096), "total is a page multiple")?;
    must(
        [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].contains(&g.ring_capacity) || {
            [2048, 4096, 8192, 16384, 32768, 65536].contains(&g.ring_capacity)
        },
        "ring capacity",
    )?;
    paint(&mut bytes, 0, 4096, "header")?;
    paint(&mut bytes, g.ring_offset, u64::from(g.ring_capacity) * 128, "ring")?;
    paint(&mut bytes, g.control_offset, 1664, "control")?;
    paint(&mut bytes, g.ret_offset, 1024, "ret")?;
    paint(&mut bytes, g.free_offset, 8192, "free")?;
    must(
        g.ring_offset.is_multiple_of(64)
            && g.control_offset.is_multiple_of(128)
            && g.free_offset.is_multiple_of(64),
        "alignment",
    )?;
    must(!g.classes.is_empty() && g.classes.len() <= 16, "class count")?;
    let mut words = [false; 128];
    let mut last = 0;
    for class in g.classes.iter() {
        must(class.slot_size > last && class.slot_size.is_multiple_of(64) && class.slot_count > 0, "class")?;
        last = class.slot_size;
        paint(&mut bytes, class.offset, class.slot_size * u64::from(class.slot_count), "class")?;
        let unit = if class.slot_size >= 4096 { 4096 } else { 64 };
        must(class.offset.is_multiple_of(unit) && class.slot_size.is_multiple_of(unit), "slot alignment")?;
        must(class.first_handle.is_multiple_of(64), "class starts on a word")?;
        for handle in (class.first_handle..class.first_handle + class.slot_count).step_by(64) {
            let word = words.get_mut((handle / 64) as usize).ok_or("handle beyond the maximum")?;
            must(!std::mem::replace(word, true), "two classes share a word")?;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_plan_is_sound_and_validates(log in 1..=12u32, classes in any_classes()) {
        let planned = Geometry::plan(1 << log, &classes).unwrap();
        prop_assert_eq!(sound(&planned), Ok(()));
        let sizes: Vec<(u64, u32)> = planned.classes.iter().map(|c| (c.slot_size, c.slot_count)).collect();
        prop_assert_eq!(sizes, classes);
        let read = Header::validate(&Header::encode(&planned, 0), planned.total_len).unwrap();
        prop_assert_eq!(read.geometry, planned);
    }

    #[test]
    fn slots_of_all_handles_are_disjoint(classes in any_classes()) {
        let g = Geometry::plan(2, &classes).unwrap();
        let mut bytes = vec![false; (g.total_len / 64) as usize];
        let mut slots = 0;
        for handle in (0..MAX_HANDLES).map(|raw| Handle::new(raw).unwrap()) {
            let slot = g.slot(handle);
            let class = g.classes.iter().find(|class| class.slot(handle).is_some());
            prop_assert_eq!(slot.map(|s| s.end - s.start), class.map(|c| c.slot_size));
            // The allocator's masks and the reader's bounds agree about which handles exist.
            let masked = g.classes.iter().any(|c| c.mask(handle.word()) & handle.mask() != 0);
            prop_assert_eq!(slot.is_some(), masked);
            if let Some(slot) = slot {
                prop_assert_eq!(paint(&mut bytes, slot.start, slot.end - slot.start, "slot"), Ok(()));
                slots += 1;
            }
        }
        prop_assert_eq!(slots, classes.iter().map(|c| c.1).sum::<u32>());
    }
}
