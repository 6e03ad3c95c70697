//! Interceptors: what looks at a call before it is sent, or before its handler runs, and may refuse it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::os::Credentials;
use crate::rpc::metadata::MetadataMap;
use crate::rpc::request;
use crate::rpc::status::Status;
use crate::wire::Metadata;

/// What is run before a call: by a client before it is sent ([`OutgoingCall`]), by a server before its
/// handler runs ([`IncomingCall`]).
///
/// It sees the method's name and the metadata, and may change these, or refuse the call. A closure is one:
///
/// ```
/// use mmap_rpc::{Channel, IncomingCall, OutgoingCall, Server, Status};
///
/// let client = Channel::builder().interceptor(|call: &mut OutgoingCall| {
///     call.metadata_mut().insert("x-tenant", "blue").map_err(|error| Status::internal(error.to_string()))
/// });
/// let server = Server::builder().interceptor(|call: &mut IncomingCall| match call.metadata().get("x-tenant") {
///     Some(_) => Ok(()),
///     None => Err(Status::unauthenticated("which tenant?")),
/// });
/// # drop((client, server));
/// ```
///
/// One that has to wait, or has a state, implements the trait:
///
/// ```
/// use mmap_rpc::{IncomingCall, Interceptor, Status, Verdict};
///
/// struct Tokens(/* a database, say */);
///
/// impl Tokens {
///     async fn owner(&self, token: Option<&str>) -> Result<String, Status> {
///         token.map(str::to_owned).ok_or_else(|| Status::unauthenticated("no token"))
///     }
/// }
///
/// impl Interceptor<IncomingCall> for Tokens {
///     fn intercept<'a>(&'a self, call: &'a mut IncomingCall) -> Verdict<'a> {
///         if call.service() == "grpc.health.v1.Health" {
///             return Verdict::now(Ok(()));
///         }
///         Verdict::later(async move {
///             let owner = self.owner(call.metadata().get("authorization")).await?;
///             // For the handler; whatever the client said there is gone.
///             call.metadata_mut().insert("x-owner", owner).map_err(|error| Status::internal(error.to_string()))
///         })
///     }
/// }
/// ```
///
/// Several run in the order in which they were added, until one refuses.
pub trait Interceptor<C>: Send + Sync + 'static {
    /// Looks at a call, and says whether it goes on.
    fn intercept<'a>(&'a self, call: &'a mut C) -> Verdict<'a>;
}

impl<C, F> Interceptor<C> for F
where
    F: Fn(&mut C) -> Result<(), Status> + Send + Sync + 'static,
{
    fn intercept<'a>(&'a self, call: &'a mut C) -> Verdict<'a> {
        Verdict::now(self(call))
    }
}

/// Whether a call goes on: known now, or later. It is a future too, for an interceptor that asks another one.
#[must_use = "the call waits for it"]
pub struct Verdict<'a>(Known<'a>);

enum Known<'a> {
    /// `None` once it was told.
    Now(Option<Result<(), Status>>),
    Later(Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>>),
}

impl<'a> Verdict<'a> {
    /// One that is known.
    pub fn now(outcome: Result<(), Status>) -> Self {
        Self(Known::Now(Some(outcome)))
    }

    /// One that has to be waited for.
    ///
    /// On a client whoever waits for the call polls it: a task, or a thread, which sleeps meanwhile. On a
    /// server it is polled first where the call came in, and if it has to wait, as a task of the server's
    /// runtime; without a runtime it holds its thread. So what needs a runtime to be polled on must have been
    /// given one.
    pub fn later(outcome: impl Future<Output = Result<(), Status>> + Send + 'a) -> Self {
        Self(Known::Later(Box::pin(outcome)))
    }
}

impl From<Result<(), Status>> for Verdict<'_> {
    fn from(outcome: Result<(), Status>) -> Self {
        Self::now(outcome)
    }
}

