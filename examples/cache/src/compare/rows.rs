//! What came out: samples, and the row that sums them up.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::compare::values::Op;

/// One line of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// `mmap-rpc`, `unix-socket` or `floor`.
    pub(super) transport: &'static str,
    pub(super) op: Op,
    /// Bytes of the value; 0 for the floor, which carries a number and nothing else.
    pub(super) size: usize,
    /// How many calls were timed; a Set with its Get is one, and so is a round trip of the floor.
    pub(super) calls: u64,
    /// Half of the calls took at most so many nanoseconds.
    pub(super) p50_ns: u64,
    /// 99 of 100 calls took at most so many nanoseconds.
    pub(super) p99_ns: u64,
    /// Calls per second of one caller that makes one call at a time; comparing replies is not counted.
    pub(super) rate: f64,
}

/// Times of calls.
#[derive(Debug)]
pub(super) struct Samples {
    nanoseconds: Histogram<u64>,
    calls: u64,
    total: Duration,
}

impl Samples {
    pub(super) fn new() -> Self {
        let nanoseconds = Histogram::new(3).expect("three digits are within its range");
        Self { nanoseconds, calls: 0, total: Duration::ZERO }
    }

    /// Adds `calls` that took `time` together: a clock is too slow to look at between calls of nanoseconds.
    pub(super) fn add(&mut self, time: Duration, calls: u32) {
        let each = u64::try_from((time / calls).as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.record(each.max(1)).expect("the histogram grows");
        self.calls += u64::from(calls);
        self.total += time;
    }

    /// The row that these samples make.
    pub(super) fn row(&self, transport: &'static str, op: Op, size: usize) -> Row {
        Row {
            transport,
            op,
            size,
            calls: self.calls,
            p50_ns: self.nanoseconds.value_at_quantile(0.5),
            p99_ns: self.nanoseconds.value_at_quantile(0.99),
            rate: self.calls as f64 / self.total.as_secs_f64().max(1e-9),
        }
    }
}

/// Each row as an object on a line of its own.
pub(super) fn json_lines(rows: &[Row]) -> anyhow::Result<String> {
    let mut text = String::new();
    for row in rows {
        text += &serde_json::to_string(row).context("a row cannot be written as JSON")?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rate_are_those_of_the_samples() {
        let mut samples = Samples::new();
        for microseconds in 1..=100 {
            samples.add(Duration::from_micros(microseconds), 1);
        }
        let row = samples.row("mmap-rpc", Op::Get, 64);
        let close = |value: u64, expected: u64| value.abs_diff(expected) * 1000 <= expected;
        assert!(close(row.p50_ns, 50_000), "{row:?}");
        assert!(close(row.p99_ns, 99_000), "{row:?}");
        assert_eq!(row.calls, 100);
        // 100 calls in 5,050 µs.
        assert!((row.rate - 100.0 / 5.05e-3).abs() < 1.0, "{row:?}");
    }

    #[test]
    fn calls_timed_together_share_their_time() {
        let mut samples = Samples::new();
        samples.add(Duration::from_nanos(1600), 16);
        let row = samples.row("floor", Op::PingPong, 0);
        assert_eq!((row.p50_ns, row.p99_ns, row.calls), (100, 100, 16));
        assert!((row.rate - 1e7).abs() < 1.0);
    }

    #[test]
    fn rows_are_json_objects_line_by_line() {
        let row = Row {
            transport: "unix-socket",
            op: Op::SetGet,
            size: 64,
            calls: 2,
            p50_ns: 10,
            p99_ns: 20,
            rate: 0.5,
        };
        let expected = concat!(
            r#"{"transport":"unix-socket","op":"set+get","size":64,"#,
            r#""calls":2,"p50_ns":10,"p99_ns":20,"rate":0.5}"#,
            "\n"
        );
        assert_eq!(json_lines(&[row.clone(), row]).unwrap(), expected.repeat(2));
    }

    #[test]
    fn operations_have_one_spelling() {
        for op in [Op::Set, Op::Get, Op::SetGet, Op::PingPong] {
            assert_eq!(serde_json::to_value(op).unwrap(), op.name());
        }
    }
}
