//! Servers that are awaited.

use std::future::{self, Future, poll_fn};
use std::io;
use std::panic;
use std::path::Path;
use std::pin::{Pin, pin};

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::server::builder::{BindError, Server, ServerBuilder};
use crate::server::shutdown::ShutdownHandle;

/// Why a server did not serve, or not to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It could not be set up.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Threads could not be started, or waiting for events failed.
    #[error("the server failed: {0}")]
    Failed(#[from] io::Error),
}

impl ServerBuilder {
    /// What async handlers run on that have to wait. Unless set it is the runtime that the server is bound
    /// on; without any, such a handler holds the thread that it began on.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.set_runtime(runtime);
        self
    }

    /// Binds a Unix socket at `path` and serves there for ever, or until the future is dropped: see
    /// [`Server::serve`].
    ///
    /// # Errors
    /// [`ServeError`] says what stands in the way and what to do.
    pub async fn serve(self, path: impl AsRef<Path> + Send) -> Result<(), ServeError> {
        self.serve_with_shutdown(path, future::pending()).await
    }

    /// Binds a Unix socket at `path` and serves there until `signal` completes and the calls that run then
    /// have finished: see [`Server::serve_with_shutdown`].
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_with_shutdown(
        self,
        path: impl AsRef<Path> + Send,
        signal: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let server = self.bind(path)?;
        Ok(server.serve_with_shutdown(signal).await?)
    }
}

impl Server {
    /// [`run`](Self::run) for a task: serves until a [handle](Self::shutdown_handle) ends it. If the future
    /// is dropped, the server ends too, without being waited for.
    ///
    /// Calls are received on threads of their own, whatever else the runtime does; a handler is polled there
    /// once, and holds up the calls behind it only until it waits for the first time.
    ///
    /// # Errors
    /// If threads cannot be started, or waiting for events fails.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn serve(self) -> io::Result<()> {
        self.serve_with_shutdown(future::pending()).await
    }

    /// The same, until `signal` completes: then as [`ShutdownHandle::shutdown`] has it.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn serve_with_shutdown(mut self, signal: impl Future<Output = ()> + Send) -> io::Result<()> {
        self.take_current_runtime();
        let stop = StopOnDrop(self.shutdown_handle());
        let mut thread = spawn_blocking(move || self.run());
        let (mut signal, mut signalled) = (pin!(signal), false);
        let ended = poll_fn(|cx| {
            if !signalled && signal.as_mut().poll(cx).is_ready() {
                signalled = true;
                stop.0.shutdown();
            }
            Pin::new(&mut thread).poll(cx)
        });
        match ended.await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                // The runtime ends, and the server never began.
                Err(_) => Ok(()),
            },
        }
    }
}

/// Ends the server once nobody awaits it any more.
struct StopOnDrop(ShutdownHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
