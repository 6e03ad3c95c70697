//! The result as a table for people: a section for each mode.

use crate::args::Mode;
use crate::modes::Outcome;
use crate::row::{Row, ratio};
use crate::units;

/// A column: its title, and what it shows of a row.
struct Column<'a> {
    title: &'static str,
    show: Show<'a>,
}

type Show<'a> = Box<dyn Fn(&Row) -> Option<String> + 'a>;

fn column<'a>(title: &'static str, show: impl Fn(&Row) -> Option<String> + 'a) -> Column<'a> {
    Column { title, show: Box::new(show) }
}

/// The tables of all modes, and what is to be known about them.
pub fn render(outcome: &Outcome) -> String {
    let rows = &outcome.rows;
    let mut text = String::new();
    for (mode, title) in TITLES {
        let these: Vec<&Row> = rows.iter().filter(|row| row.mode == mode).collect();
        if !these.is_empty() {
            text += &format!("{}: {title}\n\n{}\n", mode.name(), grid(&columns(mode, rows), &these));
        }
    }
    for note in &outcome.notes {
        text += &format!("note: {note}\n");
    }
    text + LEGEND
}

const TITLES: [(Mode, &str); 8] = [
    (Mode::Latency, "one call at a time"),
    (Mode::Flood, "many calls under way at once, from one thread"),
    (Mode::Wake, "a call after 50 ms of silence, both sides asleep"),
    (Mode::Idle, "processor time in 3 s while nobody calls"),
    (Mode::OneCore, "one call at a time, both processes on one processor"),
    (Mode::Connections, "one call at a time on one of many connections"),
    (Mode::Threads, "several threads on one channel, each with one call at a time"),
    (Mode::Stream, "messages of one stream, one after the other"),
];

const LEGEND: &str = "\
/ring, /futex: p50 over that of the bare ring, or time per call over its; the median over all rounds.
allocs: how often a call asks for memory, client + server. cpu: processor time of both for each call.
In the mode stream a call is one message.
line: a cache line to the other process and back, just before the cell and just after it.
";

/// What a mode's table shows. `all` are the rows that others are compared with.
fn columns(mode: Mode, all: &[Row]) -> Vec<Column<'_>> {
    let name = || column("", |row| Some(row.row.to_owned()));
    let size = || column("size", |row| row.size.map(units::bytes));
    let line = || column("line", |row| row.line_ns.map(|[before, after]| format!("{before}…{after} ns")));
    let rate = || column("calls/s", |row| row.rate.map(units::rate));
    let cpu = || column("cpu", |row| row.cpu_per_call().map(units::time));
    let ring = move |title, floor| column(title, move |row| over(all, row, floor).map(units::plain));
    let mut columns = match mode {
        Mode::Latency | Mode::Stream => vec![size(), name()],
        Mode::Flood => {
            vec![name(), size(), column("under way", |row| row.depth.map(|depth| depth.to_string()))]
        }
        Mode::Wake | Mode::OneCore => vec![name(), size()],
        Mode::Idle | Mode::Connections => {
            vec![name(), column("connections", |row| row.connections.map(|count| count.to_string()))]
        }
        Mode::Threads => vec![name(), column("threads", |row| row.threads.map(|count| count.to_string()))],
    };
    if !matches!(mode, Mode::Flood | Mode::Idle | Mode::Stream) {
        columns.extend([
            column("p50", |row| row.p50_ns.map(nanoseconds)),
            column("p90", |row| row.p90_ns.map(nanoseconds)),
            column("p99", |row| row.p99_ns.map(nanoseconds)),
            column("p99.9", |row| row.p999_ns.map(nanoseconds)),
        ]);
    }
    match mode {
        Mode::Latency | Mode::Flood => {
            columns.extend([rate(), ring("/ring", "bare-ring"), allocations(), cpu()])
        }
        Mode::Wake | Mode::OneCore => columns.extend([ring("/futex", "bare-futex"), allocations(), cpu()]),
        Mode::Idle => columns.extend([
            column("client", |row| row.cpu_client_s.map(seconds)),
            column("server", |row| row.cpu_server_s.map(seconds)),
        ]),
        Mode::Connections => {
            columns.push(column("memory each", |row| row.rss_per_connection.map(units::memory)))
        }
        Mode::Threads => columns.extend([rate(), allocations(), cpu()]),
        Mode::Stream => {
            columns.extend([
                column("messages/s", |row| row.rate.map(units::rate)),
                column("each", |row| row.rate.map(|rate| units::time(1e9 / rate))),
                allocations(),
                cpu(),
            ]);
        }
    }
    columns.push(line());
    columns
}

fn allocations<'a>() -> Column<'a> {
    column("allocs", |row| {
        let allocations = row.allocs_per_call?;
        let server = allocations.server.map(|server| format!(" + {server:.2}"));
        Some(format!("{:.2}{}", allocations.client, server.unwrap_or_default()))
    })
}

fn nanoseconds(nanoseconds: u64) -> String {
    units::time(nanoseconds as f64)
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.4} s")
}

