//! What carries the echoes: the rows of the table.
//!
//! A [`Transport`] is a row: it serves in one process and connects from the other. Its client is an [`Echo`].
//! Rows without a server, which do their work in one process, say what the work itself costs.

pub mod async_handler;
pub mod awaited;
pub mod bare_futex;
pub mod bare_ring;
pub mod buffers;
pub mod classic;
pub mod headline;
pub mod in_process;
pub mod ping_pong;
pub mod raw;
mod ring;
mod shared;
pub mod socket_lane;
pub mod streams;
pub mod typed;
pub mod typed_fixed;
pub mod unix_socket;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::args::Mode;
use crate::serving::Serving;

/// The rows that a program knows, in the order of its table.
pub type Catalog = &'static [&'static dyn Transport];

/// The rows of this crate.
pub const ALL: Catalog = &[
    &ping_pong::PingPong,
    &bare_ring::BareRing,
    &bare_futex::BareFutex,
    &in_process::Work,
    &in_process::Memcpy,
    &typed::Typed,
    &typed_fixed::TypedFixed,
    &awaited::Awaited::Alone,
    &awaited::Awaited::Beside,
    &awaited::Awaited::Threads,
    &async_handler::AsyncHandler,
    &streams::BOTH,
    &streams::BOTH_TASKS,
    &streams::DOWN,
    &streams::DOWN_TASKS,
    &streams::UP,
    &streams::UP_TASKS,
    &raw::Raw,
    &raw::Borrowed,
    &raw::Untouched,
    &headline::Copies,
    &headline::Headline,
    &socket_lane::SocketLane,
    &raw::BorrowedOnSocket,
    &classic::Classic,
    &unix_socket::UnixSocket,
];

/// A row: something that carries echoes from a client to a server and back.
pub trait Transport: Sync {
    /// What the rows call it.
    fn name(&self) -> &'static str;

    /// How it is measured.
    fn modes(&self) -> &'static [Mode];

    /// The sizes of the mode `latency`, if those that were asked for are `wanted`; what it leaves out, and
    /// why, goes to `notes`.
    fn sizes(&self, wanted: &[usize], notes: &mut Vec<String>) -> Vec<usize> {
        let _ = notes;
        wanted.to_vec()
    }

    /// Whether its sizes are compared with each other, not with other rows of the same size.
    fn compares_sizes(&self) -> bool {
        false
    }

    /// Whether it waits without ever sleeping, and so needs two processors.
    fn spins(&self) -> bool {
        false
    }

    /// Why it takes no part in a mode in which readers would look for it.
    fn left_out(&self, mode: Mode) -> Option<&'static str> {
        let _ = mode;
        None
    }

    /// Whether there is a server process.
    fn has_server(&self) -> bool {
        true
    }

    /// Serves in a process of its own, and never returns while the bench lives. Calls [`Serving::ready`] once
    /// clients may connect.
    ///
    /// # Errors
    /// If it cannot serve.
    fn serve(&self, serving: &Serving) -> anyhow::Result<()>;

    /// Connects to its server.
    ///
    /// # Errors
    /// If that fails.
    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>>;
}

/// Where a client finds its server.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directory that the server was given.
    pub directory: PathBuf,
    /// The server's process id; 0 if the row has none.
    pub server: u32,
    /// What the server said when it was ready.
    pub note: String,
    /// The longest message.
    pub max_size: usize,
}

/// A client: it sends requests of the work of [`work`](crate::work) and checks the replies.
pub trait Echo {
    /// One call with `size` bytes each way, the `number`-th of this client.
    ///
    /// # Errors
    /// If the call fails or the reply is wrong.
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()>;

    /// How many round trips one [`echo`](Self::echo) makes: more than one where one is too short for a clock.
    fn round_trips(&self) -> u32 {
        1
    }

    /// Keeps `depth` calls of `size` bytes under way until the time is over, sending a new one for each that
    /// was answered; returns how many were answered. The first has the number `first`.
    ///
    /// # Errors
    /// If a call fails, a reply is wrong, or this transport has one call at a time only.
    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let _ = flood;
        bail!("this row has one call at a time")
    }

    /// Another caller on the same connection.
    ///
    /// # Errors
    /// If this transport has one caller per connection.
    fn share(&self) -> anyhow::Result<Box<dyn Echo + Send>> {
        bail!("this row has one caller per connection")
    }
}

/// Many calls under way.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Bytes of each message.
    pub size: usize,
    /// How many calls are under way.
    pub depth: usize,
    /// When to send no more.
    pub until: Instant,
    /// The number of the first call.
    pub first: u64,
}

impl Flood {
    /// The flood itself, for any transport that can `send` the call of a number and `receive` the reply to
    /// the oldest: a window that slides by one call at a time.
    ///
    /// # Errors
    /// Those of `send` and `receive`.
    pub fn run<C>(
        self,
        client: &mut C,
        send: impl Fn(&mut C, u64) -> anyhow::Result<()>,
        receive: impl Fn(&mut C, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        /// Calls between two looks at the clock.
        const CALLS_PER_LOOK: u64 = 64;
        let depth = self.depth as u64;
        for number in 0..depth {
            send(client, self.first + number)?;
        }
        let mut answered = 0;
        loop {
            for _ in 0..CALLS_PER_LOOK {
                receive(client, self.first + answered)?;
                send(client, self.first + answered + depth)?;
                answered += 1;
            }
            if Instant::now() >= self.until {
                break;
            }
        }
        for _ in 0..depth {
            receive(client, self.first + answered)?;
            answered += 1;
        }
        Ok(answered)
    }
}

/// The row of that name.
///
/// # Errors
/// Lists the rows that there are.
pub fn find(catalog: Catalog, name: &str) -> anyhow::Result<&'static dyn Transport> {
    let found = catalog.iter().find(|transport| transport.name() == name).copied();
    found.with_context(|| {
        let known: Vec<_> = catalog.iter().map(|transport| transport.name()).collect();
        format!("there is no row {name:?}; there are {}", known.join(", "))
    })
}

/// The socket in a server's directory.
pub fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_or_listed() {
        assert_eq!(find(ALL, "typed").unwrap().name(), "typed");
        let error = find(ALL, "fast").err().unwrap().to_string();
        assert!(error.contains("\"fast\"") && error.contains("bare-ring, bare-futex"), "{error}");
    }

    #[test]
    fn a_flood_slides_its_window() {
        let flood = Flood { size: 1, depth: 5, until: Instant::now(), first: 100 };
        let mut log = (Vec::new(), Vec::new());
        let answered = flood.run(
            &mut log,
            |log, number| {
                log.0.push(number);
                assert!(log.0.len() - log.1.len() <= 5, "no more than five are under way");
                Ok(())
            },
            |log, number| {
                log.1.push(number);
                Ok(())
            },
        );
        assert_eq!(answered.unwrap(), 69);
        assert_eq!(log.0, log.1);
        assert_eq!((log.0[0], log.0.len()), (100, 69));
    }
}
