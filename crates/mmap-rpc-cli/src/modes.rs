//! The whole run: which cells there are, mode by mode.

mod connections;
mod latency;
mod same_size;
mod stream;
mod threads;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use crate::args::{self, Mode};
use crate::machine;
use crate::measure::{Cell, Contender, ROUNDS, order};
use crate::row::Row;
use crate::transports::{ALL, Catalog, Transport, find};

/// How long the round trip of a cache line is measured before and after a round.
const LINE_TIME: Duration = Duration::from_millis(4);

/// Bytes of a message where size is not what is compared.
const SMALL: usize = 64;

/// A run: what is measured, and with what.
pub struct Bench {
    catalog: Catalog,
    options: args::Bench,
    /// Processors of client and server.
    pin: [usize; 2],
    /// Processors that this process may use.
    all: Vec<usize>,
    directory: TempDir,
    servers: usize,
    /// The ping-pong, unless there is one processor only.
    line: Option<(Contender, Cell)>,
    progress: ProgressBar,
    notes: Vec<String>,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The cells, in the order of the modes.
    pub rows: Vec<Row>,
    /// What was left out, or is otherwise to be known.
    pub notes: Vec<String>,
}

impl Bench {
    /// Prepares a run.
    ///
    /// # Errors
    /// If the options ask for what there is not.
    pub fn new(catalog: Catalog, options: args::Bench) -> anyhow::Result<Self> {
        for name in &options.rows {
            find(catalog, name)?;
        }
        let pin = machine::choose(options.pin.map(|pin| pin.0))?;
        let directory =
            tempfile::tempdir().context("cannot create a directory for the sockets; set TMPDIR")?;
        let mut notes = Vec::new();
        if pin[0] == pin[1] {
            notes.push("one processor: rows that never sleep are left out".into());
        }
        let (all, progress) = (machine::processors()?, ProgressBar::no_length());
        Ok(Self { catalog, options, pin, all, directory, servers: 0, line: None, progress, notes })
    }

    /// Measures everything that was asked for.
    ///
    /// # Errors
    /// If a call fails, a reply is wrong, or a server dies.
    pub fn run(mut self) -> anyhow::Result<Outcome> {
        machine::raise_file_limit();
        let [client, server] = self.pin;
        machine::pin(&[client])?;
        if client != server {
            let ping_pong = find(ALL, "ping-pong")?;
            self.line = Some((self.start(ping_pong, self.pin, SMALL)?, Cell::default()));
        }
        self.note_who_is_left_out();
        let modes: Vec<Mode> = Mode::value_variants().to_vec();
        let modes = modes.into_iter().filter(|mode| self.wants_mode(*mode));
        let mut modes: Vec<_> = modes.map(|mode| (mode, self.rows_of(mode))).collect();
        // First, because memory that other modes have given back would hide what connections take.
        modes.sort_by_key(|(mode, _)| *mode != Mode::Connections);
        ensure!(
            modes.iter().any(|(_, rows)| !rows.is_empty()),
            "none of these rows takes part in any of these modes; see --rows and --modes"
        );
        self.progress = progress_bar(modes.len());
        let mut rows = Vec::new();
        for (mode, transports) in modes {
            if !transports.is_empty() {
                rows.extend(self.mode(mode, &transports)?);
            }
            self.progress.inc(1);
        }
        self.progress.finish_and_clear();
        rows.sort_by_key(|row| row.mode);
        if let Some((_, cell)) = self.line.take()
            && self.wants("ping-pong")
        {
            rows.insert(0, cell.into_row(Row::new("ping-pong", Mode::Latency)));
        }
        Ok(Outcome { rows, notes: self.notes })
    }

    fn mode(&mut self, mode: Mode, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        self.progress.set_message(mode.name());
        match mode {
            Mode::Latency => self.latency(transports),
            Mode::Flood => self.flood(transports),
            Mode::Wake => self.wake(transports),
            Mode::Idle => self.idle(transports),
            Mode::OneCore => self.one_core(transports),
            Mode::Connections => self.connections(transports),
            Mode::Threads => self.threads(transports),
            Mode::Stream => self.stream(transports),
        }
    }

    fn wants(&self, row: &str) -> bool {
        self.options.rows.is_empty() || self.options.rows.iter().any(|wanted| wanted == row)
    }

    fn wants_mode(&self, mode: Mode) -> bool {
        self.options.modes.is_empty() || self.options.modes.contains(&mode)
    }

