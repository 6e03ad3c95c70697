//! Headers: damaged ones, planned ones, and any bytes at all.
//!
//! Properties: a header passes exactly if a second reader, written from the drawing, finds nothing wrong with
//! it; then every section and every slot lies inside the segment and shares no byte with another, each handle
//! names at most one slot, a descriptor is admitted exactly inside its slot, and encoding what was understood
//! gives the same bytes.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::layout::{HEADER_BYTES, Layout, plan};

type Bytes = [u8; HEADER_BYTES];

const PAGE: u128 = 4096;
const HANDLE_WORDS: u128 = 128;
const FILLS: u128 = 8;
const MAX_HANDLES: u32 = 128 * 64;
const CLASSES_AT: usize = 80;
const CLASS_BYTES: usize = 32;

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut bytes, mut actual_len) = planned(u)?;
    for _ in 0..u.int_in_range(0..=6)? {
        damage(u, &mut bytes)?;
    }
    match u.int_in_range(0..=7)? {
        0 => actual_len = u.arbitrary()?,
        1 => actual_len = field(&bytes, 24, 8) as u64,
        2 => bytes.iter_mut().zip(u.bytes(u.len())?).for_each(|(byte, other)| *byte = *other),
        _ => {}
    }
    let ranges = read(&bytes, actual_len);
    match Layout::validate(&bytes, actual_len) {
        Ok(layout) => {
            let ranges = ranges.expect("a header passed that the second reader refuses");
            check_conclusions(u, &layout, &bytes, &ranges)
        }
        Err(error) => {
            assert!(ranges.is_none(), "a header was refused that the second reader accepts: {error}");
            Ok(())
        }
    }
}

/// The header of a plan, good as it is.
fn planned(u: &mut Unstructured<'_>) -> Result<(Bytes, u64)> {
    let mut classes = Vec::new();
    let mut size: u64 = 0;
    for _ in 0..u.int_in_range(1..=5)? {
        size += *u.choose(&[64, 192, 256, 4096, 16384])?;
        // From a page up, slots are whole pages.
        size = if size < 4096 { size } else { size.next_multiple_of(4096) };
        classes.push((size, u.int_in_range(1..=200)?));
    }
    Ok(plan(1 << u.int_in_range(1..=10)?, &classes).expect("a modest plan can be laid out"))
}

/// Overwrites a field of the header with a number that is near, or likely to matter, or any.
fn damage(u: &mut Unstructured<'_>, bytes: &mut Bytes) -> Result<()> {
    let class = CLASSES_AT + CLASS_BYTES * u.int_in_range(0..=5)?;
    let fields = [
        (0, 8),
        (8, 4),
        (12, 4),
        (16, 8),
        (24, 8),
        (32, 8),
        (40, 8),
        (48, 8),
        (56, 8),
        (64, 4),
        (68, 4),
        (72, 4),
        (76, 4),
        (class, 8),
        (class + 8, 8),
        (class + 16, 4),
        (class + 20, 4),
        (class + 24, 8),
    ];
    let &(at, len) = u.choose(&fields)?;
    let (other, other_len) = *u.choose(&fields)?;
    let old = field(bytes, at, len) as u64;
    let new = match u.int_in_range(0..=6)? {
        0 => u.arbitrary()?,
        1 => old.wrapping_add(u64::from(u.arbitrary::<u8>()?) << u.int_in_range(0..=16)?),
        2 => old.wrapping_sub(u64::from(u.arbitrary::<u8>()?) << u.int_in_range(0..=16)?),
        3 => field(bytes, other, other_len) as u64,
        4 => u64::MAX.wrapping_shr(u.int_in_range(0..=63)?),
        5 => old.rotate_left(u.int_in_range(0..=63)?),
        _ => {
            // Two fields change places: sections may stand in any order.
            bytes[other..][..other_len].copy_from_slice(&old.to_le_bytes()[..other_len]);
            field(bytes, other, other_len) as u64
        }
    };
    bytes[at..][..len].copy_from_slice(&new.to_le_bytes()[..len]);
    Ok(())
}

