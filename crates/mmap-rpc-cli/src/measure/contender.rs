//! One transport with its server process and its clients, and its turns.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::measure::{Cell, Clock, WARM_UP};
use crate::process::{Server, Settings, Usage};
use crate::transports::{Echo, Flood, Place, Transport};

/// Calls after a look at what the processes used. They end the silence that asking makes, and their times do
/// not count.
const SETTLE: u64 = 2;

/// A transport that is being measured.
pub struct Contender {
    transport: &'static dyn Transport,
    server: Option<Server>,
    place: Place,
    /// The first one calls, the others are there.
    clients: Vec<Box<dyn Echo>>,
    /// Calls until now.
    number: u64,
    clock: Clock,
}

impl Contender {
    /// Starts the server and connects to it. `directory` must not be anybody else's.
    ///
    /// # Errors
    /// If either fails.
    pub fn start(
        transport: &'static dyn Transport,
        directory: &Path,
        pin: [usize; 2],
        max_size: usize,
    ) -> anyhow::Result<Self> {
        let [control, pin] = pin;
        let settings = Settings { directory, pin, control, max_size };
        let server = transport.has_server().then(|| Server::start(transport.name(), settings)).transpose()?;
        let note = server.as_ref().map_or("", Server::note).to_owned();
        let place = Place {
            directory: directory.to_owned(),
            server: server.as_ref().map_or(0, Server::pid),
            note,
            max_size,
        };
        let mut contender =
            Self { transport, server, place, clients: Vec::new(), number: 0, clock: Clock::new() };
        contender.connect()?;
        Ok(contender)
    }

    /// What the rows call it.
    pub fn name(&self) -> &'static str {
        self.transport.name()
    }

    /// The process id of its server.
    pub fn server(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Opens one connection more. Only the first one is used.
    ///
    /// # Errors
    /// If it does not open.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        let client = self.transport.connect(&self.place);
        self.clients.push(client.with_context(|| format!("{}: no connection", self.name()))?);
        Ok(())
    }

    /// Makes one call on the connection that was opened last.
    ///
    /// # Errors
    /// If the call fails.
    pub fn call_on_last(&mut self, size: usize) -> anyhow::Result<()> {
        let name = self.name();
        self.clients.last_mut().context("no connection")?.echo(size, 0).with_context(|| failed(name, size))
    }

    /// Makes calls one at a time, for so long after the warm-up, at least one.
    ///
    /// # Errors
    /// If a call fails or its reply is wrong.
    pub fn turn(&mut self, size: usize, length: Duration, cell: &mut Cell) -> anyhow::Result<()> {
        self.begin()?;
        let warm = Instant::now() + length / WARM_UP;
        while {
            self.echo(size)?;
            Instant::now() < warm
        } {}
        let (before, first) = (self.usage()?, self.number);
        for _ in 0..SETTLE {
            self.echo(size)?;
        }
        let calls = self.clients[0].round_trips();
        let end = Instant::now() + length;
        loop {
            let start = Instant::now();
            self.echo(size)?;
            let now = Instant::now();
            cell.samples.add(self.clock.between(start, now), calls);
            if now >= end {
                break;
            }
        }
        let counted = (self.number - first) * u64::from(calls);
        self.used_since(before, counted, cell)?;
        self.end()
    }

    /// Makes `calls` calls, each after so much silence.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn wake_turn(
        &mut self,
        size: usize,
        silence: Duration,
        calls: u32,
        cell: &mut Cell,
    ) -> anyhow::Result<()> {
        self.begin()?;
        self.echo(size)?;
        let before = self.usage()?;
        for _ in 0..calls {
            thread::sleep(silence);
            let start = Instant::now();
            self.echo(size)?;
            cell.samples.add(self.clock.between(start, Instant::now()), 1);
        }
        self.used_since(before, calls.into(), cell)?;
        self.end()
    }

    /// Keeps many calls under way, for so long after the warm-up.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn flood_turn(
        &mut self,
        size: usize,
        depth: usize,
        length: Duration,
        cell: &mut Cell,
    ) -> anyhow::Result<()> {
        self.begin()?;
        self.flood(size, depth, length / WARM_UP)?;
        let (before, start) = (self.usage()?, Instant::now());
        let calls = self.flood(size, depth, length)?;
        cell.samples.add_untimed(start.elapsed(), calls);
        self.used_since(before, calls, cell)?;
        self.end()
    }

    fn flood(&mut self, size: usize, depth: usize, length: Duration) -> anyhow::Result<u64> {
        let flood = Flood { size, depth, until: Instant::now() + length, first: self.number };
        let name = self.name();
        let calls = self.clients[0].flood(flood).with_context(|| failed(name, size))?;
        self.number += calls;
        Ok(calls)
    }

    /// Another caller on the first connection.
    ///
    /// # Errors
    /// If this transport has only one.
    pub fn share(&self) -> anyhow::Result<Box<dyn Echo + Send>> {
        self.clients[0].share()
    }

    /// What both processes have used until now.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn usage(&mut self) -> anyhow::Result<(Usage, Option<Usage>)> {
        let server = self.server.as_mut().map(Server::usage).transpose()?;
        Ok((Usage::here(), server))
    }

    /// Adds what both processes used since then, for so many calls.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn used_since(
        &mut self,
        before: (Usage, Option<Usage>),
        calls: u64,
        cell: &mut Cell,
    ) -> anyhow::Result<()> {
        // Ourselves first: asking the server takes time of ours.
        let client = Usage::here().since(before.0);
        let server = self.server.as_mut().map(Server::usage).transpose()?;
        let server = server.zip(before.1).map(|(now, before)| now.since(before));
        cell.used(client, server, calls);
        Ok(())
    }

    /// Lets the server spin, if it is one that does.
    ///
    /// # Errors
    /// If it is gone.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.server.as_mut().map_or(Ok(()), Server::turn)
    }

    /// Makes the server sleep.
    ///
    /// # Errors
    /// If it is gone.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.server.as_mut().map_or(Ok(()), Server::rest)
    }

    #[inline]
    fn echo(&mut self, size: usize) -> anyhow::Result<()> {
        let number = self.number;
        self.number += 1;
        let result = self.clients[0].echo(size, number);
        result.with_context(|| failed(self.transport.name(), size))
    }
}

fn failed(name: &str, size: usize) -> String {
    format!("{name}: a call of {size} bytes failed")
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender")
            .field("name", &self.name())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
