//! One call at a time, for each size.

use std::collections::BTreeMap;

use crate::args::Mode;
use crate::measure::{Cell, Contender};
use crate::modes::Bench;
use crate::row::Row;
use crate::transports::Transport;
use crate::units;

impl Bench {
    /// Each row has one server for all of its sizes. Rows of one size take turns, and after them the sizes of
    /// each row that is compared with itself.
    pub(super) fn latency(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let mut contenders = Vec::new();
        let mut groups: BTreeMap<(bool, usize), Vec<(usize, usize)>> = BTreeMap::new();
        for transport in transports {
            let sizes = transport.sizes(&self.options.sizes, &mut self.notes);
            let Some(&longest) = sizes.iter().max() else { continue };
            let which = contenders.len();
            contenders.push(self.start(*transport, self.pin, longest)?);
            for size in sizes {
                let itself = transport.compares_sizes();
                groups.entry((itself, if itself { which } else { size })).or_default().push((which, size));
            }
        }
        let mut rows = Vec::new();
        for cells in groups.into_values() {
            rows.extend(self.group(&mut contenders, &cells)?);
        }
        Ok(rows)
    }

    /// Measures cells, each a contender and a size, in turns.
    fn group(&mut self, contenders: &mut [Contender], which: &[(usize, usize)]) -> anyhow::Result<Vec<Row>> {
        let sizes: Vec<usize> = which.iter().map(|cell| cell.1).collect();
        self.progress.set_message(sizes.first().map_or_else(String::new, |&size| units::bytes(size)));
        let mut cells: Vec<Cell> = which.iter().map(|_| Cell::default()).collect();
        self.in_turns(&mut cells, |number, length, cell| {
            let (contender, size) = which[number];
            contenders[contender].turn(size, length, cell)
        })?;
        let rows = which.iter().zip(cells).map(|(&(contender, size), cell)| {
            let row = Row::new(contenders[contender].name(), Mode::Latency);
            cell.into_row(Row { size: Some(size), depth: Some(1), ..row })
        });
        Ok(rows.collect())
    }
}
