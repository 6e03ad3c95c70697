//! The standard gRPC health service: whether a server, and each of its services, wants to be called.
//!
//! [`Health::new`] makes the service, which goes to the server, and a [`HealthReporter`], which stays with
//! whoever knows how things are. `mmap-rpc health SOCKET [SERVICE]` asks, and tells by its exit code; a
//! program asks with a [`HealthClient`].
//!
//! ```
//! use mmap_rpc::health::{Health, HealthClient, HealthCheckRequest, ServingStatus};
//! use mmap_rpc::{Code, Server, testing};
//! # use testkit::{echo::Service, proto::EchoServer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (health, reporter) = Health::new();
//! let echo = EchoServer::blocking(Service::default());
//! let server = Server::builder().service(echo).service(health);
//! reporter.set_serving(EchoServer::<Service>::NAME);
//!
//! # let pair = testing::pair(server)?;
//! let client = HealthClient::new(pair.channel());
//! let whole = client.check(HealthCheckRequest::default()).wait()?;
//! assert_eq!(whole.get_ref().status(), ServingStatus::Serving);
//!
//! reporter.set_not_serving("testkit.Echo");
//! let echo = client.check(HealthCheckRequest { service: "testkit.Echo".into() }).wait()?;
//! assert_eq!(echo.get_ref().status(), ServingStatus::NotServing);
//!
//! let unknown = client.check(HealthCheckRequest { service: "a.Stranger".into() }).wait();
//! assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
//! # Ok(())
//! # }
//! ```
//!
//! The server as a whole, whose name is empty, is serving from the start; a service has the status that was
//! set for it, and none until then. A server that is [shut down](crate::server::ShutdownHandle) takes no
//! calls, so its health can no longer be asked: that fails with [`Code::Unavailable`](crate::Code). Call
//! [`HealthReporter::drain`] some time before, if clients are to leave first.
//!
//! [`HealthClient::watch`] is told of the status now and whenever it changes. A client that is slow to read
//! is told of the latest status, not of all that there were meanwhile. On a server without a runtime each
//! watch takes a thread, as every call with streams does there. Watches go on while a server drains, and end
//! with [`Code::Unavailable`](crate::Code) when it is shut down, so that its end waits for none of them.
//!
//! The module is always there: it needs no other crate, and a program that does not use it does not contain
//! it.

mod statuses;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use self::statuses::{Statuses, Watch};
use crate::client::{Call, Channel, Connect, Method, ServerStreamingCall};
use crate::rpc::{Request, Response, Status};
use crate::server::{Exchange, Handled, Service};

#[allow(unreachable_pub, clippy::all, clippy::pedantic)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

pub use proto::health_check_response::ServingStatus;
pub use proto::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

/// Full name of the service.
pub const NAME: &str = "grpc.health.v1.Health";

const METHODS: [&str; 3] =
    ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch"];
const CHECK: &str = METHODS[0];
const LIST: &str = METHODS[1];
const WATCH: &str = METHODS[2];

/// Most statuses that the protocol lets `List` return.
const MOST_LISTED: usize = 100;

/// Longest name that a watch keeps, in bytes.
const LONGEST_NAME: usize = 1024;

/// The health service, for [`ServerBuilder::service`](crate::ServerBuilder::service).
pub struct Health {
    statuses: Arc<Statuses>,
}

impl Health {
    /// The service, and what sets the statuses that it returns.
    pub fn new() -> (Self, HealthReporter) {
        let statuses = Arc::new(Statuses::new());
        (Self { statuses: statuses.clone() }, HealthReporter { statuses })
    }

    fn check(&self, request: &HealthCheckRequest) -> Result<Response<HealthCheckResponse>, Status> {
        match self.statuses.get(&request.service) {
            Some(status) => Ok(Response::new(answer(status))),
            None => Err(Status::not_found(format!("no status is set for a service {:?}", request.service))),
        }
    }

