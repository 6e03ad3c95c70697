//! The floor of the machine: a cache line to another process and back, both sides spinning.
//!
//! Two words in shared memory, each with a pair of cache lines of its own, because processors fetch the
//! neighbour along.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::args::Mode;
use crate::serving::Serving;
use crate::transports::shared::Shared;
use crate::transports::{Echo, Place, Transport};

const LEN: usize = 4096;
const PING: usize = 0;
const PONG: usize = 128;

/// Round trips between two looks at the clock, which takes a good part of the time of one.
const BATCH: u32 = 16;

/// Looks between two thoughts of giving up.
const LOOKS: u32 = 1 << 16;

/// How long the client waits for an echo.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ping-pong.
#[derive(Debug)]
pub struct PingPong;

impl Transport for PingPong {
    fn name(&self) -> &'static str {
        "ping-pong"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    /// None: it is measured between the others, all the time.
    fn sizes(&self, _: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        Vec::new()
    }

    fn spins(&self) -> bool {
        true
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let shared = Shared::create(LEN)?;
        serving.ready(&shared.note());
        let (ping, pong) = (shared.double_word(PING), shared.double_word(PONG));
        let mut seen = 0;
        loop {
            serving.wait_for_turn();
            while serving.is_turn() {
                for _ in 0..LOOKS {
                    let number = ping.load(Ordering::Acquire);
                    if number != seen {
                        seen = number;
                        pong.store(number, Ordering::Release);
                    }
                }
            }
        }
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        Ok(Box::new(Client { shared: Shared::open(place, LEN)?, number: 0 }))
    }
}

struct Client {
    shared: Shared,
    number: u64,
}

impl Client {
    #[inline]
    fn round_trip(&mut self) -> anyhow::Result<()> {
        self.number += 1;
        // Release and Acquire, here and in the server, as any message would need them that the words
        // announce.
        self.shared.double_word(PING).store(self.number, Ordering::Release);
        let pong = self.shared.double_word(PONG);
        let mut end = None;
        loop {
            if (0..LOOKS).any(|_| pong.load(Ordering::Acquire) == self.number) {
                return Ok(());
            }
            let end = *end.get_or_insert_with(|| Instant::now() + PATIENCE);
            ensure!(Instant::now() < end, "ping-pong: no answer within {PATIENCE:?}");
        }
    }
}

impl Echo for Client {
    fn echo(&mut self, _: usize, _: u64) -> anyhow::Result<()> {
        (0..BATCH).try_for_each(|_| self.round_trip())
    }

    fn round_trips(&self) -> u32 {
        BATCH
    }
}
