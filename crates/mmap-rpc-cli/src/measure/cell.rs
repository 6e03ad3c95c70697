//! What came out of the turns of one cell.

use std::mem;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::process::Usage;
use crate::row::{Allocations, Row};

/// Longest time of a call that is told apart from longer ones, in nanoseconds.
const LONGEST: u64 = 100_000_000_000;

/// Times of calls.
#[derive(Debug, Clone)]
pub struct Samples {
    nanoseconds: Histogram<u64>,
    calls: u64,
    total: Duration,
}

impl Default for Samples {
    /// None yet.
    fn default() -> Self {
        let nanoseconds = Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that a histogram takes");
        Self { nanoseconds, calls: 0, total: Duration::ZERO }
    }
}

impl Samples {
    /// Adds `calls` that took `time` together.
    #[inline]
    pub fn add(&mut self, time: Duration, calls: u32) {
        let each = u64::try_from((time / calls).as_nanos()).unwrap_or(LONGEST);
        self.nanoseconds.saturating_record(each.max(1));
        self.calls += u64::from(calls);
        self.total += time;
    }

    /// Adds calls whose times are not known one by one.
    pub fn add_untimed(&mut self, time: Duration, calls: u64) {
        self.calls += calls;
        self.total += time;
    }

    /// Adds the times of calls that others made in the same time.
    pub fn merge(&mut self, other: &Self) {
        self.nanoseconds.add(&other.nanoseconds).expect("both have the same bounds");
        self.calls += other.calls;
    }

    /// Adds the times of calls that were made at another time.
    fn append(&mut self, other: &Self) {
        self.merge(other);
        self.total += other.total;
    }

    /// The time that so many of all calls took at most; `None` if no time is known.
    ///
    /// Some clocks count in steps of 10 ns, a good part of a short call. So calls of the same time are taken
    /// to lie evenly around it, half way to the next shorter and the next longer time.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let wanted = part * self.nanoseconds.len() as f64;
        let (mut before, mut last) = (0, None);
        for step in self.nanoseconds.iter_recorded() {
            let (value, count) = (step.value_iterated_to() as f64, step.count_at_value());
            let middle = before as f64 + count as f64 / 2.0;
            if middle >= wanted {
                let (last_value, last_middle) = last.unwrap_or((value, middle - 1.0));
                let share = (wanted - last_middle) / (middle - last_middle);
                return Some((last_value + (value - last_value) * share).round() as u64);
            }
            (before, last) = (before + count, Some((value, middle)));
        }
        last.map(|(value, _)| value as u64)
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Calls per second.
    pub fn rate(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.calls as f64 / self.total.as_secs_f64().max(1e-9))
    }
}

/// A clock that knows what it costs to look at it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    cost: Duration,
}

impl Clock {
    /// The clock, after some thousand looks at it by the first who asks: the same for all rows.
    pub fn new() -> Self {
        static COST: OnceLock<Duration> = OnceLock::new();
        Self { cost: *COST.get_or_init(Self::measure) }
    }

    /// The least of several means, because a single look is finer than what some clocks count in.
    fn measure() -> Duration {
        const LOOKS: u32 = 200;
        let means = (0..20).map(|_| {
            let start = Instant::now();
            let last = (0..LOOKS).fold(start, |_, _| Instant::now());
            (last - start) / LOOKS
        });
        means.min().unwrap_or_default()
    }

    /// The time between two looks, without that of looking.
    #[inline]
    pub fn between(self, start: Instant, end: Instant) -> Duration {
        (end - start).saturating_sub(self.cost)
    }
}

impl Default for Clock {
    /// As [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// All turns of one cell.
#[derive(Debug, Default)]
pub struct Cell {
    /// The times of its calls in this round.
    pub samples: Samples,
    /// Those of all rounds that ended.
    all: Samples,
    rounds: Vec<u64>,
    /// What the client used, and the server.
    used: Option<(Usage, Option<Usage>)>,
    /// Calls that were made while that was counted.
    counted: u64,
    line: Option<[u64; 2]>,
}

impl Cell {
    /// Adds what both processes used for `calls` more calls.
    pub fn used(&mut self, client: Usage, server: Option<Usage>, calls: u64) {
        let (all_client, all_server) = self.used.unwrap_or_default();
        let server = server.map(|server| all_server.unwrap_or_default().plus(server));
        self.used = Some((all_client.plus(client), server));
        self.counted += calls;
    }

    /// Adds calls that were made while [`used`](Self::used) was counted.
    pub fn count(&mut self, calls: u64) {
        self.counted += calls;
    }

    /// Adds all that another cell has, except for its cache line's round trip.
    pub fn absorb(&mut self, other: Self) {
        self.samples.append(&other.samples);
        if let Some((client, server)) = other.used {
            self.used(client, server, other.counted);
        }
    }

    /// Adds a cache line's round trip: the first one that is added came before the cell, the last one after
    /// it.
    pub fn line(&mut self, nanoseconds: Option<u64>) {
        if let Some(now) = nanoseconds {
            self.line = Some([self.line.map_or(now, |[first, _]| first), now]);
        }
    }

