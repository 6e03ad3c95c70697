//! One word of free bits: taking some, giving some back.
//!
//! A bit is taken by the read-modify-write that clears it: only the one whose `fetch_and` saw it set owns the
//! slot. The load before is a guess at which bit to ask for, so it may be stale and relaxed. There is no ABA:
//! a bit that went away and came back is simply free.

use crate::sync::{AtomicU64, Ordering};

/// How often a taker tries again after it lost a race: once per bit. Each loss is another taker's gain.
const ATTEMPTS: u32 = u64::BITS;

/// Takes the lowest free bit, as a mask; 0 when there is none.
///
/// The lowest, so that few slots are in use at a time and those stay in the cache.
#[inline]
pub(super) fn take_lowest(word: &AtomicU64) -> u64 {
    for _ in 0..ATTEMPTS {
        let free = word.load(Ordering::Relaxed); // a guess: the exchange below decides
        if free == 0 {
            return 0;
        }
        let bit = 1 << free.trailing_zeros();
        // Acquire pairs with the Release in `give`.
        if word.fetch_and(!bit, Ordering::Acquire) & bit != 0 {
            return bit;
        }
    }
    0
}

/// Takes up to `most` free bits at once, the lowest ones; 0 when there is none.
pub(super) fn take_up_to(word: &AtomicU64, most: u32) -> u64 {
    for _ in 0..ATTEMPTS {
        let wanted = lowest(word.load(Ordering::Relaxed), most); // a guess, as above
        if wanted == 0 {
            return 0;
        }
        // Others may have taken some of them meanwhile: what was still set is ours, and nothing else.
        // Acquire pairs with the Release in `give`.
        let took = word.fetch_and(!wanted, Ordering::Acquire) & wanted;
        if took != 0 {
            return took;
        }
    }
    0
}

/// Takes exactly these bits, or none of them. What it held for a moment looks taken to others.
pub(super) fn take_all(word: &AtomicU64, bits: u64) -> bool {
    // Acquire pairs with the Release in `give`.
    let took = word.fetch_and(!bits, Ordering::Acquire) & bits;
    if took != bits && took != 0 {
        give(word, took);
    }
    took == bits
}

/// Makes bits free; the caller holds them.
#[inline]
pub(super) fn give(word: &AtomicU64, bits: u64) {
    // Release pairs with the Acquire of every taker: what the holder did comes before what the next one does.
    word.fetch_or(bits, Ordering::Release);
}

/// The lowest `most` bits of `bits`.
fn lowest(bits: u64, most: u32) -> u64 {
    let mut rest = bits;
    for _ in 0..most.min(u64::BITS) {
        rest &= rest.wrapping_sub(1);
    }
    bits & !rest
}

#[cfg(all(test, not(mmap_rpc_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bits_go_first() {
        let word = AtomicU64::new(0b1011_0100);
        assert_eq!(take_lowest(&word), 0b100);
        assert_eq!(take_up_to(&word, 2), 0b11_0000);
        assert_eq!(take_up_to(&word, 64), 0b1000_0000);
        assert_eq!(take_lowest(&word), 0);
        assert_eq!(take_up_to(&word, 1), 0);
        give(&word, 1 << 63);
        assert_eq!(take_lowest(&word), 1 << 63);
    }

    #[test]
    fn a_batch_of_none_takes_none_and_one_of_all_takes_all() {
        let word = AtomicU64::new(u64::MAX);
        assert_eq!(take_up_to(&word, 0), 0);
        assert_eq!(word.load(Ordering::Relaxed), u64::MAX);
        assert_eq!(take_up_to(&word, u32::MAX), u64::MAX);
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_or_nothing() {
        let word = AtomicU64::new(0b1101);
        assert!(!take_all(&word, 0b111));
        assert_eq!(word.load(Ordering::Relaxed), 0b1101, "what it took went back");
        assert!(take_all(&word, 0b101));
        assert_eq!(word.load(Ordering::Relaxed), 0b1000, "and nothing else was touched");
    }

    #[test]
    fn two_threads_share_a_word_without_overlap() {
        let word = AtomicU64::new(u64::MAX);
        let take = || {
            let mut mine = 0u64;
            for _ in 0..8 {
                mine |= take_lowest(&word) | take_up_to(&word, 3);
            }
            mine
        };
        let (a, b) = std::thread::scope(|s| {
            let other = s.spawn(take);
            (take(), other.join().unwrap())
        });
        assert_eq!(a & b, 0);
        assert_eq!(a | b | word.load(Ordering::Relaxed), u64::MAX);
        assert_eq!(a.count_ones() + b.count_ones(), 64);
    }
}
