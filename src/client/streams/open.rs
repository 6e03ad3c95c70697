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

/// A call with streams that was sent, and the place of its sender if it has one.
pub(super) type Opened = (Held, Option<Place>);

/// Sends the request of a call with streams: its first message, or none.
pub(super) fn open<M: Encode>(
    route: &Route,
    method: Method,
    limit: TimeLimit,
    shape: Shape,
    request: Request<M>,
) -> Result<Opened, Status> {
    let record = Record::begin(Side::Client, method.name());
    let opened = {
        let _entered = record.enter();
        send(route, method, limit, shape, request)
    };
    recorded(record, opened)
}

fn send<M: Encode>(
    route: &Route,
    method: Method,
    limit: TimeLimit,
    shape: Shape,
    mut request: Request<M>,
) -> Result<Opened, Status> {
    if let Route::Intercepted(intercepted) = route {
        let limit = intercepted.pass(method, request.metadata_mut(), limit)?;
        return send(intercepted.channel.route(), method, limit, shape, request);
    }
    let (core, method) = connection(route, method, limit)?;
    let place = place(&core, shape)?;
    Ok((Held::open(&core, method, limit, shape, &request)?, place))
}

fn place(core: &Arc<Core>, shape: Shape) -> Result<Option<Place>, Status> {
    (shape == Shape::ManyRequests).then(|| Place::take(core)).transpose()
}

/// The sending half of a call whose request is a stream, and the other one.
pub(super) fn sender<Req: Encode>((call, place): Opened) -> (Sender<Req>, Held) {
    let place = place.expect("taken for calls of this shape");
    (Sender::new(place, &call), call)
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

/// The same for a task.
#[cfg(feature = "tokio")]
pub(super) async fn open_async<M: Encode>(
    route: &Route,
    method: Method,
    limit: TimeLimit,
    shape: Shape,
    request: Request<M>,
) -> Result<Opened, Status> {
    let record = Record::begin(Side::Client, method.name());
    let opened = record.span().around(send_async(route, method, limit, shape, request)).await;
    recorded(record, opened)
}

#[cfg(feature = "tokio")]
async fn send_async<M: Encode>(
    mut route: &Route,
    method: Method,
    mut limit: TimeLimit,
    shape: Shape,
    mut request: Request<M>,
) -> Result<Opened, Status> {
    while let Route::Intercepted(intercepted) = route {
        let metadata = std::mem::take(request.metadata_mut());
        (*request.metadata_mut(), limit) = intercepted.pass_async(method, metadata, limit).await?;
        route = intercepted.channel.route();
    }
    let (core, method) = connection_async(route, method, limit).await?;
    let place = place(&core, shape)?;
    Ok((Held::open_async(&core, method, limit, shape, &request).await?, place))
}

/// What a call is made on.
fn connection(route: &Route, method: Method, limit: TimeLimit) -> Result<(Arc<Core>, Method), Status> {
    match route {
        Route::Ring(core) => Ok((core.clone(), method)),
        Route::Again(channel) => channel.connected(method, limit),
        Route::Classic(_) => Err(classic()),
        Route::Intercepted(_) => unreachable!("looked at by the caller"),
    }
}

/// The same for a task.
#[cfg(feature = "tokio")]
async fn connection_async(
    route: &Route,
    method: Method,
    limit: TimeLimit,
) -> Result<(Arc<Core>, Method), Status> {
    match route {
        Route::Ring(core) => Ok((core.clone(), method)),
        Route::Again(channel) => channel.connected_for_task(method, limit).await,
        Route::Classic(_) => Err(classic()),
        Route::Intercepted(_) => unreachable!("looked at by the caller"),
    }
}

#[cold]
fn classic() -> Status {
    Status::unimplemented("the classic protocol has no streams")
}
