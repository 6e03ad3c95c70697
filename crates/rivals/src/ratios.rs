//! What the rows of the rivals amount to, beside those of mmap-rpc.

use mmap_rpc_cli::args::Mode;
use mmap_rpc_cli::ratios::{Ratio, Rows, at_least, at_most};
use mmap_rpc_cli::row::Row;
use mmap_rpc_cli::transports::headline::TEXT;

const SMALL: usize = 64;
const LARGE: usize = 4 << 20;

/// Those of mmap-rpc by itself, and those against the rivals whose rows are there.
pub(crate) fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let mut ratios = mmap_rpc_cli::ratios::ratios(rows);
    ratios.extend(against(Rows(rows)));
    ratios
}

fn against(rows: Rows<'_>) -> Vec<Ratio> {
    use Mode::{Flood, Latency, OneCore};
    let flood = |typed, rival, least| {
        let value = rows.over([rival, typed], Flood, SMALL)?;
        Some(at_least(format!("calls/s of {typed} / {rival}, flood"), value, least))
    };
    let large = rows.over(["borrowed", "iceoryx2"], Latency, LARGE);
    let headline = rows.over(["tonic-headline", "headline"], Latency, TEXT);
    let one_core = ["tonic", "iceoryx2-events", "shmipc"].into_iter().filter_map(|rival| {
        let value = rows.over([rival, "typed"], OneCore, SMALL)?;
        Some(at_least(format!("{rival} / typed, one core"), value, 1.0))
    });
    let ratios = [
        flood("typed-fixed", "shmipc", 5.0),
        flood("typed", "shmipc", 5.0),
        flood("typed-fixed", "tonic", 100.0),
        flood("typed", "tonic", 100.0),
        large.map(|value| at_most("borrowed 4 MiB / iceoryx2", value, 1.0)),
        headline.map(|value| at_least("tonic-headline / headline", value, 6.0)),
    ];
    ratios.into_iter().flatten().chain(one_core).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, mode: Mode, size: usize, p50: u64) -> Row {
        Row { size: Some(size), p50_ns: Some(p50), ..Row::new(name, mode) }
    }

    /// The one ratio of two rows, and whether it is what it should be.
    fn one(mode: Mode, size: usize, times: [(&'static str, u64); 2]) -> (String, String, bool) {
        let rows = times.map(|(name, p50)| row(name, mode, size, p50));
        let found = against(Rows(&rows));
        assert_eq!(found.len(), 1, "{found:?}");
        let Ratio { what, value, met, .. } = found.into_iter().next().unwrap();
        (what, value, met)
    }

    #[test]
    fn whoever_is_ahead_is_above_its_bound() {
        for typed in ["typed", "typed-fixed"] {
            let flood = |rival, time| one(Mode::Flood, SMALL, [(typed, 100), (rival, time)]);
            let what = format!("calls/s of {typed} / shmipc, flood");
            assert_eq!(flood("shmipc", 500), (what, "5.00".into(), true));
            assert!(!flood("shmipc", 499).2);
            assert!(flood("tonic", 10_000).2 && !flood("tonic", 9_990).2);
        }
        let headline = |time| one(Mode::Latency, TEXT, [("headline", 10), ("tonic-headline", time)]);
        assert!(headline(60).2 && !headline(59).2);
        for rival in ["tonic", "iceoryx2-events", "shmipc"] {
            let one_core = |time| one(Mode::OneCore, SMALL, [("typed", 10), (rival, time)]);
            assert!(one_core(11).2 && !one_core(9).2);
        }
    }

    #[test]
    fn a_large_borrow_is_no_slower() {
        let large = |time| one(Mode::Latency, LARGE, [("borrowed", time), ("iceoryx2", 100)]);
        assert!(large(100).2 && !large(101).2);
    }

    #[test]
    fn our_own_ratios_come_first() {
        let own = [row("typed", Mode::Latency, SMALL, 1), row("bare-ring", Mode::Latency, SMALL, 1)];
        let rival = [row("typed", Mode::OneCore, SMALL, 1), row("tonic", Mode::OneCore, SMALL, 2)];
        let found = ratios(&[own, rival].concat());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].what.contains("bare-ring") && found[1].what.contains("tonic"), "{found:?}");
    }
}
