//! Calls that end before their streams do: given up, too late, or without the other side.

use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::{Code, Sender, Status, Streaming};
use testkit::interop::payload;
use testkit::interop::proto::{
    Empty, ResponseParameters, StreamingOutputCallRequest, StreamingOutputCallResponse, TestServiceClient,
};
use testkit::{Child, PATIENCE, Parent, Way, connect, way};

use crate::site::{Process, at_once};
use crate::streams::{input, output, rest, size_of};
use crate::{Driver, Site, via};

/// How long a case waits for a deadline that is to pass.
const SHORT: Duration = Duration::from_millis(50);

/// The deadline of calls that are given up before: too late to be mistaken for that.
const LONG: Duration = PATIENCE.saturating_mul(3);

/// More responses than anybody keeps for a client that reads none.
fn endless() -> StreamingOutputCallRequest {
    output(&[10_000; 20_000])
}

/// The call that goes well if nothing else does.
async fn expect_alive(site: &Site, client: &TestServiceClient) {
    via!(site, client.empty_call(Empty {}).timeout(PATIENCE)).unwrap();
}

/// Nothing can be sent any more.
async fn expect_over(site: &Site, requests: &mut Sender<StreamingOutputCallRequest>, code: Code) {
    let over = via!(site, requests.send(output(&[1]))).unwrap_err();
    assert_eq!(over.code(), code, "{over}");
}

pub(crate) async fn cancel_after_begin(site: &Site) {
    let client = site.client();
    let (requests, reply) = via!(site, client.streaming_input_call().timeout(LONG)).unwrap();
    site.expect_running(1);
    drop(reply);
    site.expect_running(0);
    drop(requests);
    expect_alive(site, &client).await;
}

pub(crate) async fn cancel_after_first_response(site: &Site) {
    let client = site.client();
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(LONG)).unwrap();
    via!(site, requests.send(output(&[31_415]))).unwrap();
    let response = via!(site, responses.message()).unwrap().expect("a response");
    assert_eq!(size_of(response), 31_415);
    site.expect_running(1);
    drop(responses);
    site.expect_running(0);
    expect_over(site, &mut requests, Code::Cancelled).await;
    expect_alive(site, &client).await;
}

/// They hold up nobody, and end when they are given up.
pub(crate) async fn responses_that_nobody_reads(site: &Site) {
    let client = site.client();
    let mut calls = Vec::new();
    for _ in 0..3 {
        let call = client.streaming_output_call(endless()).timeout(LONG);
        let mut responses = via!(site, call).unwrap().into_inner();
        let response = via!(site, responses.message()).unwrap().expect("a response");
        assert_eq!(size_of(response), 10_000);
        calls.push(responses);
    }
    for _ in 0..100 {
        expect_alive(site, &client).await;
    }
    site.expect_running(3);
    drop(calls);
    site.expect_running(0);
    expect_alive(site, &client).await;
}

pub(crate) async fn timeout_on_sleeping_server(site: &Site) {
    let (client, begun) = (site.client(), Instant::now());
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(SHORT)).unwrap();
    let parameters = ResponseParameters { size: 1, interval_us: 500_000 };
    let sleepy = StreamingOutputCallRequest { response_parameters: vec![parameters], ..Default::default() };
    via!(site, requests.send(sleepy)).unwrap();
    let late = via!(site, responses.message()).unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(begun.elapsed() >= SHORT, "not before its time");
    expect_over(site, &mut requests, Code::DeadlineExceeded).await;
    expect_alive(site, &client).await;
}

pub(crate) async fn a_deadline_ends_a_handler_that_waits_for_requests(site: &Site) {
    let client = site.client();
    let (mut requests, reply) = via!(site, client.streaming_input_call().timeout(SHORT)).unwrap();
    via!(site, requests.send(input(10))).unwrap();
    // The server ends it by itself, whether or not the client looks.
    site.expect_running(1);
    site.expect_running(0);
    let late = via!(site, reply).unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    expect_alive(site, &client).await;
}

pub(crate) async fn a_deadline_ends_a_handler_whose_responses_nobody_reads(site: &Site) {
    let client = site.client();
    let call = client.streaming_output_call(endless()).timeout(Duration::from_millis(300));
    let mut responses = via!(site, call).unwrap().into_inner();
    via!(site, responses.message()).unwrap().expect("a response");
    site.expect_running(0);
    let late = loop {
        match via!(site, responses.message()) {
            // Those that were on their way.
            Ok(response) => assert_eq!(size_of(response.expect("more than could come")), 10_000),
            Err(status) => break status,
        }
    };
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    expect_alive(site, &client).await;
}

/// A call whose two sides wait for each other to read, the server with a response to send.
async fn stalled(
    site: &Site,
    client: &TestServiceClient,
    timeout: Duration,
) -> (Sender<StreamingOutputCallRequest>, Streaming<StreamingOutputCallResponse>) {
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(timeout)).unwrap();
    via!(site, requests.send(endless())).unwrap();
    via!(site, responses.message()).unwrap().expect("a response");
    (requests, responses)
}

