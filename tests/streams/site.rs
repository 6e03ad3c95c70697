//! A server whose handlers do what the metadata of their calls say, and go on when a test lets them.

use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mmap_rpc::server::ShutdownHandle;
use mmap_rpc::{Code, MetadataMap, Request, Response, Server, ServerBuilder, Status, Streaming};
use tempfile::TempDir;
use testkit::interop::payload;
use testkit::interop::proto::*;
use testkit::{channel_builder, way};
use tokio::runtime::{Builder, Runtime};

/// What a call says about its handler.
pub(crate) const MODE: &str = "mode";

/// The handler reads nothing until the gate opens.
pub(crate) const HOLD: &str = "hold";
/// It drops its requests when the gate opens, and ends when it closes.
pub(crate) const DEAF: &str = "deaf";
/// It panics, before or behind its first message.
pub(crate) const PANIC: &str = "panic";
pub(crate) const PANIC_LATER: &str = "panic later";

/// How often a handler looks whether the gate is open.
const LOOK: Duration = Duration::from_millis(1);

/// What all handlers of a server share.
#[derive(Debug, Default)]
pub(crate) struct Service {
    gate: AtomicBool,
    /// Requests that were read, and responses that were taken out of their iterators.
    pub(crate) read: AtomicU64,
    pub(crate) made: AtomicU64,
    running: AtomicU64,
}

impl Service {
    fn is_open(&self) -> bool {
        self.gate.load(Ordering::SeqCst)
    }

    fn wait(&self, open: bool) {
        while self.is_open() != open {
            thread::sleep(LOOK);
        }
    }

