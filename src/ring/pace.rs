//! Keeping away from the entry that the peer is about to write.
//!
//! A reader that is quicker than its writer stands before an entry that is not there yet, and each of its
//! looks takes the cache line away into which the writer is about to write. The writer has to fetch it back,
//! and waits for that at its next locked instruction: a flood of short calls is much slower so. Where several
//! entries are known to follow, the reader therefore looks at one further on. When that is there, the ones
//! before it are, and have been left in peace.
//!
//! What it must not do is to hold up an entry that nothing follows. So it gives up soon if nothing comes, and
//! one hold-up that was for nothing spares the next ones ([`Backoff`]).

use super::backoff::Backoff;
use crate::sync::spin_loop;

/// A batch is this part of the entries that are known to be under way: the writer has enough to do until it
/// is answered.
const PART: usize = 5;

/// The most entries of a batch: with more of them each is hardly cheaper, and waits for longer.
const MOST: usize = 12;

/// Pauses that each entry of a batch is given to come, of some 20 ns: more than a call of a flood takes.
const PAUSES: usize = 24;

/// If no entry at all has come after this part of the time, none is waited for.
const SOON: usize = 2;

/// What is known to be under way falls by this part with each batch that does not show it.
const FADING: usize = 32;

/// How a reader holds back.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How many entries are likely to be under way.
    under_way: usize,
    backoff: Backoff,
}

impl Pace {
    /// Waits until a batch of entries is there, or none seems to come.
    ///
    /// `under_way` says how many are under way at least, as far as the last entry shows; `is_there`, whether
    /// the entry so many after the next one has come.
    #[inline]
    pub(crate) fn hold_back(&mut self, under_way: usize, is_there: impl Fn(u64) -> bool) {
        let faded = self.under_way - self.under_way.div_ceil(FADING);
        self.under_way = under_way.min(MOST * PART).max(faded);
        let batch = self.under_way / PART;
        if batch > 1 && self.backoff.may_try() {
            match follow(batch, is_there) {
                true => self.backoff.succeeded(),
                false => self.backoff.failed(),
            }
        }
    }
}

/// Waits for the last entry of a batch, for as long as that may take. False if not even the first one has
/// come in a part of that time.
fn follow(batch: usize, is_there: impl Fn(u64) -> bool) -> bool {
    let (last, pauses) = (batch as u64 - 1, batch * PAUSES);
    let comes = |pauses: usize| {
        (0..pauses).any(|_| {
            spin_loop();
            is_there(last)
        })
    };
    if !comes(pauses / SOON) {
        if !is_there(0) {
            return false;
        }
        comes(pauses - pauses / SOON);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A writer that has written one more entry after so many looks, and `total` in the end.
    struct Writer {
        looks_per_entry: usize,
        total: u64,
        looks: Cell<usize>,
    }

    impl Writer {
        fn new(looks_per_entry: usize, total: u64) -> Self {
            Self { looks_per_entry, total, looks: Cell::new(0) }
        }

        fn is_there(&self, ahead: u64) -> bool {
            self.looks.set(self.looks.get() + 1);
            let written = (self.looks.get() / self.looks_per_entry) as u64;
            ahead < written.min(self.total)
        }

        /// How often a reader looks that holds back before this writer.
        fn looks(self, pace: &mut Pace, under_way: usize) -> usize {
            pace.hold_back(under_way, |ahead| self.is_there(ahead));
            self.looks.get()
        }
    }

    #[test]
    fn a_batch_is_waited_for() {
        for (under_way, batch) in [(10, 2), (32, 6), (64, 12), (1000, 12)] {
            let looks = Writer::new(PAUSES / 2, 100).looks(&mut Pace::default(), under_way);
            // One look more where the batch took longer than the first part of its time.
            assert!((batch * PAUSES / 2..=batch * PAUSES / 2 + 1).contains(&looks), "{under_way}: {looks}");
        }
    }

    #[test]
    fn nobody_waits_for_a_few_calls() {
        for under_way in 0..2 * PART {
            assert_eq!(Writer::new(1, 100).looks(&mut Pace::default(), under_way), 0);
        }
    }

    #[test]
    fn where_nothing_comes_the_wait_is_short_and_not_soon_repeated() {
        let mut pace = Pace::default();
        for skipped in [0, 1, 3, 7] {
            for _ in 0..skipped {
                assert_eq!(Writer::new(1, 0).looks(&mut pace, 64), 0);
            }
            assert_eq!(Writer::new(1, 0).looks(&mut pace, 64), MOST * PAUSES / SOON + 1);
        }
    }

    #[test]
    fn the_last_of_a_burst_are_not_held_up_for_ever_and_are_no_failure() {
        let mut pace = Pace::default();
        for _ in 0..3 {
            assert_eq!(Writer::new(1, 3).looks(&mut pace, 64), MOST * PAUSES + 1);
        }
    }

    #[test]
    fn what_was_under_way_is_forgotten() {
        let mut pace = Pace::default();
        let holds_back = |pace: &mut Pace| Writer::new(1, 100).looks(pace, 1) > 0;
        assert!(Writer::new(1, 100).looks(&mut pace, 1000) > 0);
        let batches = (0..1000).position(|_| !holds_back(&mut pace)).expect("forgotten");
        assert!((FADING..3 * FADING).contains(&batches), "after {batches} batches");
    }
}