/// How much longer a row takes than the floor of its mode and size.
fn over(all: &[Row], row: &Row, floor: &str) -> Option<f64> {
    let same = |other: &&Row| other.row == floor && other.mode == row.mode && other.size == row.size;
    ratio(&row.rounds(), &all.iter().find(same)?.rounds())
}

/// Columns as wide as their widest cell, names to the left and numbers to the right; a blank line between two
/// rows of which neither name nor size is the same.
fn grid(columns: &[Column<'_>], rows: &[&Row]) -> String {
    let cell = |column: &Column<'_>, row| (column.show)(row).unwrap_or_default();
    let lines: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect();
    let chars = |text: &str| text.chars().count();
    let width = |at: usize| lines.iter().map(|line| chars(&line[at])).max().unwrap_or(0);
    let widths: Vec<_> =
        columns.iter().enumerate().map(|(at, column)| width(at).max(chars(column.title))).collect();
    let format = |line: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, width), column) in line.zip(&widths).zip(columns) {
            text += &if column.title.is_empty() {
                format!("  {cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            };
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = format(&mut columns.iter().map(|column| column.title));
    for (at, line) in lines.iter().enumerate() {
        let last = at.checked_sub(1).map(|last| rows[last]);
        if last.is_some_and(|last| last.row != rows[at].row && last.size != rows[at].size) {
            text.push('\n');
        }
        text += &format(&mut line.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Allocations;

    fn row(name: &'static str, mode: Mode, size: usize, p50: u64) -> Row {
        Row {
            line_ns: Some([110, 140]),
            size: Some(size),
            depth: Some(1),
            calls: Some(1000),
            p50_ns: Some(p50),
            p90_ns: Some(p50 + 1),
            p99_ns: Some(p50 * 2),
            p999_ns: Some(p50 * 10),
            rate: Some(1e9 / p50 as f64),
            cpu_client_s: Some(0.0005),
            cpu_server_s: Some(0.0005),
            allocs_per_call: Some(Allocations { client: 1.0, server: Some(0.5) }),
            ..Row::new(name, mode)
        }
    }

    #[test]
    fn sizes_are_groups_with_their_ratios() {
        let rows = vec![
            row("bare-ring", Mode::Latency, 64, 250),
            row("typed", Mode::Latency, 64, 500),
            row("raw", Mode::Latency, 4096, 1500),
            row("raw", Mode::Latency, 8192, 1500),
        ];
        let expected = "\
latency: one call at a time

   size                 p50      p90      p99    p99.9  calls/s  /ring       allocs      cpu        line
   64 B  bare-ring   250 ns   251 ns   500 ns  2.50 µs   4.00 M   1.00  1.00 + 0.50  1.00 µs  110…140 ns
   64 B  typed       500 ns   501 ns  1.00 µs  5.00 µs   2.00 M   2.00  1.00 + 0.50  1.00 µs  110…140 ns

  4 KiB  raw        1.50 µs  1.50 µs  3.00 µs  15.0 µs    667 k         1.00 + 0.50  1.00 µs  110…140 ns
  8 KiB  raw        1.50 µs  1.50 µs  3.00 µs  15.0 µs    667 k         1.00 + 0.50  1.00 µs  110…140 ns

";
        let text = render(&Outcome { rows, notes: Vec::new() });
        let rest = text.strip_prefix(expected).unwrap_or_else(|| panic!("\n{text}"));
        assert_eq!(rest, LEGEND);
    }

    #[test]
    fn each_mode_shows_what_it_is_about() {
        let mut flood = row("typed", Mode::Flood, 64, 100);
        let mut floor = row("bare-ring", Mode::Flood, 64, 50);
        for row in [&mut flood, &mut floor] {
            row.p50_ns = None;
        }
        let idle = Row { cpu_server_s: Some(0.00004), ..row("typed", Mode::Idle, 64, 1) };
        let idle = Row { connections: Some(1000), p50_ns: None, ..idle };
        let many = row("typed", Mode::Connections, 64, 700);
        let many = Row { connections: Some(998), rss_per_connection: Some(100 << 10), ..many };
        let threads = Row { threads: Some(8), ..row("typed", Mode::Threads, 64, 700) };
        let rows = vec![floor, flood, idle, many, threads, row("typed", Mode::Wake, 64, 90_000)];
        let text = render(&Outcome { rows, notes: vec!["something was left out".into()] });
        let has = |parts: &[&str]| text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(has(&["typed", "10.0 M", "2.00"]), "a flood compares rates\n{text}");
        assert!(has(&["typed", "1000", "0.0005 s", "0.0000 s"]), "{text}");
        assert!(has(&["typed", "998", "700 ns", "100 KiB"]), "{text}");
        assert!(has(&["typed", " 8 ", "1.43 M"]), "{text}");
        assert!(has(&["typed", "90.0 µs"]), "{text}");
        assert!(has(&["note: something was left out"]), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{text}");
    }
}
