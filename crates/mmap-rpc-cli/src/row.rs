//! One cell of the table, as it is printed as JSON.

use anyhow::Context;
use serde::Serialize;

use crate::args::Mode;

/// What was measured of one transport in one way. A field without a meaning there is `None`, and `null` in
/// JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The transport.
    pub row: &'static str,
    /// How calls were made.
    pub mode: Mode,
    /// A cache line to the other process and back, in nanoseconds: half of the round trips took at most so
    /// long just before this cell, and just after it.
    pub line_ns: Option<[u64; 2]>,
    /// Bytes of each message.
    pub size: Option<usize>,
    /// Calls under way at one time.
    pub depth: Option<usize>,
    /// Open connections.
    pub connections: Option<usize>,
    /// Threads that call.
    pub threads: Option<usize>,
    /// Calls that were measured; in the mode `stream`, messages. So it is below.
    pub calls: Option<u64>,
    /// Half of the calls took at most so many nanoseconds.
    pub p50_ns: Option<u64>,
    /// 90 of 100 calls took at most so many.
    pub p90_ns: Option<u64>,
    /// 99 of 100 calls took at most so many.
    pub p99_ns: Option<u64>,
    /// 999 of 1000 calls took at most so many.
    pub p999_ns: Option<u64>,
    /// The same half in each round, or the mean where single calls are not timed: cells that took turns are
    /// compared round by round.
    pub rounds_ns: Vec<u64>,
    /// Calls per second, or messages.
    pub rate: Option<f64>,
    /// Processor time of the client process, in seconds.
    pub cpu_client_s: Option<f64>,
    /// Processor time of the server process, in seconds.
    pub cpu_server_s: Option<f64>,
    /// How often each call asked for memory.
    pub allocs_per_call: Option<Allocations>,
    /// Memory that each connection holds in both processes together, in bytes, pages that they share counted
    /// once.
    pub rss_per_connection: Option<u64>,
}

/// Allocations per call in both processes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Allocations {
    /// In the client.
    pub client: f64,
    /// In the server, if there is one.
    pub server: Option<f64>,
}

impl Row {
    /// A row of which nothing else is known.
    pub fn new(row: &'static str, mode: Mode) -> Self {
        Self {
            row,
            mode,
            line_ns: None,
            size: None,
            depth: None,
            connections: None,
            threads: None,
            calls: None,
            p50_ns: None,
            p90_ns: None,
            p99_ns: None,
            p999_ns: None,
            rounds_ns: Vec::new(),
            rate: None,
            cpu_client_s: None,
            cpu_server_s: None,
            allocs_per_call: None,
            rss_per_connection: None,
        }
    }

    /// The time of a call in each round; one round if they are not known.
    pub fn rounds(&self) -> Vec<f64> {
        let whole = || self.p50_ns.map(|p50| p50 as f64).or_else(|| self.rate.map(|rate| 1e9 / rate));
        if self.rounds_ns.is_empty() {
            whole().into_iter().collect()
        } else {
            self.rounds_ns.iter().map(|&time| time as f64).collect()
        }
    }

    /// Processor time of both processes for each call, in nanoseconds.
    pub fn cpu_per_call(&self) -> Option<f64> {
        let seconds = self.cpu_client_s? + self.cpu_server_s.unwrap_or(0.0);
        self.calls.filter(|&calls| calls > 0).map(|calls| seconds * 1e9 / calls as f64)
    }
}

/// How many times as long `ours` take as `theirs`, given as times of rounds. `None` if there is nothing to
/// compare.
///
/// It is the median over rounds, in which both had their turn within a second or so. A machine that changes
/// between two rounds changes both sides of a ratio, where it would change each median over all rounds in its
/// own way.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs.max(1.0)).collect();
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.len().checked_sub(1)?;
    Some((ratios[middle / 2] + ratios[middle.div_ceil(2)]) / 2.0)
}

/// Each row as an object on a line of its own.
///
/// # Errors
/// If a row cannot be written as JSON.
pub fn json_lines(rows: &[Row]) -> anyhow::Result<String> {
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
    fn rows_are_json_objects_line_by_line() {
        let row = Row {
            line_ns: Some([110, 120]),
            size: Some(64),
            calls: Some(2),
            rate: Some(0.5),
            allocs_per_call: Some(Allocations { client: 1.0, server: None }),
            ..Row::new("typed", Mode::OneCore)
        };
        let expected = concat!(
            r#"{"row":"typed","mode":"one-core","line_ns":[110,120],"size":64,"depth":null,"#,
            r#""connections":null,"threads":null,"calls":2,"p50_ns":null,"p90_ns":null,"p99_ns":null,"#,
            r#""p999_ns":null,"rounds_ns":[],"rate":0.5,"cpu_client_s":null,"cpu_server_s":null,"#,
            r#""allocs_per_call":{"client":1.0,"server":null},"rss_per_connection":null}"#,
            "\n"
        );
        assert_eq!(json_lines(&[row.clone(), row]).unwrap(), expected.repeat(2));
    }

    #[test]
    fn a_ratio_is_that_of_most_rounds() {
        let times = |rounds_ns: &[u64]| {
            Row { rounds_ns: rounds_ns.to_vec(), ..Row::new("typed", Mode::Flood) }.rounds()
        };
        // In the last round the processors were far from each other for one of the two only.
        assert_eq!(ratio(&times(&[200, 800, 200]), &times(&[100, 400, 400])), Some(2.0));
        assert_eq!(ratio(&times(&[200, 300]), &times(&[100, 100])), Some(2.5));
        assert_eq!(ratio(&times(&[]), &times(&[100])), None);
        let whole = Row { p50_ns: Some(70), rate: Some(1.0), ..Row::new("typed", Mode::Wake) };
        assert_eq!(whole.rounds(), [70.0]);
        assert_eq!(Row { p50_ns: None, ..whole }.rounds(), [1e9]);
    }

    #[test]
    fn processor_time_is_that_of_both_sides() {
        let mut row = Row::new("typed", Mode::Flood);
        assert_eq!(row.cpu_per_call(), None);
        (row.calls, row.cpu_client_s, row.cpu_server_s) = (Some(1000), Some(0.002), Some(0.001));
        assert!((row.cpu_per_call().unwrap() - 3000.0).abs() < 1e-6);
        row.calls = Some(0);
        assert_eq!(row.cpu_per_call(), None);
    }
}
