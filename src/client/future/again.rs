//! Awaited calls of a channel that reconnects: a machine for each connection that they are made on.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, ready};

use super::{Machine, Raw, Typed};
use crate::client::core::Core;
use crate::client::limit::TimeLimit;
use crate::client::method::Method;
use crate::client::reconnect::{Attempted, Movable};
use crate::client::route::Route;
use crate::raw::{Loan, Payload, RawBody};
use crate::rpc::{Decode, Encode, MetadataMap, Request, Response};

/// A call of messages.
pub(super) struct TypedCall<Req, Resp> {
    request: Option<Request<Req>>,
    reply: PhantomData<fn() -> Resp>,
}

impl<Req, Resp> TypedCall<Req, Resp> {
    pub(super) fn new(request: Request<Req>) -> Self {
        Self { request: Some(request), reply: PhantomData }
    }
}

impl<Req: Encode + 'static, Resp: Decode + 'static> Movable for TypedCall<Req, Resp> {
    type Reply = Response<Resp>;

    async fn attempt(
        &mut self,
        core: Arc<Core>,
        method: Method,
        limit: TimeLimit,
    ) -> Attempted<Response<Resp>> {
        // Here the connection lives as long as the machine.
        let route = Route::Ring(core);
        typed(&route, method, limit, &mut self.request).await
    }

    fn is_bound(&self) -> bool {
        false
    }
}

/// A call of plain bytes.
pub(super) struct BytesCall<'b> {
    pub(super) body: RawBody<'b>,
    pub(super) metadata: MetadataMap,
}

impl Movable for BytesCall<'_> {
    type Reply = Payload;

    async fn attempt(&mut self, core: Arc<Core>, method: Method, limit: TimeLimit) -> Attempted<Payload> {
        let body = match &mut self.body {
            RawBody::Slice(bytes) => RawBody::Slice(bytes),
            RawBody::Bytes(bytes) => RawBody::Bytes(bytes.clone()),
            // It is bound: there is no next attempt.
            RawBody::Loan(loan) => RawBody::Loan(mem::replace(loan, Loan::private(0))),
        };
        let route = Route::Ring(core);
        raw(&route, method, limit, body, self.metadata.clone()).await
    }

    fn is_bound(&self) -> bool {
        matches!(self.body, RawBody::Loan(_))
    }
}

// Not `async`: the compiler sees that they can be sent where it sees every lifetime.

fn typed<'r, Req: Encode + 'static, Resp: Decode + 'static>(
    route: &'r Route,
    method: Method,
    limit: TimeLimit,
    request: &'r mut Option<Request<Req>>,
) -> impl Future<Output = Attempted<Response<Resp>>> + Send + 'r {
    let kind = Typed { request: request.take(), prepared: None, reply: PhantomData::<fn() -> Resp> };
    let mut machine = Machine::new(route, method, limit, kind);
    poll_fn(move |cx| {
        let outcome = ready!(machine.poll(cx));
        *request = machine.kind.request.take();
        Poll::Ready(Attempted { outcome, was_sent: machine.was_sent })
    })
}

fn raw<'r>(
    route: &'r Route,
    method: Method,
    limit: TimeLimit,
    body: RawBody<'r>,
    metadata: MetadataMap,
) -> impl Future<Output = Attempted<Payload>> + Send + 'r {
    let mut machine = Machine::new(route, method, limit, Raw { body, metadata, prepared: None });
    poll_fn(move |cx| {
        let outcome = ready!(machine.poll(cx));
        Poll::Ready(Attempted { outcome, was_sent: machine.was_sent })
    })
}
