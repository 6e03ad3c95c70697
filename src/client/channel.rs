//! A channel: what calls are made on, shared by any number of threads.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::call::Call;
use crate::client::connect::{self, Connect, ConnectError};
use crate::client::intercepted::Intercepted;
use crate::client::method::Method;
use crate::client::raw::RawCall;
use crate::client::reconnect::{ChannelState, Reconnect, Reconnecting};
use crate::client::route::Route;
use crate::client::streams::{BidiStreamingCall, ClientStreamingCall, ServerStreamingCall};
use crate::connection::{Backing, Config, Lane, limit_setters};
use crate::os::{Credentials, Socket};
use crate::raw::{Loan, RawBody};
use crate::rpc::{Chain, Decode, Encode, Interceptor, OutgoingCall, Request, Status};

/// A connection to a server. Clones share it; it closes when the last of them is dropped.
///
/// With [`connect_classic`](Self::connect_classic) it is several connections to a server of the classic
/// protocol, and the same otherwise, as far as that protocol admits.
///
/// Any number of threads may call at once. A channel has no thread of its own: while calls are waited for,
/// one of the waiting threads receives for all of them, and a channel that nobody waits on costs nothing.
///
/// A channel that lost its server stays closed, and its calls return
/// [`Code::Unavailable`](crate::Code::Unavailable): connect again, or have the channel
/// [do so](ChannelBuilder::reconnect). A classic channel finds a server that was started anew. In a process
/// that was forked from the one that connected, no channel is of use: connect again there.
#[derive(Clone)]
pub struct Channel {
    route: Route,
}

