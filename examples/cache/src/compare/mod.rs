//! The client process: the same calls over mmap-rpc and over a plain Unix socket, in turns, and what the
//! machine itself needs to take one cache line to another process and back.

pub(crate) mod floor;
mod measure;
pub(crate) mod rival;
mod rows;
mod table;
mod values;

use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Options;
use crate::cache::{GetRequest, GetResponse, SetRequest, SetResponse};
use crate::client::Client;
use crate::compare::measure::{Comparison, SIZES};
use crate::compare::rival::Rival;
use crate::process::{rival_socket, socket, when_parent_leaves};

/// The calls that are measured, over whatever carries them.
pub(crate) trait Transport {
    /// What the rows call it.
    fn name(&self) -> &'static str;
    fn set(&mut self, request: SetRequest) -> anyhow::Result<SetResponse>;
    fn get(&mut self, request: GetRequest) -> anyhow::Result<GetResponse>;
}

/// Measures against the server whose sockets lie in `directory`, and prints the result.
pub(crate) fn run(directory: &Path, options: &Options) -> anyhow::Result<()> {
    when_parent_leaves(|| process::exit(1))?;
    let client = Client::connect(&socket(directory))?;
    let rival = Rival::connect(&rival_socket(directory))?;
    let comparison = Comparison::new(client, rival, Duration::from_secs_f64(options.seconds));
    let progress = progress_bar(comparison.turns());
    let rows = comparison.run(&progress)?;
    progress.finish_and_clear();
    let text = if options.json { rows::json_lines(&rows)? } else { table::render(&rows, &SIZES) };
    io::stdout().write_all(text.as_bytes()).context("cannot print the result")
}

/// Draws on standard error, and only if that is a terminal. It is drawn between turns, never during one.
fn progress_bar(turns: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<22} {bar:40} {percent:>3} %  {eta} left");
    ProgressBar::new(turns).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
