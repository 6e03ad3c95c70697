//! The echo service, with handlers that wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mmap_rpc::{Code, Request, Response, Status};
use testkit::proto::{Blob, Counts, Echo, Empty, FailRequest, MakeRequest, PanicRequest, SleepRequest, Sum};
use testkit::{checksum, noise};
use tokio::task::yield_now;

/// The seed of noise that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// The service, with a count of the handlers that wait.
#[derive(Debug, Default)]
pub(crate) struct Service {
    waiting: AtomicUsize,
}

/// A handler that waits, until it is dropped or through.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

impl Echo for Service {
    async fn echo(&self, request: Request<Blob>) -> Result<Response<Blob>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn checksum(&self, request: Request<Blob>) -> Result<Response<Sum>, Status> {
        let _waiting = Waiting::new(&self.waiting);
        for _ in 0..3 {
            yield_now().await;
        }
        Ok(Response::new(Sum { sum: checksum(&request.get_ref().data) }))
    }

    async fn make(&self, request: Request<MakeRequest>) -> Result<Response<Blob>, Status> {
        let _waiting = Waiting::new(&self.waiting);
        yield_now().await;
        let MakeRequest { length, seed } = request.into_inner();
        if seed == NEVER {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(Blob { data: noise(length as usize, seed) }))
    }

    async fn sleep(&self, request: Request<SleepRequest>) -> Result<Response<Empty>, Status> {
        let _waiting = Waiting::new(&self.waiting);
        tokio::time::sleep(Duration::from_millis(request.get_ref().milliseconds.into())).await;
        Ok(Response::new(Empty {}))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<Empty>, Status> {
        yield_now().await;
        let FailRequest { code, text } = request.into_inner();
        Err(Status::new(Code::from_u32(code), text))
    }

    async fn panic(&self, request: Request<PanicRequest>) -> Result<Response<Empty>, Status> {
        let text = request.into_inner().text;
        if text != "at once" {
            yield_now().await;
        }
        panic!("{text}");
    }

    async fn count(&self, _: Request<Empty>) -> Result<Response<Counts>, Status> {
        Ok(Response::new(Counts { begun: 0, sleeping: self.waiting() as u64 }))
    }
}