impl Channel {
    pub(super) fn new(route: Route) -> Self {
        Self { route }
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// What its calls come to, once they have been looked at.
    fn bare(&self) -> &Route {
        match &self.route {
            Route::Intercepted(intercepted) => &intercepted.channel.route,
            route => route,
        }
    }

    /// The same channel, with these interceptors if there are any.
    pub(super) fn with_chain(self, chain: Chain<OutgoingCall>) -> Self {
        if chain.is_empty() {
            return self;
        }
        Self { route: Route::Intercepted(Arc::new(Intercepted { channel: self, chain })) }
    }

    /// The same channel with one more interceptor, which looks at each call of this one before it is sent: of
    /// every kind, also of plain bytes. Those that the channel has run before it.
    ///
    /// Connection and methods are shared; calls of other clones are not looked at. A call is looked at once,
    /// also if a channel that [reconnects](ChannelBuilder::reconnect) sends it again. See [`Interceptor`].
    pub fn intercepted(&self, interceptor: impl Interceptor<OutgoingCall>) -> Self {
        let (channel, chain) = match &self.route {
            Route::Intercepted(before) => (before.channel.clone(), before.chain.with(interceptor)),
            _ => (self.clone(), Chain::default().with(interceptor)),
        };
        channel.with_chain(chain)
    }

    /// A connection to the server that listens on the Unix socket at `path`, with default limits, to be
    /// [waited for](Connect::wait).
    pub fn connect(path: impl AsRef<Path>) -> Connect {
        Self::builder().connect(path)
    }

    /// A connection to a server of the classic protocol that listens on the Unix socket at `path`, with
    /// default limits: one of the published Go project, or one of this library with
    /// [`ServerBuilder::classic`](crate::ServerBuilder::classic).
    ///
    /// A classic connection has one call at a time, so the channel opens more of them as calls under way need
    /// them, up to [`classic_connections`](ChannelBuilder::classic_connections). A caller that finds all of
    /// them busy waits. Connections to a server that has gone are dropped, and a call that has not been sent
    /// is sent to the one that listens there now; a call that was sent returns
    /// [`Code::Unavailable`](crate::Code::Unavailable).
    ///
    /// The protocol carries neither deadlines nor cancellations: a call that is dropped, or whose timeout
    /// passes, costs its connection, whose end is what the server can notice. Nor does it carry codes:
    /// statuses of a server of this library come back as they were, other failures as
    /// [`Code::Unknown`](crate::Code::Unknown) with their text. No message can be longer than the server's
    /// file. Messages lie in that file, where any process of the same user can change them.
    pub fn connect_classic(path: impl AsRef<Path>) -> Connect {
        Self::builder().connect_classic(path)
    }

    /// Sets limits before connecting.
    pub fn builder() -> ChannelBuilder {
        ChannelBuilder {
            config: Config::default(),
            classic_connections: 64,
            reconnect: None,
            interceptors: Chain::default(),
        }
    }

    /// A channel that connects to `path` when it is first called, and connects again as
    /// [`Reconnect::default`] has it: see [`ChannelBuilder::connect_lazy`].
    pub fn connect_lazy(path: impl AsRef<Path>) -> Self {
        Self::builder().connect_lazy(path)
    }

    /// Looks a method up by its full name, `/package.Service/Method`.
    ///
    /// Never fails: calls of a method that the server does not have return
    /// [`Code::Unimplemented`](crate::Code::Unimplemented).
    pub fn method(&self, name: &'static str) -> Method {
        match &self.route {
            Route::Ring(core) => core.method(name),
            Route::Classic(pool) => pool.method(name),
            Route::Intercepted(intercepted) => intercepted.channel.method(name),
            Route::Again(channel) => channel.method(name),
        }
    }

    /// Opens a call that takes one message and answers with one. Generated clients call this.
    pub fn unary<Req, Resp>(&self, method: &Method, request: Request<Req>) -> Call<'_, Req, Resp>
    where
        Req: Encode,
        Resp: Decode,
    {
        Call::new(&self.route, *method, request)
    }

    /// Opens a call that takes one message and answers with a stream. Generated clients call this.
    pub fn server_streaming<Req, Resp>(
        &self,
        method: &Method,
        request: Request<Req>,
    ) -> ServerStreamingCall<'_, Req, Resp>
    where
        Req: Encode,
        Resp: Decode,
    {
        ServerStreamingCall::new(&self.route, *method, request)
    }

    /// Opens a call that takes a stream and answers with one message. Generated clients call this.
    pub fn client_streaming<Req, Resp>(&self, method: &Method) -> ClientStreamingCall<'_, Req, Resp>
    where
        Req: Encode,
        Resp: Decode,
    {
        ClientStreamingCall::new(&self.route, *method)
    }

    /// Opens a call that takes a stream and answers with another one. Generated clients call this.
    pub fn bidi_streaming<Req, Resp>(&self, method: &Method) -> BidiStreamingCall<'_, Req, Resp>
    where
        Req: Encode,
        Resp: Decode,
    {
        BidiStreamingCall::new(&self.route, *method)
    }

    /// Opens a call of plain bytes: see [`RawBody`] for what they can be.
    pub fn raw<'a>(&'a self, method: &Method, body: impl Into<RawBody<'a>>) -> RawCall<'a> {
        RawCall::new(&self.route, *method, body.into())
    }

    /// Takes `len` bytes of the memory that messages travel in, to be filled and given to [`raw`](Self::raw).
    ///
    /// Waits up to 30 seconds while everything is in use. On a classic channel it is ordinary memory, which
    /// is copied when it is sent. On one that [reconnects](ChannelBuilder::reconnect) it is of the present
    /// connection, and fails with [`Code::InvalidArgument`](crate::Code::InvalidArgument) if it is sent
    /// when there is another one.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`](crate::Code::ResourceExhausted) naming the limit, if `len` exceeds
    /// `max_message_size`, if the region cannot hold it, or if nothing came free in time;
    /// [`Code::Unavailable`](crate::Code::Unavailable) if the connection is closed.
    pub fn loan(&self, len: usize) -> Result<Loan, Status> {
        match &self.route {
            Route::Ring(core) => core.loan(len),
            Route::Classic(pool) => pool.loan(len),
            Route::Intercepted(intercepted) => intercepted.channel.loan(len),
            Route::Again(channel) => channel.loan(len),
        }
    }

    /// Who serves, as the kernel told at connect; on a channel with more than one connection, when the
    /// newest was made. Where there was none yet: process 0, of this process's user and group.
    pub fn peer(&self) -> Credentials {
        match &self.route {
            Route::Ring(core) => core.link.credentials(),
            Route::Classic(pool) => pool.peer(),
            Route::Intercepted(intercepted) => intercepted.channel.peer(),
            Route::Again(channel) => channel.peer(),
        }
    }

    /// Whether the connection is known to be closed; it never opens again.
    ///
    /// Nobody watches a connection that nobody waits on, so a server's death shows here only after a call
    /// met it; [`state`](Self::state) looks. A classic channel opens connections anew, and so is closed
    /// nowhere but in a forked process; one that [reconnects](ChannelBuilder::reconnect) also when it has
    /// given up.
    pub fn is_closed(&self) -> bool {
        match &self.route {
            Route::Ring(core) => core.link.is_closed(),
            Route::Classic(pool) => pool.is_closed(),
            Route::Intercepted(intercepted) => intercepted.channel.is_closed(),
            Route::Again(channel) => channel.state() == ChannelState::Shutdown,
        }
    }

    /// What its connection is like, in gRPC's words.
    ///
    /// Looks whether the server is still there, which costs a system call. A channel that does not
    /// reconnect is `Ready`, or `Shutdown` once its server has gone or takes no further calls; a classic
    /// one is `Ready`, or in a forked process `Shutdown`.
    pub fn state(&self) -> ChannelState {
        let shut = match &self.route {
            Route::Ring(core) => {
                core.look();
                core.check_open().is_err()
            }
            Route::Classic(pool) => pool.is_closed(),
            Route::Again(channel) => return channel.state(),
            Route::Intercepted(intercepted) => return intercepted.channel.state(),
        };
        if shut { ChannelState::Shutdown } else { ChannelState::Ready }
    }

    /// Sleeps until the [state](Self::state) is another one than `from`, `timeout` at most; returns it as
    /// it is then.
    ///
    /// Nobody connects meanwhile but who calls. That a connection has ended is noticed within 50 ms, and
    /// a state that lasts for less may be missed.
    pub fn wait_for_state_change(&self, from: ChannelState, timeout: Duration) -> ChannelState {
        let begun = Instant::now();
        loop {
            let state = self.state();
            let left = timeout.saturating_sub(begun.elapsed()).min(STATE_LOOKS);
            if state != from || left.is_zero() {
                return state;
            }
            match self.bare() {
                Route::Again(channel) => channel.wait_for_news(left),
                _ => thread::sleep(left),
            }
        }
    }

    /// Waits until the [state](Self::state) is another one than `from`, and returns it, as
    /// [`wait_for_state_change`](Self::wait_for_state_change) does for a thread.
    #[cfg(feature = "tokio")]
    pub async fn state_changed(&self, from: ChannelState) -> ChannelState {
        loop {
            let state = self.state();
            if state != from {
                return state;
            }
            match self.bare() {
                Route::Again(channel) => channel.await_news(STATE_LOOKS).await,
                _ => tokio::time::sleep(STATE_LOOKS).await,
            }
        }
    }
}

/// How often a connection is looked at by those who wait for another state.
const STATE_LOOKS: Duration = Duration::from_millis(50);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Channel");
        match &self.route {
            Route::Ring(core) => debug.field("link", &core.link),
            Route::Classic(pool) => debug.field("classic", pool),
            Route::Intercepted(intercepted) => {
                debug.field("channel", &intercepted.channel).field("interceptors", &intercepted.chain)
            }
            Route::Again(channel) => debug.field("reconnecting", channel),
        };
        debug.finish_non_exhaustive()
    }
}

