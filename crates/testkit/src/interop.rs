//! gRPC's interoperability test service (`proto/interop.proto`), by each of its traits.
//!
//! Both do the same: what a stream answers with is told in steps, which one of them takes as an iterator
//! and the other one as a stream.

use std::future::ready;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use mmap_rpc::{Code, MetadataMap, Request, Response, Status, Streaming};

use self::proto::{
    BlockingTestService, EchoStatus, Empty, Payload, ResponseParameters, SimpleRequest, SimpleResponse,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse, TestService,
};
use crate::data::noise;

/// Messages, clients and servers of `proto/interop.proto`.
pub mod proto {
    mmap_rpc::include_proto!("grpc.testing");
}

/// Metadata that comes back before the first response.
pub const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
/// Metadata that comes back behind the last one.
pub const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// The service, with a count of the calls that it is at.
#[derive(Debug, Default, Clone)]
pub struct Service {
    running: Arc<AtomicUsize>,
}

/// A handler, or its stream, until it is dropped or through.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    /// Calls whose handler, or the stream that it returned, is there.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn begin(&self) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(self.running.clone())
    }
}

/// The payload that asks for nothing else but so many bytes, and the one that answers.
pub fn payload(size: usize) -> Payload {
    Payload { body: noise(size, 0) }
}

/// A response with the metadata that its request asks for.
fn answer<R>(asked: &MetadataMap, message: R) -> Response<R> {
    let mut response = Response::new(message);
    if let Some(text) = asked.get(ECHO_INITIAL) {
        response.metadata_mut().insert(ECHO_INITIAL, text).expect("it came as metadata");
    }
    echo_trailing(asked, response.trailers_mut());
    response
}

fn echo_trailing(asked: &MetadataMap, trailers: &mut MetadataMap) {
    if let Some(bytes) = asked.get_bin(ECHO_TRAILING) {
        trailers.insert_bin(ECHO_TRAILING, bytes.clone()).expect("it came as metadata");
    }
}

type Handled<T> = Result<Response<T>, Status>;
type Item = Result<StreamingOutputCallResponse, Status>;

/// What a stream does next.
enum Step {
    /// Waits, then sends a response.
    Send(ResponseParameters),
    /// Ends, without looking at further requests.
    End(EchoStatus),
    /// Ends with a failure.
    Fail(Status),
}

impl Step {
    fn pause(&self) -> Option<Duration> {
        let Self::Send(ResponseParameters { interval_us, .. }) = self else { return None };
        u64::try_from(*interval_us).ok().filter(|&interval| interval > 0).map(Duration::from_micros)
    }

    /// `None` ends the stream.
    fn item(self) -> Option<Item> {
        match self {
            Self::Send(ResponseParameters { size, .. }) => {
                Some(Ok(StreamingOutputCallResponse { payload: Some(payload(size as usize)) }))
            }
            Self::End(status) => failure(Some(&status)).err().map(Err),
            Self::Fail(status) => Some(Err(status)),
        }
    }
}

/// The steps that a request asks for.
fn steps(request: Result<StreamingOutputCallRequest, Status>) -> impl Iterator<Item = Step> {
    let (sends, end) = match request {
        Ok(request) => (request.response_parameters, request.response_status.map(Step::End)),
        Err(status) => (Vec::new(), Some(Step::Fail(status))),
    };
    sends.into_iter().map(Step::Send).chain(end)
}

/// Fails as a request asks for, if it does.
fn failure(status: Option<&EchoStatus>) -> Result<(), Status> {
    match status {
        Some(EchoStatus { code, message }) if *code != 0 => {
            Err(Status::new(Code::from_u32(*code as u32), message.clone()))
        }
        _ => Ok(()),
    }
}

fn simple(request: &Request<SimpleRequest>) -> Handled<SimpleResponse> {
    let asked = request.get_ref();
    failure(asked.response_status.as_ref()).map_err(|mut status| {
        echo_trailing(request.metadata(), status.metadata_mut());
        status
    })?;
    Ok(answer(request.metadata(), SimpleResponse { payload: Some(payload(asked.response_size as usize)) }))
}

/// Adds up what a stream has brought.
fn sum(sizes: impl IntoIterator<Item = StreamingInputCallRequest>) -> StreamingInputCallResponse {
    let sizes = sizes.into_iter().map(|request| request.payload.map_or(0, |payload| payload.body.len()));
    StreamingInputCallResponse { aggregated_payload_size: sizes.sum::<usize>() as i32 }
}

