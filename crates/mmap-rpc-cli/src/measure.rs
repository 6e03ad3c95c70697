//! Who is measured when: cells that are compared take turns in rounds, within seconds of each other, so that
//! whatever else the machine does falls on all of them.

mod cell;
mod contender;

pub use cell::{Cell, Clock, Samples};
pub use contender::Contender;

/// How often each cell has its turn.
pub const ROUNDS: usize = 11;

/// A turn begins with calls that do not count, for so small a part of its length: what slept wakes up, and
/// what others pushed out of the caches comes back.
pub(crate) const WARM_UP: u32 = 8;

/// The order in which so many contenders have their turns in a round: each time another one begins.
pub fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (round + place) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_in_every_round_and_begins_some() {
        let turns: Vec<usize> = (0..3).flat_map(|round| order(round, 3)).collect();
        assert_eq!(turns, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert_eq!(order(5, 0).count(), 0);
    }
}
