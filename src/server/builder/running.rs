//! A server's life, from listening to the end of `run`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use super::ServerBuilder;
use crate::os::Listener;
use crate::server::classic::ClassicFiles;
use crate::server::inboxes::{CloseOnDrop, Inboxes};
use crate::server::pool::Dispatch;
use crate::server::reactor::{Reactor, Shared};
use crate::server::seats::Seats;
use crate::server::shutdown::{Shutdown, ShutdownHandle};

/// A server that listens. [`run`](Self::run) makes it serve.
pub struct Server {
    pub(super) settings: ServerBuilder,
    /// Empty if it listens nowhere.
    pub(super) path: PathBuf,
    pub(super) listener: Option<Listener>,
    pub(super) classic: Option<ClassicFiles>,
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) inboxes: Arc<Inboxes>,
}

impl Server {
    /// Settings, with defaults that suit most.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What ends [`run`](Self::run), from any thread.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle(self.shutdown.clone())
    }

    #[cfg(feature = "tokio")]
    pub(in crate::server) fn take_current_runtime(&mut self) {
        self.settings.executor.take_current();
    }

    /// Where it takes further sockets from, besides the listener.
    pub(crate) fn inboxes(&self) -> Arc<Inboxes> {
        self.inboxes.clone()
    }

    /// Serves on this thread, and on others if more than one reactor or a pool was asked for, until shutdown.
    ///
    /// # Errors
    /// If threads cannot be started, or waiting for events fails.
    pub fn run(self) -> io::Result<()> {
        let ServerBuilder {
            config,
            router,
            handlers,
            reactors,
            grace,
            max_connections,
            admission,
            executor,
            ..
        } = self.settings;
        let router = Arc::new(router);
        // Also if this thread panics: nobody shall wait for a server that has ended.
        let _closing = CloseOnDrop(self.inboxes.clone());
        let (dispatch, workers) = Dispatch::start(router.clone(), handlers, executor)?;
        let shared = Arc::new(Shared {
            config,
            router,
            dispatch,
            classic: self.classic,
            shutdown: self.shutdown.clone(),
            grace,
            inboxes: self.inboxes,
            admission,
            seats: Seats::of_connections(max_connections),
            refused: Seats::of_refused(),
            established: AtomicU64::new(0),
        });
        let others = (1..reactors).map(|number| {
            let reactor = Reactor::new(shared.clone(), number, None)?;
            let name = format!("mmap-rpc-reactor-{number}");
            thread::Builder::new().name(name).spawn(move || reactor.run())
        });
        let others = others.collect::<io::Result<Vec<_>>>()?;
        let first = Reactor::new(shared, 0, self.listener)?.run();
        // Whatever ended the first one ends them all.
        ShutdownHandle(self.shutdown).shutdown();
        let others = others
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let ended = others.fold(first, |ended, other| ended.and(other));
        // The pool ended with the last reactor, except for handlers that outlasted the grace period: their
        // threads are left to them.
        drop(workers);
        ended
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("path", &self.path).field("settings", &self.settings).finish()
    }
}
