//! Where a case runs: a server of the interoperability service, and somebody who calls it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use mmap_rpc::server::ShutdownHandle;
use mmap_rpc::{Server, ServerBuilder};
use tempfile::TempDir;
use testkit::interop::Service;
use testkit::interop::proto::{TestServiceClient, TestServiceServer};
use testkit::{Child, Parent, connect, eventually, way};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How calls are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// By threads.
    Blocking,
    /// By tasks.
    Awaited,
}

/// How they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handlers {
    /// By the trait whose methods block.
    Blocking,
    /// By the trait whose methods are futures.
    Async,
}

/// Waits for something as the driver does: a site, or whatever else has one, then what is waited for.
macro_rules! via {
    ($site:expr, $call:expr) => {
        match $site.driver {
            $crate::Driver::Blocking => $call.wait(),
            $crate::Driver::Awaited => $call.await,
        }
    };
}
pub(crate) use via;

/// A server, and how it is called.
pub(crate) struct Site {
    pub(crate) driver: Driver,
    pub(crate) handlers: Handlers,
    pub(crate) service: Service,
    stop: ShutdownHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    dir: TempDir,
    _runtime: Runtime,
}

/// A server of `service`, and the runtime of its tasks.
fn builder(handlers: Handlers, service: &Service) -> (ServerBuilder, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let builder = Server::builder().runtime(runtime.handle().clone());
    let service = Arc::new(service.clone());
    let builder = match handlers {
        Handlers::Blocking => builder.service(TestServiceServer::blocking_from_arc(service)),
        Handlers::Async => builder.service(TestServiceServer::from_arc(service)),
    };
    (builder, runtime)
}

impl Site {
    /// Runs a case.
    pub(crate) fn run(driver: Driver, handlers: Handlers, case: impl AsyncFn(&Self)) {
        let site = Self::new(driver, handlers);
        match driver {
            Driver::Blocking => at_once(case(&site)),
            Driver::Awaited => runtime().block_on(case(&site)),
        }
        eventually("no handler is left", || site.service.running() == 0);
    }

    fn new(driver: Driver, handlers: Handlers) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let service = Service::default();
        let (builder, runtime) = builder(handlers, &service);
        let server = way::allow_all(builder, &path).bind(&path).expect("a fresh folder");
        let stop = server.shutdown_handle();
        let thread = Some(thread::spawn(move || server.run()));
        Self { driver, handlers, service, stop, thread, dir, _runtime: runtime }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// A client on a channel of its own.
    pub(crate) fn client(&self) -> TestServiceClient {
        TestServiceClient::new(connect(self.path()).expect("the server listens"))
    }

    /// Waits until so many handlers are at work.
    pub(crate) fn expect_running(&self, handlers: usize) {
        eventually(&format!("{handlers} handlers run"), || self.service.running() == handlers);
    }

    /// Runs `count` calls side by side, each by a thread or a task of its own.
    pub(crate) async fn side_by_side<F>(&self, count: usize, call: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.driver {
            Driver::Blocking => {
                let threads: Vec<_> = (0..count)
                    .map(|number| {
                        let call = call(number);
                        thread::spawn(move || at_once(call))
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().expect("a call that goes well"));
            }
            Driver::Awaited => {
                let mut tasks: JoinSet<()> = (0..count).map(call).collect();
                while let Some(ended) = tasks.join_next().await {
                    ended.expect("a call that goes well");
                }
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("no panic").expect("an orderly end");
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// The outcome of a future that waits for nothing but threads: the first poll ends it.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a case awaits what has `wait`"),
    }
}

/// A server in a process of its own. Killed on drop.
pub(crate) struct Process {
    child: Child,
    dir: TempDir,
}

impl Process {
    pub(crate) fn start(handlers: Handlers) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("socket");
        let handlers = if handlers == Handlers::Async { "async" } else { "blocking" };
        let arguments = [("socket", socket.to_str().expect("a path of ours")), ("handlers", handlers)];
        let child = Child::start("interop server", &arguments);
        child.expect("listening");
        Self { child, dir }
    }

    pub(crate) fn client(&self) -> TestServiceClient {
        TestServiceClient::new(connect(self.dir.path().join("socket")).expect("the server listens"))
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill();
    }
}

/// What the process does.
pub(crate) fn serve(parent: &Parent) {
    let handlers = if parent.argument("handlers") == "async" { Handlers::Async } else { Handlers::Blocking };
    let (builder, _runtime) = builder(handlers, &Service::default());
    let socket = parent.argument("socket");
    let path = Path::new(&socket);
    let server = way::allow_all(builder, path).bind(path).expect("a free path");
    parent.say("listening");
    server.run().expect("the server runs until it is killed");
}
