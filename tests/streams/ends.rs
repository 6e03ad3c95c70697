//! Calls that end in other ways than they should, and what is left of them.

use std::thread;
use std::time::Duration;

use mmap_rpc::{Channel, Code, Request, Status};
use testkit::interop::proto::{
    Empty, Payload, SimpleRequest, SimpleResponse, StreamingInputCallRequest, StreamingInputCallResponse,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use testkit::proc::resident_bytes;
use testkit::{PATIENCE, channel_builder, eventually};

use crate::both;
use crate::site::{HOLD, MODE, PANIC, PANIC_LATER, Site, input, output, told};

testkit::on_every_way![
    a_panic_is_told,
    a_sender_says_what_its_call_has_ended_with,
    shapes_that_differ_are_told,
    calls_that_nobody_serves_keep_no_memory,
    as_many_calls_as_were_agreed,
    streams_under_way_have_the_grace_period,
];

fn output_told(mode: &'static str) -> Request<StreamingOutputCallRequest> {
    let mut request = Request::new(output(10, 3));
    request.metadata_mut().insert(MODE, mode).unwrap();
    request
}

fn a_panic_is_told() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server);
        let client = site.client();
        let at_once = client.streaming_output_call(output_told(PANIC)).timeout(PATIENCE).wait();
        let (_requests, reply) =
            client.streaming_input_call().metadata(told(PANIC)).timeout(PATIENCE).wait().unwrap();
        for status in [at_once.map(drop).unwrap_err(), reply.wait().map(drop).unwrap_err()] {
            assert_eq!(status.code(), Code::Internal, "{status}");
            assert_eq!(status.message(), "the handler panicked: at once, as it was told");
        }
        let later = client.streaming_output_call(output_told(PANIC_LATER)).timeout(PATIENCE).wait().unwrap();
        let mut responses = later.into_inner();
        responses.message().wait().unwrap().expect("the first one");
        let status = responses.message().wait().unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert_eq!(status.message(), "the handler panicked: later, as it was told");
        eventually("the handlers end", || site.running() == 0);
    });
}

fn a_sender_says_what_its_call_has_ended_with() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server);
        let client = site.client();
        let begin = |mode, timeout| {
            client.streaming_input_call().metadata(told(mode)).timeout(timeout).wait().unwrap()
        };
        // A failure of the handler.
        let (mut requests, reply) = begin(PANIC, PATIENCE);
        let failed = reply.wait().map(drop).unwrap_err();
        assert_eq!(requests.send(input(1)).wait().unwrap_err(), failed);
        // The deadline.
        let (mut requests, reply) = begin(HOLD, Duration::from_millis(30));
        assert_eq!(reply.wait().map(drop).unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(requests.send(input(1)).wait().unwrap_err().code(), Code::DeadlineExceeded);
        // That it was given up, however much time passes.
        let (mut requests, reply) = begin(HOLD, Duration::from_millis(30));
        drop(reply);
        thread::sleep(Duration::from_millis(50));
        let given_up = requests.send(input(1)).wait().unwrap_err();
        assert_eq!(given_up.code(), Code::Cancelled, "{given_up}");
        assert!(given_up.message().contains("receiving half was dropped"), "{given_up}");
        // An answer.
        site.open(true);
        let call = client.half_duplex_call().timeout(PATIENCE);
        let (mut requests, mut responses) = call.wait().unwrap();
        let status = responses.message().wait().unwrap_err();
        assert_eq!(requests.send(output(1, 1)).wait().unwrap_err(), status);
    });
}

const UNARY: &str = "/grpc.testing.TestService/UnaryCall";
const OUTPUT: &str = "/grpc.testing.TestService/StreamingOutputCall";
const INPUT: &str = "/grpc.testing.TestService/StreamingInputCall";
const DUPLEX: &str = "/grpc.testing.TestService/FullDuplexCall";

/// The failure of a call whose client takes a method for one with a stream of requests.
fn upload(channel: &Channel, method: &'static str) -> Status {
    let method = channel.method(method);
    let call = channel.client_streaming::<StreamingInputCallRequest, StreamingInputCallResponse>(&method);
    let (_requests, reply) = call.timeout(PATIENCE).wait().unwrap();
    reply.wait().map(drop).unwrap_err()
}

