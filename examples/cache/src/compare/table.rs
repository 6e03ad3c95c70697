//! The result as a table for people.

use crate::compare::rows::Row;
use crate::compare::values::Op;

/// One line for each operation and size, both transports beside each other, and the floor below.
pub(super) fn render(rows: &[Row], sizes: &[usize]) -> String {
    let mut text = format!("{:29}{:30} {}\n", "", "mmap-rpc", "unix socket");
    text += &line("", "", [["p50", "p99", "calls/s"]; 2].map(|names| names.map(String::from)), "ratio");
    for &size in sizes {
        text.push('\n');
        for op in Op::CALLS {
            let find = |name| rows.iter().find(|r| r.transport == name && r.op == op && r.size == size);
            let (Some(ours), Some(theirs)) = (find("mmap-rpc"), find("unix-socket")) else {
                continue;
            };
            let ratio = format!("{:.1}", theirs.p50_ns as f64 / ours.p50_ns.max(1) as f64);
            text += &line(&bytes(size), op.name(), [cells(ours), cells(theirs)], &ratio);
        }
    }
    text += "\nratio: p50 over the Unix socket / p50 over mmap-rpc; set+get: one Set and then one Get, as a pair.\n";
    if let Some(floor) = rows.iter().find(|row| row.op == Op::PingPong) {
        text += &format!(
            "floor: a cache line to another process and back takes {} (p99 {}), both sides spinning.\n",
            time(floor.p50_ns),
            time(floor.p99_ns)
        );
    }
    let calls: u64 = rows.iter().filter(|row| row.op != Op::PingPong).map(|row| row.calls).sum();
    text + &format!("{} calls were timed, and every reply compared with what was stored.\n", thousands(calls))
}

fn line(size: &str, op: &str, [ours, theirs]: [[String; 3]; 2], ratio: &str) -> String {
    let columns = |[p50, p99, rate]: [String; 3]| format!("{p50:>10}{p99:>10}{rate:>10}");
    format!("{size:>7}  {op:<9}{}   {} {ratio:>7}\n", columns(ours), columns(theirs))
}

fn cells(row: &Row) -> [String; 3] {
    [time(row.p50_ns), time(row.p99_ns), rate(row.rate)]
}

/// A size with the unit that it is a multiple of.
fn bytes(size: usize) -> String {
    match size {
        size if size >= 1 << 20 && size % (1 << 20) == 0 => format!("{} MiB", size >> 20),
        size if size >= 1 << 10 && size % (1 << 10) == 0 => format!("{} KiB", size >> 10),
        size => format!("{size} B"),
    }
}

fn time(nanoseconds: u64) -> String {
    match nanoseconds as f64 {
        ns if ns < 999.5 => format!("{ns} ns"),
        ns if ns < 999.5e3 => format!("{} µs", digits(ns / 1e3)),
        ns if ns < 999.5e6 => format!("{} ms", digits(ns / 1e6)),
        ns => format!("{} s", digits(ns / 1e9)),
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 999.5 => digits(rate),
        rate if rate < 999.5e3 => format!("{} k", digits(rate / 1e3)),
        rate => format!("{} M", digits(rate / 1e6)),
    }
}

/// Three digits, as long as none is in front of the point that may not be cut off.
fn digits(number: f64) -> String {
    let places = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.places$}")
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let times = [1, 999, 1000, 9994, 9995, 99_950, 999_499, 999_500, 12_345_678, 3_000_000_000];
        let expected = [
            "1 ns", "999 ns", "1.00 µs", "9.99 µs", "10.0 µs", "100 µs", "999 µs", "1.00 ms", "12.3 ms",
            "3.00 s",
        ];
        assert_eq!(times.map(time), expected);
        assert_eq!(
            [0.5, 812.4, 1234.0, 56_300.0, 1.234e6].map(rate),
            ["0.50", "812", "1.23 k", "56.3 k", "1.23 M"]
        );
        assert_eq!(
            [64, 1000, 4 << 10, 1 << 20, 4 << 20].map(bytes),
            ["64 B", "1000 B", "4 KiB", "1 MiB", "4 MiB"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_table_shows_both_transports_their_ratio_and_the_floor() {
        let row = |transport, op, size, p50_ns| Row {
            transport,
            op,
            size,
            calls: 600,
            p50_ns,
            p99_ns: 2 * p50_ns,
            rate: 1e9 / p50_ns as f64,
        };
        let rows = [
            row("mmap-rpc", Op::Get, 64, 800),
            row("unix-socket", Op::Get, 64, 12_000),
            row("mmap-rpc", Op::SetGet, 4096, 2_000),
            row("unix-socket", Op::SetGet, 4096, 25_000),
            row("floor", Op::PingPong, 0, 120),
        ];
        let expected = "
                             mmap-rpc                       unix socket
                         p50       p99   calls/s          p50       p99   calls/s   ratio

   64 B  get          800 ns   1.60 µs    1.25 M      12.0 µs   24.0 µs    83.3 k    15.0

  4 KiB  set+get     2.00 µs   4.00 µs     500 k      25.0 µs   50.0 µs    40.0 k    12.5

ratio: p50 over the Unix socket / p50 over mmap-rpc; set+get: one Set and then one Get, as a pair.
floor: a cache line to another process and back takes 120 ns (p99 240 ns), both sides spinning.
2,400 calls were timed, and every reply compared with what was stored.
";
        let rendered = render(&rows, &[64, 4096]);
        assert_eq!(rendered, expected[1..], "\n{rendered}");
    }
}
