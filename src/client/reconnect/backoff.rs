//! When the next attempt may be made. No clock and no randomness of its own: both are arguments.

use std::time::{Duration, Instant};

use crate::client::reconnect::policy::Reconnect;

/// The spacing of attempts, which grows while they fail.
///
/// A connection that ends before its attempt's delay has passed counts as a failure: a server that accepts
/// and dies is not to be asked more often than one that is not there.
#[derive(Debug)]
pub(super) struct Backoff {
    policy: Reconnect,
    /// Of the last attempt, before the jitter; zero if there was none that counts.
    delay: Duration,
    /// When the next one may begin; `None` for at once.
    next: Option<Instant>,
    /// When the first one of those began that have failed since there was a connection.
    failing_since: Option<Instant>,
    /// When the last one began.
    begun: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(policy: Reconnect) -> Self {
        Self { policy, delay: Duration::ZERO, next: None, failing_since: None, begun: None }
    }

    /// When the next attempt may begin, if that is not now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| now < *next)
    }

    /// An attempt begins. `random` is from 0 to 1.
    pub(super) fn begin(&mut self, now: Instant, random: f64) {
        let Reconnect { first_delay, longest_delay, multiplier, jitter, .. } = self.policy;
        let grown = if self.delay.is_zero() {
            first_delay.as_secs_f64()
        } else {
            self.delay.as_secs_f64() * multiplier
        };
        let delay = Duration::try_from_secs_f64(grown).unwrap_or(longest_delay).min(longest_delay);
        let jittered = delay.as_secs_f64() * (1.0 + jitter * (2.0 * random - 1.0));
        let jittered = Duration::try_from_secs_f64(jittered).unwrap_or(delay);
        self.delay = delay;
        self.begun = Some(now);
        // A time beyond the clock's range never comes.
        self.next = Some(now.checked_add(jittered).unwrap_or(now + FAR));
    }

    /// The attempt has failed. True if it was the last one.
    #[must_use]
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let since = *self.failing_since.get_or_insert(self.begun.unwrap_or(now));
        self.policy.give_up_after.is_some_and(|time| now.saturating_duration_since(since) >= time)
    }

    /// The attempt has made a connection.
    pub(super) fn succeeded(&mut self) {
        self.failing_since = None;
    }

    /// That connection has ended.
    pub(super) fn lost(&mut self, now: Instant) {
        if self.due(now).is_none() {
            (self.delay, self.next) = (Duration::ZERO, None);
        }
    }
}

const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The delays of attempts that all fail, each begun when it is due.
    fn delays(policy: Reconnect, random: f64, count: usize) -> Vec<Duration> {
        let (mut backoff, mut now) = (Backoff::new(policy), Instant::now());
        (0..count)
            .map(|_| {
                assert_eq!(backoff.due(now), None);
                backoff.begin(now, random);
                assert!(!backoff.failed(now));
                let next = backoff.due(now).unwrap_or(now);
                let delay = next - now;
                now = next;
                delay
            })
            .collect()
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let policy = Reconnect::default();
        let expected = [10, 20, 40, 80, 160, 320, 640, 1000, 1000].map(ms);
        assert_eq!(delays(policy, 0.5, 9), expected);
        assert_eq!(delays(policy, 0.0, 2), [ms(8), ms(16)]);
        assert_eq!(delays(policy, 1.0, 2), [ms(12), ms(24)]);
        assert!(policy.first_delay.mul_f64(1.0 + policy.jitter) < ms(50));
    }

    #[test]
    fn a_connection_that_lasts_is_forgotten_and_one_that_does_not_counts() {
        let (mut backoff, start) = (Backoff::new(Reconnect::default()), Instant::now());
        backoff.begin(start, 0.5);
        backoff.succeeded();
        backoff.lost(start + ms(3));
        assert_eq!(backoff.due(start + ms(3)), Some(start + ms(10)));
        let again = start + ms(10);
        backoff.begin(again, 0.5);
        backoff.succeeded();
        backoff.lost(again + ms(3));
        assert_eq!(backoff.due(again + ms(3)), Some(again + ms(20)), "it has grown");
        let third = again + ms(20);
        backoff.begin(third, 0.5);
        backoff.succeeded();
        backoff.lost(third + ms(40));
        assert_eq!(backoff.due(third + ms(40)), None, "it lasted");
        backoff.begin(third + ms(40), 0.5);
        assert_eq!(backoff.due(third + ms(40)), Some(third + ms(50)), "and all begins anew");
    }

    #[test]
    fn the_last_attempt_is_the_one_that_fails_late() {
        let policy = Reconnect::default().give_up_after(ms(100));
        let (mut backoff, start) = (Backoff::new(policy), Instant::now());
        backoff.begin(start, 0.5);
        assert!(!backoff.failed(start + ms(50)));
        backoff.begin(start + ms(60), 0.5);
        assert!(!backoff.failed(start + ms(99)));
        backoff.begin(start + ms(99), 0.5);
        backoff.succeeded();
        backoff.begin(start + ms(1000), 0.5);
        assert!(!backoff.failed(start + ms(1001)), "counted from the last connection on");
        backoff.begin(start + ms(1050), 0.5);
        assert!(backoff.failed(start + ms(1100)));
    }

    proptest! {
        #[test]
        fn delays_keep_within_their_bounds(
            first in 0_u64..2000,
            longest in 0_u64..2000,
            multiplier in prop_oneof![Just(f64::INFINITY), Just(f64::NAN), -1.0..100.0],
            jitter in prop_oneof![Just(f64::NAN), -1.0..3.0],
            random in 0.0..=1.0,
        ) {
            let policy = Reconnect::default()
                .first_delay(ms(first))
                .longest_delay(ms(longest))
                .multiplier(multiplier)
                .jitter(jitter);
            let least = ms(first.min(longest)).mul_f64(1.0 - policy.jitter);
            let most = ms(longest).mul_f64(1.0 + policy.jitter);
            for delay in delays(policy, random, 20) {
                prop_assert!(delay + Duration::from_nanos(10) >= least, "{delay:?} < {least:?}");
                prop_assert!(delay <= most + Duration::from_nanos(10), "{delay:?} > {most:?}");
            }
        }
    }
}
