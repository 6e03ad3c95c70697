//! A server and a client in one process, for tests: real regions, real handshake, no path.
//!
//! A service under test, joined with its client in one line:
//!
//! ```
//! # use mmap_rpc::{Server, testing};
//! # use testkit::echo::Service;
//! # use testkit::proto::{Blob, EchoClient, EchoServer};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pair = testing::pair(Server::builder().service(EchoServer::blocking(Service::default())))?;
//!
//! let client = EchoClient::new(pair.channel());
//! let reply = client.echo(Blob { data: "again".into() }).wait()?;
//! assert_eq!(reply.get_ref().data, "again");
//! # Ok(())
//! # }
//! ```
//!
//! A mock has the methods that the test needs, and no trait to implement. The client's calls of others fail
//! with [`Code::Unimplemented`](crate::Code::Unimplemented):
//!
//! ```
//! # use mmap_rpc::{Code, Request, Response, Server, testing};
//! # use testkit::proto::{Blob, EchoClient, Empty, Sum};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mock = Server::builder().unary("/testkit.Echo/Checksum", |request: Request<Blob>| {
//!     Ok(Response::new(Sum { sum: request.get_ref().data.len() as u64 }))
//! });
//! let pair = testing::pair(mock)?;
//! let client = EchoClient::new(pair.channel());
//!
//! assert_eq!(client.checksum(Blob { data: "four".into() }).wait()?.get_ref().sum, 4);
//! assert_eq!(client.count(Empty {}).wait().unwrap_err().code(), Code::Unimplemented);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use thiserror::Error;

use crate::client::{Channel, ChannelBuilder, ConnectError};
use crate::os::Socket;
use crate::server::{BindError, Inboxes, ServerBuilder, ShutdownHandle};

/// What errors call the place where the two meet.
const NAME: &str = "testing::pair()";

/// Why the two could not be joined.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PairError {
    /// The server's settings do not fit together.
    #[error(transparent)]
    Server(#[from] BindError),
    /// The client was refused.
    #[error(transparent)]
    Client(#[from] ConnectError),
    /// This process lacks threads or descriptors.
    #[error("cannot start a server for a pair: {0}; see ulimit -n and ulimit -u")]
    Os(#[from] io::Error),
}

/// Starts a server with these settings on a thread of its own, and connects a client to it.
///
/// All of it is what two processes would have: shared memory that each side maps for itself, the handshake,
/// limits, deadlines. Only the socket has no path, so pairs are not in each other's way, and nothing is left
/// behind. The client has default settings: see [`Pair::connect`] for others.
///
/// # Errors
/// [`PairError`], in the words of the side that failed.
pub fn pair(server: ServerBuilder) -> Result<Pair, PairError> {
    let server = server.unbound()?;
    let (inboxes, shutdown) = (server.inboxes(), server.shutdown_handle());
    let thread = thread::Builder::new().name("mmap-rpc-pair".into()).spawn(move || server.run())?;
    let serving = Serving { shutdown, thread: Some(thread) };
    let channel = connect(&inboxes, Channel::builder())?;
    Ok(Pair { channel, inboxes, serving })
}

fn connect(inboxes: &Inboxes, settings: ChannelBuilder) -> Result<Channel, PairError> {
    let (ours, theirs) = Socket::pair()?;
    inboxes.deal(theirs);
    Ok(settings.over(ours, Path::new(NAME))?)
}

/// A server on a thread of this process, with a channel to it. See [`pair`].
///
/// The server ends when this is dropped, as [`ShutdownHandle::shutdown`] has it: calls that run have the
/// grace period to finish, and the drop waits for that.
///
/// # Panics
/// On drop, if the server's thread has panicked or failed, so that a test cannot pass over a server that is
/// broken; not on a thread that panics already. A handler that panics breaks no server: its call fails with
/// [`Code::Internal`](crate::Code::Internal) and the panic's text.
#[must_use = "the server ends when this is dropped"]
pub struct Pair {
    channel: Channel,
    inboxes: Arc<Inboxes>,
    serving: Serving,
}

impl Pair {
    /// The channel that the pair was made with. Clones share it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// One more client of the same server, on a connection of its own, with settings of its own.
    ///
    /// # Errors
    /// As [`pair`]; [`PairError::Client`] also once the server has ended.
    pub fn connect(&self, settings: ChannelBuilder) -> Result<Channel, PairError> {
        connect(&self.inboxes, settings)
    }

    /// What ends the server while the pair stays: its clients then see what a lost server looks like.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        self.serving.shutdown.clone()
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("channel", &self.channel)
            .field("shutdown", &self.serving.shutdown)
            .finish_non_exhaustive()
    }
}

/// The server's thread; ended and waited for on drop.
struct Serving {
    shutdown: ShutdownHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        if thread::panicking() {
            // A second panic would abort, and hide the first. The panic hook has told of the server's.
            return;
        }
        match ended {
            Some(Err(panic)) => panic::resume_unwind(panic),
            Some(Ok(Err(error))) => panic!("the server of a pair failed: {error}"),
            _ => {}
        }
    }
}
