//! The modes of small messages in which rows take turns: a flood, a call after silence, one processor for
//! both.

use std::time::Duration;

use crate::args::Mode;
use crate::measure::{Cell, Contender};
use crate::modes::{Bench, SMALL};
use crate::row::Row;
use crate::transports::Transport;

/// How many calls a flood has under way.
const DEPTH: usize = 64;

/// How long nobody calls before a call of the mode `wake`: a thousand times the longest spin.
const SILENCE: Duration = Duration::from_millis(50);

/// A call that follows silence takes 50 ms, so this mode needs more time than others for its medians.
const WAKE_TIME: u32 = 5;

impl Bench {
    pub(super) fn flood(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let turn = |contender: &mut Contender, length, cell: &mut Cell| {
            contender.flood_turn(SMALL, DEPTH, length, cell)
        };
        self.taking_turns(Mode::Flood, transports, self.pin, DEPTH, turn)
    }

    pub(super) fn wake(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let turn = |contender: &mut Contender, length: Duration, cell: &mut Cell| {
            let calls = (length * WAKE_TIME).div_duration_f64(SILENCE).ceil().max(1.0);
            contender.wake_turn(SMALL, SILENCE.min(length), calls as u32, cell)
        };
        self.taking_turns(Mode::Wake, transports, self.pin, 1, turn)
    }

    pub(super) fn one_core(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let turn = |contender: &mut Contender, length, cell: &mut Cell| contender.turn(SMALL, length, cell);
        self.taking_turns(Mode::OneCore, transports, [self.pin[0]; 2], 1, turn)
    }

    fn taking_turns(
        &mut self,
        mode: Mode,
        transports: &[&'static dyn Transport],
        pin: [usize; 2],
        depth: usize,
        turn: impl Fn(&mut Contender, Duration, &mut Cell) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Row>> {
        let start = |transport: &&'static dyn Transport| self.start(*transport, pin, SMALL);
        let mut contenders = transports.iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
        let mut cells: Vec<Cell> = contenders.iter().map(|_| Cell::default()).collect();
        self.in_turns(&mut cells, |which, length, cell| turn(&mut contenders[which], length, cell))?;
        let rows = contenders.into_iter().zip(cells).map(|(contender, cell)| {
            let row = Row::new(contender.name(), mode);
            cell.into_row(Row { size: Some(SMALL), depth: Some(depth), ..row })
        });
        Ok(rows.collect())
    }
}
