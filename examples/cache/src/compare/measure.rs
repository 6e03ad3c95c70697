//! Who is measured when. Transports take turns in rounds, so that whatever else the machine does falls on
//! both.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::client::Client;
use crate::compare::Transport;
use crate::compare::floor;
use crate::compare::rival::Rival;
use crate::compare::rows::{Row, Samples};
use crate::compare::values::{Op, Values};

/// Sizes of the values, in bytes.
pub(super) const SIZES: [usize; 4] = [64, 4 << 10, 1 << 20, 4 << 20];

/// How often each transport has its turn at an operation of a size.
const ROUNDS: u32 = 10;

/// A turn begins with calls that do not count, for the eighth part of its length: what slept wakes up, and
/// what the other transport pushed out of the caches comes back.
const WARM_UP: u32 = 8;

/// All that is measured.
#[derive(Debug)]
pub(super) struct Comparison {
    client: Client,
    rival: Rival,
    /// Time for each transport, operation and size.
    time: Duration,
}

impl Comparison {
    pub(super) fn new(client: Client, rival: Rival, time: Duration) -> Self {
        Self { client, rival, time }
    }

    /// How many steps the progress bar makes.
    pub(super) fn turns(&self) -> u64 {
        (SIZES.len() * (1 + ROUNDS as usize * Op::CALLS.len() * 2)) as u64
    }

    /// Measures everything. The floor comes last among the rows.
    pub(super) fn run(mut self, progress: &ProgressBar) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut floor = Samples::new();
        for size in SIZES {
            progress.set_message("floor");
            floor::measure(self.time / SIZES.len() as u32, &mut floor)?;
            progress.inc(1);
            progress.set_message(format!("values of {size} B"));
            rows.extend(self.size(size, progress)?);
        }
        rows.push(floor.row("floor", Op::PingPong, 0));
        Ok(rows)
    }

    fn size(&mut self, size: usize, progress: &ProgressBar) -> anyhow::Result<Vec<Row>> {
        let transports: [&mut dyn Transport; 2] = [&mut self.client, &mut self.rival];
        let mut sides = transports.map(|transport| Side::new(transport, size));
        let turn = self.time / ROUNDS;
        for round in 0..ROUNDS {
            for op in 0..Op::CALLS.len() {
                // Each goes first in every other round.
                for place in 0..sides.len() {
                    sides[(round as usize + place) % 2].turn(op, turn)?;
                    progress.inc(1);
                }
            }
        }
        let rows = sides.iter().flat_map(|side| side.rows(size)).collect();
        let [ours, _] = sides;
        let values = ours.values;
        values.store_both(&mut self.client)?;
        values.check_sum(|key| self.client.checksum(key))?;
        Ok(rows)
    }
}

/// One transport at one size.
struct Side<'a> {
    transport: &'a mut dyn Transport,
    values: Values,
    samples: [Samples; Op::CALLS.len()],
}

impl<'a> Side<'a> {
    fn new(transport: &'a mut dyn Transport, size: usize) -> Self {
        let values = Values::random(transport.name(), size);
        Self { transport, values, samples: Op::CALLS.map(|_| Samples::new()) }
    }

    /// Makes calls for so long after the warm-up, at least one.
    fn turn(&mut self, op: usize, length: Duration) -> anyhow::Result<()> {
        let (kind, samples) = (Op::CALLS[op], &mut self.samples[op]);
        self.values.store_both(self.transport)?;
        let warm = Instant::now() + length / WARM_UP;
        let mut number = 0;
        while Instant::now() < warm {
            self.values.call(self.transport, kind, number)?;
            number += 1;
        }
        let end = Instant::now() + length;
        loop {
            samples.add(self.values.call(self.transport, kind, number)?, 1);
            number += 1;
            if Instant::now() >= end {
                break;
            }
        }
        if kind == Op::Set {
            self.values.check_last_set(self.transport, number)?;
        }
        Ok(())
    }

    fn rows(&self, size: usize) -> impl Iterator<Item = Row> {
        let samples = Op::CALLS.iter().zip(&self.samples);
        samples.map(move |(&op, samples)| samples.row(self.transport.name(), op, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::values::tests::Fake;

    #[test]
    fn a_turn_makes_at_least_one_call_that_counts() {
        let mut fake = Fake::default();
        let mut side = Side::new(&mut fake, 64);
        for op in 0..3 {
            side.turn(op, Duration::ZERO).unwrap();
        }
        let rows: Vec<_> = side.rows(64).collect();
        assert_eq!(rows.iter().map(|row| row.calls).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(rows.iter().map(|row| row.op).collect::<Vec<_>>(), Op::CALLS);
    }

    #[test]
    fn a_turn_lasts_as_long_as_it_is_told() {
        let mut fake = Fake::default();
        let start = Instant::now();
        Side::new(&mut fake, 64).turn(1, Duration::from_millis(40)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(45));
    }

    #[test]
    fn a_turn_of_sets_checks_what_they_left() {
        // The two Sets that begin a turn are right, and each of the turn is wrong.
        let mut fake = Fake::with_empty_sets_after(2);
        let error = Side::new(&mut fake, 64).turn(0, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("differs from what was stored (0 bytes"), "{error}");
    }
}
