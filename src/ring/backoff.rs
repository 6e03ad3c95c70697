//! How often not to try again what has just cost more than it gained.

/// The most chances that are let pass in a row.
const MAX_SKIPS: u32 = 255;

/// After failures in a row 1, 3, 7 … 255 chances are let pass; each success quarters that.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// How many the last failure made us skip: 0, 1, 3, 7 … 255, and quarters of these.
    penalty: u32,
    /// How many are still to be skipped.
    skips: u32,
}

impl Backoff {
    /// Whether to try now: to be asked at each chance.
    #[inline]
    pub(crate) fn may_try(&mut self) -> bool {
        if self.skips > 0 {
            self.skips -= 1;
            return false;
        }
        true
    }

    /// It was worth it.
    #[inline]
    pub(crate) fn succeeded(&mut self) {
        self.penalty /= 4;
    }

    /// It was not.
    pub(crate) fn failed(&mut self) {
        self.penalty = (self.penalty * 2 + 1).min(MAX_SKIPS);
        self.skips = self.penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it says no before it says yes.
    fn skipped(backoff: &mut Backoff) -> u32 {
        (0..=MAX_SKIPS).find(|_| backoff.may_try()).expect("tries again after the most skips")
    }

    #[test]
    fn failures_double_the_skips_up_to_a_limit() {
        let mut backoff = Backoff::default();
        assert_eq!(skipped(&mut backoff), 0);
        for expected in [1, 3, 7, 15, 31, 63, 127, 255, 255, 255] {
            backoff.failed();
            assert_eq!(skipped(&mut backoff), expected);
            assert_eq!(skipped(&mut backoff), 0, "the skips are used up");
        }
    }

    #[test]
    fn a_success_quarters_the_penalty() {
        // After so many failures and then successes, the next failure skips so many.
        for (failures, successes, expected) in
            [(8, 0, 255), (8, 1, 127), (8, 2, 31), (8, 4, 1), (3, 1, 3), (1, 1, 1), (0, 3, 1)]
        {
            let mut backoff = Backoff::default();
            for _ in 0..failures {
                backoff.failed();
                skipped(&mut backoff);
            }
            for _ in 0..successes {
                backoff.succeeded();
            }
            assert_eq!(skipped(&mut backoff), 0);
            backoff.failed();
            assert_eq!(skipped(&mut backoff), expected, "{failures} failures, {successes} successes");
        }
    }
}
