//! Numbers with the unit that suits their magnitude.

/// A size with the unit that it is a multiple of.
pub fn bytes(size: usize) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if size >= 1 << shift && size.is_multiple_of(1 << shift) {
            return format!("{} {unit}", size >> shift);
        }
    }
    if size < 1 << 20 {
        format!("{size} B")
    } else {
        format!("{} MiB", digits(size as f64 / f64::from(1 << 20)))
    }
}

/// An amount of memory, roughly.
pub fn memory(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1023.5 => format!("{bytes} B"),
        bytes if bytes < 1023.5 * 1024.0 => format!("{} KiB", digits(bytes / 1024.0)),
        bytes => format!("{} MiB", digits(bytes / 1024.0 / 1024.0)),
    }
}

/// A time, given in nanoseconds.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 999.5 => format!("{ns:.0} ns"),
        ns if ns < 999.5e3 => format!("{} µs", digits(ns / 1e3)),
        ns if ns < 999.5e6 => format!("{} ms", digits(ns / 1e6)),
        ns => format!("{} s", digits(ns / 1e9)),
    }
}

/// A number per second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 999.5 => digits(rate),
        rate if rate < 999.5e3 => format!("{} k", digits(rate / 1e3)),
        rate => format!("{} M", digits(rate / 1e6)),
    }
}

/// A ratio or an average.
pub fn plain(number: f64) -> String {
    digits(number)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let times = [0.4, 1.0, 999.0, 1000.0, 9994.0, 9995.0, 99_950.0, 999_499.0, 999_500.0, 3e9];
        let expected = [
            "0 ns", "1 ns", "999 ns", "1.00 µs", "9.99 µs", "10.0 µs", "100 µs", "999 µs", "1.00 ms",
            "3.00 s",
        ];
        assert_eq!(times.map(time), expected);
        assert_eq!(
            [0.5, 812.4, 1234.0, 56_300.0, 1.234e6].map(rate),
            ["0.50", "812", "1.23 k", "56.3 k", "1.23 M"]
        );
        let sizes = [64, 1000, 4 << 10, 1 << 20, 5_592_408, 1 << 30].map(bytes);
        assert_eq!(sizes, ["64 B", "1000 B", "4 KiB", "1 MiB", "5.33 MiB", "1 GiB"]);
        assert_eq!([100, 1024, 153_000, 3 << 20].map(memory), ["100 B", "1.00 KiB", "149 KiB", "3.00 MiB"]);
    }
}