    async fn until(&self, open: bool) {
        while self.is_open() != open {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn read_one(&self, request: StreamingInputCallRequest) -> u64 {
        self.read.fetch_add(1, Ordering::SeqCst);
        request.payload.map_or(0, |payload| payload.body.len() as u64)
    }
}

/// A handler under way.
struct Running(Arc<Service>);

impl Running {
    fn new(service: &Arc<Service>) -> Self {
        service.running.fetch_add(1, Ordering::SeqCst);
        Self(service.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn mode(metadata: &MetadataMap) -> String {
    metadata.get(MODE).unwrap_or_default().to_owned()
}

type Item = Result<StreamingOutputCallResponse, Status>;
type Handled<T> = Result<Response<T>, Status>;

fn response(size: usize) -> StreamingOutputCallResponse {
    StreamingOutputCallResponse { payload: Some(payload(size)) }
}

fn sum(bytes: u64) -> Response<StreamingInputCallResponse> {
    Response::new(StreamingInputCallResponse { aggregated_payload_size: bytes as i32 })
}

/// The responses that a request asks for: so many of one size.
fn repeated(
    service: &Arc<Service>,
    request: &StreamingOutputCallRequest,
    mode: &str,
) -> impl Iterator<Item = Item> + use<> {
    let ResponseParameters { size, interval_us: count } = request.response_parameters[0];
    let (running, panics) = (Running::new(service), mode == PANIC_LATER);
    iter::repeat_n(size as usize, count as usize).enumerate().map(move |(number, size)| {
        assert!(!panics || number == 0, "later, as it was told");
        running.0.made.fetch_add(1, Ordering::SeqCst);
        Ok(response(size))
    })
}

fn before(mode: &str) {
    assert!(mode != PANIC, "at once, as it was told");
}

/// The service of handlers that block.
pub(crate) struct Blocking(pub(crate) Arc<Service>);

impl BlockingTestService for Blocking {
    fn empty_call(&self, _: Request<Empty>) -> Handled<Empty> {
        Ok(Response::new(Empty {}))
    }

    fn unary_call(&self, request: Request<SimpleRequest>) -> Handled<SimpleResponse> {
        let size = request.get_ref().response_size as usize;
        Ok(Response::new(SimpleResponse { payload: Some(payload(size)) }))
    }

    type StreamingOutputCallStream = Box<dyn Iterator<Item = Item>>;

    fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Handled<Self::StreamingOutputCallStream> {
        let mode = mode(request.metadata());
        before(&mode);
        Ok(Response::new(Box::new(repeated(&self.0, request.get_ref(), &mode))))
    }

    fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Handled<StreamingInputCallResponse> {
        let _running = Running::new(&self.0);
        let mode = mode(request.metadata());
        before(&mode);
        let mut requests = Some(request.into_inner());
        if mode == DEAF || mode == HOLD {
            self.0.wait(true);
        }
        if mode == DEAF {
            requests = None;
            self.0.wait(false);
        }
        let mut bytes = 0;
        for request in requests.into_iter().flatten() {
            bytes += self.0.read_one(request?);
        }
        Ok(sum(bytes))
    }

    type FullDuplexCallStream = Box<dyn Iterator<Item = Item>>;

    fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Handled<Self::FullDuplexCallStream> {
        let (running, mode) = (Running::new(&self.0), mode(request.metadata()));
        let requests = request.into_inner();
        if mode == HOLD {
            running.0.wait(true);
        }
        let responses = requests.into_iter().map(move |request| {
            running.0.read.fetch_add(1, Ordering::SeqCst);
            request.map(|request| response(request.response_parameters[0].size as usize))
        });
        Ok(Response::new(Box::new(responses)))
    }

    type HalfDuplexCallStream = Box<dyn Iterator<Item = Item>>;

    fn half_duplex_call(
        &self,
        _: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Handled<Self::HalfDuplexCallStream> {
        Err(Status::new(Code::Unimplemented, "nobody calls it"))
    }
}

/// The service of handlers that are tasks.
pub(crate) struct Tasks(pub(crate) Arc<Service>);

impl TestService for Tasks {
    async fn empty_call(&self, _: Request<Empty>) -> Handled<Empty> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Handled<SimpleResponse> {
        let size = request.get_ref().response_size as usize;
        Ok(Response::new(SimpleResponse { payload: Some(payload(size)) }))
    }

    type StreamingOutputCallStream = BoxStream<'static, Item>;

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Handled<Self::StreamingOutputCallStream> {
        let mode = mode(request.metadata());
        before(&mode);
        Ok(Response::new(stream::iter(repeated(&self.0, request.get_ref(), &mode)).boxed()))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Handled<StreamingInputCallResponse> {
        let _running = Running::new(&self.0);
        let mode = mode(request.metadata());
        before(&mode);
        let mut requests = Some(request.into_inner());
        if mode == DEAF || mode == HOLD {
            self.0.until(true).await;
        }
        if mode == DEAF {
            requests = None;
            self.0.until(false).await;
        }
        let mut bytes = 0;
        while let Some(requests) = &mut requests
            && let Some(request) = requests.message().await?
        {
            bytes += self.0.read_one(request);
        }
        Ok(sum(bytes))
    }

    type FullDuplexCallStream = BoxStream<'static, Item>;

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Handled<Self::FullDuplexCallStream> {
        let (running, mode) = (Running::new(&self.0), mode(request.metadata()));
        let requests = request.into_inner();
        if mode == HOLD {
            running.0.until(true).await;
        }
        let responses = requests.map(move |request| {
            running.0.read.fetch_add(1, Ordering::SeqCst);
            request.map(|request| response(request.response_parameters[0].size as usize))
        });
        Ok(Response::new(responses.boxed()))
    }

    type HalfDuplexCallStream = BoxStream<'static, Item>;

    async fn half_duplex_call(
        &self,
        _: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Handled<Self::HalfDuplexCallStream> {
        Err(Status::new(Code::Unimplemented, "nobody calls it"))
    }
}

/// A server in this process.
pub(crate) struct Site {
    pub(crate) service: Arc<Service>,
    stop: ShutdownHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    dir: TempDir,
    pub(crate) runtime: Runtime,
}

impl Site {
    /// Handlers are tasks, or else threads.
    pub(crate) fn new(tasks: bool, settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (builder, service) =
            (Server::builder().runtime(runtime.handle().clone()), Arc::<Service>::default());
        let builder = match tasks {
            false => builder.service(TestServiceServer::blocking(Blocking(service.clone()))),
            true => builder.service(TestServiceServer::new(Tasks(service.clone()))),
        };
        let server = way::allow_all(settings(builder), &path).bind(&path).expect("a fresh folder");
        let stop = server.shutdown_handle();
        let thread = Some(thread::spawn(move || server.run()));
        Self { service, stop, thread, dir, runtime }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn client(&self) -> TestServiceClient {
        self.client_with(channel_builder())
    }

    pub(crate) fn client_with(&self, builder: mmap_rpc::ChannelBuilder) -> TestServiceClient {
        TestServiceClient::new(builder.connect(self.path()).wait().expect("the server listens"))
    }

    /// Lets handlers go on, or has them wait.
    pub(crate) fn open(&self, open: bool) {
        self.service.gate.store(open, Ordering::SeqCst);
    }

    pub(crate) fn running(&self) -> u64 {
        self.service.running.load(Ordering::SeqCst)
    }

    pub(crate) fn shut_down(&self) {
        self.stop.shutdown();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.open(true);
        self.stop.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("no panic").expect("an orderly end");
        }
    }
}

/// Metadata that tell a handler what to do.
pub(crate) fn told(mode: &'static str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert(MODE, mode).expect("good metadata");
    metadata
}

pub(crate) fn input(size: usize) -> StreamingInputCallRequest {
    StreamingInputCallRequest { payload: Some(payload(size)) }
}

/// A request for `count` responses of `size` bytes.
pub(crate) fn output(size: usize, count: usize) -> StreamingOutputCallRequest {
    let parameters = ResponseParameters { size: size as i32, interval_us: count as i32 };
    StreamingOutputCallRequest { response_parameters: vec![parameters], ..Default::default() }
}
