//! Promise: layers of tower go around the calls of a channel as around any service.
#![cfg(feature = "tower")]

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mmap_rpc::{Code, Request, Response, Server, Status, testing};
use testkit::proto::{Blob, SleepRequest};
use tower::retry::Policy;
use tower::{Service, ServiceBuilder, ServiceExt};

const FLAKY: &str = "/t.T/Flaky";
const SLOW: &str = "/t.T/Slow";
const RAW: &str = "/t.T/Raw";

struct Site {
    pair: testing::Pair,
    calls: Arc<AtomicUsize>,
}

/// Fails twice of three times; sleeps; returns bytes.
fn site() -> Site {
    let calls = Arc::new(AtomicUsize::new(0));
    let flaky = calls.clone();
    let server = Server::builder()
        .unary(FLAKY, move |request: Request<Blob>| match flaky.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => {
                let mut response = Response::new(request.get_ref().clone());
                *response.metadata_mut() = request.metadata().clone();
                Ok(response)
            }
            _ => Err(Status::unavailable("not yet")),
        })
        .unary(SLOW, |request: Request<SleepRequest>| {
            std::thread::sleep(Duration::from_millis(request.get_ref().milliseconds.into()));
            Ok(Response::new(Blob::default()))
        })
        .raw(RAW, |request, _| Ok(request.into_inner().to_vec().into()));
    Site { pair: testing::pair(server).unwrap(), calls }
}

#[derive(Clone)]
struct WhileUnavailable;

impl Policy<Request<Blob>, Response<Blob>, Status> for WhileUnavailable {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Blob>,
        outcome: &mut Result<Response<Blob>, Status>,
    ) -> Option<Self::Future> {
        matches!(outcome, Err(status) if status.code() == Code::Unavailable).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Blob>) -> Option<Request<Blob>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn calls_are_made_again() {
    let site = site();
    let channel = site.pair.channel();
    let service = channel.service::<Blob, Blob>(&channel.method(FLAKY));
    let mut service = ServiceBuilder::new().retry(WhileUnavailable).service(service);
    let mut request = Request::new(Blob { data: Bytes::from_static(b"again") });
    request.metadata_mut().insert("x-said", "yes").unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.metadata().get("x-said"), Some("yes"));
    assert_eq!(response.into_inner().data, &b"again"[..]);
    assert_eq!(site.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_timeout_ends_the_call() {
    let site = site();
    let channel = site.pair.channel();
    let service = channel.service::<SleepRequest, Blob>(&channel.method(SLOW));
    let mut service = ServiceBuilder::new().timeout(Duration::from_millis(20)).service(service);
    let call = service.ready().await.unwrap().call(Request::new(SleepRequest { milliseconds: 300 }));
    assert!(call.await.unwrap_err().is::<tower::timeout::error::Elapsed>());
}

#[tokio::test]
async fn bytes_go_through_layers_too() {
    let site = site();
    let channel = site.pair.channel();
    let service = channel.raw_service(&channel.method(RAW));
    let service = ServiceBuilder::new().concurrency_limit(1).service(service);
    let calls = (0..4u8).map(|byte| service.clone().oneshot(Bytes::from(vec![byte])));
    for (byte, reply) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(reply.await.unwrap().to_vec(), [byte as u8]);
    }
}

/// The service is always ready: what sheds load is a limit.
#[tokio::test]
async fn load_is_shed() {
    let site = site();
    let channel = site.pair.channel();
    let service = channel.service::<SleepRequest, Blob>(&channel.method(SLOW));
    let mut service = ServiceBuilder::new().load_shed().concurrency_limit(1).service(service);
    let first = service.ready().await.unwrap().call(Request::new(SleepRequest { milliseconds: 50 }));
    let second = service.ready().await.unwrap().call(Request::new(SleepRequest { milliseconds: 0 }));
    assert!(second.await.unwrap_err().is::<tower::load_shed::error::Overloaded>());
    first.await.unwrap();
}
