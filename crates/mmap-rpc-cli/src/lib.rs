//! The command `mmap-rpc`: it asks a running server what it offers and how it is, and measures calls between
//! two processes beside what the machine itself can do.
//!
//! ```sh
//! mmap-rpc list /run/cache.sock
//! mmap-rpc describe /run/cache.sock cache.GetRequest
//! mmap-rpc health /run/cache.sock
//! cargo run --release --bin mmap-rpc -- bench
//! ```
//!
//! [`inspect`] does the former. In a bench, every row does the same [`work`] over another
//! [`Transport`](transports::Transport): this library in all the ways it can be used, a ring in shared memory
//! without any library, a plain Unix socket. Cells that are compared take turns within seconds of each other
//! ([`measure`]), with client and server on a processor each, because two processors of a virtual machine may
//! be near or far from each other, and change.
//!
//! A program with rows of its own gives them to [`run`], together with those of [`transports::ALL`] and with
//! what they amount to, and makes [`allocations::Counting`] its allocator:
//!
//! ```text
//!  run            parses nothing, prints everything
//!  inspect        what servers say of themselves
//!  modes          which cells there are            table · plot · ratios   what is printed
//!  measure        turns, samples                   row                     what a cell is
//!  process        the server as the bench sees it  serving                 … and from inside
//!  transports     the rows                         work                    what they carry
//!  machine · allocations                           what the system tells
//! ```

pub mod allocations;
pub mod args;
pub mod inspect;
pub mod machine;
pub mod measure;
pub mod modes;
pub mod plot;
pub mod process;
pub mod ratios;
pub mod row;
pub mod serving;
pub mod table;
pub mod transports;
pub mod units;
pub mod work;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::args::{Args, Command};
use crate::inspect::health::Verdict;
use crate::ratios::Ratio;
use crate::row::Row;
use crate::transports::Catalog;

/// Does what the command line asks for, with these rows; `ratios` says what they amount to.
///
/// # Errors
/// Those of [`modes::Bench`], [`serving::serve`], [`inspect::list`] and [`inspect::describe`], and if the
/// result cannot be printed.
pub fn run(args: Args, catalog: Catalog, ratios: fn(&[Row]) -> Vec<Ratio>) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Health(options) => return Ok(health(&options)),
        Command::Bench(options) => bench(catalog, options, ratios),
        Command::List(options) => print(&inspect::list(&options)?),
        Command::Describe(options) => print(&inspect::describe(&options)?),
        Command::Serve(options) => serving::serve(catalog, &options),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn health(options: &args::Health) -> ExitCode {
    let show = |text: &str| writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
    let (verdict, text) = match options.watch {
        true => inspect::health::watch(options, show),
        false => inspect::health::probe(options),
    };
    // The code is the answer, whether anybody reads the text or not.
    let _ = match verdict {
        Verdict::Serving | Verdict::NotServing => writeln!(io::stdout(), "{text}"),
        Verdict::NoAnswer | Verdict::Unknown => writeln!(io::stderr(), "{text}"),
    };
    (verdict as u8).into()
}

fn bench(catalog: Catalog, options: args::Bench, ratios: fn(&[Row]) -> Vec<Ratio>) -> anyhow::Result<()> {
    let (json, plot) = (options.json, options.plot.clone());
    let outcome = modes::Bench::new(catalog, options)?.run()?;
    if let Some(path) = plot {
        let drawn = fs::write(&path, plot::svg(&outcome.rows));
        drawn.with_context(|| format!("cannot write the plot {}", path.display()))?;
    }
    let text = if json {
        // Notes are for people, and nobody else reads standard error.
        outcome.notes.iter().for_each(|note| eprintln!("note: {note}"));
        row::json_lines(&outcome.rows)?
    } else {
        let ratios = ratios(&outcome.rows);
        format!("{}\n\n{}\n{}", machine::describe(), table::render(&outcome), ratios::render(&ratios))
    };
    print(&text)
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot print the result")
}
