//! Who is measured when: cells that are compared take turns in rounds, within seconds of each other, so that
//! whatever else the machine does falls on all of them.

mod cell;
mod contender;

pub use cell::{Cell, Clock, Samples};
pub use contender::Contender;

use std::time::Duration;

/// How often each cell has its turn.
pub const ROUNDS: u32 = 7;

/// A turn begins with calls that do not count, for so small a part of its length: what slept wakes up, and
/// what others pushed out of the caches comes back.
pub(crate) const WARM_UP: u32 = 8;

/// Runs `turn` for each of `count` contenders in every round, each time beginning with another one. `turn`
/// gets the contender's index and the length of a turn.
///
/// # Errors
/// Those of `turn`.
pub fn rounds(
    count: usize,
    time: Duration,
    mut turn: impl FnMut(usize, Duration) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for round in 0..ROUNDS as usize {
        for place in 0..count {
            turn((round + place) % count, time / ROUNDS)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_in_every_round_and_goes_first_in_some() {
        let mut turns = Vec::new();
        rounds(3, Duration::from_secs(7), |which, length| {
            assert_eq!(length, Duration::from_secs(1));
            turns.push(which);
            Ok(())
        })
        .unwrap();
        assert_eq!(turns[..6], [0, 1, 2, 1, 2, 0]);
        assert_eq!(turns.len(), 3 * ROUNDS as usize);
    }
}
