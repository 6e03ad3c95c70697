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
//! `Watch`, which is a stream, fails with [`Code::Unimplemented`](crate::Code); the protocol has clients then
//! go without it.
//!
//! The module is always there: it needs no other crate, and a program that does not use it does not contain
//! it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::{Call, Channel, Connect, Method};
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

/// Most statuses that the protocol lets `List` return.
const MOST_LISTED: usize = 100;

/// What services are called, and how they are. The server as a whole has no name.
struct Statuses {
    by_name: BTreeMap<String, ServingStatus>,
    /// Nothing serves any more.
    drained: bool,
}

type Shared = Arc<Mutex<Statuses>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Statuses> {
    // Nobody panics with a change half made.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The health service, for [`ServerBuilder::service`](crate::ServerBuilder::service).
pub struct Health {
    shared: Shared,
}

impl Health {
    /// The service, and what sets the statuses that it returns.
    pub fn new() -> (Self, HealthReporter) {
        let by_name = [(String::new(), ServingStatus::Serving)].into();
        let shared = Arc::new(Mutex::new(Statuses { by_name, drained: false }));
        (Self { shared: shared.clone() }, HealthReporter { shared })
    }

    fn check(&self, request: &HealthCheckRequest) -> Result<Response<HealthCheckResponse>, Status> {
        match lock(&self.shared).by_name.get(&request.service) {
            Some(&status) => Ok(Response::new(answer(status))),
            None => Err(Status::not_found(format!("no status is set for a service {:?}", request.service))),
        }
    }

    fn list(&self) -> Result<Response<HealthListResponse>, Status> {
        let statuses = lock(&self.shared);
        if statuses.by_name.len() > MOST_LISTED {
            let count = statuses.by_name.len();
            return Err(Status::resource_exhausted(format!(
                "{count} statuses are set, and a list holds {MOST_LISTED}; check each by its name"
            )));
        }
        let statuses = statuses.by_name.iter().map(|(name, &status)| (name.clone(), answer(status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }
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
                exchange.unary(|_: Request<HealthCheckRequest>| -> Result<Response<HealthCheckResponse>, _> {
                    Err(Status::unimplemented(
                        "Watch is a stream, and this server has none; call Check instead",
                    ))
                })
            }
            _ => exchange.unimplemented(),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("statuses", &lock(&self.shared).by_name).finish()
    }
}

/// Sets what [`Health`] tells. Clones set the same; from any thread, before the server runs or while it does.
///
/// Services go by their full names, `package.Service`: the constant `NAME` of a generated server. The empty
/// name is the server as a whole, whose status is its own and follows from no other.
#[derive(Clone)]
pub struct HealthReporter {
    shared: Shared,
}

impl HealthReporter {
    /// The service wants to be called.
    pub fn set_serving(&self, service: impl Into<String>) {
        self.set(service.into(), ServingStatus::Serving);
    }

    /// The service does not want to be called now.
    pub fn set_not_serving(&self, service: impl Into<String>) {
        self.set(service.into(), ServingStatus::NotServing);
    }

    /// The service has no status any more, as if none had been set.
    pub fn clear(&self, service: &str) {
        lock(&self.shared).by_name.remove(service);
    }

    /// Nothing wants to be called from here on, whatever is set later: for a server that is about to be shut
    /// down.
    pub fn drain(&self) {
        let mut statuses = lock(&self.shared);
        statuses.drained = true;
        statuses.by_name.values_mut().for_each(|status| *status = ServingStatus::NotServing);
    }

    fn set(&self, service: String, status: ServingStatus) {
        let mut statuses = lock(&self.shared);
        let status = if statuses.drained { ServingStatus::NotServing } else { status };
        statuses.by_name.insert(service, status);
    }
}

impl fmt::Debug for HealthReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthReporter").field("statuses", &lock(&self.shared).by_name).finish()
    }
}

/// Asks a server for its health. Clones share the channel.
#[derive(Debug, Clone)]
pub struct HealthClient {
    channel: Channel,
    check: Method,
    list: Method,
}

impl HealthClient {
    /// Asks over a channel that exists; several clients may share one.
    pub fn new(channel: Channel) -> Self {
        let (check, list) = (channel.method(CHECK), channel.method(LIST));
        Self { channel, check, list }
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
}

impl From<Channel> for HealthClient {
    fn from(channel: Channel) -> Self {
        Self::new(channel)
    }
}
