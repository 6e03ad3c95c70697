//! The server process: one row's server, and a thread that hears what the bench tells.
//!
//! The bench says a word per line on standard input, and each is answered by one line on standard output:
//!
//! ```text
//! bench     server
//!           ready NOTE     clients may connect
//! turn      ok             a server that spins may spin from now on
//! rest      ok             … and must sleep from now on
//! usage     CPU COUNT      nanoseconds of processor time, allocations
//! ```
//!
//! Answering allocates nothing, so that asking does not change what is asked for. The end of standard input
//! is the end of the bench, in whatever way it came, and ends the process.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use crate::allocations;
use crate::args::Serve;
use crate::machine;
use crate::transports::{ALL, Catalog, find};

/// What a transport's server is told.
#[derive(Debug)]
pub struct Serving {
    directory: PathBuf,
    max_size: usize,
    turn: Arc<Turn>,
}

impl Serving {
    /// A directory that is this server's alone.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The longest message that clients will send.
    pub fn max_size(&self) -> usize {
        self.max_size
    }

    /// Tells the bench that clients may connect; they find `note` in their
    /// [`Place`](crate::transports::Place).
    pub fn ready(&self, note: &str) {
        say(format_args!("ready {note}"));
    }

    /// Sleeps until it is this row's turn. For servers that spin: one that sleeps when it has nothing to do
    /// disturbs nobody.
    pub fn wait_for_turn(&self) {
        self.turn.wait();
    }

    /// Whether it still is this row's turn.
    #[inline]
    pub fn is_turn(&self) -> bool {
        self.turn.now.load(Ordering::Acquire)
    }
}

/// Whether a row is being measured.
#[derive(Debug, Default)]
struct Turn {
    now: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Turn {
    fn set(&self, now: bool) {
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.now.store(now, Ordering::Release);
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.now.load(Ordering::Acquire) {
            lock = self.changed.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Processor time that this process has used, in nanoseconds.
pub(crate) fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Serves a row until the bench ends.
///
/// # Errors
/// If there is no such row, or its server cannot be set up.
pub fn serve(catalog: Catalog, options: &Serve) -> anyhow::Result<()> {
    // Every bench measures the ping-pong, whether it is one of its rows or not.
    let transport =
        find(catalog, &options.row).or_else(|error| find(ALL, &options.row).map_err(|_| error))?;
    machine::raise_file_limit();
    let turn = Arc::new(Turn::default());
    let serving =
        Serving { directory: options.directory.clone(), max_size: options.max_size, turn: turn.clone() };
    // Its threads are started on the server's processor, and stay there.
    machine::pin(&[options.pin])?;
    let run = move || {
        let ended = transport.serve(&serving);
        let why = ended.err().map_or_else(|| "its server returned".into(), |error| format!("{error:#}"));
        eprintln!("{}: {why}", transport.name());
        process::exit(1);
    };
    thread::Builder::new().name("serve".into()).spawn(run).context("cannot start a thread")?;
    machine::pin(&[options.control])?;
    listen(&turn)
}

/// Hears the bench until it ends.
fn listen(turn: &Turn) -> anyhow::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = String::with_capacity(80);
    loop {
        line.clear();
        if input.read_line(&mut line).context("cannot hear the bench")? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "usage" => say(format_args!("{} {}", processor_time(), allocations::count())),
            word => {
                turn.set(word == "turn");
                say(format_args!("ok"));
            }
        }
    }
}

/// Says a line to the bench. One that is gone needs no answer.
fn say(line: std::fmt::Arguments<'_>) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_waited_for() {
        let turn = Arc::new(Turn::default());
        let serving = Serving { directory: PathBuf::new(), max_size: 1, turn: turn.clone() };
        assert!(!serving.is_turn());
        let waiting = thread::spawn(move || {
            serving.wait_for_turn();
            serving.is_turn()
        });
        turn.set(true);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn work_takes_processor_time() {
        let before = processor_time();
        while processor_time() == before {}
        assert!(processor_time() > before);
    }
}
