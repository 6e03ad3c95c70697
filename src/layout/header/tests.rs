//! Headers: each refusal by name, the bytes as drawn, and random damage against an independent checker.

use super::*;
use crate::layout::geometry::GeometryError;
use crate::layout::geometry::tests::{any_classes, sound};
use crate::layout::words::MAX_HANDLES;
use proptest::prelude::*;

type Bytes = [u8; HEADER_BYTES];

/// A plan with several slots in each class, whose offsets the tests below know by number.
fn roomy() -> Geometry {
    Geometry::plan(256, &[(256, 64), (1 << 10, 64), (4 << 10, 64), (16 << 10, 32)]).unwrap()
}

fn standard() -> Bytes {
    Header::encode(&roomy(), 0)
}

/// Where field `at` of class `index` lies.
fn class(index: usize, at: usize) -> usize {
    AT_CLASSES + index * CLASS_BYTES + at
}

/// The error of the standard header with one field overwritten; the segment has the stated length.
fn error<const N: usize>(at: usize, field: [u8; N]) -> HeaderError {
    let mut bytes = standard();
    put(&mut bytes, at, field);
    let stated = get_u64(&bytes, AT_TOTAL);
    Header::validate(&bytes, stated).unwrap_err()
}

#[test]
fn the_bytes_are_as_drawn() {
    let bytes = standard();
    assert_eq!(&bytes[..16], b"mmaprpc\0\x01\0\0\0\x80\0\0\0");
    assert_eq!(bytes[24..40], [0, 0, 0x0e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[64..80], [0, 1, 0, 0, 128, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    // The last class: 16 KiB at 0x60000, 32 slots from handle 192.
    assert_eq!(bytes[176..192], [0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[192..208], [32, 0, 0, 0, 192, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(bytes[208..].iter().all(|b| *b == 0));
}

#[test]
fn magic() {
    assert_eq!(error(0, *b"MMAPRPC\0"), HeaderError::Magic(*b"MMAPRPC\0"));
}

#[test]
fn version_names_both_sides() {
    let refused = error(AT_VERSION, 2u32.to_le_bytes());
    assert_eq!(refused, HeaderError::Version { theirs: 2, ours: 1 });
    assert_eq!(refused.to_string(), "layout version 2, this side speaks 1");
}

#[test]
fn features() {
    assert_eq!(error(AT_FEATURES, (1u64 << 63).to_le_bytes()), HeaderError::Features(1 << 63));
}

#[test]
fn length() {
    let actual = roomy().total_len;
    for wrong in [actual - 4096, actual + 4096, 0] {
        let refused = Header::validate(&standard(), wrong);
        assert_eq!(refused, Err(HeaderError::Length { stated: actual, actual: wrong }));
    }
    assert_eq!(error(AT_TOTAL, (actual + 64).to_le_bytes()), HeaderError::PartialPage(actual + 64));
}

#[test]
fn fixed_sizes() {
    assert_eq!(error(AT_ENTRY_SIZE, 64u32.to_le_bytes()), HeaderError::EntrySize(64));
    assert_eq!(error(AT_HANDLE_WORDS, 127u32.to_le_bytes()), HeaderError::HandleWords(127));
}

#[test]
fn what_no_plan_would_have() {
    let cases = [
        (error(AT_RING_CAPACITY, 3u32.to_le_bytes()), GeometryError::RingCapacity(3)),
        (error(AT_CLASS_COUNT, 0u32.to_le_bytes()), GeometryError::ClassCount(0)),
        (error(AT_CLASS_COUNT, 17u32.to_le_bytes()), GeometryError::ClassCount(17)),
        (
            error(class(0, CLASS_SLOT_SIZE), 96u64.to_le_bytes()),
            GeometryError::SlotSize { class: 0, size: 96 },
        ),
        (
            error(class(1, CLASS_SLOT_SIZE), 256u64.to_le_bytes()),
            GeometryError::SlotOrder { class: 1, size: 256 },
        ),
        (error(class(2, CLASS_SLOT_COUNT), [0; 4]), GeometryError::SlotCount { class: 2 }),
        (
            error(class(3, CLASS_FIRST_HANDLE), MAX_HANDLES.to_le_bytes()),
            GeometryError::Handles { class: 3, first: MAX_HANDLES, count: 32 },
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, HeaderError::Geometry(expected));
    }
}

#[test]
fn first_handle() {
    // Inside a word; on the word of the class before.
    for first in [65u32, 0] {
        let refused = error(class(1, CLASS_FIRST_HANDLE), first.to_le_bytes());
        assert_eq!(refused, HeaderError::FirstHandle { class: 1, first });
    }
    // Class 1 grows into the word of class 2.
    let refused = error(class(1, CLASS_SLOT_COUNT), 65u32.to_le_bytes());
    assert_eq!(refused, HeaderError::FirstHandle { class: 2, first: 128 });
}

#[test]
fn alignment() {
    let cases = [
        (AT_RING, Section::Ring, 0x1020, 64),
        (AT_CONTROL, Section::Control, 0x9040, 128),
        (AT_RET, Section::Ret, 0x9688, 64),
        (AT_FREE, Section::Free, 0x9a88, 64),
        (class(0, CLASS_OFFSET), Section::Slots(0), 0xc020, 64),
        (class(2, CLASS_OFFSET), Section::Slots(2), 0x20040, 4096),
    ];
    for (at, section, offset, align) in cases {
        let refused = error(at, u64::to_le_bytes(offset));
        assert_eq!(refused, HeaderError::Alignment { section, offset, align });
    }
}

#[test]
fn range() {
    let cases = [
        (AT_RING, Section::Ring, 0xe0000),
        (AT_CONTROL, Section::Control, 0u64.wrapping_sub(128)),
        (AT_RET, Section::Ret, 0xe0000 - 512),
        (AT_FREE, Section::Free, 0xe0000 - 4096),
        (class(3, CLASS_OFFSET), Section::Slots(3), 0x61000),
    ];
    for (at, section, offset) in cases {
        assert_eq!(error(at, u64::to_le_bytes(offset)), HeaderError::Range { section, offset });
    }
    assert_eq!(error(AT_TOTAL, [0; 8]), HeaderError::Range { section: Section::Header, offset: 0 });
    // Slot size times slot count overflows.
    let refused = error(class(3, CLASS_SLOT_SIZE), (1u64 << 60).to_le_bytes());
    assert_eq!(refused, HeaderError::Range { section: Section::Slots(3), offset: 0x60000 });
}

#[test]
fn overlap() {
    let cases = [
        (AT_RING, 0, Section::Header, Section::Ring),
        (AT_RING, 0x1040, Section::Ring, Section::Control),
        (AT_CONTROL, 0x8f80, Section::Ring, Section::Control),
        (AT_RET, 0x9640, Section::Control, Section::Ret),
        (AT_FREE, 0x9a40, Section::Ret, Section::Free),
        (class(0, CLASS_OFFSET), 0xba40, Section::Free, Section::Slots(0)),
        (class(1, CLASS_OFFSET), 0x10040, Section::Slots(1), Section::Slots(2)),
        (class(3, CLASS_OFFSET), 0x5f000, Section::Slots(2), Section::Slots(3)),
    ];
    for (at, offset, first, second) in cases {
        assert_eq!(error(at, u64::to_le_bytes(offset)), HeaderError::Overlap { first, second });
    }
}

#[test]
fn unused_bytes() {
    for at in
        [AT_ZERO, AT_ZERO + 3, class(0, CLASS_ZERO), class(3, CLASS_ZERO) + 7, class(4, 0), AT_END, 4095]
    {
        assert_eq!(error(at, [1]), HeaderError::Unused(at));
    }
}

#[test]
fn a_section_may_lie_elsewhere_if_it_fits() {
    // The gap after the free words has room for the return words.
    let mut bytes = standard();
    put(&mut bytes, AT_RET, 0xba80u64.to_le_bytes());
    let read = Header::validate(&bytes, 0xe0000).unwrap();
    assert_eq!(read.geometry.ret_offset, 0xba80);
    assert_eq!(sound(&read.geometry), Ok(()));
}

/// Fields and their widths.
fn any_field() -> impl Strategy<Value = (usize, usize)> {
    let wide = [AT_MAGIC, AT_FEATURES, AT_TOTAL, AT_RING, AT_CONTROL, AT_RET, AT_FREE];
    let narrow = [AT_VERSION, AT_ENTRY_SIZE, AT_RING_CAPACITY, AT_HANDLE_WORDS, AT_CLASS_COUNT, AT_ZERO];
    let in_class = [(CLASS_SLOT_SIZE, 8), (CLASS_OFFSET, 8), (CLASS_SLOT_COUNT, 4), (CLASS_FIRST_HANDLE, 4)];
    prop_oneof![
        proptest::sample::select(wide.to_vec()).prop_map(|at| (at, 8)),
        proptest::sample::select(narrow.to_vec()).prop_map(|at| (at, 4)),
        (0..MAX_CLASSES, proptest::sample::select(in_class.to_vec()))
            .prop_map(|(index, (at, width))| (class(index, at), width)),
        (0..HEADER_BYTES).prop_map(|at| (at, 1)),
    ]
}

/// What damage makes of a field's value.
fn any_change() -> impl Strategy<Value = (u8, u64)> {
    let step = proptest::sample::select(vec![1u64, 8, 32, 64, 128, 640, 1024, 4096, 8192, 1 << 16, 1 << 32]);
    prop_oneof![
        (0..2u8, step),
        (2..3u8, prop_oneof![0..300u64, any::<u64>(), (0..256u64).prop_map(|n| n * 4096)])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_refused_or_harmless(
        log in 1..=8u32,
        classes in any_classes(),
        damage in proptest::collection::vec((any_field(), any_change()), 1..4),
    ) {
        let planned = Geometry::plan(1 << log, &classes).unwrap();
        let mut bytes = Header::encode(&planned, 0);
        for ((at, width), (how, operand)) in damage {
            let mut field = [0; 8];
            field[..width].copy_from_slice(&bytes[at..at + width]);
            let old = u64::from_le_bytes(field);
            let new = [old.wrapping_add(operand), old.wrapping_sub(operand), operand][usize::from(how)];
            bytes[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
        }
        // A damaged length counts as that of the file where a test can still paint it.
        let stated = get_u64(&bytes, AT_TOTAL);
        let actual = if stated < 64 << 20 { stated } else { planned.total_len };
        if let Ok(read) = Header::validate(&bytes, actual) {
            prop_assert_eq!(read.geometry.total_len, actual);
            prop_assert_eq!(read.features, 0);
            prop_assert_eq!(sound(&read.geometry), Ok(()));
            // Nothing is lost or ignored: what was read says the same bytes again.
            prop_assert_eq!(Header::encode(&read.geometry, read.features), bytes);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), AT_END),
        keep in 0..AT_END,
    ) {
        let mut header = standard();
        header[keep..AT_END].copy_from_slice(&bytes[keep..]);
        if let Ok(read) = Header::validate(&header, roomy().total_len) {
            prop_assert_eq!(sound(&read.geometry), Ok(()));
        }
    }
}
