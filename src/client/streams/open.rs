//! How a call with streams begins: interceptors, a connection, a place for its sender, and its request.

use std::sync::Arc;

use crate::client::core::Core;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::route::Route;
use crate::client::streams::held::Held;
use crate::client::streams::places::Place;
use crate::client::streams::sender::Sender;
use crate::ring::Shape;
use crate::rpc::{Encode, Record, Request, Side, Status};

/// A call with streams that has not been sent, with its one request, or with what is said before its first.
pub(super) struct Unopened<'a, M> {
    pub(super) route: &'a Route,
    pub(super) method: Method,
    pub(super) request: Request<M>,
    pub(super) limit: TimeLimit,
    pub(super) shape: Shape,
}

/// A call with streams that was sent, and the place of its sender if it has one.
pub(super) type Opened = (Held, Option<Place>);

impl<'a, M: Encode> Unopened<'a, M> {
    pub(super) fn new(route: &'a Route, method: Method, request: Request<M>, shape: Shape) -> Self {
        Self { route, method, request, limit: TimeLimit::default(), shape }
    }

    /// Sends the call.
    pub(super) fn open(self) -> Result<Opened, Status> {
        let record = Record::begin(Side::Client, self.method.name());
        let opened = {
            let _entered = record.enter();
            self.send()
        };
        recorded(record, opened)
    }

    fn send(mut self) -> Result<Opened, Status> {
        while let Route::Intercepted(intercepted) = self.route {
            self.limit = intercepted.pass(self.method, self.request.metadata_mut(), self.limit)?;
            self.route = intercepted.channel.route();
        }
        let core = match self.route {
            Route::Again(channel) => self.on(channel.connected(self.method, self.limit)?),
            route => present(route)?,
        };
        let place = self.place(&core)?;
        Ok((Held::open(&core, &self)?, place))
    }

    /// The connection that the call is made on, where its method has a number of its own.
    fn on(&mut self, (core, method): (Arc<Core>, Method)) -> Arc<Core> {
        self.method = method;
        core
    }

    fn place(&self, core: &Arc<Core>) -> Result<Option<Place>, Status> {
        (self.shape == Shape::ManyRequests).then(|| Place::take(core)).transpose()
    }
}

/// The same for a task.
#[cfg(feature = "tokio")]
impl<M: Encode> Unopened<'_, M> {
    pub(super) async fn open_async(self) -> Result<Opened, Status> {
        let record = Record::begin(Side::Client, self.method.name());
        let opened = record.span().around(self.send_async()).await;
        recorded(record, opened)
    }

    async fn send_async(mut self) -> Result<Opened, Status> {
        while let Route::Intercepted(intercepted) = self.route {
            let metadata = std::mem::take(self.request.metadata_mut());
            let passed = intercepted.pass_async(self.method, metadata, self.limit).await?;
            (*self.request.metadata_mut(), self.limit) = passed;
            self.route = intercepted.channel.route();
        }
        let core = match self.route {
            Route::Again(channel) => self.on(channel.connected_for_task(self.method, self.limit).await?),
            route => present(route)?,
        };
        let place = self.place(&core)?;
        Ok((Held::open_async(&core, &self).await?, place))
    }
}

/// The one connection of a route that has one.
fn present(route: &Route) -> Result<Arc<Core>, Status> {
    match route {
        Route::Ring(core) => Ok(core.clone()),
        Route::Classic(_) => Err(Status::unimplemented("the classic protocol has no streams")),
        Route::Again(_) | Route::Intercepted(_) => unreachable!("looked at by the caller"),
    }
}

/// Leaves the record of a call to what holds it; or ends it.
fn recorded(mut record: Record, opened: Result<Opened, Status>) -> Result<Opened, Status> {
    match opened {
        Ok((mut held, place)) => {
            held.record = record;
            Ok((held, place))
        }
        Err(status) => {
            record.end(Some(&status));
            Err(status)
        }
    }
}

/// The sending half of a call whose request is a stream, and the other one.
pub(super) fn halves<Req: Encode>((call, place): Opened) -> (Sender<Req>, Held) {
    let place = place.expect("taken for calls of this shape");
    (Sender::new(place, &call), call)
}
