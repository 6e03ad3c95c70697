//! gRPC by tonic, over a Unix socket: the typed messages, encoded by the same prost.
//!
//! Both processes have a runtime of one thread: each side has one processor, and two workers there are slower
//! one call at a time, in a flood and on a shared processor. Messages may be as long as the bench sends them,
//! because the limit of 4 MiB includes what surrounds the bytes. Windows are 4 MiB and frames 64 KiB instead
//! of 16, which makes messages of 1 MiB and more faster and small ones no slower; frames of 1 MiB gain
//! nothing more. The client is generated, cloned for each call under way, and shares one channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use mmap_rpc_cli::args::Mode;
use mmap_rpc_cli::serving::Serving;
use mmap_rpc_cli::transports::buffers::Buffer;
use mmap_rpc_cli::transports::headline::{
    GetReply, GetRequest, KEY, Lent, SetReply, SetRequest, Store, TEXT, check, sets,
};
use mmap_rpc_cli::transports::typed::answer;
use mmap_rpc_cli::transports::{Echo, Flood, Place, Transport, socket};
use mmap_rpc_cli::work;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::rows::runtime;

use self::services::echo_client::EchoClient;
use self::services::echo_server::{self, EchoServer};
use self::services::store_client::StoreClient;
use self::services::store_server::{self, StoreServer};

/// What tonic-build generates.
#[allow(missing_docs, unreachable_pub)]
mod services {
    use super::{GetReply, GetRequest, Lent, SetReply, SetRequest};

    include!(concat!(env!("OUT_DIR"), "/bench.Echo.rs"));
    include!(concat!(env!("OUT_DIR"), "/bench.Store.rs"));
}

/// Bytes that may be under way before the receiver asks for more, on a stream and on a connection.
const WINDOW: u32 = 4 << 20;

/// Bytes that travel together.
const FRAME: u32 = 64 << 10;

/// Typed unary calls over tonic.
pub(crate) struct Tonic;

impl Transport for Tonic {
    fn name(&self) -> &'static str {
        "tonic"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency, Mode::Flood, Mode::Wake, Mode::OneCore]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let max = longest(serving.max_size());
        let service = EchoServer::new(Answers).max_decoding_message_size(max).max_encoding_message_size(max);
        serve(serving, |server, incoming| server.serve_with_incoming(service, incoming))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let max = longest(place.max_size);
        let (runtime, channel) = connect(place)?;
        let client = EchoClient::new(channel);
        let client = client.max_decoding_message_size(max).max_encoding_message_size(max);
        Ok(Box::new(Client { runtime, client, request: Buffer::default() }))
    }
}

/// The longest message: its bytes, and what surrounds them.
fn longest(max_size: usize) -> usize {
    max_size + 1024
}

/// Listens at the socket of a place, and serves what connects there until the bench ends.
fn serve<F>(serving: &Serving, run: impl FnOnce(Server, UnixListenerStream) -> F) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), tonic::transport::Error>>,
{
    let path = socket(serving.directory());
    runtime()?.block_on(async {
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
        serving.ready("");
        let server = Server::builder();
        let server = server
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME);
        run(server, UnixListenerStream::new(listener)).await.context("the server failed")
    })
}

fn connect(place: &Place) -> anyhow::Result<(Runtime, Channel)> {
    let runtime = runtime()?;
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket(&place.directory).display()))?;
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME);
    let channel = runtime.block_on(endpoint.connect()).context("cannot connect")?;
    Ok((runtime, channel))
}

struct Answers;

#[tonic::async_trait]
impl echo_server::Echo for Answers {
    async fn echo(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        Ok(Response::new(answer(request.get_ref())))
    }
}

struct Client {
    runtime: Runtime,
    client: EchoClient<Channel>,
    request: Buffer,
}

/// One call, the `number`-th.
async fn call(
    client: &mut EchoClient<Channel>,
    request: &mut Buffer,
    size: usize,
    number: u64,
) -> anyhow::Result<()> {
    let request = request.filled(size, |bytes| work::fill(bytes, work::seed(number)));
    let reply = client.echo(Request::new(request)).await?;
    work::check(reply.get_ref(), size, work::seed(number))
}

impl Echo for Client {
    fn echo(&mut self, size: usize, number: u64) -> anyhow::Result<()> {
        let Self { runtime, client, request } = self;
        runtime.block_on(call(client, request, size, number))
    }

    /// As many tasks as calls are under way, each with one at a time.
    fn flood(&mut self, flood: Flood) -> anyhow::Result<u64> {
        let Flood { size, depth, until, first } = flood;
        let next = Arc::new(AtomicU64::new(first));
        self.runtime.block_on(async {
            let caller = |_| {
                let (mut client, next, mut request) = (self.client.clone(), next.clone(), Buffer::default());
                tokio::spawn(async move {
                    while Instant::now() < until {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        call(&mut client, &mut request, size, number).await?;
                    }
                    anyhow::Ok(())
                })
            };
            let callers: Vec<_> = (0..depth).map(caller).collect();
            for caller in callers {
                caller.await.context("a calling task panicked")??;
            }
            Ok(next.load(Ordering::Relaxed) - first)
        })
    }
}

/// Set and Get over tonic.
pub(crate) struct Headline;

impl Transport for Headline {
    fn name(&self) -> &'static str {
        "tonic-headline"
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Latency]
    }

    fn sizes(&self, _: &[usize], _: &mut Vec<String>) -> Vec<usize> {
        vec![TEXT]
    }

    fn serve(&self, serving: &Serving) -> anyhow::Result<()> {
        let max = longest(serving.max_size());
        let service = StoreServer::new(Values(Store::default()));
        let service = service.max_decoding_message_size(max).max_encoding_message_size(max);
        serve(serving, |server, incoming| server.serve_with_incoming(service, incoming))
    }

    fn connect(&self, place: &Place) -> anyhow::Result<Box<dyn Echo>> {
        let max = longest(place.max_size);
        let (runtime, channel) = connect(place)?;
        let client = StoreClient::new(channel);
        let client = client.max_decoding_message_size(max).max_encoding_message_size(max);
        Ok(Box::new(HeadlineClient { runtime, client, sets: sets() }))
    }
}

struct Values(Store);

#[tonic::async_trait]
impl store_server::Store for Values {
    async fn set(&self, request: Request<Lent<SetRequest>>) -> Result<Response<SetReply>, Status> {
        let request = Arc::unwrap_or_clone(request.into_inner().0);
        Ok(Response::new(self.0.set(request)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Lent<GetReply>>, Status> {
        let value = self.0.get(&request.get_ref().key);
        value.map(Response::new).ok_or_else(|| Status::not_found("no such key"))
    }
}

struct HeadlineClient {
    runtime: Runtime,
    client: StoreClient<Channel>,
    sets: [Lent<SetRequest>; 2],
}

impl Echo for HeadlineClient {
    fn echo(&mut self, _: usize, number: u64) -> anyhow::Result<()> {
        let Self { runtime, client, sets } = self;
        let sent = &sets[number as usize % 2];
        runtime.block_on(async {
            let stored = client.set(Request::new(sent.clone())).await?;
            let got = client.get(Request::new(GetRequest { key: KEY.into() })).await?;
            check(&sent.0, stored.get_ref(), &got.get_ref().0)
        })
    }
}
