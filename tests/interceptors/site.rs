//! Servers of every kind of handler, and a call of each kind.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mmap_rpc::server::{Handlers, ShutdownHandle};
use mmap_rpc::{Channel, Request, Response, Server, ServerBuilder, Status};
use tempfile::TempDir;
use testkit::interop::Service;
use testkit::interop::proto::{
    ResponseParameters, SimpleRequest, StreamingInputCallRequest, StreamingOutputCallRequest,
    TestServiceClient, TestServiceServer,
};
use testkit::proto::Empty;
use testkit::{PATIENCE, connect, way};
use tokio::runtime::{Builder, Runtime};

/// The methods that [`every_call`] calls, in that order.
pub(crate) const KINDS: [&str; 6] = [
    "/grpc.testing.TestService/UnaryCall",
    "/grpc.testing.TestService/StreamingOutputCall",
    "/grpc.testing.TestService/StreamingInputCall",
    "/grpc.testing.TestService/FullDuplexCall",
    "/here.Raw/Echo",
    "/here.Unary/Empty",
];

/// A server on a thread of its own, and maybe a runtime for its handlers.
pub(crate) struct Site {
    name: String,
    handled: Arc<AtomicUsize>,
    stop: ShutdownHandle,
    dir: TempDir,
    thread: Option<thread::JoinHandle<std::io::Result<()>>>,
    _runtime: Option<Runtime>,
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Servers with async and blocking handlers, inline and on a pool, with a runtime and without.
pub(crate) fn sites(settings: impl Fn(ServerBuilder) -> ServerBuilder) -> Vec<Site> {
    let kinds = (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
    kinds.map(|(is_async, pool, runtime)| Site::of(is_async, pool, runtime, &settings)).collect()
}

impl Site {
    /// One with a runtime and async handlers.
    pub(crate) fn new(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        Self::of(true, false, true, settings)
    }

    pub(crate) fn of(
        is_async: bool,
        pool: bool,
        has_runtime: bool,
        settings: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (service, handled) = (Service::default(), Arc::new(AtomicUsize::new(0)));
        let (raws, unaries) = (handled.clone(), handled.clone());
        let mut server = settings(Server::builder())
            .handlers(if pool { Handlers::Pool(2) } else { Handlers::Inline })
            .raw(KINDS[4], move |request, _| {
                raws.fetch_add(1, Ordering::SeqCst);
                Ok(request.into_inner().to_vec().into())
            })
            .unary(KINDS[5], move |_: Request<Empty>| {
                unaries.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Status>(Response::new(Empty {}))
            });
        server = match is_async {
            true => server.service(TestServiceServer::new(service)),
            false => server.service(TestServiceServer::blocking(service)),
        };
        let runtime = has_runtime.then(runtime);
        if let Some(runtime) = &runtime {
            server = server.runtime(runtime.handle().clone());
        }
        let server = way::allow_all(server, &path).classic(dir.path().join("classic")).bind(&path).unwrap();
        let stop = server.shutdown_handle();
        let thread = Some(thread::spawn(move || server.run()));
        let name = format!("async: {is_async}, pool: {pool}, runtime: {has_runtime}");
        Self { name, handled, stop, dir, thread, _runtime: runtime }
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::join(self.dir.path(), "socket")
    }

    pub(crate) fn channel(&self) -> Channel {
        connect(self.path()).unwrap()
    }

    /// Handlers of the last two kinds that ran.
    pub(crate) fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.shutdown();
        // A server that is blocked fails its test, and does not hold it up.
        if !thread::panicking() {
            self.thread.take().unwrap().join().unwrap().unwrap();
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

pub(crate) fn unary(channel: &Channel) -> Result<(), Status> {
    TestServiceClient::new(channel.clone()).unary_call(SimpleRequest::default()).wait().map(drop)
}

fn output() -> StreamingOutputCallRequest {
    let response_parameters = vec![ResponseParameters { size: 3, interval_us: 0 }];
    StreamingOutputCallRequest { response_parameters, ..Default::default() }
}

/// How a call of each kind ends.
pub(crate) fn every_call(channel: &Channel, awaited: bool) -> Vec<(&'static str, Result<(), Status>)> {
    let outcomes = match awaited {
        true => runtime().block_on(await_every_call(channel)),
        false => wait_for_every_call(channel),
    };
    KINDS.into_iter().zip(outcomes).collect()
}

fn wait_for_every_call(channel: &Channel) -> [Result<(), Status>; 6] {
    let client = TestServiceClient::new(channel.clone());
    let all = |messages: mmap_rpc::Response<mmap_rpc::Streaming<_>>| {
        let messages = messages.into_inner().into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(messages.len(), 1);
        Ok(())
    };
    let inputs = [StreamingInputCallRequest::default()];
    [
        client.unary_call(SimpleRequest::default()).timeout(PATIENCE).wait().map(drop),
        client.streaming_output_call(output()).timeout(PATIENCE).wait().and_then(all),
        client.streaming_input_call().timeout(PATIENCE).send_all(inputs).wait().map(drop),
        client.full_duplex_call().timeout(PATIENCE).send_all([output()]).wait().and_then(all),
        channel.raw(&channel.method(KINDS[4]), b"bytes").timeout(PATIENCE).wait().map(|bytes| {
            assert_eq!(bytes.to_vec(), b"bytes");
        }),
        channel
            .unary::<_, Empty>(&channel.method(KINDS[5]), Request::new(Empty {}))
            .timeout(PATIENCE)
            .wait()
            .map(drop),
    ]
}

async fn await_every_call(channel: &Channel) -> [Result<(), Status>; 6] {
    let client = TestServiceClient::new(channel.clone());
    let all = async |messages: Result<mmap_rpc::Response<mmap_rpc::Streaming<_>>, Status>| {
        let mut messages = messages?.into_inner();
        let mut count = 0;
        while messages.message().await?.is_some() {
            count += 1;
        }
        assert_eq!(count, 1);
        Ok(())
    };
    let inputs = futures_util::stream::iter([StreamingInputCallRequest::default()]);
    let outputs = futures_util::stream::iter([output()]);
    [
        client.unary_call(SimpleRequest::default()).timeout(PATIENCE).await.map(drop),
        all(client.streaming_output_call(output()).timeout(PATIENCE).await).await,
        client.streaming_input_call().timeout(PATIENCE).send_all(inputs).await.map(drop),
        all(client.full_duplex_call().timeout(PATIENCE).send_all(outputs).await).await,
        channel.raw(&channel.method(KINDS[4]), b"bytes").timeout(PATIENCE).await.map(|bytes| {
            assert_eq!(bytes.to_vec(), b"bytes");
        }),
        channel
            .unary::<_, Empty>(&channel.method(KINDS[5]), Request::new(Empty {}))
            .timeout(PATIENCE)
            .await
            .map(drop),
    ]
}
