//! Settings of a server.

mod running;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::connection::{Config, check_methods, limit_setters};
use crate::os::{Doorbell, FileStore, LONGEST_FILE, Listener};
use crate::raw::{Payload, RawBody};
use crate::rpc::{Chain, Decode, Encode, IncomingCall, Interceptor, Request, Response, Status};
use crate::server::admission::Admission;
use crate::server::classic::ClassicFiles;
use crate::server::executor::Executor;
use crate::server::inboxes::Inboxes;
use crate::server::replier::Replier;
use crate::server::router::{Router, Service};
use crate::server::seats::Seats;
use crate::server::shutdown::Shutdown;

pub use self::running::Server;

/// Where handlers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Handlers {
    /// On the reactor that received the call: fastest, because no other thread is woken. While a handler
    /// runs, the other calls of that reactor's connections wait, so it is for handlers that take
    /// microseconds.
    #[default]
    Inline,
    /// On so many threads of their own (at least one): for handlers that block or compute.
    Pool(usize),
}

/// Why a server could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The methods cannot be served together.
    #[error("methods: {0}")]
    Methods(String),
    /// The socket cannot be bound.
    #[error("{error}{remedy}", error = .0, remedy = remedy(.0))]
    Listen(io::Error),
    /// The directory of classic connections' files cannot be used.
    #[error("classic(): {0}")]
    Classic(io::Error),
    /// The directory of connections' files cannot be used.
    #[error("file_backing(): {0}")]
    Files(io::Error),
    /// The operating system refused something else.
    #[error("cannot set up the server: {0}")]
    Os(io::Error),
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

/// What to do about a path that cannot be bound, where the system's own words do not say it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; create the directory first",
        io::ErrorKind::PermissionDenied => "; choose a directory that this user may write to",
        _ => "",
    }
}

/// Settings of a [`Server`]. Where client and server both have a limit, the smaller one holds.
#[must_use = "a builder does nothing until bind() is called"]
pub struct ServerBuilder {
    config: Config,
    router: Router,
    interceptors: Chain<IncomingCall>,
    descriptors: bool,
    handlers: Handlers,
    reactors: usize,
    grace: Duration,
    classic: Option<PathBuf>,
    classic_file_size: u64,
    file_backing: Option<PathBuf>,
    max_connections: usize,
    max_handshakes: usize,
    pub(super) admission: Admission,
    executor: Executor,
}

/// Each connection takes two mappings, four once both of its regions have grown, and Linux allows a process
/// 65,530 of them unless told otherwise.
const MAX_CONNECTIONS: usize = 16_384;

/// Far more than introduce themselves at one time, and few enough that what they may send before they are
/// done stays below 128 MiB.
const MAX_HANDSHAKES: usize = 1024;

impl ServerBuilder {
    fn new() -> Self {
        Self {
            config: Config::default(),
            router: Router::default(),
            interceptors: Chain::default(),
            descriptors: true,
            handlers: Handlers::default(),
            reactors: 1,
            grace: Duration::from_secs(5),
            classic: None,
            classic_file_size: 8 << 20,
            file_backing: None,
            max_connections: MAX_CONNECTIONS,
            max_handshakes: MAX_HANDSHAKES,
            admission: Admission::default(),
            executor: Executor::default(),
        }
    }

    /// Adds all methods of a service; generated servers are services.
    pub fn service(mut self, service: impl Service) -> Self {
        self.router.add_service(service);
        self
    }

    /// Adds a method under its full name, `/package.Service/Method`, without a trait to implement: for single
    /// methods of a service, as a [mock](crate::testing) has them.
    ///
    /// Client and server agree on names, not on types: the messages must be those of the method's clients.
    pub fn unary<Req, Resp, H>(mut self, name: impl Into<String>, handler: H) -> Self
    where
        Req: Decode,
        Resp: Encode,
        H: Fn(Request<Req>) -> Result<Response<Resp>, Status> + Send + Sync + 'static,
    {
        self.router.add_unary(name.into(), Box::new(move |exchange| exchange.unary(&handler)));
        self
    }

