//! Several threads on one channel, each with one call at a time.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::args::Mode;
use crate::machine;
use crate::measure::{Cell, Clock, Contender, Samples, WARM_UP};
use crate::modes::{Bench, SMALL};
use crate::row::Row;
use crate::transports::{Echo, Transport};

/// How many threads call.
const THREADS: [usize; 4] = [1, 2, 4, 8];

impl Bench {
    pub(super) fn threads(&mut self, transports: &[&'static dyn Transport]) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for transport in transports {
            let mut contender = self.start(*transport, self.pin, SMALL)?;
            let mut cells = THREADS.map(|_| Cell::default());
            let cpus = self.callers_cpus()?;
            self.in_turns(&mut cells, |which, length, cell| {
                turn(&mut contender, &cpus, THREADS[which], length, cell)
            })?;
            rows.extend(THREADS.into_iter().zip(cells).map(|(threads, cell)| {
                let row = cell.into_row(Row::new(contender.name(), Mode::Threads));
                let (size, depth) = (Some(SMALL), Some(threads));
                Row { size, depth, connections: Some(1), threads: Some(threads), ..row }
            }));
        }
        Ok(rows)
    }

    /// Where callers run: everywhere but on the server's processor, if there is anywhere else.
    fn callers_cpus(&self) -> anyhow::Result<Vec<usize>> {
        let [client, server] = self.pin;
        if client == server {
            return Ok(vec![client]);
        }
        // This thread is pinned; one that is not knows all of them.
        machine::pin(&self.all)?;
        let others = machine::processors()?.into_iter().filter(|&cpu| cpu != server).collect::<Vec<_>>();
        machine::pin(&[client])?;
        Ok(if others.is_empty() { vec![client] } else { others })
    }
}

/// Lets so many threads call for so long after a warm-up.
fn turn(
    contender: &mut Contender,
    cpus: &[usize],
    threads: usize,
    length: Duration,
    cell: &mut Cell,
) -> anyhow::Result<()> {
    contender.begin()?;
    let callers: Vec<_> = (0..threads).map(|_| contender.share()).collect::<anyhow::Result<_>>()?;
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let barrier = &barrier;
        let callers = callers.into_iter().enumerate();
        let callers = callers.map(|(which, caller)| {
            scope.spawn(move || {
                let pinned = machine::pin(cpus);
                calls(caller, pinned, which, length, barrier)
            })
        });
        let callers: Vec<_> = callers.collect();
        // Warm, and waiting.
        barrier.wait();
        let before = contender.usage();
        let start = Instant::now();
        barrier.wait();
        barrier.wait();
        let took = start.elapsed();
        let mut calls = 0;
        let after = before.and_then(|before| {
            let mut used = Cell::default();
            contender.used_since(before, 0, &mut used)?;
            Ok(used)
        });
        for caller in callers {
            let samples = caller.join().map_err(|_| anyhow!("a calling thread panicked"))??;
            calls += samples.calls();
            cell.samples.merge(&samples);
        }
        cell.samples.add_untimed(took, 0);
        let mut used = after?;
        used.count(calls);
        cell.absorb(used);
        contender.end()
    })
}

/// One thread: it warms up, waits, calls, and waits until the others have called. It waits for them even if
/// something has failed.
fn calls(
    mut caller: Box<dyn Echo + Send>,
    mut result: anyhow::Result<()>,
    which: usize,
    length: Duration,
    barrier: &Barrier,
) -> anyhow::Result<Samples> {
    let (clock, mut samples) = (Clock::new(), Samples::default());
    // Numbers of its own, so that a reply to another thread's request is wrong.
    let mut number = (which as u64) << 40;
    let mut call = || {
        number += 1;
        caller.echo(SMALL, number).context("a call from one of several threads failed")
    };
    let end = Instant::now() + length / WARM_UP;
    while result.is_ok() && Instant::now() < end {
        result = call();
    }
    barrier.wait();
    barrier.wait();
    let end = Instant::now() + length;
    while result.is_ok() {
        let start = Instant::now();
        result = call();
        let now = Instant::now();
        samples.add(clock.between(start, now), 1);
        if now >= end {
            break;
        }
    }
    barrier.wait();
    result.map(|()| samples)
}