    /// Ends a round.
    pub fn end_round(&mut self) {
        let now = mem::take(&mut self.samples);
        let time = now.quantile(0.5).or_else(|| now.rate().map(|rate| (1e9 / rate) as u64));
        self.rounds.extend(time);
        self.all.append(&now);
    }

    /// Fills in what was measured until the last round ended.
    pub fn into_row(self, row: Row) -> Row {
        let seconds = |usage: Usage| usage.cpu_ns as f64 / 1e9;
        let calls = self.counted as f64;
        let allocations = self.used.filter(|_| self.counted > 0).map(|(client, server)| Allocations {
            client: client.allocations as f64 / calls,
            server: server.map(|server| server.allocations as f64 / calls),
        });
        Row {
            line_ns: self.line,
            calls: Some(self.all.calls()),
            p50_ns: self.all.quantile(0.5),
            p90_ns: self.all.quantile(0.9),
            p99_ns: self.all.quantile(0.99),
            p999_ns: self.all.quantile(0.999),
            rounds_ns: self.rounds,
            rate: self.all.rate(),
            cpu_client_s: self.used.map(|(client, _)| seconds(client)),
            cpu_server_s: self.used.and_then(|(_, server)| server.map(seconds)),
            allocs_per_call: allocations,
            ..row
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Mode;

    #[test]
    fn percentiles_and_rate_are_those_of_the_samples() {
        let mut cell = Cell::default();
        for microseconds in 1..=1000 {
            cell.samples.add(Duration::from_micros(microseconds), 1);
        }
        cell.end_round();
        let row = cell.into_row(Row::new("x", Mode::Latency));
        let close = |value: Option<u64>, expected: u64| value.unwrap().abs_diff(expected) * 500 <= expected;
        assert!(close(row.p50_ns, 500_000) && close(row.p90_ns, 900_000), "{row:?}");
        assert!(close(row.rounds_ns.first().copied(), 500_000) && row.rounds_ns.len() == 1, "{row:?}");
        assert!(close(row.p99_ns, 990_000) && close(row.p999_ns, 999_000), "{row:?}");
        assert_eq!((row.calls, row.cpu_client_s, row.line_ns), (Some(1000), None, None));
        // 1000 calls in 500,500 µs.
        assert!((row.rate.unwrap() - 1000.0 / 0.5005).abs() < 1.0, "{row:?}");
    }

    #[test]
    fn a_coarse_clock_is_seen_through() {
        // Calls of 164 ns, by a clock that counts in steps of 10.
        let mut samples = Samples::default();
        for start in 0..1000 {
            let (start, end) = (start / 10 * 10, (start + 164) / 10 * 10);
            samples.add(Duration::from_nanos(end - start), 1);
        }
        assert_eq!(samples.quantile(0.5), Some(164));
        assert_eq!(samples.quantile(0.0), Some(160));
        assert_eq!(samples.quantile(1.0), Some(170));
    }

    #[test]
    fn calls_timed_together_share_their_time() {
        let mut samples = Samples::default();
        assert_eq!((samples.quantile(0.5), samples.rate()), (None, None));
        samples.add(Duration::from_nanos(1600), 16);
        assert_eq!((samples.quantile(0.5), samples.calls()), (Some(100), 16));
        samples.merge(&samples.clone());
        assert!((samples.rate().unwrap() - 2e7).abs() < 1.0, "twice as many in the same time");
        let mut flood = Samples::default();
        flood.add_untimed(Duration::from_secs(2), 10);
        assert_eq!((flood.quantile(0.5), flood.rate()), (None, Some(5.0)));
    }

    #[test]
    fn rounds_have_their_own_medians() {
        let mut cell = Cell::default();
        for time in [100, 300] {
            cell.samples.add(Duration::from_nanos(time), 1);
            cell.end_round();
        }
        cell.samples.add_untimed(Duration::from_nanos(500), 1);
        cell.end_round();
        let row = cell.into_row(Row::new("x", Mode::Latency));
        assert_eq!((row.rounds_ns, row.calls), (vec![100, 300, 500], Some(3)));
    }

    #[test]
    fn usage_adds_up_over_turns() {
        let usage = |cpu_ns, allocations| Usage { cpu_ns, allocations };
        let mut cell = Cell::default();
        cell.used(usage(1_000_000_000, 10), Some(usage(5_000_000, 0)), 4);
        cell.used(usage(500_000_000, 2), Some(usage(5_000_000, 3)), 2);
        [Some(100), None, Some(130), Some(120)].into_iter().for_each(|line| cell.line(line));
        let row = cell.into_row(Row::new("x", Mode::Latency));
        assert_eq!((row.cpu_client_s, row.cpu_server_s), (Some(1.5), Some(0.01)));
        assert_eq!(row.allocs_per_call, Some(Allocations { client: 2.0, server: Some(0.5) }));
        assert_eq!(row.line_ns, Some([100, 120]));
    }

    #[test]
    fn looking_at_the_clock_is_not_counted() {
        let clock = Clock { cost: Duration::from_nanos(20) };
        let start = Instant::now();
        let after = |nanoseconds| clock.between(start, start + Duration::from_nanos(nanoseconds)).as_nanos();
        assert_eq!([0, 20, 100].map(after), [0, 0, 80]);
        assert!(Clock::new().cost < Duration::from_micros(10));
    }
}
