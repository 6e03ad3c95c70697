//! Servers that come and go at one path, and the ways to call them.

use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use mmap_rpc::server::Handlers;
use mmap_rpc::{
    Call, Channel, ChannelBuilder, Payload, RawCall, Reconnect, Request, Response, Server, Status,
};
use prost::Message;
use tempfile::TempDir;
use testkit::echo::{self, Service};
use testkit::proto::{Empty, SleepRequest};
use testkit::way::{allow_all, channel_builder};
use testkit::{Child, Parent};
use tokio::runtime::Runtime;

/// Hangs on a server of that kind, and echoes on others.
pub(crate) const HANG: &str = "/site/Hang";
/// Answers with the name of the server's kind.
pub(crate) const KIND: &str = "/site/Kind";
/// Answers with one byte: how many calls hang.
pub(crate) const HUNG: &str = "/site/Hung";
/// Only a server with other methods has it.
pub(crate) const OTHER: &str = "/site/Other";

/// Of this process.
static HANGING: AtomicU8 = AtomicU8::new(0);

/// What a server is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All methods.
    Plain,
    /// The same in another order, behind others.
    Shifted,
    /// Not those of the service.
    Without,
    /// Sleep and Hang do not end.
    Hanging,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Plain, Self::Shifted, Self::Without, Self::Hanging];

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// A path that servers come to.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Starts a server process, and waits until it listens.
    pub(crate) fn start(&self, kind: Kind) -> Child {
        let path = self.path();
        let child = Child::start("site", &[("socket", path.to_str().unwrap()), ("kind", &kind.name())]);
        child.expect("listening");
        child
    }

    /// A channel that goes the test's way.
    pub(crate) fn channel(&self, reconnect: Reconnect) -> Channel {
        builder(reconnect).connect(self.path()).wait().unwrap()
    }
}

pub(crate) fn builder(reconnect: Reconnect) -> ChannelBuilder {
    channel_builder().reconnect(reconnect)
}

/// Kills a server, and waits until it is gone.
pub(crate) fn kill(mut server: Child) {
    server.kill();
    drop(server);
}

/// What a server process does. Told anything, it shuts down in good order.
pub(crate) fn site(parent: &Parent) {
    let (path, kind) = (PathBuf::from(parent.argument("socket")), parent.argument("kind"));
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
    let server = serve(kind, &path).bind(&path).expect("a path that nobody listens at");
    let shutdown = server.shutdown_handle();
    parent.say("listening");
    thread::scope(|scope| {
        let serving = scope.spawn(move || server.run());
        parent.hear();
        shutdown.shutdown();
        parent.say("stopping");
        serving.join().unwrap().unwrap();
    });
}

fn serve(kind: Kind, path: &Path) -> mmap_rpc::ServerBuilder {
    let builder = allow_all(Server::builder(), path).handlers(Handlers::Pool(6));
    let builder = match kind {
        Kind::Shifted => builder.raw(OTHER, |_, _| Ok(b"other".into())),
        _ => builder,
    };
    let name = kind.name();
    let builder = builder.raw(HUNG, |_, _| Ok(vec![HANGING.load(Ordering::SeqCst)].into()));
    let builder = builder.raw(KIND, move |_, _| Ok(name.clone().into_bytes().into()));
    let builder = match kind {
        Kind::Plain | Kind::Shifted => echo::serve(builder, Arc::new(Service::default())),
        Kind::Hanging => builder.unary("/testkit.Echo/Sleep", |_: Request<SleepRequest>| {
            forever();
            Ok(Response::new(Empty {}))
        }),
        Kind::Without => builder,
    };
    builder.raw(HANG, move |request, _| {
        if kind == Kind::Hanging {
            forever();
        }
        Ok(request.into_inner().to_vec().into())
    })
}

fn forever() {
    HANGING.fetch_add(1, Ordering::SeqCst);
    thread::sleep(Duration::from_secs(600));
}

// ---- calls -------------------------------------------------------------------------------------------

/// How a call is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Wait,
    Start,
    Await,
}

/// All of them.
pub(crate) const MODES: [Mode; 3] = [Mode::Wait, Mode::Start, Mode::Await];

/// Where tasks run.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

impl Mode {
    /// Makes a call of messages.
    pub(crate) fn call<Req, Resp>(self, call: Call<'_, Req, Resp>) -> Result<Resp, Status>
    where
        Req: Message + 'static,
        Resp: Message + Default + 'static,
    {
        match self {
            Self::Wait => call.wait(),
            Self::Start => call.start()?.wait(),
            Self::Await => runtime().block_on(call.into_future()),
        }
        .map(Response::into_inner)
    }

    /// Makes a call of bytes.
    pub(crate) fn raw(self, call: RawCall<'_>) -> Result<Vec<u8>, Status> {
        match self {
            Self::Wait => call.wait(),
            Self::Start => call.start()?.wait(),
            Self::Await => runtime().block_on(call.into_future()),
        }
        .map(|payload: Payload| payload.to_vec())
    }
}
