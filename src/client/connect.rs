//! Connecting, as callers see it: what is to be connected to, and who waits for it.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::client::attempt::{Attempt, BACKLOG_PAUSE};
use crate::client::channel::Channel;
use crate::client::classic::Pool;
use crate::client::core::Core;
use crate::client::reconnect::{Reconnect, Reconnecting};
use crate::client::route::Route;
use crate::connection::Config;
use crate::error::Violation;
use crate::os::Socket;
use crate::rpc::{Chain, OutgoingCall};

/// Why no connection came about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody can be reached at the path.
    #[error("{error}; is the server running, and is this the path that it was bound to?")]
    Unreachable {
        /// What the operating system says, with the path.
        error: io::Error,
    },
    /// The server did not answer in time.
    #[error(
        "{}: no answer to the handshake within {after:?}; the server is overloaded, or speaks another protocol",
        .path.display()
    )]
    Timeout {
        /// The socket's path.
        path: PathBuf,
        /// The time that was allowed:
        /// [`ChannelBuilder::connect_timeout`](crate::ChannelBuilder::connect_timeout).
        after: Duration,
    },
    /// The server refused, or is not somebody to talk to.
    #[error("{}: {reason}", .path.display())]
    Refused {
        /// The socket's path.
        path: PathBuf,
        /// Why, in the words of the side that refused.
        reason: String,
    },
    /// What the server sent does not follow the protocol.
    #[error("{}: not a usable server: {violation}", .path.display())]
    Protocol {
        /// The socket's path.
        path: PathBuf,
        /// The check that failed.
        violation: Violation,
    },
    /// This process lacks memory or descriptors.
    #[error("cannot set up a connection: {0}; see ulimit -n and ulimit -v")]
    Os(io::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

/// A connection that has not been made: [`wait`](Self::wait) for it, or, with the feature `tokio`, `.await`
/// it.
///
/// It becomes a [`Channel`], or what [`client`](Self::client) makes of one.
#[must_use = "nothing is connected until wait() is called, or the value awaited"]
pub struct Connect<C = Channel> {
    path: PathBuf,
    config: Config,
    /// Most connections of a classic channel; `None` for one that has shared memory.
    classic: Option<usize>,
    /// Whether, and how, the channel connects again.
    reconnect: Option<Reconnect>,
    interceptors: Chain<OutgoingCall>,
    client: PhantomData<fn() -> C>,
}

impl Connect {
    pub(super) fn new(path: &Path, config: Config) -> Self {
        Self {
            path: path.to_owned(),
            config,
            classic: None,
            reconnect: None,
            interceptors: Chain::default(),
            client: PhantomData,
        }
    }

    pub(super) fn classic(self, connections: usize) -> Self {
        Self { classic: Some(connections), ..self }
    }

    pub(super) fn reconnect(self, reconnect: Option<Reconnect>) -> Self {
        Self { reconnect, ..self }
    }

    pub(super) fn intercepted(self, interceptors: Chain<OutgoingCall>) -> Self {
        Self { interceptors, ..self }
    }
}

impl<C> Connect<C> {
    /// A client on the channel, of a type that generated code has.
    pub fn client<D: From<Channel>>(self) -> Connect<D> {
        let Self { path, config, classic, reconnect, interceptors, client: _ } = self;
        Connect { path, config, classic, reconnect, interceptors, client: PhantomData }
    }

    fn route(&self, core: Arc<Core>) -> Route {
        match self.reconnect {
            None => Route::Ring(core),
            Some(policy) => {
                Route::Again(Reconnecting::new(&self.path, self.config.clone(), policy, Some(core)))
            }
        }
    }
}

impl<C: From<Channel>> Connect<C> {
    /// Connects, and sleeps as long as that takes: 5 seconds at most unless
    /// [set](crate::ChannelBuilder::connect_timeout).
    ///
    /// # Errors
    /// [`ConnectError`] says what stands in the way and what to do.
    pub fn wait(self) -> Result<C, ConnectError> {
        let route = match self.classic {
            None => self.route(connect(&self.path, self.config.clone())?),
            Some(connections) => {
                Route::Classic(Arc::new(Pool::connect(&self.path, &self.config, connections)?))
            }
        };
        Ok(Channel::new(route).with_chain(self.interceptors).into())
    }
}

#[cfg(feature = "tokio")]
impl<C: From<Channel> + 'static> IntoFuture for Connect<C> {
    type Output = Result<C, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// What `.await` polls; fails as [`wait`](Connect::wait) does. Dropping it gives up. A
    /// [classic](Channel::connect_classic) connection is made on a blocking thread of the runtime.
    ///
    /// # Panics
    /// When it is polled outside of a tokio runtime, or on one that does no I/O or has no timers.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if self.classic.is_some() {
                let thread = tokio::task::spawn_blocking(|| self.client::<Channel>().wait());
                let channel =
                    thread.await.map_err(|_| ConnectError::Os(io::ErrorKind::Interrupted.into()))?;
                return channel.map(C::from);
            }
            let attempt = Attempt::new(&*self.path, self.config.handshake_timeout);
            let socket = loop {
                match attempt.reach()? {
                    Some(socket) => break socket,
                    None => tokio::time::sleep(BACKLOG_PAUSE).await,
                }
            };
            let mut greeting = attempt.greet(socket, self.config.clone())?;
            loop {
                match greeting.advance()? {
                    Some(answer) => {
                        let channel = Channel::new(self.route(greeting.finish(answer)?));
                        return Ok(channel.with_chain(self.interceptors).into());
                    }
                    None => greeting.ready().await?,
                }
            }
        })
    }
}

impl<C> fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("path", &self.path).finish_non_exhaustive()
    }
}

fn connect(path: &Path, config: Config) -> Result<Arc<Core>, ConnectError> {
    let attempt = Attempt::new(path, config.handshake_timeout);
    let socket = reach(&attempt)?;
    shake_hands(attempt, socket, config)
}

/// Shakes hands over a socket that is connected; `name` stands for its path in errors.
pub(super) fn over(socket: Socket, name: &Path, config: Config) -> Result<Arc<Core>, ConnectError> {
    shake_hands(Attempt::new(name, config.handshake_timeout), socket, config)
}

/// Sleeps until the server has taken us in.
pub(super) fn reach(attempt: &Attempt) -> Result<Socket, ConnectError> {
    loop {
        match attempt.reach()? {
            Some(socket) => return Ok(socket),
            None => thread::sleep(BACKLOG_PAUSE),
        }
    }
}

fn shake_hands(attempt: Attempt, socket: Socket, config: Config) -> Result<Arc<Core>, ConnectError> {
    let mut greeting = attempt.greet(socket, config)?;
    loop {
        match greeting.advance()? {
            Some(answer) => return greeting.finish(answer),
            None => greeting.wait(Duration::MAX)?,
        }
    }
}
