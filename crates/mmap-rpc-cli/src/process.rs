//! The server process as the bench sees it: this program again, in another role.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};

use crate::allocations;
use crate::serving::processor_time;

/// What a process has used until some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in nanoseconds.
    pub cpu_ns: u64,
    /// How often it asked for memory.
    pub allocations: u64,
}

impl Usage {
    /// That of this process.
    pub fn here() -> Self {
        Self { cpu_ns: processor_time(), allocations: allocations::count() }
    }

    /// What was used from `before` until `self`.
    pub fn since(self, before: Self) -> Self {
        Self { cpu_ns: self.cpu_ns - before.cpu_ns, allocations: self.allocations - before.allocations }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { cpu_ns: self.cpu_ns + other.cpu_ns, allocations: self.allocations + other.allocations }
    }
}

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Where its sockets may lie; nobody else's do.
    pub directory: &'a Path,
    /// The processor that it serves on.
    pub pin: usize,
    /// The processor that it listens to the bench on.
    pub control: usize,
    /// The longest message that it will get.
    pub max_size: usize,
}

/// The server process of a row. Killed on drop, and it dies with this process however that ends.
#[derive(Debug)]
pub struct Server {
    row: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    line: String,
    note: String,
}

impl Server {
    /// Starts it, and waits until clients may connect.
    ///
    /// # Errors
    /// If it cannot be started, or does not get ready; then it said why on standard error.
    pub fn start(row: &'static str, settings: Settings<'_>) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find this program's own file; was it moved?")?;
        let mut command = Command::new(program);
        command.arg("serve").arg(row).arg(settings.directory);
        command.arg(format!("--pin={}", settings.pin));
        command.arg(format!("--control={}", settings.control));
        command.arg(format!("--max-size={}", settings.max_size));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start the server process of {row}"))?;
        let input = child.stdin.take().context("the server process has no standard input")?;
        let output = child.stdout.take().context("the server process has no standard output")?;
        let (output, line) = (BufReader::new(output), String::with_capacity(80));
        let mut server = Self { row, child, input, output, line, note: String::new() };
        let Some(note) = server.hear()?.strip_prefix("ready") else {
            bail!("the server of {row} did not get ready: {:?}", server.line)
        };
        server.note = note.trim().to_owned();
        Ok(server)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said that clients need to know.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Lets it spin, if it is one that does.
    ///
    /// # Errors
    /// If it is gone.
    pub fn turn(&mut self) -> anyhow::Result<()> {
        self.ask("turn").map(drop)
    }

    /// Makes it sleep.
    ///
    /// # Errors
    /// If it is gone.
    pub fn rest(&mut self) -> anyhow::Result<()> {
        self.ask("rest").map(drop)
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// If it is gone.
    pub fn usage(&mut self) -> anyhow::Result<Usage> {
        let answer = self.ask("usage")?;
        let numbers = answer.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (cpu_ns, allocations) = numbers.with_context(|| format!("no numbers: {answer:?}"))?;
        Ok(Usage { cpu_ns, allocations })
    }

    fn ask(&mut self, word: &str) -> anyhow::Result<&str> {
        let row = self.row;
        writeln!(self.input, "{word}").with_context(|| format!("the server process of {row} is gone"))?;
        self.hear()
    }

    fn hear(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        let read = self.output.read_line(&mut self.line).context("cannot hear the server process")?;
        if read == 0 {
            let status = self.child.wait().context("cannot wait for the server process")?;
            bail!("the server process of {} ended ({status}); if it said why, that is above", self.row);
        }
        Ok(self.line.trim_end())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_a_difference() {
        let at = |cpu_ns, allocations| Usage { cpu_ns, allocations };
        assert_eq!(at(30, 5).since(at(10, 2)), at(20, 3));
        assert_eq!(at(30, 5).plus(at(10, 2)), at(40, 7));
    }
}