/// Responses as a blocking handler returns them: each step is taken when the one before has been sent.
type Steps = Box<dyn Iterator<Item = Item>>;

fn iterated(steps: impl Iterator<Item = Step> + 'static, running: Running) -> Steps {
    Box::new(steps.map_while(move |step| {
        let _ = &running;
        if let Some(pause) = step.pause() {
            thread::sleep(pause);
        }
        step.item()
    }))
}

impl BlockingTestService for Service {
    fn empty_call(&self, request: Request<Empty>) -> Handled<Empty> {
        let _running = self.begin();
        Ok(answer(request.metadata(), Empty {}))
    }

    fn unary_call(&self, request: Request<SimpleRequest>) -> Handled<SimpleResponse> {
        let _running = self.begin();
        simple(&request)
    }

    type StreamingOutputCallStream = Steps;

    fn streaming_output_call(&self, request: Request<StreamingOutputCallRequest>) -> Handled<Steps> {
        let asked = request.metadata().clone();
        let steps = steps(Ok(request.into_inner()));
        Ok(answer(&asked, iterated(steps, self.begin())))
    }

    fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Handled<StreamingInputCallResponse> {
        let _running = self.begin();
        let asked = request.metadata().clone();
        let requests: Vec<_> = request.into_inner().into_iter().collect::<Result<_, _>>()?;
        Ok(answer(&asked, sum(requests)))
    }

    type FullDuplexCallStream = Steps;

    fn full_duplex_call(&self, request: Request<Streaming<StreamingOutputCallRequest>>) -> Handled<Steps> {
        let asked = request.metadata().clone();
        let steps = request.into_inner().into_iter().flat_map(steps);
        Ok(answer(&asked, iterated(steps, self.begin())))
    }

    type HalfDuplexCallStream = Steps;

    fn half_duplex_call(&self, request: Request<Streaming<StreamingOutputCallRequest>>) -> Handled<Steps> {
        let (asked, running) = (request.metadata().clone(), self.begin());
        let mut requests = request.into_inner();
        // Inside of the iterator, so that the response begins before the requests end.
        let all = iter::once_with(move || (&mut requests).into_iter().collect::<Vec<_>>());
        Ok(answer(&asked, iterated(all.flatten().flat_map(steps), running)))
    }
}

/// Responses as an async handler returns them.
type Stream = BoxStream<'static, Item>;

fn streamed(steps: impl stream::Stream<Item = Step> + Send + 'static, running: Running) -> Stream {
    let paused = steps.then(|step| async {
        if let Some(pause) = step.pause() {
            tokio::time::sleep(pause).await;
        }
        step
    });
    let items = paused.scan(running, |_, step| ready(step.item()));
    items.boxed()
}

impl TestService for Service {
    async fn empty_call(&self, request: Request<Empty>) -> Handled<Empty> {
        BlockingTestService::empty_call(self, request)
    }

    async fn unary_call(&self, request: Request<SimpleRequest>) -> Handled<SimpleResponse> {
        BlockingTestService::unary_call(self, request)
    }

    type StreamingOutputCallStream = Stream;

    async fn streaming_output_call(&self, request: Request<StreamingOutputCallRequest>) -> Handled<Stream> {
        let asked = request.metadata().clone();
        let steps = stream::iter(steps(Ok(request.into_inner())));
        Ok(answer(&asked, streamed(steps, self.begin())))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Handled<StreamingInputCallResponse> {
        let _running = self.begin();
        let asked = request.metadata().clone();
        let (mut requests, mut all) = (request.into_inner(), Vec::new());
        while let Some(request) = requests.message().await? {
            all.push(request);
        }
        Ok(answer(&asked, sum(all)))
    }

    type FullDuplexCallStream = Stream;

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Handled<Stream> {
        let asked = request.metadata().clone();
        let steps = request.into_inner().flat_map(|request| stream::iter(steps(request)));
        Ok(answer(&asked, streamed(steps, self.begin())))
    }

    type HalfDuplexCallStream = Stream;

    async fn half_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Handled<Stream> {
        let asked = request.metadata().clone();
        let all = request.into_inner().collect::<Vec<_>>();
        let steps = all.map(|all| stream::iter(all.into_iter().flat_map(steps))).flatten_stream();
        Ok(answer(&asked, streamed(steps, self.begin())))
    }
}
