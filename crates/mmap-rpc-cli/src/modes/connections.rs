//! Many connections: what they cost while nobody calls, and what they cost the one that is used.

use std::process;
use std::thread;
use std::time::Duration;

use crate::args::Mode;
use crate::machine;
use crate::measure::{Cell, Contender};
use crate::modes::{Bench, SMALL};
use crate::row::Row;
use crate::transports::Transport;

/// How long nobody calls in the mode `idle`.
const IDLE: Duration = Duration::from_secs(3);

/// The time of a cell from which on the whole of [`IDLE`] is waited.
const WHOLE: Duration = Duration::from_millis(300);

/// Files that are left for everything else.
const SPARE_FILES: u64 = 100;

impl Bench {
    pub(super) fn idle(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for transport in transports {
            let mut contender = self.start(*transport, self.pin, SMALL)?;
            contender.begin()?;
            let connections = self.open(&mut contender, Mode::Idle)?;
            // What the last connection left to do is done by then.
            thread::sleep(Duration::from_millis(100));
            let mut cell = Cell::default();
            cell.line(self.line()?);
            let before = contender.usage()?;
            let time = self.options.duration;
            let length = if time >= WHOLE { IDLE } else { time };
            thread::sleep(length);
            contender.used_since(before, 0, &mut cell)?;
            contender.end()?;
            cell.line(self.line()?);
            let row = cell.into_row(Row::new(contender.name(), Mode::Idle));
            rows.push(Row { connections: Some(connections), calls: None, ..row });
        }
        Ok(rows)
    }

    /// Two servers of each row take turns: one with one connection, one with many.
    pub(super) fn connections(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for transport in transports {
            let one = self.start(*transport, self.pin, SMALL)?;
            let mut many = self.start(*transport, self.pin, SMALL)?;
            many.begin()?;
            let before = held(&many)?;
            let connections = self.open(&mut many, Mode::Connections)?;
            many.end()?;
            let more = held(&many)?.saturating_sub(before);
            let each = more / (connections as u64 - 1).max(1);
            let mut contenders = [one, many];
            let mut cells = [Cell::default(), Cell::default()];
            self.in_turns(&mut cells, |which, length, cell| contenders[which].turn(SMALL, length, cell))?;
            for (cell, (count, each)) in cells.into_iter().zip([(1, None), (connections, Some(each))]) {
                let row = cell.into_row(Row::new(transport.name(), Mode::Connections));
                let (size, depth) = (Some(SMALL), Some(1));
                rows.push(Row { size, depth, connections: Some(count), rss_per_connection: each, ..row });
            }
        }
        Ok(rows)
    }

    /// Opens as many connections as were asked for, or as the limit of open files lets both processes have,
    /// and makes a call on each. Returns how many there are.
    fn open(&mut self, contender: &mut Contender, mode: Mode) -> anyhow::Result<usize> {
        let wanted = self.options.connections as usize;
        let files = |contender: &Contender| {
            let server = contender.server().map_or(Ok(0), machine::open_files)?;
            anyhow::Ok([machine::open_files(process::id())?, server])
        };
        contender.call_on_last(SMALL)?;
        let before = files(contender)?;
        contender.connect()?;
        contender.call_on_last(SMALL)?;
        let after = files(contender)?;
        let limit = machine::raise_file_limit();
        // Files per connection, of whichever process runs out of them first.
        let room = before.iter().zip(after).map(|(before, after)| {
            let each = after.saturating_sub(*before).max(1);
            limit.saturating_sub(after + SPARE_FILES) / each
        });
        let most = room.min().unwrap_or(0) as usize + 2;
        let connections = wanted.min(most);
        if connections < wanted {
            let name = contender.name();
            self.notes.push(format!(
                "{}: {connections} connections of {name}, because {limit} files may be open; see ulimit -Hn",
                mode.name()
            ));
        }
        for _ in 2..connections {
            contender.connect()?;
            contender.call_on_last(SMALL)?;
        }
        Ok(connections.max(2))
    }
}

/// Memory that both processes hold.
fn held(contender: &Contender) -> anyhow::Result<u64> {
    let server = contender.server().map_or(Ok(0), machine::resident)?;
    Ok(machine::resident(process::id())? + server)
}
