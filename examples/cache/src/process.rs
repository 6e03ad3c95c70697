//! The processes of the demonstration: all of them this program, none of them left over.
//!
//! Every child holds a pipe from its parent as standard input. It closes when the parent ends, in whatever
//! way, and the child ends with it.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::args::Options;

/// What the server prints once clients may connect.
pub(crate) const READY: &str = "ready";

/// How long a child may take to end when asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Where mmap-rpc listens.
pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join("mmap-rpc.sock")
}

/// Where the plain socket listens.
pub(crate) fn rival_socket(directory: &Path) -> PathBuf {
    directory.join("plain.sock")
}

/// Calls `end` once the process that started this one has closed our standard input or is gone.
pub(crate) fn when_parent_leaves(end: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let watch = move || {
        // The parent never writes: whatever ends the read means that it is gone.
        let _ = io::stdin().read(&mut [0]);
        end();
    };
    thread::Builder::new()
        .name("parent-watch".into())
        .spawn(watch)
        .map(drop)
        .context("cannot start a thread; see ulimit -u")
}

/// A child, killed if it is dropped before it ended.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    role: &'static str,
}

impl Process {
    /// Starts a server with its sockets in `directory`, and waits until clients may connect.
    pub(crate) fn server(directory: &Path) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command.arg("serve").arg(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C goes to a whole process group. The server stays out of it, to tidy up when the rest is gone.
        command.process_group(0);
        let mut server = Self::start(command, "server")?;
        let stdout = server.child.stdout.take().context("the server process has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot hear from the server process")?;
        if line.trim_end() != READY {
            let status = server.wait()?;
            bail!("the server process did not get ready ({status}); it said why above");
        }
        Ok(server)
    }

    /// Starts the client that measures. It prints the result.
    pub(crate) fn client(directory: &Path, options: &Options) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command.arg("measure").arg(directory).arg("--seconds").arg(options.seconds.to_string());
        if options.json {
            command.arg("--json");
        }
        command.stdin(Stdio::piped());
        Self::start(command, "client")
    }

    /// Starts the process that echoes words through the file that it gets as standard input.
    pub(crate) fn echo(file: std::fs::File) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command.arg("echo").stdin(file);
        Self::start(command, "echo")
    }

    fn start(mut command: Command, role: &'static str) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start the {role} process"))?;
        Ok(Self { child, role })
    }

    /// Waits for a child that ends by itself.
    pub(crate) fn join(mut self) -> anyhow::Result<()> {
        // Taken, because `wait` would close the pipe, and the child would take that for our end.
        let _pipe = self.child.stdin.take();
        let status = self.child.wait().context("cannot wait for a process")?;
        self.check(status)
    }

    /// Asks the child to end, and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.wait()?;
        self.check(status)
    }

    /// The exit status, within the grace period.
    pub(crate) fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for a process")? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < end,
                "the {} process does not end within {GRACE:?}; it is killed",
                self.role
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn check(&self, status: ExitStatus) -> anyhow::Result<()> {
        ensure!(status.success(), "the {} process failed ({status}); what it said is above", self.role);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this_program() -> anyhow::Result<Command> {
    env::current_exe().map(Command::new).context("cannot find this program's own file; was it moved?")
}