impl Future for Verdict<'_> {
    type Output = Result<(), Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Known::Now(outcome) => Poll::Ready(outcome.take().expect("polled after it was told")),
            Known::Later(outcome) => outcome.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Known::Now(outcome) => f.debug_tuple("Verdict").field(outcome).finish(),
            Known::Later(_) => f.debug_struct("Verdict").finish_non_exhaustive(),
        }
    }
}

/// Interceptors in the order in which they run.
pub(crate) struct Chain<C>(Arc<[Arc<dyn Interceptor<C>>]>);

impl<C: 'static> Chain<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one more, which runs last.
    pub(crate) fn with(&self, interceptor: impl Interceptor<C>) -> Self {
        let last: Arc<dyn Interceptor<C>> = Arc::new(interceptor);
        Self(self.0.iter().cloned().chain([last]).collect())
    }

    /// Has each of them look at a call, until one refuses it; returns what they made of it.
    pub(crate) async fn run(&self, mut call: C) -> Result<C, Status> {
        for interceptor in &*self.0 {
            interceptor.intercept(&mut call).await?;
        }
        Ok(call)
    }
}

impl<C> Default for Chain<C> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<C> Clone for Chain<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Chain<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.0.len())
    }
}

/// `package.Service` of `/package.Service/Method`.
fn service_of(method: &str) -> &str {
    let name = method.strip_prefix('/').unwrap_or(method);
    name.rsplit_once('/').map_or(name, |(service, _)| service)
}

/// A call that is about to be sent, as a client's [`Interceptor`] sees it.
#[derive(Debug)]
pub struct OutgoingCall {
    method: &'static str,
    metadata: MetadataMap,
    deadline: Option<Instant>,
}

impl OutgoingCall {
    pub(crate) fn new(method: &'static str, metadata: MetadataMap, deadline: Option<Instant>) -> Self {
        Self { method, metadata, deadline }
    }

    /// Metadata and deadline.
    pub(crate) fn into_parts(self) -> (MetadataMap, Option<Instant>) {
        (self.metadata, self.deadline)
    }

    /// Full name of the method, `/package.Service/Method`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Full name of the service, `package.Service`.
    pub fn service(&self) -> &'static str {
        service_of(self.method)
    }

    /// What is said of the call.
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The same, to be changed.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }

    /// When the call ends at the latest; `None` if it may take for ever. The time that interceptors take
    /// counts.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time left until the deadline: zero once it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Gives the call another deadline, or none. Interceptors that have to wait are waited for until the one
    /// that the caller has set.
    pub fn set_deadline(&mut self, deadline: impl Into<Option<Instant>>) {
        self.deadline = deadline.into();
    }
}

/// A call that has come in, as a server's [`Interceptor`] sees it.
#[derive(Debug)]
pub struct IncomingCall {
    method: Arc<str>,
    metadata: MetadataMap,
    context: request::Context,
}

impl IncomingCall {
    pub(crate) fn new(method: Arc<str>, metadata: Option<Box<Metadata>>, context: request::Context) -> Self {
        Self { method, metadata: MetadataMap::initial(metadata), context }
    }

    /// What the handler is to be told.
    pub(crate) fn into_metadata(self) -> Metadata {
        Metadata { initial: self.metadata.into_pairs(), ..Metadata::default() }
    }

    /// Full name of the method, `/package.Service/Method`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Full name of the service, `package.Service`.
    pub fn service(&self) -> &str {
        service_of(&self.method)
    }

    /// What the caller says of the call.
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The same, to be changed: the handler sees what it is afterwards.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }

    /// When the caller stops waiting; `None` if it waits for ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.context.deadline
    }

    /// Time left until the deadline: zero once it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Who calls, as the kernel told at connect.
    pub fn peer(&self) -> Credentials {
        self.context.peer.expect("known of every call that has come in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_names_its_service() {
        for (method, service) in [("/a.b.C/D", "a.b.C"), ("/C/D", "C"), ("C/D", "C"), ("D", "D"), ("", "")] {
            assert_eq!(service_of(method), service, "{method:?}");
        }
    }
}