fn field(bytes: &Bytes, at: usize, len: usize) -> u128 {
    bytes[at..][..len].iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Start and end of every section, if the header is good: wide numbers, so that nothing can overflow.
fn read(bytes: &Bytes, actual_len: u64) -> Option<Vec<(u128, u128)>> {
    let number = |at, len| field(bytes, at, len);
    let total = number(24, 8);
    let (capacity, class_count) = (number(64, 4), number(72, 4) as usize);
    let fixed = bytes[..8] == *b"mmaprpc\0" && number(8, 4) == 1 && number(12, 4) == 128;
    let fixed = fixed && number(16, 8) == 0 && number(68, 4) == HANDLE_WORDS && number(76, 4) == 0;
    let sized = total == u128::from(actual_len) && total % PAGE == 0;
    let counted = capacity.is_power_of_two() && (2..=65536).contains(&capacity);
    if !(fixed && sized && counted && (1..=16).contains(&class_count)) {
        return None;
    }
    let mut sections = vec![
        (0, PAGE, 1),
        (number(32, 8), capacity * 128, 64),
        (number(40, 8), (5 + FILLS) * 128, 128),
        (number(48, 8), HANDLE_WORDS * 8, 64),
        (number(56, 8), HANDLE_WORDS * 64, 64),
    ];
    let (mut last_size, mut next_handle) = (0, 0);
    for class in 0..class_count {
        let at = CLASSES_AT + class * CLASS_BYTES;
        let [size, offset] = [0, 8].map(|field| number(at + field, 8));
        let [count, first] = [16, 20].map(|field| number(at + field, 4));
        let unit = if size < PAGE { 64 } else { PAGE };
        let handles_end = (first + count).next_multiple_of(64);
        let good = size > last_size && size % unit == 0 && count > 0 && number(at + 24, 8) == 0;
        if !(good && first % 64 == 0 && first >= next_handle && handles_end <= HANDLE_WORDS * 64) {
            return None;
        }
        (last_size, next_handle) = (size, handles_end);
        sections.push((offset, size * count, unit));
    }
    let rest = &bytes[CLASSES_AT + class_count * CLASS_BYTES..];
    let aligned = sections.iter().all(|(start, _, unit)| start % unit == 0);
    let mut ranges: Vec<_> = sections.iter().map(|(start, len, _)| (*start, start + len)).collect();
    ranges.sort_unstable();
    let apart = ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    let inside = ranges.iter().all(|(_, end)| *end <= total);
    (aligned && apart && inside && rest.iter().all(|byte| *byte == 0)).then_some(ranges)
}

fn check_conclusions(
    u: &mut Unstructured<'_>,
    layout: &Layout,
    bytes: &Bytes,
    sections: &[(u128, u128)],
) -> Result<()> {
    assert!(layout.encode() == *bytes, "encoding what was understood gives other bytes");
    let mut slots = Vec::new();
    let mut named = 0;
    for handle in 0..MAX_HANDLES + 64 {
        if let Some((start, end)) = layout.slot(handle) {
            slots.push((u128::from(start), u128::from(end), handle));
        }
        if handle % 64 == 0 && handle < MAX_HANDLES {
            let bits = layout.slot_bits(handle as usize / 64);
            let all = bits.iter().fold(0, |all, bits| all | bits);
            let ones: u32 = bits.iter().map(|bits| bits.count_ones()).sum();
            assert_eq!(all.count_ones(), ones, "a handle belongs to two classes");
            named += ones;
        }
    }
    let counted: u32 = layout.classes().iter().map(|class| class.slot_count).sum();
    assert_eq!((slots.len(), named), (counted as usize, counted), "a slot without a handle, or the reverse");
    slots.sort_unstable();
    assert!(slots.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two slots overlap");
    let starts = layout.section_offsets();
    for (start, end, handle) in &slots {
        assert!(*end <= u128::from(layout.total_len()), "slot {handle} ends past the segment");
        let inside = |(first, last): &&(u128, u128)| first <= start && end <= last;
        let home = sections.iter().find(inside).expect("a slot outside of every section");
        let control = home.0 == 0 || starts.iter().any(|other| u128::from(*other) == home.0);
        assert!(!control, "slot {handle} lies on control words");
    }
    let &(start, end, handle) = u.choose(&slots)?;
    let offset = match u.int_in_range(0..=2)? {
        0 => u.arbitrary()?,
        1 => (start as u64).wrapping_add(u64::from(u.arbitrary::<u16>()?)),
        _ => (end as u64).wrapping_sub(u64::from(u.arbitrary::<u16>()?)),
    };
    let length = if u.arbitrary()? { u.arbitrary()? } else { u64::from(u.arbitrary::<u16>()?) };
    let inside = start <= u128::from(offset) && u128::from(offset) + u128::from(length) <= end;
    let expected = inside.then_some((offset, length));
    assert_eq!(layout.admit(handle, offset, length).ok(), expected, "slot {handle}: {start}..{end}");
    Ok(())
}