    /// Adds a method of plain bytes under its full name, `/package.Service/Method`.
    ///
    /// The handler answers with bytes that it has, or with a [`Loan`](crate::Loan) that it took from the
    /// [`Replier`] and filled.
    pub fn raw<H>(mut self, name: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Request<Payload>, &Replier<'_>) -> Result<RawBody<'static>, Status> + Send + Sync + 'static,
    {
        self.router.add_raw(name.into(), Box::new(handler));
        self
    }

    /// Has an interceptor look at each call before its handler runs: of every method of every kind, also of
    /// those that were added before, and of [`descriptors`](Self::descriptors). Several run in the order in
    /// which they were added.
    ///
    /// It runs where the handler would. See [`Interceptor`]; for those of one service,
    /// [`Intercepted`](crate::server::Intercepted).
    pub fn interceptor(mut self, interceptor: impl Interceptor<IncomingCall>) -> Self {
        self.interceptors = self.interceptors.with(interceptor);
        self
    }

    /// Whether clients may ask what the services are, as `mmap-rpc describe` does; they may unless set.
    ///
    /// See [`descriptors`](crate::descriptors). It is a method more, after all others.
    pub fn descriptors(mut self, yes: bool) -> Self {
        self.descriptors = yes;
        self
    }

    /// Where handlers run; [`Handlers::Inline`] unless set.
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// How many threads receive calls, 1 to 256; 1 unless set. Each connection stays with one of them.
    pub fn reactors(mut self, reactors: usize) -> Self {
        self.reactors = reactors.clamp(1, 256);
        self
    }

    limit_setters!();

    /// Most clients that are connected at one time, at least 1; 16,384 unless set. One more is refused, with
    /// a text that names this option.
    ///
    /// Those of the [classic](Self::classic) protocol count too. The system may allow fewer: each connection
    /// takes some descriptors and mappings, see `ulimit -n` and `sysctl vm.max_map_count`.
    pub fn max_connections(mut self, clients: usize) -> Self {
        self.max_connections = clients.max(1);
        self
    }

    /// Most clients at one time that have connected and not introduced themselves yet, at least 1; 1,024
    /// unless set. One more is refused, with a text that names this option.
    ///
    /// The others are served meanwhile, and each may take
    /// [`handshake_timeout`](Self::handshake_timeout).
    pub fn max_handshakes(mut self, clients: usize) -> Self {
        self.max_handshakes = clients.max(1);
        self
    }

    /// How long a receiving thread looks for the next request before it sleeps; 50 µs unless set, zero to
    /// sleep at once.
    ///
    /// To be woken costs some 50 µs, so a longer time gains where clients pause for longer than that. Its
    /// price is a busy processor for as long after each message. Never spent where both sides run on one
    /// processor, nor on a connection that is idle.
    pub fn spin(mut self, budget: Duration) -> Self {
        self.config.spin = budget;
        self
    }

    /// Longest time that a client may take to introduce itself; 5 seconds unless set.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// How long calls that run may take to finish after a
    /// [shutdown](crate::server::ShutdownHandle::shutdown); 5 seconds unless set.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Serves clients of the classic protocol too, at the same socket, with the same methods: those of the
    /// published Go project, and others that have a protobuf library and can map a file. Off unless set.
    ///
    /// Each of their connections has a file in `directory`, where its messages lie one after the other. The
    /// directory is made, with mode 0700, if only it is missing; one that others may write to is refused.
    /// Files are removed with their connections. What a killed server has left is removed when the next one
    /// binds: files of our name and user whose lock nobody holds.
    ///
    /// This is a trusted mode. A client finds its messages where it can change them, and other processes of
    /// the same user can open the file: neither can harm the server or another connection, but nothing keeps
    /// them from changing what a handler is sent or a client reads. Statuses travel as texts, deadlines and
    /// cancellations do not, and a connection has one call at a time.
    pub fn classic(mut self, directory: impl Into<PathBuf>) -> Self {
        self.classic = Some(directory.into());
        self
    }

    /// Length of a classic connection's file in bytes, 4 KiB to 1 GiB; 8 MiB unless set, as the published
    /// server has it. No message of such a connection can be longer. The file takes memory, or room on disk,
    /// only where messages have been.
    pub fn classic_file_size(mut self, bytes: u64) -> Self {
        self.classic_file_size = bytes.clamp(4096, LONGEST_FILE);
        self
    }

    /// Makes a file in `directory` for each client that asks for one
    /// ([`Backing::File`](crate::Backing::File)): both sides' memory then lies there. Off unless set.
    ///
    /// The directory is made, checked and swept as that of [`classic`](Self::classic), and may be the same. A
    /// file is removed with its connection. It is as long as both sides' largest messages demand, and takes
    /// memory, or room on disk, only where messages have been.
    ///
    /// This is a trusted mode, in the same sense as `classic`.
    pub fn file_backing(mut self, directory: impl Into<PathBuf>) -> Self {
        self.file_backing = Some(directory.into());
        self
    }

    /// Binds a Unix socket at `path` and listens. Clients may connect from here on; they are served once
    /// [`Server::run`] is called.
    ///
    /// A socket that a dead server left there is replaced; a live server's is not.
    ///
    /// # Errors
    /// [`BindError`] says what stands in the way and what to do.
    pub fn bind(self, path: impl AsRef<Path>) -> Result<Server, BindError> {
        self.prepare(Some(path.as_ref()))
    }

    #[cfg(feature = "tokio")]
    pub(super) fn set_runtime(&mut self, runtime: tokio::runtime::Handle) {
        self.executor.set_runtime(runtime);
    }

    /// A server that listens nowhere: its clients come through [`Server::inboxes`].
    pub(crate) fn unbound(self) -> Result<Server, BindError> {
        self.prepare(None)
    }

    fn prepare(mut self, path: Option<&Path>) -> Result<Server, BindError> {
        self.executor.take_current();
        if self.descriptors {
            self.router.add_descriptors().map_err(BindError::Methods)?;
        }
        self.router.check().map_err(BindError::Methods)?;
        check_methods(self.router.names()).map_err(BindError::Methods)?;
        self.router.intercept(std::mem::take(&mut self.interceptors));
        let prepare = |directory: &PathBuf| ClassicFiles::prepare(directory, self.classic_file_size);
        let classic = self.classic.as_ref().map(prepare).transpose().map_err(BindError::Classic)?;
        let prepare = |directory: &PathBuf| FileStore::prepare(directory).map(Arc::new);
        self.config.files = self.file_backing.as_ref().map(prepare).transpose().map_err(BindError::Files)?;
        let mode = self.admission.socket_mode();
        let listener = path.map(|path| Listener::bind(path, mode)).transpose().map_err(BindError::Listen)?;
        let bells = (0..self.reactors).map(|_| Doorbell::new()).collect::<io::Result<_>>()?;
        let shutdown = Arc::new(Shutdown::new(bells));
        let seats = Seats::of_handshakes(self.max_handshakes);
        let inboxes = Arc::new(Inboxes::new(self.reactors, seats, shutdown.clone()));
        let path = path.unwrap_or(Path::new("")).to_owned();
        Ok(Server { settings: self, path, listener, classic, shutdown, inboxes })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("config", &self.config)
            .field("methods", &self.router.names())
            .field("interceptors", &self.interceptors)
            .field("descriptors", &self.descriptors)
            .field("handlers", &self.handlers)
            .field("reactors", &self.reactors)
            .field("grace", &self.grace)
            .field("classic", &self.classic)
            .field("classic_file_size", &self.classic_file_size)
            .field("file_backing", &self.file_backing)
            .field("max_connections", &self.max_connections)
            .field("max_handshakes", &self.max_handshakes)
            .field("admission", &self.admission)
            .finish()
    }
}