/// Sends to a server that does not read, until that fails: how many messages it took, and why no more.
async fn fill(site: &Site, requests: &mut Sender<StreamingOutputCallRequest>) -> (usize, Status) {
    let large = StreamingOutputCallRequest { payload: Some(payload(100_000)), ..Default::default() };
    for sent in 0..1000 {
        if let Err(status) = via!(site, requests.send(large.clone())) {
            return (sent, status);
        }
    }
    panic!("100 MB are on their way to a server that reads none of them");
}

pub(crate) async fn a_deadline_ends_a_sender_that_waits(site: &Site) {
    let (client, begun) = (site.client(), Instant::now());
    let timeout = Duration::from_millis(300);
    let (mut requests, mut responses) = stalled(site, &client, timeout).await;
    let (sent, late) = fill(site, &mut requests).await;
    assert!(sent > 0, "the server takes some");
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(begun.elapsed() >= timeout, "not before its time");
    let late = rest(site, &mut responses).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    expect_alive(site, &client).await;
}

pub(crate) async fn a_sender_that_waits_is_told_that_the_call_was_given_up(site: &Site) {
    let client = site.client();
    let (mut requests, responses) = stalled(site, &client, LONG).await;
    let (_, over) = match site.driver {
        Driver::Blocking => thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(SHORT);
                drop(responses);
            });
            at_once(fill(site, &mut requests))
        }),
        Driver::Awaited => {
            let give_up = async move {
                tokio::time::sleep(SHORT).await;
                drop(responses);
            };
            tokio::join!(fill(site, &mut requests), give_up).0
        }
    };
    assert_eq!(over.code(), Code::Cancelled, "{over}");
    expect_alive(site, &client).await;
}

pub(crate) async fn a_sender_that_waits_is_told_that_the_server_died(site: &Site) {
    let mut server = Process::start(site.handlers);
    let (mut requests, mut responses) = stalled(site, &server.client(), LONG).await;
    let killer = thread::spawn(move || {
        thread::sleep(SHORT);
        server.kill();
        server
    });
    let (_, dead) = fill(site, &mut requests).await;
    killer.join().expect("a kill");
    assert_eq!(dead.code(), Code::Unavailable, "{dead}");
    let dead = rest(site, &mut responses).await.unwrap_err();
    assert_eq!(dead.code(), Code::Unavailable, "{dead}");
}

/// Each side of each shape learns it, whatever it waits for.
pub(crate) async fn the_server_dies(site: &Site) {
    let mut server = Process::start(site.handlers);
    let client = server.client();
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(PATIENCE)).unwrap();
    via!(site, requests.send(output(&[100]))).unwrap();
    assert_eq!(size_of(via!(site, responses.message()).unwrap().expect("a response")), 100);
    let (mut inputs, reply) = via!(site, client.streaming_input_call().timeout(PATIENCE)).unwrap();
    via!(site, inputs.send(input(10))).unwrap();
    server.kill();
    assert_eq!(via!(site, responses.message()).unwrap_err().code(), Code::Unavailable);
    assert_eq!(via!(site, reply).unwrap_err().code(), Code::Unavailable);
    expect_over(site, &mut requests, Code::Unavailable).await;
    assert_eq!(via!(site, inputs.send(input(1))).unwrap_err().code(), Code::Unavailable);
    let late = via!(site, client.streaming_output_call(output(&[1])).timeout(PATIENCE));
    assert_eq!(late.map(drop).unwrap_err().code(), Code::Unavailable);
}

/// Handlers end that wait for its requests, and those that wait for it to read.
pub(crate) async fn the_client_dies(site: &Site) {
    let path = site.path();
    let arguments = [("socket", path.to_str().expect("a path of ours")), ("way", way().name())];
    let mut client = Child::start("interop client", &arguments);
    client.expect("open");
    site.expect_running(3);
    client.kill();
    site.expect_running(0);
    expect_alive(site, &site.client()).await;
}

/// The client that dies.
pub(crate) fn client(parent: &Parent) {
    let way = Way::named(&parent.argument("way")).expect("a way of ours");
    let channel = testkit::by(way, || connect(parent.argument("socket")).expect("a server"));
    let client = TestServiceClient::new(channel);
    let (mut requests, mut responses) = client.full_duplex_call().wait().expect("a call");
    requests.send(output(&[1])).wait().expect("sent");
    responses.message().wait().expect("no failure").expect("a response");
    let (mut inputs, _reply) = client.streaming_input_call().wait().expect("a call");
    inputs.send(input(1)).wait().expect("sent");
    let mut unread = client.streaming_output_call(endless()).wait().expect("a call").into_inner();
    unread.message().wait().expect("no failure").expect("a response");
    parent.say("open");
    parent.hear();
}
