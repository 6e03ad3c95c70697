//! Offsets: the number a peer wrote, and the one that has been checked, as two types.
//!
//! Nothing takes a [`RawOffset`] but its own `check`, so a number from shared memory cannot reach pointer
//! arithmetic by oversight. Both count bytes from the start of the segment that holds the slot.

/// A byte offset as a peer wrote it: any value at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawOffset(pub(crate) u64);

/// The bytes `start..end` of a segment that one slot occupies; ours or validated, never a peer's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotBounds {
    /// First byte of the slot.
    pub(crate) start: u64,
    /// One past its last byte.
    pub(crate) end: u64,
}

/// A range of bytes known to lie inside one slot, and therefore inside its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    start: u64,
    len: u64,
}

impl RawOffset {
    /// Admits `len` bytes at this offset if all of them lie inside `slot`.
    ///
    /// An empty range may stand anywhere in the slot, its end included. The error names the failed check.
    pub(crate) fn check(self, len: u64, slot: SlotBounds) -> Result<Offset, &'static str> {
        if self.0 < slot.start {
            return Err("it starts before the slot");
        }
        let Some(end) = self.0.checked_add(len) else {
            return Err("offset plus length overflows");
        };
        if end > slot.end {
            return Err("it ends past the slot");
        }
        Ok(Offset { start: self.0, len })
    }
}

impl Offset {
    /// First byte, counted from the start of the segment.
    pub(crate) fn start(self) -> u64 {
        self.start
    }

    /// Length in bytes.
    pub(crate) fn len(self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOT: SlotBounds = SlotBounds { start: 4096, end: 4096 + 256 };

    #[test]
    fn the_whole_slot_and_its_empty_end_are_inside() {
        let whole = RawOffset(4096).check(256, SLOT).unwrap();
        assert_eq!((whole.start(), whole.len()), (4096, 256));
        assert!(RawOffset(4352).check(0, SLOT).is_ok());
        assert!(RawOffset(4351).check(1, SLOT).is_ok());
    }

    #[test]
    fn each_check_is_named() {
        assert_eq!(RawOffset(4095).check(1, SLOT), Err("it starts before the slot"));
        assert_eq!(RawOffset(4352).check(1, SLOT), Err("it ends past the slot"));
        assert_eq!(RawOffset(4096).check(257, SLOT), Err("it ends past the slot"));
        assert_eq!(RawOffset(4353).check(0, SLOT), Err("it ends past the slot"));
        // Wraps round to 4096 in 64 bits.
        assert_eq!(RawOffset(4352).check(u64::MAX - 255, SLOT), Err("offset plus length overflows"));
        assert_eq!(RawOffset(u64::MAX).check(1, SLOT), Err("offset plus length overflows"));
    }

    fn any_edge() -> impl Strategy<Value = u64> {
        prop_oneof![0..5000u64, 4000..4400u64, u64::MAX - 5000..=u64::MAX, any::<u64>()]
    }

    proptest! {
        #[test]
        fn admits_exactly_what_wide_arithmetic_admits(offset in any_edge(), len in any_edge()) {
            let end = u128::from(offset) + u128::from(len);
            let inside = offset >= SLOT.start && end <= u128::from(SLOT.end);
            prop_assert_eq!(RawOffset(offset).check(len, SLOT).is_ok(), inside);
        }
    }
}
