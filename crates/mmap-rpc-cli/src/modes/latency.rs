//! One call at a time, for each size.

use std::collections::BTreeSet;

use crate::args::Mode;
use crate::measure::{Cell, Contender, rounds};
use crate::modes::Bench;
use crate::row::Row;
use crate::transports::Transport;

impl Bench {
    /// Rows of one size take turns; each row has one server for all of its sizes.
    pub(super) fn latency(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let mut contenders = Vec::new();
        for transport in transports {
            let sizes = transport.sizes(&self.options.sizes, &mut self.notes);
            if let Some(&longest) = sizes.iter().max() {
                contenders.push((self.start(*transport, self.pin, longest)?, sizes));
            }
        }
        let sizes: BTreeSet<usize> = contenders.iter().flat_map(|(_, sizes)| sizes).copied().collect();
        let mut rows = Vec::new();
        for size in sizes {
            self.progress.set_message(format!("{size} B"));
            self.progress.tick();
            let these = contenders.iter_mut().filter(|(_, sizes)| sizes.contains(&size));
            let these: Vec<_> = these.map(|(contender, _)| contender).collect();
            rows.extend(self.one_size(size, these)?);
        }
        Ok(rows)
    }

    fn one_size(&mut self, size: usize, mut contenders: Vec<&mut Contender>) -> anyhow::Result<Vec<Row>> {
        let mut cells: Vec<Cell> = contenders.iter().map(|_| Cell::default()).collect();
        let time = self.time();
        rounds(contenders.len(), time, |which, length| {
            let cell = &mut cells[which];
            cell.line(self.line()?);
            contenders[which].turn(size, length, cell)
        })?;
        let line = self.line()?;
        let rows = contenders.iter().zip(cells).map(|(contender, mut cell)| {
            cell.line(line);
            let row = Row::new(contender.name(), Mode::Latency);
            cell.into_row(Row { size: Some(size), depth: Some(1), ..row })
        });
        Ok(rows.collect())
    }
}
