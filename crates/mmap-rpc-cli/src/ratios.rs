//! What the rows amount to: a few numbers, each beside what it should be.

use crate::args::Mode;
use crate::row::{Row, ratio};
use crate::transports::headline::TEXT;
use crate::units;

/// A number that the rows amount to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// What is compared.
    pub what: String,
    /// The number, with its unit if it has one.
    pub value: String,
    /// What it should be.
    pub target: String,
    /// Whether it is.
    pub met: bool,
}

/// All numbers of this crate's rows, as far as they are there.
pub fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let found = Rows(rows);
    let mut ratios = Vec::new();
    ratios.extend(found.over_ring("typed-fixed", 64, 2.0));
    ratios.extend(found.over_ring("typed", 64, 2.0));
    ratios.extend(found.over_ring("raw", 64, 1.25));
    ratios.extend(found.over_ring("typed", 4 << 10, 1.5));
    ratios.extend(found.over_ring("typed", 64 << 10, 1.5));
    ratios.extend(found.awaited());
    ratios.extend(found.large());
    ratios.extend(found.socket_lanes());
    ratios.extend(found.flood());
    ratios.extend(found.over_futex(Mode::Wake, "wake", 1.15));
    ratios.extend(found.over_futex(Mode::OneCore, "one core", 1.4));
    ratios.extend(found.untouched());
    ratios.extend(found.headline());
    ratios.extend(found.allocations());
    ratios.extend(found.connections());
    ratios.extend(found.threads());
    ratios.extend(found.idle());
    ratios
}