/// Settings of a [`Channel`]. Where client and server both have a limit, the smaller one holds.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it has connected"]
pub struct ChannelBuilder {
    config: Config,
    classic_connections: usize,
    interceptors: Chain<OutgoingCall>,
    reconnect: Option<Reconnect>,
}

impl ChannelBuilder {
    limit_setters!();

    /// How long a waiting caller looks for a reply before it sleeps; 50 µs unless set, zero to sleep at
    /// once.
    ///
    /// To be woken costs some 50 µs, so a longer time gains where replies take longer than that. Its
    /// price is a busy processor for as long after each message. Never spent where both sides run on one
    /// processor, nor on a connection that is idle.
    pub fn spin(mut self, budget: Duration) -> Self {
        self.config.spin = budget;
        self
    }

    /// How calls travel; [`Lane::Ring`] unless set.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.config.lane = lane;
        self
    }

    /// What the shared memory is; [`Backing::Memfd`] unless set.
    pub fn backing(mut self, backing: Backing) -> Self {
        self.config.backing = backing;
        self
    }

    /// Talks to servers of this user too; to those of the own user alone unless set. May be called again for
    /// another one.
    ///
    /// It is the effective user that the kernel recorded when the server began to listen: who that is decides
    /// whom this process tells what it sends. The server has to admit this process
    /// ([`ServerBuilder::allow_uid`](crate::ServerBuilder::allow_uid)). Not for classic channels, nor for
    /// [`Backing::File`]: their files are for processes of one user.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.config.servers.push(uid);
        self
    }

    /// Longest time that connecting may take; 5 seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// Has the channel connect again when its connection has ended; it stays closed unless this is set.
    ///
    /// Whoever calls makes the next connection; there is no thread for it. Calls that begin while there is
    /// none wait for it, each within its own time and the [patience](Reconnect::patience) of the channel.
    /// Those under way when a connection ends fail with [`Code::Unavailable`](crate::Code::Unavailable),
    /// unless they are [idempotent](crate::Call::idempotent); a server that shuts down answers those that
    /// it has begun, while those that begin go to its successor.
    ///
    /// A [`Method`] stays good: on each connection it is found by its name, and calls of one that the
    /// server there does not have return [`Code::Unimplemented`](crate::Code::Unimplemented). Connecting
    /// for the first time fails as without this, unless it is [lazy](Self::connect_lazy). In a forked
    /// process the channel does not connect: calls return `Unavailable` there, as on other channels.
    ///
    /// A call costs a look at the clock more than without this, and one that is awaited or started an
    /// allocation. A classic channel connects again in its own way, whatever this says.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = Some(reconnect);
        self
    }

    /// Most connections of a classic channel, and so most of its calls that are under way at one time, at
    /// least 1; 64 unless set, as the published client has it. They are opened as they are needed, and stay.
    ///
    /// Each of them has a file on the server.
    pub fn classic_connections(mut self, connections: usize) -> Self {
        self.classic_connections = connections.max(1);
        self
    }

    /// Has an interceptor look at each call of the channel before it is sent: see [`Channel::intercepted`].
    /// Several run in the order in which they were added.
    pub fn interceptor(mut self, interceptor: impl Interceptor<OutgoingCall>) -> Self {
        self.interceptors = self.interceptors.with(interceptor);
        self
    }

    /// A connection to the server that listens on the Unix socket at `path`, to be
    /// [waited for](Connect::wait).
    pub fn connect(self, path: impl AsRef<Path>) -> Connect {
        Connect::new(path.as_ref(), self.config).reconnect(self.reconnect).intercepted(self.interceptors)
    }

    /// A channel that connects to `path` when it is first called, by that call, and connects again later as
    /// [`reconnect`](Self::reconnect) was told, or as [`Reconnect::default`] has it.
    ///
    /// Never fails: calls do, if no connection comes about within their time.
    pub fn connect_lazy(self, path: impl AsRef<Path>) -> Channel {
        let policy = self.reconnect.unwrap_or_default();
        Channel::new(Route::Again(Reconnecting::new(path.as_ref(), self.config, policy, None)))
            .with_chain(self.interceptors)
    }

    /// A connection to the server of the classic protocol that listens on the Unix socket at `path`; see
    /// [`Channel::connect_classic`]. Of the limits, those of message size, connect timeout and connections
    /// apply.
    pub fn connect_classic(self, path: impl AsRef<Path>) -> Connect {
        Connect::new(path.as_ref(), self.config)
            .classic(self.classic_connections)
            .intercepted(self.interceptors)
    }

    /// Makes a channel of a socket that is connected; `name` stands for its path in errors.
    pub(crate) fn over(self, socket: Socket, name: &Path) -> Result<Channel, ConnectError> {
        let core = connect::over(socket, name, self.config)?;
        Ok(Channel::new(Route::Ring(core)).with_chain(self.interceptors))
    }
}
