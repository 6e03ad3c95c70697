//! What limits a call: its time, and whether it may be made twice.

use std::time::{Duration, Instant};

/// The limits that were set on a call; of the times, the earlier one holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeLimit {
    /// From sending it on.
    pub(super) timeout: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    /// Whether it may be made twice.
    pub(super) idempotent: bool,
}

impl TimeLimit {
    /// The same with another end.
    pub(super) fn ending(self, deadline: Option<Instant>) -> Self {
        Self { timeout: None, deadline, ..self }
    }

    /// When a call that is sent now ends at the latest. A timeout beyond the clock's range is none.
    #[inline]
    pub(super) fn end(self) -> Option<Instant> {
        let end = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match (end, self.deadline) {
            (Some(end), Some(deadline)) => Some(end.min(deadline)),
            (end, deadline) => end.or(deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_limit_holds() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(1000));
        let limit = |timeout: Option<u64>, deadline| {
            TimeLimit { timeout: timeout.map(Duration::from_secs), deadline, idempotent: false }.end()
        };
        assert_eq!(limit(None, None), None);
        assert_eq!(limit(None, Some(soon)), Some(soon));
        assert_eq!(limit(Some(100), Some(soon)), Some(soon));
        let timeout = limit(Some(100), Some(late)).unwrap();
        assert!(timeout < late && timeout >= now + Duration::from_secs(100));
        assert!(limit(Some(100), None).unwrap() >= now + Duration::from_secs(100));
        assert_eq!(limit(Some(u64::MAX), Some(late)), Some(late), "beyond the clock's range");
        assert_eq!(limit(Some(u64::MAX), None), None);
    }
}
