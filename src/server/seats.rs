//! How many clients a server has at a time: seats that are taken, and given back by being dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Clients that wait for the word that they are refused.
const MOST_REFUSED: usize = 64;

/// Seats of one kind, shared by all reactors.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: AtomicUsize,
    /// What the clients in them are, as a refusal says it.
    kind: &'static str,
    /// The setting that says how many there are.
    option: &'static str,
}

impl Seats {
    /// Seats for those who are connected.
    pub(super) fn of_connections(most: usize) -> Arc<Self> {
        Self::new(most, "connections", "max_connections")
    }

    /// Seats for those who have come and not introduced themselves yet.
    pub(super) fn of_handshakes(most: usize) -> Arc<Self> {
        Self::new(most, "clients that have not introduced themselves yet", "max_handshakes")
    }

    /// Seats for those who are not admitted and have not been told: few, because they come from anywhere,
    /// and apart, lest they take those of clients who are welcome.
    pub(super) fn of_refused() -> Arc<Self> {
        Self::new(MOST_REFUSED, "clients that it is about to refuse", "no option")
    }

    fn new(most: usize, kind: &'static str, option: &'static str) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0), kind, option })
    }

    /// Takes a seat.
    ///
    /// # Errors
    /// If all are taken: why, and what helps.
    pub(super) fn take(self: &Arc<Self>) -> Result<Seat, String> {
        let free = |taken| (taken < self.most).then_some(taken + 1);
        // Relaxed: a count that publishes nothing.
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free) {
            Ok(_) => Ok(Seat(self.clone())),
            Err(_) => Err(format!(
                "the server already has {} {}, as many as {} allows; try again later, or raise it",
                self.most, self.kind, self.option
            )),
        }
    }
}

/// One client's seat.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub(super) struct Seat(Arc<Seats>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_once_it_is_dropped() {
        let seats = Seats::of_connections(2);
        let (first, _second) = (seats.take().unwrap(), seats.take().unwrap());
        let refusal = seats.take().unwrap_err();
        assert!(
            refusal.contains("already has 2 connections, as many as max_connections allows"),
            "{refusal}"
        );
        seats.take().expect_err("a refusal takes nothing and gives nothing");
        drop(first);
        let _third = seats.take().unwrap();
        seats.take().unwrap_err();
    }

    #[test]
    fn no_more_than_there_are_are_taken_at_one_time() {
        let seats = Seats::of_handshakes(3);
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if let Ok(_seat) = seats.take() {
                            most.fetch_max(seats.taken.load(Ordering::Relaxed), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(seats.taken.load(Ordering::Relaxed), 0);
    }
}
