//! Latency against size as a drawing: both axes logarithmic, a line for each row.

use std::fmt::Write;

use crate::args::Mode;
use crate::row::Row;
use crate::units;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 580.0;
/// The field inside of the axes: left, top, right, bottom.
const FIELD: [f64; 4] = [90.0, 50.0, 720.0, 490.0];

/// Colours that can be told apart on white and on black.
const COLOURS: [&str; 10] = [
    "#4e79c4", "#e0812b", "#3f9e54", "#d0504f", "#9467bd", "#a0705f", "#d86fb0", "#7d8590", "#a8a432",
    "#27a9bf",
];

/// Text and lines take the colours of the reader's scheme.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}\
.ground{fill:#fff}.grid{stroke:#d0d7de}.axis{stroke:#57606a;fill:none}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}\
.ground{fill:#0d1117}.grid{stroke:#30363d}.axis{stroke:#8b949e}}";

/// One line of the drawing.
struct Series<'a> {
    name: &'a str,
    /// Size and p50, by size.
    points: Vec<(f64, f64)>,
}

/// Draws all rows of the mode `latency` as an SVG file.
pub fn svg(rows: &[Row]) -> String {
    let series = series(rows);
    let sizes = range(series.iter().flat_map(|series| series.points.iter().map(|point| point.0)), 2.0);
    let times = range(series.iter().flat_map(|series| series.points.iter().map(|point| point.1)), 10.0);
    let [left, top, right, bottom] = FIELD;
    let x = |size: f64| left + (right - left) * place(size, sizes);
    let y = |time: f64| bottom - (bottom - top) * place(time, times);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n"
    );
    text(&mut out, left, 28.0, "start", "One call at a time: half of the calls take at most so long");
    for time in ticks(times, 10.0) {
        line(&mut out, "grid", [left, y(time), right, y(time)]);
        text(&mut out, left - 8.0, y(time) + 4.0, "end", &whole(&units::time(time)));
    }
    for size in ticks(sizes, 4.0) {
        line(&mut out, "grid", [x(size), top, x(size), bottom]);
        let label = format!("rotate(-35 {0:.1} {1})", x(size), bottom + 20.0);
        let name = units::bytes(size as usize);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"end\" transform=\"{label}\">{name}</text>",
            x(size),
            bottom + 20.0
        );
    }
    let _ = writeln!(out, "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>");
    text(&mut out, (left + right) / 2.0, HEIGHT - 10.0, "middle", "bytes each way");
    for (number, series) in series.iter().enumerate() {
        draw(&mut out, series, COLOURS[number % COLOURS.len()], number >= COLOURS.len(), (&x, &y));
        legend(&mut out, series.name, COLOURS[number % COLOURS.len()], number);
    }
    out + "</svg>\n"
}

/// The rows of the mode `latency`, in their first order.
fn series(rows: &[Row]) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for row in rows.iter().filter(|row| row.mode == Mode::Latency) {
        let (Some(size), Some(p50)) = (row.size, row.p50_ns) else { continue };
        let point = (size as f64, p50.max(1) as f64);
        match all.iter_mut().find(|series| series.name == row.row) {
            Some(series) => series.points.push(point),
            None => all.push(Series { name: row.row, points: vec![point] }),
        }
    }
    for series in &mut all {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    all
}

/// From the power of `base` below all values to the one above them.
fn range(values: impl Iterator<Item = f64>, base: f64) -> [f64; 2] {
    let [low, high] =
        values.fold([f64::MAX, 0.0_f64], |[low, high], value| [low.min(value), high.max(value)]);
    if high == 0.0 {
        return [1.0, base];
    }
    let low = base.powf(low.log(base).floor());
    [low, base.powf(high.log(base).ceil()).max(low * base)]
}

/// Where a value lies in a range, from 0 to 1.
fn place(value: f64, [low, high]: [f64; 2]) -> f64 {
    (value / low).ln() / (high / low).ln()
}

/// The range's start, and each `step` times the one before.
fn ticks([low, high]: [f64; 2], step: f64) -> Vec<f64> {
    std::iter::successors(Some(low), |value| Some(value * step))
        .take_while(|&value| value <= high * 1.001)
        .collect()
}

/// `1.00 µs` as `1 µs`.
fn whole(text: &str) -> String {
    text.replace(".00", "").replace(".0", "")
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn line(out: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A place on the drawing, by value.
type Scale<'a> = &'a dyn Fn(f64) -> f64;

fn draw(out: &mut String, series: &Series<'_>, colour: &str, dashed: bool, (x, y): (Scale<'_>, Scale<'_>)) {
    let points = series.points.iter().map(|&(size, time)| (x(size), y(time)));
    let path: Vec<String> = points.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dashes = if dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} points=\"{}\"/>",
        path.join(" ")
    );
    for (x, y) in points {
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
}

fn legend(out: &mut String, name: &str, colour: &str, number: usize) {
    let (x, y) = (FIELD[2] + 20.0, FIELD[1] + 10.0 + 24.0 * number as f64);
    let _ =
        writeln!(out, "<rect x=\"{x}\" y=\"{:.1}\" width=\"16\" height=\"4\" fill=\"{colour}\"/>", y - 6.0);
    text(out, x + 24.0, y, "start", name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, mode: Mode, size: usize, p50: u64) -> Row {
        Row { size: Some(size), p50_ns: Some(p50), ..Row::new(name, mode) }
    }

    #[test]
    fn every_row_is_a_line_with_a_name() {
        let rows = [
            row("typed", Mode::Latency, 4096, 2_000),
            row("typed", Mode::Latency, 64, 500),
            row("raw", Mode::Latency, 64, 400),
            row("typed", Mode::Wake, 64, 90_000),
        ];
        let drawing = svg(&rows);
        assert_eq!(drawing.matches("<polyline").count(), 2);
        assert_eq!(drawing.matches("<circle").count(), 3);
        for part in
            [">typed<", ">raw<", ">64 B<", ">4 KiB<", ">100 ns<", ">10 µs<", "prefers-color-scheme:dark"]
        {
            assert!(drawing.contains(part), "{part} in {drawing}");
        }
        assert!(!drawing.contains("NaN") && !drawing.contains("inf"), "{drawing}");
        assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
    }

    #[test]
    fn axes_reach_from_power_to_power() {
        assert_eq!(range([300.0, 2500.0].into_iter(), 10.0), [100.0, 10_000.0]);
        assert_eq!(range([64.0].into_iter(), 2.0), [64.0, 128.0]);
        assert_eq!(ticks([64.0, 4096.0], 4.0), [64.0, 256.0, 1024.0, 4096.0]);
        assert!((place(1000.0, [100.0, 10_000.0]) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_an_empty_field() {
        let drawing = svg(&[]);
        assert!(drawing.ends_with("</svg>\n") && !drawing.contains("NaN") && !drawing.contains("<polyline"));
    }
}