/// One line each.
pub fn render(ratios: &[Ratio]) -> String {
    if ratios.is_empty() {
        return String::new();
    }
    let width = ratios.iter().map(|ratio| ratio.what.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::from("ratios, each beside what it should be:\n\n");
    for Ratio { what, value, target, met } in ratios {
        let mark = if *met { "" } else { "   missed" };
        text += &format!("  {:<width$} {value}   ({target}){mark}\n", format!("{what}:"));
    }
    text
}

/// A ratio that should be at most so much.
pub fn at_most(what: impl Into<String>, value: f64, most: f64) -> Ratio {
    let (value_text, target) = (units::plain(value), format!("at most {most}"));
    Ratio { what: what.into(), value: value_text, target, met: value <= most }
}

/// A ratio that should be at least so much.
pub fn at_least(what: impl Into<String>, value: f64, least: f64) -> Ratio {
    let (value_text, target) = (units::plain(value), format!("at least {least}"));
    Ratio { what: what.into(), value: value_text, target, met: value >= least }
}

/// Rows that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a>(pub &'a [Row]);

impl<'a> Rows<'a> {
    /// The row of that name, mode and size.
    pub fn find(&self, row: &str, mode: Mode, size: usize) -> Option<&'a Row> {
        self.0.iter().find(|r| r.row == row && r.mode == mode && r.size == Some(size))
    }

    /// How many times as long one row takes as another, if both are there.
    pub fn over(&self, [ours, theirs]: [&str; 2], mode: Mode, size: usize) -> Option<f64> {
        ratio(&self.find(ours, mode, size)?.rounds(), &self.find(theirs, mode, size)?.rounds())
    }

    fn over_ring(&self, row: &str, size: usize, most: f64) -> Option<Ratio> {
        let value = self.over([row, "bare-ring"], Mode::Latency, size)?;
        Some(at_most(format!("{row} {} / bare-ring", units::bytes(size)), value, most))
    }

    fn over_futex(&self, mode: Mode, name: &str, most: f64) -> Option<Ratio> {
        let value = self.over(["typed", "bare-futex"], mode, 64)?;
        Some(at_most(format!("typed / bare-futex, {name}"), value, most))
    }

    fn awaited(&self) -> Vec<Ratio> {
        let latency = self.over(["awaited", "typed"], Mode::Latency, 64);
        let latency = latency.map(|value| at_most("awaited 64 B / typed", value, 1.5));
        let flood = self.over(["awaited", "typed"], Mode::Flood, 64);
        let flood = flood.map(|value| at_most("awaited 64 B / typed, flood", value, 1.5));
        latency.into_iter().chain(flood).collect()
    }

    fn large(&self) -> Vec<Ratio> {
        const SIZE: usize = 4 << 20;
        let typed = || {
            let times = |row| Some(self.find(row, Mode::Latency, SIZE)?.rounds());
            let (work, copy) = (times("work")?, times("memcpy")?);
            let least: Vec<f64> = work.iter().zip(copy).map(|(work, copy)| work + 4.0 * copy).collect();
            Some(at_most("typed 4 MiB / (work + 4 memcpy)", ratio(&times("typed")?, &least)?, 1.15))
        };
        let borrowed = self.over(["borrowed", "work"], Mode::Latency, SIZE);
        let borrowed = borrowed.map(|value| at_most("borrowed 4 MiB / work", value, 1.25));
        typed().into_iter().chain(borrowed).collect()
    }

    /// The lanes whose calls are named on a socket, beside one that carries the messages too.
    fn socket_lanes(&self) -> Vec<Ratio> {
        let small = self.over(["socket-lane", "unix-socket"], Mode::Latency, 64);
        let small = small.map(|value| at_most("socket-lane 64 B / unix-socket", value, 1.15));
        let large = |row: &str, least| {
            let value = self.over(["unix-socket", row], Mode::Latency, 4 << 20)?;
            Some(at_least(format!("unix-socket 4 MiB / {row}"), value, least))
        };
        let rows = [("socket-lane", 4.0), ("socket-lane-loans", 4.0), ("classic", 2.0)];
        small.into_iter().chain(rows.into_iter().filter_map(|(row, least)| large(row, least))).collect()
    }

    fn flood(&self) -> Vec<Ratio> {
        const LEAST: f64 = 8e6;
        let one = |name: &'static str| {
            let rate = self.find(name, Mode::Flood, 64)?.rate?;
            let value = format!("{}/s", units::rate(rate));
            let (what, target) = (format!("{name} 64 B, flood"), "at least 8 M/s".into());
            Some(Ratio { what, value, target, met: rate >= LEAST })
        };
        ["typed-fixed", "typed"].into_iter().filter_map(one).collect()
    }

    fn untouched(&self) -> Option<Ratio> {
        let rows = self.0.iter().filter(|row| row.row == "untouched" && row.p50_ns.is_some());
        let smallest = rows.clone().min_by_key(|row| row.size)?;
        let largest = rows.max_by_key(|row| row.size).filter(|largest| largest.size > smallest.size)?;
        let value = ratio(&largest.rounds(), &smallest.rounds())?;
        let (largest, smallest) = (units::bytes(largest.size?), units::bytes(smallest.size?));
        Some(at_most(format!("untouched {largest} / {smallest}"), value, 1.5))
    }

    fn headline(&self) -> Option<Ratio> {
        let value = self.over(["headline", "copies"], Mode::Latency, TEXT)?;
        Some(at_most("headline / copies", value, 1.4))
    }

    fn allocations(&self) -> Vec<Ratio> {
        let one = |(name, size, most): (&'static str, usize, f64)| {
            let allocations = self.find(name, Mode::Latency, size)?.allocs_per_call?;
            let server = allocations.server.unwrap_or(0.0);
            let value = format!("{:.2} + {server:.2}", allocations.client);
            let size = units::bytes(size);
            let what = format!("{name} {size}, allocations per call, client + server");
            // Whatever else a process does in the meantime is far below a hundredth of a call's.
            let met = allocations.client.max(server) < most + 0.01;
            Some(Ratio { what, value, target: format!("at most {most} each"), met })
        };
        // The one of a small typed call is its `Bytes`.
        [("raw", 64, 0.0), ("typed-fixed", 64, 0.0), ("typed", 64, 1.0), ("typed", 4 << 20, 2.0)]
            .into_iter()
            .filter_map(one)
            .collect()
    }

    fn connections(&self) -> Vec<Ratio> {
        const MOST: u64 = 200 << 10;
        let rows = self.0.iter().filter(|row| row.mode == Mode::Connections && row.row == "typed");
        let many = rows.clone().max_by_key(|row| row.connections);
        let Some((one, many)) = rows.min_by_key(|row| row.connections).zip(many) else { return Vec::new() };
        let p50 = ratio(&many.rounds(), &one.rounds());
        let count = |row: &Row| row.connections.unwrap_or(0);
        let what = format!("p50 with {} connections / {}", count(many), count(one));
        let memory = many.rss_per_connection.map(|each| Ratio {
            what: "memory of a connection, both processes".into(),
            value: units::memory(each),
            target: format!("at most {}", units::memory(MOST)),
            met: each <= MOST,
        });
        p50.map(|value| at_most(what, value, 1.3)).into_iter().chain(memory).collect()
    }

    fn threads(&self) -> Option<Ratio> {
        let mut rows: Vec<_> = self.0.iter().filter(|row| row.mode == Mode::Threads).collect();
        rows.sort_by_key(|row| row.threads);
        let rates: Vec<f64> = rows.iter().filter_map(|row| row.rate).collect();
        // What two runs of the same differ by is no fall.
        let met = rates.windows(2).all(|pair| pair[1] >= pair[0] * 0.95);
        let names: Vec<_> =
            rows.iter().filter_map(|row| row.threads).map(|count| count.to_string()).collect();
        let value = rates.iter().map(|&rate| units::rate(rate)).collect::<Vec<_>>().join(", ");
        let what = format!("calls/s of {} threads", names.join(", "));
        (rates.len() > 1).then(|| Ratio { what, value, target: "never falls".into(), met })
    }

    fn idle(&self) -> Option<Ratio> {
        let row = self.0.iter().find(|row| row.mode == Mode::Idle && row.row == "typed")?;
        let seconds = row.cpu_client_s? + row.cpu_server_s?;
        let what = format!("processor time of {} idle connections", row.connections.unwrap_or(0));
        Some(Ratio { what, value: format!("{seconds:.4} s"), target: "0.0 s".into(), met: seconds < 0.05 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Allocations;

    fn row(name: &'static str, mode: Mode, size: usize, p50: u64) -> Row {
        Row { size: Some(size), p50_ns: Some(p50), rate: Some(1e9 / p50 as f64), ..Row::new(name, mode) }
    }

    fn one(rows: &[Row]) -> Ratio {
        let found = ratios(rows);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        use Mode::{Latency, OneCore, Wake};
        type Cells = &'static [(&'static str, Mode, usize, u64)];
        let cases: [(Cells, &str, &str, bool); 11] = [
            (&[("typed", Latency, 64, 500), ("bare-ring", Latency, 64, 250)], "typed 64 B", "2.00", true),
            (&[("raw", Latency, 64, 500), ("bare-ring", Latency, 64, 250)], "raw 64 B", "2.00", false),
            (&[("typed", Latency, 4096, 3), ("bare-ring", Latency, 4096, 2)], "4 KiB", "1.50", true),
            (&[("awaited", Latency, 64, 8), ("typed", Latency, 64, 5)], "awaited 64 B", "1.60", false),
            (&[("typed", Wake, 64, 230), ("bare-futex", Wake, 64, 100)], "wake", "2.30", false),
            (&[("typed", OneCore, 64, 7), ("bare-futex", OneCore, 64, 5)], "one core", "1.40", true),
            (
                &[("unix-socket", Latency, 4 << 20, 7), ("classic", Latency, 4 << 20, 4)],
                "classic",
                "1.75",
                false,
            ),
            (
                &[("socket-lane", Latency, 64, 23), ("unix-socket", Latency, 64, 20)],
                "socket-lane",
                "1.15",
                true,
            ),
            (&[("borrowed", Latency, 4 << 20, 5), ("work", Latency, 4 << 20, 4)], "borrowed", "1.25", true),
            (&[("headline", Latency, TEXT, 15), ("copies", Latency, TEXT, 10)], "headline", "1.50", false),
            (&[("untouched", Latency, 9, 3), ("untouched", Latency, 1, 2)], "9 B / 1 B", "1.50", true),
        ];
        for (rows, what, value, met) in cases {
            let rows: Vec<_> =
                rows.iter().map(|&(name, mode, size, p50)| row(name, mode, size, p50)).collect();
            let ratio = one(&rows);
            assert!(ratio.what.contains(what), "{ratio:?}");
            assert_eq!((ratio.value.as_str(), ratio.met), (value, met), "{ratio:?}");
        }
    }

    #[test]
    fn a_large_typed_call_is_compared_with_its_copies() {
        let rows = [("typed", 900), ("work", 300), ("memcpy", 100)];
        let rows = rows.map(|(name, p50)| row(name, Mode::Latency, 4 << 20, p50));
        assert_eq!(one(&rows).value, "1.29");
    }

    #[test]
    fn a_flood_of_tasks_is_compared_with_one_thread() {
        let flood =
            |awaited| ratios(&[row("awaited", Mode::Flood, 64, awaited), row("typed", Mode::Flood, 64, 2)]);
        for (awaited, value, met) in [(3, "1.50", true), (4, "2.00", false)] {
            let ratio = flood(awaited).into_iter().find(|ratio| ratio.what == "awaited 64 B / typed, flood");
            let ratio = ratio.expect("both rows are there");
            assert_eq!((ratio.value.as_str(), ratio.met), (value, met));
        }
    }

    #[test]
    fn absolute_numbers_have_their_targets() {
        let flood = one(&[row("typed", Mode::Flood, 64, 100)]);
        assert_eq!((flood.value.as_str(), flood.met), ("10.0 M/s", true));
        let idle = Row { cpu_client_s: Some(0.0), cpu_server_s: Some(0.2), ..Row::new("typed", Mode::Idle) };
        assert!(!one(&[idle]).met);
        let allocating = |server| Row {
            allocs_per_call: Some(Allocations { client: 1.001, server: Some(server) }),
            ..row("typed", Mode::Latency, 64, 500)
        };
        assert_eq!(one(&[allocating(0.5)]).value, "1.00 + 0.50");
        assert!(one(&[allocating(0.5)]).met && !one(&[allocating(2.0)]).met);
        let raw = |server| Row { row: "raw", ..allocating(server) };
        let none =
            Row { allocs_per_call: Some(Allocations { client: 0.0, server: Some(0.004) }), ..raw(0.0) };
        assert!(one(&[none]).met && !one(&[raw(0.0)]).met);
    }

    #[test]
    fn threads_and_connections_are_series() {
        let threads = |counts: &[(usize, u64)]| {
            let rows = counts
                .iter()
                .map(|&(count, p50)| Row { threads: Some(count), ..row("typed", Mode::Threads, 64, p50) });
            one(&rows.collect::<Vec<_>>())
        };
        assert!(threads(&[(2, 500), (1, 1000)]).met);
        let fallen = threads(&[(1, 500), (2, 1000)]);
        assert!(!fallen.met && fallen.value == "2.00 M, 1.00 M", "{fallen:?}");
        let connections = |count, p50, memory| Row {
            connections: Some(count),
            rss_per_connection: memory,
            ..row("typed", Mode::Connections, 64, p50)
        };
        let found = ratios(&[connections(1, 100, None), connections(1000, 200, Some(100 << 10))]);
        assert_eq!(found.iter().map(|ratio| ratio.value.as_str()).collect::<Vec<_>>(), ["2.00", "100 KiB"]);
        assert_eq!(found.iter().map(|ratio| ratio.met).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_bound_is_met_where_it_is_touched() {
        let ratio = at_least("a", 2.0, 2.0);
        assert_eq!((ratio.value.as_str(), ratio.target.as_str(), ratio.met), ("2.00", "at least 2", true));
        assert!(!at_least("a", 1.99, 2.0).met);
        assert!(at_most("a", 2.0, 2.0).met && !at_most("a", 2.01, 2.0).met);
    }

    #[test]
    fn a_miss_is_marked() {
        let text = render(&[at_most("a", 1.0, 2.0), at_most("long name", 3.0, 2.0)]);
        assert!(
            text.ends_with("  a:         1.00   (at most 2)\n  long name: 3.00   (at most 2)   missed\n"),
            "{text}"
        );
        assert_eq!(render(&[]), "");
    }
}
