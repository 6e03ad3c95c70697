//! Whether to spin before parking, and for how long.
//!
//! A wake-up costs about 25 µs, so a spin that catches the message is a gain and one that does not is a loss,
//! and on one processor it is worse: the spinner keeps the peer from running. Two rules follow what happens.
//! *The hint*: each side publishes the processor it runs on, and on the same one nobody spins. *The
//! back-off*: when a spin fails and yet the message comes soon after parking, the spin was what held it up,
//! or just too short; the next ones are [skipped](Backoff). A message that comes long after says only
//! that the connection was idle, and costs nothing.
//!
//! A spin has two parts. The *glance* looks about a microsecond long without pausing in between, because a
//! pause delays each hop by half its length (measured: a ping-pong of 0.16 µs becomes one of 0.39 µs), and
//! without asking for time or processor, each of which costs as much as a hop. It is for a connection whose
//! last wait was short. Then comes the spin proper, with pauses and a clock.
//!
//! [`AdaptiveSpin`] is a state machine to which time is told; [`glance`] and [`spin_until`] are the loops.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::sync::spin_loop;

/// How long a spin lasts unless configured otherwise: it must exceed a wake-up, or one miss leaves both sides
/// sleeping in turns.
pub(crate) const SPIN_BUDGET: Duration = Duration::from_micros(50);

/// How long a spin lasts that waits for a peer which is only now being woken: its wake-up comes first, and
/// our own comes on top if we sleep as well.
pub(crate) const WAKING_SPIN_BUDGET: Duration = Duration::from_micros(150);

/// Pauses between two looks at the clock, which cost about 25 ns each.
const PAUSES_PER_LOOK: u32 = 32;

/// Looks of a glance: about a microsecond.
const GLANCES: u32 = 3000;

/// The processor number that stands for "unknown".
pub(crate) const UNKNOWN_CPU: u32 = u32::MAX;

/// Decides before each park whether a spin is worth it.
#[derive(Debug)]
pub(crate) struct AdaptiveSpin {
    /// How long a spin lasts.
    budget: Duration,
    /// After spins that were costly.
    backoff: Backoff,
    /// The last wait ended while we were looking: the next one is worth a glance.
    hot: bool,
}

impl AdaptiveSpin {
    /// A budget of zero never spins.
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, backoff: Backoff::default(), hot: false }
    }

    /// How long the spin may last.
    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// Whether to glance before anything else.
    #[inline]
    pub(crate) fn is_hot(&self) -> bool {
        self.hot
    }

    /// The message did not come during a glance.
    #[cfg(feature = "tokio")]
    pub(crate) fn cool(&mut self) {
        self.hot = false;
    }

    /// Whether to spin now; to be asked once before each park. The peer's processor is whatever it published,
    /// so it is only ever compared.
    pub(crate) fn should_spin(&mut self, own_cpu: u32, peer_cpu: u32) -> bool {
        self.hot = false;
        if self.budget.is_zero() || (own_cpu == peer_cpu && own_cpu != UNKNOWN_CPU) {
            return false;
        }
        self.backoff.may_try()
    }

    /// The message came during the glance or the spin.
    #[inline]
    pub(crate) fn succeeded(&mut self) {
        self.backoff.succeeded();
        self.hot = true;
    }

    /// The spin failed, and the sleep after it took this long. Not for a sleep without a spin before it.
    pub(crate) fn failed_then_slept(&mut self, slept: Duration) {
        if slept <= self.budget * 2 {
            self.backoff.failed();
        }
    }
}

/// Runs `ready` without a pause until it is true, or about a microsecond has passed; says which.
#[inline]
pub(crate) fn glance(mut ready: impl FnMut() -> bool) -> bool {
    (0..GLANCES).any(|_| ready())
}

/// Runs `ready`, with pauses between, until it is true or the budget has passed; says which. Looks at least
/// once, and may overrun the budget by the time of a few dozen pauses.
pub(crate) fn spin_until(budget: Duration, mut ready: impl FnMut() -> bool) -> bool {
    if ready() {
        return true;
    }
    let start = Instant::now();
    while start.elapsed() < budget {
        for _ in 0..PAUSES_PER_LOOK {
            spin_loop();
            if ready() {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_micros(50);
    const SOON: Duration = Duration::from_micros(100);
    const LATE: Duration = Duration::from_nanos(100_001);

    /// How often `should_spin` says no before it says yes.
    fn skipped(spin: &mut AdaptiveSpin) -> u32 {
        (0..100).find(|_| spin.should_spin(0, 1)).expect("spins again after the skips")
    }

    #[test]
    fn a_costly_failure_skips_the_next_spin_and_successes_make_good() {
        let mut spin = AdaptiveSpin::new(BUDGET);
        assert_eq!(skipped(&mut spin), 0);
        for expected in [1, 3, 7] {
            spin.failed_then_slept(SOON);
            assert_eq!(skipped(&mut spin), expected);
        }
        spin.succeeded();
        spin.succeeded();
        spin.failed_then_slept(SOON);
        assert_eq!(skipped(&mut spin), 1);
    }

    #[test]
    fn an_idle_connection_is_not_punished() {
        let mut spin = AdaptiveSpin::new(BUDGET);
        for _ in 0..10 {
            spin.failed_then_slept(LATE);
            assert_eq!(skipped(&mut spin), 0);
        }
    }

    #[test]
    fn one_processor_never_spins_and_an_unknown_one_does() {
        for (own, peer, expected) in [
            (0, 0, false),
            (3, 3, false),
            (0, 1, true),
            (UNKNOWN_CPU, UNKNOWN_CPU, true),
            (2, UNKNOWN_CPU, true),
        ] {
            assert_eq!(AdaptiveSpin::new(BUDGET).should_spin(own, peer), expected, "{own} and {peer}");
        }
        assert!(!AdaptiveSpin::new(Duration::ZERO).should_spin(0, 1));
    }

    #[test]
    fn a_skip_is_not_spent_where_nobody_would_spin() {
        let mut spin = AdaptiveSpin::new(BUDGET);
        spin.failed_then_slept(SOON);
        assert!(!spin.should_spin(1, 1));
        assert_eq!(skipped(&mut spin), 1);
    }

    #[test]
    fn a_glance_follows_a_short_wait_only() {
        let mut spin = AdaptiveSpin::new(BUDGET);
        assert!(!spin.is_hot(), "nothing is known yet");
        spin.succeeded();
        assert!(spin.is_hot());
        spin.should_spin(0, 1);
        assert!(!spin.is_hot(), "the glance before this spin failed");
        spin.succeeded();
        spin.should_spin(1, 1);
        assert!(!spin.is_hot(), "one processor");
    }

    #[test]
    fn a_glance_ends_by_itself() {
        let mut looks = 0;
        assert!(!glance(|| {
            looks += 1;
            false
        }));
        assert_eq!(looks, GLANCES);
        assert!(glance(|| true));
    }

    #[test]
    fn spinning_ends_with_the_condition_or_the_budget() {
        let mut looks = 0;
        assert!(spin_until(Duration::from_secs(60), || {
            looks += 1;
            looks == 1000
        }));
        assert_eq!(looks, 1000);
        let start = Instant::now();
        assert!(!spin_until(Duration::from_millis(2), || false));
        assert!(start.elapsed() >= Duration::from_millis(2));
        assert!(spin_until(Duration::ZERO, || true), "looks once even without a budget");
    }
}
