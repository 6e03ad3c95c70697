//! The server's half: it fills messages, sums them, or does both.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use mmap_rpc::server::{Exchange, Handled, Service};
use mmap_rpc::{Request, Response, Status, Streaming};

use crate::transports::buffers::Buffer;
use crate::transports::typed::answer;
use crate::work;

/// Messages to the client, as a request says that is made by [`order`].
pub(super) const DOWN: &str = "/bench.Streams/Down";
/// Messages to the server, which answers with the sum of their sums.
pub(super) const UP: &str = "/bench.Streams/Up";
/// Requests, each of which is answered.
pub(super) const BOTH: &str = "/bench.Streams/Both";

/// Serves by tasks, or else by threads.
pub(super) struct Streams {
    pub(super) tasks: bool,
}

impl Service for Streams {
    fn name(&self) -> &'static str {
        "bench.Streams"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[DOWN, UP, BOTH]
    }

    fn call(&self, method: usize, exchange: Exchange<'_>) -> Handled {
        type Requests = Request<Streaming<Bytes>>;
        match (method, self.tasks) {
            (0, false) => exchange.server_streaming(Messages::ordered),
            (0, true) => {
                exchange.server_streaming_async(async |request: Request<Bytes>| Messages::ordered(request))
            }
            (1, false) => exchange.client_streaming(|requests: Requests| {
                let mut total = 0_u64;
                for message in requests.into_inner() {
                    total = total.wrapping_add(work::sum(&message?));
                }
                Ok(told(total))
            }),
            (1, true) => exchange.client_streaming_async(async |requests: Requests| {
                let (mut messages, mut total) = (requests.into_inner(), 0_u64);
                while let Some(message) = messages.message().await? {
                    total = total.wrapping_add(work::sum(&message));
                }
                Ok(told(total))
            }),
            (2, false) => exchange.bidi_streaming(|requests: Requests| {
                let answers = requests.into_inner().into_iter();
                Ok(Response::new(answers.map(|request| request.map(|request| answer(&request)))))
            }),
            (2, true) => exchange.bidi_streaming_async(async |requests: Requests| {
                Ok(Response::new(Answers(requests.into_inner())))
            }),
            _ => exchange.unimplemented(),
        }
    }
}

/// The request for messages of a size, whose numbers begin with `first`.
pub(super) fn order(size: usize, first: u64) -> Bytes {
    [(size as u64).to_le_bytes(), first.to_le_bytes()].concat().into()
}

fn told(total: u64) -> Response<Bytes> {
    Response::new(Bytes::copy_from_slice(&total.to_le_bytes()))
}

/// Messages without end.
struct Messages {
    size: usize,
    number: u64,
    memory: Buffer,
}

impl Messages {
    fn ordered(request: Request<Bytes>) -> Result<Response<Self>, Status> {
        let mut order = request.into_inner();
        if order.len() != 16 {
            return Err(Status::invalid_argument("no order of messages"));
        }
        let (size, number) = (order.get_u64_le() as usize, order.get_u64_le());
        Ok(Response::new(Self { size, number, memory: Buffer::default() }))
    }
}

impl Iterator for Messages {
    type Item = Result<Bytes, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let seed = work::seed(self.number);
        self.number += 1;
        Some(Ok(self.memory.filled(self.size, |bytes| work::fill(bytes, seed))))
    }
}

impl Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next())
    }
}

/// The answers to a stream of requests.
struct Answers(Streaming<Bytes>);

impl Stream for Answers {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map_ok(|request| answer(&request))
    }
}