    fn list(&self) -> Result<Response<HealthListResponse>, Status> {
        let listed = self.statuses.list(MOST_LISTED).map_err(|count| {
            Status::resource_exhausted(format!(
                "{count} statuses are set, and a list holds {MOST_LISTED}; check each by its name"
            ))
        })?;
        let statuses = listed.into_iter().map(|(name, status)| (name, answer(status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }
}

fn watch(statuses: &Arc<Statuses>, request: HealthCheckRequest) -> Result<Response<Watch>, Status> {
    let service = request.service;
    // It is kept for as long as its client likes.
    if service.len() > LONGEST_NAME {
        let len = service.len();
        return Err(Status::invalid_argument(format!(
            "the service's name has {len} bytes, and one that is watched has {LONGEST_NAME} at most"
        )));
    }
    Ok(Response::new(statuses.watch(service)))
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Service for Health {
    fn name(&self) -> &'static str {
        NAME
    }

    fn methods(&self) -> &'static [&'static str] {
        &METHODS
    }

    fn descriptors(&self) -> &'static [u8] {
        include_bytes!(concat!(env!("OUT_DIR"), "/health.bin"))
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        match method {
            0 => exchange.unary(|request: Request<HealthCheckRequest>| self.check(request.get_ref())),
            1 => exchange.unary(|_: Request<HealthListRequest>| self.list()),
            2 => {
                let statuses = self.statuses.clone();
                exchange.server_streaming_async(move |request: Request<HealthCheckRequest>| async move {
                    watch(&statuses, request.into_inner())
                })
            }
            _ => exchange.unimplemented(),
        }
    }

    fn shutting_down(&self) {
        self.statuses.close();
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("statuses", &self.statuses.all()).finish()
    }
}

/// Sets what [`Health`] tells. Clones set the same; from any thread, before the server runs or while it does.
///
/// Services go by their full names, `package.Service`: the constant `NAME` of a generated server. The empty
/// name is the server as a whole, whose status is its own and follows from no other.
#[derive(Clone)]
pub struct HealthReporter {
    statuses: Arc<Statuses>,
}

impl HealthReporter {
    /// The service wants to be called.
    pub fn set_serving(&self, service: impl Into<String>) {
        self.statuses.set(service.into(), ServingStatus::Serving);
    }

    /// The service does not want to be called now.
    pub fn set_not_serving(&self, service: impl Into<String>) {
        self.statuses.set(service.into(), ServingStatus::NotServing);
    }

    /// The service has no status any more, as if none had been set.
    pub fn clear(&self, service: &str) {
        self.statuses.clear(service);
    }

    /// Nothing wants to be called from here on, whatever is set later: for a server that is about to be shut
    /// down.
    pub fn drain(&self) {
        self.statuses.drain();
    }
}

impl fmt::Debug for HealthReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthReporter").field("statuses", &self.statuses.all()).finish()
    }
}

/// Asks a server for its health. Clones share the channel.
#[derive(Debug, Clone)]
pub struct HealthClient {
    channel: Channel,
    check: Method,
    list: Method,
    watch: Method,
}

impl HealthClient {
    /// Asks over a channel that exists; several clients may share one.
    pub fn new(channel: Channel) -> Self {
        let [check, list, watch] = [CHECK, LIST, WATCH].map(|name| channel.method(name));
        Self { channel, check, list, watch }
    }

    /// A client with a channel of its own to the server that listens on the socket at `path`, to be waited
    /// for.
    pub fn connect(path: impl AsRef<Path>) -> Connect<Self> {
        Channel::connect(path).client()
    }

    /// The status of one service, or, with an empty name, of the server as a whole. Set a
    /// [timeout](Call::timeout): a server that does not answer is not healthy.
    ///
    /// Fails with [`Code::NotFound`](crate::Code::NotFound) if no status is set for the service, and with
    /// [`Code::Unimplemented`](crate::Code::Unimplemented) if the server has no health service.
    pub fn check(
        &self,
        request: impl Into<Request<HealthCheckRequest>>,
    ) -> Call<'_, HealthCheckRequest, HealthCheckResponse> {
        self.channel.unary(&self.check, request.into())
    }

    /// All statuses that are set, by the names of their services: 100 at most, or it fails with
    /// [`Code::ResourceExhausted`](crate::Code::ResourceExhausted).
    pub fn list(
        &self,
        request: impl Into<Request<HealthListRequest>>,
    ) -> Call<'_, HealthListRequest, HealthListResponse> {
        self.channel.unary(&self.list, request.into())
    }

    /// The status of one service, or of the server as a whole: now, and again whenever it changes, until the
    /// stream is dropped. What has no status is [`ServingStatus::ServiceUnknown`], and goes on being watched.
    ///
    /// The stream ends with [`Code::Unavailable`](crate::Code::Unavailable) when the server is shut down or
    /// gone: watch again on a channel that reconnects, with some time between attempts. The call fails with
    /// [`Code::Unimplemented`](crate::Code::Unimplemented) if the server has no such method, and with
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) if the name is longer than 1 KiB.
    pub fn watch(
        &self,
        request: impl Into<Request<HealthCheckRequest>>,
    ) -> ServerStreamingCall<'_, HealthCheckRequest, HealthCheckResponse> {
        self.channel.server_streaming(&self.watch, request.into())
    }
}

impl From<Channel> for HealthClient {
    fn from(channel: Channel) -> Self {
        Self::new(channel)
    }
}
