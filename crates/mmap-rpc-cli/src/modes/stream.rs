//! Messages of one stream, as fast as they come, for two sizes.

use crate::args::Mode;
use crate::measure::Cell;
use crate::modes::Bench;
use crate::row::Row;
use crate::transports::Transport;
use crate::transports::streams::SIZES;

impl Bench {
    /// Rows of one size take turns. Each turn is a call of its own.
    pub(super) fn stream(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let start = |transport: &&'static dyn Transport| self.start(*transport, self.pin, SIZES[1]);
        let mut contenders = transports.iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
        let mut rows = Vec::new();
        for size in SIZES {
            let mut cells: Vec<Cell> = contenders.iter().map(|_| Cell::default()).collect();
            self.in_turns(&mut cells, |which, length, cell| {
                contenders[which].flood_turn(size, 1, length, cell)
            })?;
            rows.extend(contenders.iter().zip(cells).map(|(contender, cell)| {
                let row = cell.into_row(Row::new(contender.name(), Mode::Stream));
                Row { size: Some(size), depth: Some(1), ..row }
            }));
        }
        Ok(rows)
    }
}