fn shapes_that_differ_are_told() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server);
        let channel = channel_builder().connect(site.path()).wait().unwrap();
        assert_eq!(upload(&channel, UNARY).code(), Code::Unimplemented);
        assert_eq!(upload(&channel, OUTPUT).code(), Code::Unimplemented);
        let status = upload(&channel, DUPLEX);
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("a stream where one message was called for"), "{status}");
        for method in [UNARY, INPUT] {
            let method = channel.method(method);
            let request = Request::new(output(1, 1));
            let call = channel
                .server_streaming::<_, StreamingOutputCallResponse>(&method, request)
                .timeout(PATIENCE);
            assert_eq!(call.wait().map(drop).unwrap_err().code(), Code::Unimplemented);
        }
        for method in [OUTPUT, INPUT, DUPLEX] {
            let method = channel.method(method);
            let request = Request::new(SimpleRequest::default());
            let call = channel.unary::<_, SimpleResponse>(&method, request).timeout(PATIENCE);
            assert_eq!(call.wait().map(drop).unwrap_err().code(), Code::Unimplemented);
        }
        eventually("the handlers end", || site.running() == 0);
    });
}

fn calls_that_nobody_serves_keep_no_memory() {
    const CALLS: usize = 700;
    both(|tasks| {
        let site = Site::new(tasks, |server| server);
        let channel = channel_builder().connect(site.path()).wait().unwrap();
        let method = channel.method(UNARY);
        let before = resident_bytes(std::process::id());
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let call = channel.client_streaming::<StreamingInputCallRequest, SimpleResponse>(&method);
            let (mut requests, reply) = call.timeout(PATIENCE).wait().unwrap();
            let message = Payload { body: vec![7; 60_000].into() };
            for _ in 0..4 {
                // Until it learns that the call is over.
                let message = StreamingInputCallRequest { payload: Some(message.clone()) };
                if requests.send(message).wait().is_err() {
                    break;
                }
            }
            calls.push((requests, reply));
        }
        for (requests, reply) in calls {
            drop(requests);
            assert_eq!(reply.wait().map(drop).unwrap_err().code(), Code::Unimplemented);
        }
        // Received buffers are kept for the next ones, up to a limit that is below what the calls have sent.
        let grown = resident_bytes(std::process::id()).saturating_sub(before);
        assert!(grown < 100 << 20, "{grown} bytes more");
    });
}

fn as_many_calls_as_were_agreed() {
    const CALLS: usize = 3;
    both(|tasks| {
        let site = Site::new(tasks, |server| server);
        let client = site.client_with(channel_builder().max_in_flight(CALLS as u32));
        let hold = || client.streaming_input_call().metadata(told(HOLD)).timeout(PATIENCE).wait();
        for round in 0..20 {
            site.open(false);
            // The answers to those before are on their way: whoever calls next finds them there.
            let mut calls = Vec::new();
            eventually("their places are free", || {
                match hold() {
                    Ok(call) => calls.push(call),
                    Err(full) => assert_eq!(full.code(), Code::ResourceExhausted, "{full}"),
                }
                calls.len() == CALLS
            });
            // One that began only after the gate is closed again would keep its place.
            eventually("the handlers begin", || site.running() == CALLS as u64);
            assert_eq!(hold().map(drop).unwrap_err().code(), Code::ResourceExhausted);
            let refused = client.empty_call(Empty {}).timeout(PATIENCE).wait();
            assert_eq!(refused.map(drop).unwrap_err().code(), Code::ResourceExhausted);
            if round % 3 == 0 {
                calls.iter_mut().for_each(|(requests, _)| requests.send(input(10)).wait().unwrap());
            }
            if round % 4 < 2 {
                // Cancelled, while their handlers wait or read.
                site.open(round % 2 == 0);
                drop(calls);
            } else {
                site.open(true);
                for (requests, reply) in calls {
                    requests.finish();
                    reply.wait().unwrap();
                }
            }
            site.open(true);
            eventually("the handlers end", || site.running() == 0);
        }
    });
}

fn streams_under_way_have_the_grace_period() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server.grace(Duration::from_millis(300)));
        let client = site.client();
        let (mut requests, mut responses) = client.full_duplex_call().timeout(PATIENCE).wait().unwrap();
        let (mut stays, reply) = client.streaming_input_call().timeout(PATIENCE).wait().unwrap();
        stays.send(input(1)).wait().unwrap();
        requests.send(output(7, 1)).wait().unwrap();
        assert!(responses.message().wait().unwrap().is_some());
        site.shut_down();
        eventually("no call is taken any more", || {
            client
                .empty_call(Empty {})
                .timeout(PATIENCE)
                .wait()
                .is_err_and(|status| status.code() == Code::Unavailable)
        });
        // Those that have begun go on.
        for _ in 0..10 {
            requests.send(output(7, 1)).wait().unwrap();
            assert!(responses.message().wait().unwrap().is_some());
        }
        requests.finish();
        assert!(responses.message().wait().unwrap().is_none());
        // One that does not end is cut off.
        assert_eq!(reply.wait().map(drop).unwrap_err().code(), Code::Unavailable);
        assert_eq!(stays.send(input(1)).wait().unwrap_err().code(), Code::Unavailable);
    });
}