    /// Notes why rows take no part in modes, where both were asked for.
    fn note_who_is_left_out(&mut self) {
        let mut notes = Vec::new();
        for row in self.catalog.iter().filter(|row| self.wants(row.name())) {
            for mode in Mode::value_variants().iter().filter(|mode| self.wants_mode(**mode)) {
                let why = row.left_out(*mode);
                notes.extend(why.map(|why| format!("{}: without {}, {why}", mode.name(), row.name())));
            }
        }
        self.notes.extend(notes);
    }

    /// The rows of a mode that were asked for and can run.
    fn rows_of(&self, mode: Mode) -> Vec<&'static dyn Transport> {
        let runs = |row: &&'static dyn Transport| {
            let possible = self.pin[0] != self.pin[1] || !row.spins();
            self.wants(row.name()) && row.modes().contains(&mode) && possible
        };
        self.catalog.iter().copied().filter(runs).collect()
    }

    /// Starts a server with a directory of its own, and a client.
    fn start(
        &mut self,
        transport: &'static dyn Transport,
        pin: [usize; 2],
        max_size: usize,
    ) -> anyhow::Result<Contender> {
        let directory: PathBuf = self.directory.path().join(self.servers.to_string());
        self.servers += 1;
        fs::create_dir(&directory).context("cannot create a directory for a socket")?;
        Contender::start(transport, &directory, pin, max_size)
    }

    /// Lets cells take turns in rounds; `turn` measures the cell of a number for so long. The round trip of a
    /// cache line is measured before each round and after the last one.
    fn in_turns(
        &mut self,
        cells: &mut [Cell],
        mut turn: impl FnMut(usize, Duration, &mut Cell) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let length = self.options.duration / ROUNDS as u32;
        for round in 0..ROUNDS {
            let line = self.line()?;
            for which in order(round, cells.len()) {
                let cell = &mut cells[which];
                cell.line(line);
                turn(which, length, cell)?;
                cell.end_round();
            }
        }
        let line = self.line()?;
        cells.iter_mut().for_each(|cell| cell.line(line));
        Ok(())
    }

    /// Measures the round trip of a cache line.
    fn line(&mut self) -> anyhow::Result<Option<u64>> {
        let Some((ping_pong, all)) = &mut self.line else { return Ok(None) };
        let mut now = Cell::default();
        let length = LINE_TIME.min(self.options.duration);
        ping_pong.turn(SMALL, length, &mut now)?;
        let line = now.samples.quantile(0.5);
        all.absorb(now);
        all.end_round();
        all.line(line);
        Ok(line)
    }
}

/// Draws on standard error, and only if that is a terminal. It is drawn between modes, never during one.
fn progress_bar(modes: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<12} {bar:40} {pos} of {len}  {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(modes as u64).with_style(style)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};
    use crate::serving::Serving;
    use crate::transports::{Echo, Place};

    /// Takes part in one mode and says why not in another.
    struct Restless;

    impl Transport for Restless {
        fn name(&self) -> &'static str {
            "restless"
        }

        fn modes(&self) -> &'static [Mode] {
            &[Mode::Latency]
        }

        fn left_out(&self, mode: Mode) -> Option<&'static str> {
            (mode == Mode::Wake).then_some("which never sleeps")
        }

        fn serve(&self, _: &Serving) -> anyhow::Result<()> {
            unreachable!("nothing is measured")
        }

        fn connect(&self, _: &Place) -> anyhow::Result<Box<dyn Echo>> {
            unreachable!("nothing is measured")
        }
    }

    /// The notes of a bench with such a row and the typed one.
    fn notes(arguments: &[&str]) -> Vec<String> {
        const CATALOG: Catalog = &[&Restless, &crate::transports::typed::Typed];
        let arguments = ["mmap-rpc", "bench"].iter().chain(arguments);
        let Command::Bench(options) = Args::try_parse_from(arguments).unwrap().command else {
            unreachable!("bench was asked for")
        };
        let mut bench = Bench::new(CATALOG, options).unwrap();
        bench.notes.clear();
        bench.note_who_is_left_out();
        bench.notes
    }

    #[test]
    fn who_is_left_out_is_said_where_it_was_asked_for() {
        let note = ["wake: without restless, which never sleeps"];
        assert_eq!(notes(&[]), note);
        assert_eq!(notes(&["--modes", "latency,wake", "--rows", "restless"]), note);
        assert!(notes(&["--modes", "latency,one-core"]).is_empty());
        assert!(notes(&["--rows", "typed"]).is_empty());
    }
}
