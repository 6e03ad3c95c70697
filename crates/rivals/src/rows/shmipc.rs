//! A stream of shmipc for each client: messages are filled and read in shared memory, where they stay. A
//! reply belongs to the oldest request, and a message is one slice of that memory, so there are no frames.
//!
//! Slices are configured to fit the longest message: one above the slice size would go through the socket
//! and would keep its stream there, so that is an error here. Smaller messages have smaller slices, as shmipc
//! advises. There are no more slices than needed, because its free list goes round all of them and so through
//! the caches. What was read is used again for the next message, its own way for long streams.
//! Both processes have a runtime of one thread, as each has one processor. They wake each other through an
//! eventfd, the mode that shmipc recommends for small messages.

use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use mmap_rpc_cli::args::Mode;
use mmap_rpc_cli::serving::Serving;
use mmap_rpc_cli::transports::{Echo, Flood, Place, Transport, socket};
use mmap_rpc_cli::work;
use shmipc::Listener;
use shmipc::config::{Config, SizePercentPair};
use shmipc::session::{SessionManager, SessionManagerConfig};
use shmipc::stream::Stream;
use shmipc::transport::{DefaultUnixConnect, DefaultUnixListen};
use tokio::runtime::Runtime;

use crate::rows::runtime;

/// Sizes of slices for messages below the longest.
const SLICES: [u32; 3] = [8 << 10, 128 << 10, 1 << 20];

/// The smallest slice.
const LEAST: u32 = 4 << 10;

/// How much of the memory each of these sizes has, in percent. The rest is for the longest messages.
const SHARE: u32 = 10;

/// Streams of shmipc.
pub(crate) struct Shmipc;

impl Transport for Shmipc {
    fn name(&self) -> &'static str {
        "shmipc"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood, Mode::Wake, Mode::OneCore]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let (config, address) = at(serving.directory(), serving.max_size())?;
        runtime()?.block_on(async {
            let listener = Listener::new(DefaultUnixListen, address, config).await;
            let mut listener = listener.context("cannot listen")?;
            serving.ready("");
            loop {
                let mut stream = listener.accept().await.context("cannot accept a stream")?;
                // Ends with its stream.
                tokio::spawn(async move { while answer(&mut stream).await.is_ok() {} });
            }
        })
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let (config, address) = at(&place.directory, place.max_size)?;
        let config = SessionManagerConfig::new().with_config(config).with_session_num(1);
        let runtime = runtime()?;
        let sessions = runtime.block_on(SessionManager::new(config, DefaultUnixConnect, address));
        let sessions = sessions.context("cannot connect")?;
        let stream = runtime.block_on(async { sessions.get_stream() }).context("no stream")?;
        Ok(Box::new(Client { stream, _sessions: sessions, runtime }))
    }
}

/// What both sides agree on, and where they meet.
fn at(directory: &Path, max_size: usize) -> anyhow::Result<(Config, SocketAddr)> {
    let max_size = u32::try_from(max_size)?;
    let file = |name: &str| directory.join(name).display().to_string();
    let config = Config {
        buffer_slice_sizes: slices(max_size),
        share_memory_buffer_cap: (8 * max_size).max(1 << 20),
        // Names only: the memory is anonymous.
        share_memory_path_prefix: file("buffer"),
        queue_path: file("queue"),
        ..Config::default()
    };
    let address = SocketAddr::from_pathname(socket(directory)).context("no address")?;
    Ok((config.with_v4_eventfd(), address))
}

/// Sizes of slices, and what part of the memory each has.
fn slices(max_size: u32) -> Vec<SizePercentPair> {
    let smaller = SLICES.into_iter().filter(|&size| size < max_size);
    let mut slices: Vec<_> = smaller.map(|size| SizePercentPair { size, percent: SHARE }).collect();
    let percent = 100 - SHARE * slices.len() as u32;
    slices.push(SizePercentPair { size: max_size.max(LEAST), percent });
    slices
}

/// Answers one request.
async fn answer(stream: &mut Stream) -> anyhow::Result<()> {
    let request = stream.read_chunk().await?;
    let (len, seed) = (request.len(), work::reply_seed(work::sum(&request)));
    drop(request);
    stream.release_read_and_reuse();
    work::fill(stream.reserve(len)?, seed);
    stream.flush(false).await?;
    Ok(())
}

struct Client {
    stream: Stream,
    _sessions: SessionManager<DefaultUnixConnect>,
    runtime: Runtime,
}

async fn send(stream: &mut Stream, size: usize, number: u64) -> anyhow::Result<()> {
    work::fill(stream.reserve(size)?, work::seed(number));
    stream.flush(false).await?;
    Ok(())
}

async fn receive(stream: &mut Stream, size: usize, number: u64) -> anyhow::Result<()> {
    work::check(&stream.read_chunk().await?, size, work::seed(number))?;
    stream.release_read_and_reuse();
    ensure!(!stream.fallback_state(), "a message left the shared memory");
    Ok(())
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let Self { stream, runtime, .. } = self;
        runtime.block_on(async {
            send(stream, size, number).await?;
            receive(stream, size, number).await
        })
    }

    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        /// Calls between two looks at the clock.
        const CALLS_PER_LOOK: u64 = 64;
        let Flood { size, depth, until, first } = flood;
        let Self { stream, runtime, .. } = self;
        runtime.block_on(async {
            let (mut sent, mut answered, mut open) = (0, 0, true);
            while sent < depth as u64 {
                send(stream, size, first + sent).await?;
                sent += 1;
            }
            while answered < sent {
                receive(stream, size, first + answered).await?;
                answered += 1;
                if answered.is_multiple_of(CALLS_PER_LOOK) && Instant::now() >= until {
                    open = false;
                }
                if open {
                    send(stream, size, first + sent).await?;
                    sent += 1;
                }
            }
            anyhow::Ok(answered)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_fits_and_all_memory_is_shared_out() {
        for (max_size, sizes) in [
            (64, &[4 << 10][..]),
            (8 << 10, &[8 << 10]),
            (64 << 10, &[8 << 10, 64 << 10]),
            (4 << 20, &[8 << 10, 128 << 10, 1 << 20, 4 << 20]),
            (256 << 20, &[8 << 10, 128 << 10, 1 << 20, 256 << 20]),
        ] {
            let (mut config, _) = at(Path::new("directory"), max_size).unwrap();
            config.verify().unwrap();
            let found: Vec<u32> = config.buffer_slice_sizes.iter().map(|pair| pair.size).collect();
            assert_eq!(found, sizes);
            let last = config.buffer_slice_sizes.last().unwrap();
            let memory = u64::from(config.share_memory_buffer_cap) * u64::from(last.percent) / 100;
            assert!(memory / max_size as u64 >= 5, "room for {} of {max_size}", memory / max_size as u64);
        }
    }
}
