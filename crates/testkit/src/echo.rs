//! The service that tests call, and a server of it in this process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mmap_rpc::server::ShutdownHandle;
use mmap_rpc::{Code, Request, Response, Server, ServerBuilder, Status};
use tempfile::TempDir;

use crate::data::{checksum, noise};
use crate::proto::{
    Blob, BlockingEcho, Counts, EchoClient, EchoServer, Empty, FailRequest, MakeRequest, PanicRequest,
    SleepRequest, Sum,
};
use crate::way;

/// Returns the bytes that it got, in a loan.
pub const RAW_ECHO: &str = "/testkit.Raw/Echo";
/// Returns the first half of the bytes that it got, in a loan that was as long as all of them.
pub const RAW_HALF: &str = "/testkit.Raw/Half";
/// Returns bytes that are no message.
pub const RAW_GARBAGE: &str = "/testkit.Raw/Garbage";

/// Bytes that decode as no message: a field of the reserved wire type 7.
pub const GARBAGE: &[u8] = &[0x0f, 0xff, 0xff];

/// The service, with counters.
#[derive(Debug, Default)]
pub struct Service {
    begun: AtomicU64,
    sleeping: AtomicU64,
}

impl Service {
    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// Handlers that began, except those of Count and of the raw methods.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Handlers of Sleep that sleep right now.
    pub fn sleeping(&self) -> u64 {
        self.sleeping.load(Ordering::SeqCst)
    }
}

impl BlockingEcho for Service {
    fn echo(&self, request: Request<Blob>) -> Result<Response<Blob>, Status> {
        self.begin();
        Ok(Response::new(request.into_inner()))
    }

    fn checksum(&self, request: Request<Blob>) -> Result<Response<Sum>, Status> {
        self.begin();
        Ok(Response::new(Sum { sum: checksum(&request.get_ref().data) }))
    }

    fn make(&self, request: Request<MakeRequest>) -> Result<Response<Blob>, Status> {
        self.begin();
        let MakeRequest { length, seed } = request.into_inner();
        Ok(Response::new(Blob { data: noise(length as usize, seed) }))
    }

    fn sleep(&self, request: Request<SleepRequest>) -> Result<Response<Empty>, Status> {
        self.begin();
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(request.get_ref().milliseconds.into()));
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        Ok(Response::new(Empty {}))
    }

    fn fail(&self, request: Request<FailRequest>) -> Result<Response<Empty>, Status> {
        self.begin();
        let FailRequest { code, text } = request.into_inner();
        Err(Status::new(Code::from_u32(code), text))
    }

    fn panic(&self, request: Request<PanicRequest>) -> Result<Response<Empty>, Status> {
        self.begin();
        panic!("{}", request.get_ref().text);
    }

    fn count(&self, _: Request<Empty>) -> Result<Response<Counts>, Status> {
        Ok(Response::new(Counts { begun: self.begun(), sleeping: self.sleeping() }))
    }
}

/// Adds the service and the raw methods to a server.
pub fn serve(builder: ServerBuilder, service: Arc<Service>) -> ServerBuilder {
    builder
        .service(EchoServer::blocking_from_arc(service))
        .raw(RAW_ECHO, |request, replier| {
            let payload = request.into_inner();
            let mut loan = replier.loan(payload.len())?;
            payload.copy_to_slice(0, &mut loan);
            Ok(loan.into())
        })
        .raw(RAW_HALF, |request, replier| {
            let payload = request.into_inner();
            let mut loan = replier.loan(payload.len())?;
            payload.copy_to_slice(0, &mut loan);
            loan.truncate(payload.len() / 2);
            Ok(loan.into())
        })
        .raw(RAW_GARBAGE, |_, _| Ok(GARBAGE.into()))
}

/// A server in this process, on a thread of its own. Shut down on drop.
#[derive(Debug)]
pub struct LocalServer {
    /// What it serves.
    pub service: Arc<Service>,
    /// What ends it.
    pub shutdown: ShutdownHandle,
    path: PathBuf,
    thread: Option<JoinHandle<io::Result<()>>>,
    _dir: TempDir,
}

impl LocalServer {
    /// Serves with the settings of `builder`.
    pub fn start(builder: ServerBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let service = Arc::new(Service::default());
        let builder = way::allow_all(builder, &path);
        let server = serve(builder, service.clone()).bind(&path).expect("a fresh folder");
        let shutdown = server.shutdown_handle();
        let thread = Some(thread::spawn(move || server.run()));
        Self { service, shutdown, path, thread, _dir: dir }
    }

    /// Serves with default settings.
    pub fn default_settings() -> Self {
        Self::start(Server::builder())
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A client on a channel of its own.
    pub fn client(&self) -> EchoClient {
        EchoClient::new(way::connect(&self.path).expect("the server listens"))
    }

    /// Waits for `run` to return, which somebody must have asked for.
    pub fn join(&mut self) -> io::Result<()> {
        self.thread.take().expect("joined once").join().expect("run does not panic")
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
