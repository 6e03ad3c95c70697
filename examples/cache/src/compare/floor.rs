//! The floor: what the machine itself needs to take a number to another process and back.
//!
//! ```text
//! byte 0      ping   written by the client
//! byte 128    pong   written by the echo
//! ```
//!
//! Two words in a shared mapping, each on a cache line of its own. Both sides spin, without a pause between
//! looks. The echo lives only while the floor is measured: it keeps a whole core busy.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use memmap2::{MmapOptions, MmapRaw};

use crate::compare::rows::Samples;
use crate::process::Process;

const LEN: usize = 4096;
const PING: usize = 0;
/// Past the neighbouring line, which processors fetch along.
const PONG: usize = 128;

/// The number that ends the echo.
const END: u64 = u64::MAX;

/// Round trips between two looks at the clock, which takes a good part of the time of one.
const BATCH: u32 = 16;

/// How often either side looks at a word before it looks at the clock.
const LOOKS: u32 = 1 << 16;

/// How long the client waits for the echo.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the echo waits for a client that may be dead.
const LONELY: Duration = Duration::from_secs(2);

/// Measures for so long, with an echo process of its own.
pub(super) fn measure(length: Duration, samples: &mut Samples) -> anyhow::Result<()> {
    // Without a name, so that nobody has to remove it.
    let file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile());
    let file = file.context("floor: no temporary file; set TMPDIR to a directory that is writable")?;
    file.set_len(LEN as u64).context("floor: the temporary file cannot grow; is the disk full?")?;
    let words = Words::map(&file)?;
    let echo = Process::echo(file)?;
    words.ping_for(length, samples)?;
    echo.join()
}

/// The other process. The file of the two words is its standard input.
pub(crate) fn echo() -> anyhow::Result<()> {
    let file = io::stdin().as_fd().try_clone_to_owned().context("floor: no shared file as standard input")?;
    Words::map(&File::from(file))?.echo(LONELY)
}

/// The mapping of one side.
struct Words(MmapRaw);

impl Words {
    fn map(file: &File) -> anyhow::Result<Self> {
        let map =
            MmapOptions::new().len(LEN).map_raw(file).context("floor: the shared file cannot be mapped")?;
        Ok(Self(map))
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset + size_of::<AtomicU64>() <= LEN && offset.is_multiple_of(align_of::<AtomicU64>()));
        // SAFETY: the word lies inside the mapping, which is page-aligned and lives as long as the reference;
        // both processes use it as an atomic and in no other way.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().add(offset).cast()) }
    }

    /// Sends numbers and waits for each to come back, until the time is up; then ends the echo.
    fn ping_for(&self, length: Duration, samples: &mut Samples) -> anyhow::Result<()> {
        let mut number = 1;
        // Not counted: the echo process has to start first.
        self.round_trip(number)?;
        let end = Instant::now() + length;
        loop {
            let start = Instant::now();
            for _ in 0..BATCH {
                number += 1;
                self.round_trip(number)?;
            }
            samples.add(start.elapsed(), BATCH);
            if Instant::now() >= end {
                break;
            }
        }
        self.word(PING).store(END, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn round_trip(&self, number: u64) -> anyhow::Result<()> {
        // Release and Acquire, here and in `echo`, as any message would need them that the words announce.
        self.word(PING).store(number, Ordering::Release);
        let pong = self.word(PONG);
        let mut patience = None;
        loop {
            for _ in 0..LOOKS {
                if pong.load(Ordering::Acquire) == number {
                    return Ok(());
                }
            }
            let end = *patience.get_or_insert_with(|| Instant::now() + PATIENCE);
            ensure!(
                Instant::now() < end,
                "floor: the echo process does not answer within {PATIENCE:?}; is the machine overloaded?"
            );
        }
    }

    /// Sends every number back until it is told to end, or hears nothing for `lonely`.
    fn echo(&self, lonely: Duration) -> anyhow::Result<()> {
        let (ping, pong) = (self.word(PING), self.word(PONG));
        let (mut seen, mut heard) = (0, Instant::now());
        loop {
            let before = seen;
            for _ in 0..LOOKS {
                let number = ping.load(Ordering::Acquire);
                if number == END {
                    return Ok(());
                }
                if number != seen {
                    seen = number;
                    pong.store(number, Ordering::Release);
                }
            }
            if seen != before {
                heard = Instant::now();
            }
            ensure!(heard.elapsed() < lonely, "floor: the client process is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::values::Op;

    fn both_sides() -> (Words, Words) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN as u64).unwrap();
        (Words::map(&file).unwrap(), Words::map(&file).unwrap())
    }

    #[test]
    fn every_round_trip_counts_and_the_echo_ends() {
        let (ours, theirs) = both_sides();
        let mut samples = Samples::new();
        std::thread::scope(|scope| {
            let echo = scope.spawn(move || theirs.echo(LONELY));
            ours.ping_for(Duration::from_millis(5), &mut samples).unwrap();
            echo.join().unwrap().unwrap();
        });
        let row = samples.row("floor", Op::PingPong, 0);
        assert!(row.calls > 0 && row.calls.is_multiple_of(u64::from(BATCH)), "{row:?}");
        // The number of the last round trip: one more than those that counted.
        assert_eq!(ours.word(PONG).load(Ordering::Acquire), row.calls + 1);
    }

    #[test]
    fn an_abandoned_echo_ends() {
        let (_ours, theirs) = both_sides();
        let error = theirs.echo(Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
