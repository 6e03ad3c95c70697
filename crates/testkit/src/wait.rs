//! Waiting for something to become true, and measuring how long something took.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of calls that are to succeed: a hang fails the test instead of blocking it. Far beyond what any of
/// them takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until `holds` says yes.
///
/// # Panics
/// Naming `what`, if it does not come to hold within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The middle one of three measurements: one hiccup of a loaded machine does not count, a habit does.
pub fn median_of_3(mut measure: impl FnMut() -> Duration) -> Duration {
    let mut measured = [measure(), measure(), measure()];
    measured.sort();
    measured[1]
}

/// While the guard lives, no other test of this binary that asks for one runs: for tests that look at the
/// whole process, or at a clock.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has left nothing in it.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
