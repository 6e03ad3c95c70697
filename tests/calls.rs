//! Promise: a call ends as its handler says, or with the status that names what kept it from that; nothing
//! that a handler or a message does ends the server.

#[path = "calls/lies.rs"]
mod lies;

use std::time::{Duration, Instant};

use mmap_rpc::server::Handlers;
use mmap_rpc::{Code, Server, Status};
use testkit::echo::{GARBAGE, RAW_ECHO, RAW_GARBAGE};
use testkit::proto::{Blob, EchoClient, Empty, FailRequest, PanicRequest, SleepRequest};
use testkit::{LocalServer, PATIENCE, connect, eventually, median_of_3, noise};

/// How much later than its timeout a call may fail.
const LATENESS: Duration = Duration::from_millis(100);

testkit::on_every_way![
    every_status_passes_through_unchanged,
    a_failure_that_says_ok_is_no_success,
    a_panic_is_internal_and_the_server_lives_on,
    a_method_that_the_server_does_not_have_is_unimplemented,
    a_request_that_does_not_decode_is_internal_and_runs_no_handler,
    a_reply_that_does_not_decode_is_internal,
    a_raw_method_can_be_called_with_messages,
    raw_calls_under_way_find_their_own_replies_in_any_order,
    a_call_fails_soon_after_its_deadline,
    a_deadline_that_has_passed_at_once_sends_nothing,
    a_call_that_expires_in_the_servers_queue_never_runs,
    a_reply_that_comes_after_the_deadline_is_not_sent,
    a_handler_sees_the_deadline_and_the_peer,
    a_call_that_is_dropped_in_the_servers_queue_never_runs,
    shutdown_lets_running_calls_finish_and_refuses_later_ones,
    shutdown_waits_no_longer_than_the_grace_period,
    a_server_without_clients_ends_at_once_and_another_takes_its_path,
];

#[track_caller]
fn assert_alive(client: &EchoClient) {
    let data = noise(1000, 1);
    let reply = client.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait().unwrap();
    assert!(reply.get_ref().data == data);
}

/// A server whose handlers run one after the other on a thread of their own.
fn one_worker() -> LocalServer {
    LocalServer::start(Server::builder().handlers(Handlers::Pool(1)))
}

fn sleep(milliseconds: u32) -> SleepRequest {
    SleepRequest { milliseconds }
}

// ---- what a handler says -----------------------------------------------------------------------------

fn every_status_passes_through_unchanged() {
    for handlers in [Handlers::Inline, Handlers::Pool(1)] {
        let server = LocalServer::start(Server::builder().handlers(handlers));
        let client = server.client();
        let longest = "ü".repeat(2048);
        for code in 1..=16 {
            for text in ["", "no such key: \"k\"\nsecond line", "日本語", &longest] {
                let request = FailRequest { code, text: text.to_owned() };
                let status = client.fail(request).timeout(PATIENCE).wait().unwrap_err();
                assert_eq!(status.code().as_u32(), code);
                assert_eq!(status.message(), text);
            }
        }
    }
}

fn a_failure_that_says_ok_is_no_success() {
    let server = LocalServer::default_settings();
    let request = FailRequest { code: 0, text: "all is well".to_owned() };
    let status = server.client().fail(request).timeout(PATIENCE).wait().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "all is well"));
}

fn a_panic_is_internal_and_the_server_lives_on() {
    for handlers in [Handlers::Inline, Handlers::Pool(1)] {
        let server = LocalServer::start(Server::builder().handlers(handlers));
        let client = server.client();
        for text in ["a panic that this test asks for", ""] {
            let request = PanicRequest { text: text.to_owned() };
            let status = client.panic(request).timeout(PATIENCE).wait().unwrap_err();
            assert_eq!(status.code(), Code::Internal);
            assert!(status.message().contains(text), "{status}");
            assert_alive(&client);
        }
    }
}

// ---- methods and messages ----------------------------------------------------------------------------

fn a_method_that_the_server_does_not_have_is_unimplemented() {
    let server = LocalServer::default_settings();
    let channel = connect(server.path()).unwrap();
    let method = channel.method("/testkit.Echo/Nothing");
    assert!(!method.is_known());
    let status = channel.unary::<Blob, Blob>(&method, Blob::default().into()).wait().unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("/testkit.Echo/Nothing"), "{status}");
    let status = channel.raw(&method, &b"x"[..]).wait().unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_alive(&EchoClient::new(channel));
}

fn a_request_that_does_not_decode_is_internal_and_runs_no_handler() {
    let server = LocalServer::default_settings();
    let channel = connect(server.path()).unwrap();
    let long = GARBAGE.repeat(1000);
    for garbage in [GARBAGE, &long] {
        let status =
            channel.raw(&channel.method("/testkit.Echo/Echo"), garbage).timeout(PATIENCE).wait().unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("request"), "{status}");
    }
    assert_eq!(server.service.begun(), 0);
    assert_alive(&EchoClient::new(channel));
}

fn a_reply_that_does_not_decode_is_internal() {
    let server = LocalServer::default_settings();
    let channel = connect(server.path()).unwrap();
    let call = channel.unary::<Blob, Blob>(&channel.method(RAW_GARBAGE), Blob::default().into());
    let status = call.timeout(PATIENCE).wait().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("reply"), "{status}");
    assert_alive(&EchoClient::new(channel));
}

fn a_raw_method_can_be_called_with_messages() {
    let server = LocalServer::default_settings();
    let channel = connect(server.path()).unwrap();
    let sent = Blob { data: noise(10_000, 3) };
    let call = channel.unary::<Blob, Blob>(&channel.method(RAW_ECHO), sent.clone().into());
    assert!(call.timeout(PATIENCE).wait().unwrap().get_ref().data == sent.data);
}

// ---- deadlines and cancelled calls -------------------------------------------------------------------

fn raw_calls_under_way_find_their_own_replies_in_any_order() {
    let server = LocalServer::default_settings();
    let channel = connect(server.path()).unwrap();
    let echo = channel.method(RAW_ECHO);
    // Inside entries, in slots, and neither first in, first out.
    let data: Vec<_> = (0..20).map(|call| noise(if call % 3 == 0 { 3000 } else { 50 }, call)).collect();
    let mut pending: Vec<_> =
        data.iter().map(|data| channel.raw(&echo, &data[..]).timeout(PATIENCE).start().unwrap()).collect();
    drop(pending.remove(7));
    let calls = (0..20).filter(|&call| call != 7).rev();
    for (call, pending) in calls.zip(pending.into_iter().rev()) {
        assert_eq!(pending.wait().unwrap().to_vec(), data[call], "call {call}");
    }
    assert_alive(&server.client());
}

#[track_caller]
fn assert_late<T>(result: Result<T, Status>) {
    let status = result.err().expect("the deadline passed");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

fn a_call_fails_soon_after_its_deadline() {
    let server = one_worker();
    let client = server.client();
    for timeout in [1, 20, 60].map(Duration::from_millis) {
        let lateness = median_of_3(|| {
            let begun = Instant::now();
            assert_late(client.sleep(sleep(150)).timeout(timeout).wait());
            let elapsed = begun.elapsed();
            assert!(elapsed >= timeout, "{elapsed:?} is before {timeout:?}");
            elapsed - timeout
        });
        assert!(lateness < LATENESS, "{lateness:?} after a timeout of {timeout:?}");
    }
    // Each of the threads that wait has its own deadline, whoever of them leads.
    let lateness = median_of_3(|| {
        std::thread::scope(|scope| {
            let threads = [5, 10, 15, 20, 25].map(|timeout| {
                let (client, timeout) = (&client, Duration::from_millis(timeout));
                scope.spawn(move || {
                    let begun = Instant::now();
                    assert_late(client.sleep(sleep(150)).timeout(timeout).wait());
                    begun.elapsed() - timeout
                })
            });
            threads.map(|thread| thread.join().unwrap()).into_iter().max().unwrap()
        })
    });
    assert!(lateness < LATENESS, "{lateness:?} after the timeout of one of five threads");
    assert_alive(&client);
}

fn a_deadline_that_has_passed_at_once_sends_nothing() {
    let server = LocalServer::default_settings();
    let client = server.client();
    assert_late(client.echo(Blob::default()).timeout(Duration::ZERO).wait());
    assert_alive(&client);
    assert_eq!(server.service.begun(), 1, "the handler ran for the second call only");
}

fn a_call_that_expires_in_the_servers_queue_never_runs() {
    let server = one_worker();
    let client = server.client();
    let busy = client.sleep(sleep(200)).timeout(PATIENCE).start().unwrap();
    eventually("the worker is busy", || server.service.sleeping() == 1);
    let echo = || client.echo(Blob::default()).timeout(Duration::from_millis(50)).start().unwrap();
    // Nobody waits for them while they expire, so nobody tells the server to forget them.
    let queued = [echo(), echo(), echo(), echo(), echo()];
    busy.wait().unwrap();
    queued.into_iter().for_each(|pending| assert_late(pending.wait()));
    assert_alive(&client);
    assert_eq!(server.service.begun(), 2, "Sleep and the last Echo, none of those that expired");
}

fn a_reply_that_comes_after_the_deadline_is_not_sent() {
    let server = LocalServer::default_settings();
    let client = server.client();
    let pending = client.sleep(sleep(60)).timeout(Duration::from_millis(30)).start().unwrap();
    eventually("the handler returned", || server.service.begun() == 1 && server.service.sleeping() == 0);
    assert_alive(&client);
    assert_late(pending.wait());
}

fn a_handler_sees_the_deadline_and_the_peer() {
    let seen = |request: mmap_rpc::Request<mmap_rpc::Payload>| {
        let (left, peer) = (request.remaining(), request.peer());
        let left = left.map_or(u64::MAX, |left| left.as_millis() as u64);
        [left.to_le_bytes(), u64::from(peer.map_or(0, |peer| peer.pid)).to_le_bytes()].concat()
    };
    let builder = Server::builder().raw("/testkit.Seen/Seen", move |request, _| Ok(seen(request).into()));
    let server = LocalServer::start(builder);
    let channel = connect(server.path()).unwrap();
    let method = channel.method("/testkit.Seen/Seen");
    let numbers = |bytes: Vec<u8>| {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        (number(0), number(8))
    };
    let pid = u64::from(std::process::id());
    let (left, peer) = numbers(channel.raw(&method, &[]).timeout(PATIENCE).wait().unwrap().to_vec());
    assert!((1..=PATIENCE.as_millis() as u64).contains(&left), "{left} ms are left");
    assert_eq!(peer, pid);
    assert_eq!(numbers(channel.raw(&method, &[]).wait().unwrap().to_vec()), (u64::MAX, pid));
}

fn a_call_that_is_dropped_in_the_servers_queue_never_runs() {
    let server = one_worker();
    let client = server.client();
    let busy = client.sleep(sleep(100)).timeout(PATIENCE).start().unwrap();
    eventually("the worker is busy", || server.service.sleeping() == 1);
    for _ in 0..5 {
        drop(client.echo(Blob::default()).timeout(PATIENCE).start().unwrap());
    }
    busy.wait().unwrap();
    assert_alive(&client);
    assert_eq!(server.service.begun(), 2, "Sleep and the last Echo, none of those that were dropped");
}

// ---- shutdown ----------------------------------------------------------------------------------------

fn shutdown_lets_running_calls_finish_and_refuses_later_ones() {
    let mut server = LocalServer::start(Server::builder().handlers(Handlers::Pool(4)).reactors(2));
    let clients = [server.client(), server.client()];
    let start = |client| EchoClient::sleep(client, sleep(150)).timeout(PATIENCE).start().unwrap();
    let started = [&clients[0], &clients[0], &clients[1]].map(start);
    eventually("they run", || server.service.sleeping() == 3);
    server.shutdown.shutdown();
    for client in &clients {
        let status = client.echo(Blob::default()).timeout(PATIENCE).wait().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    assert_eq!(server.service.sleeping(), 3, "the refusal waited for nobody");
    for pending in started {
        pending.wait().unwrap();
    }
    server.join().unwrap();
    assert!(!server.path().exists(), "the path is free");
    assert!(connect(server.path()).is_err());
    for client in &clients {
        let status = client.echo(Blob::default()).timeout(PATIENCE).wait().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
}

fn shutdown_waits_no_longer_than_the_grace_period() {
    let builder = Server::builder().handlers(Handlers::Pool(1)).grace(Duration::from_millis(50));
    let mut server = LocalServer::start(builder);
    let client = server.client();
    let pending = client.sleep(sleep(2_000)).timeout(PATIENCE).start().unwrap();
    eventually("it runs", || server.service.sleeping() == 1);
    server.shutdown.shutdown();
    let status = pending.wait().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    server.join().unwrap();
    assert_eq!(server.service.sleeping(), 1, "run returned before the handler did");
    assert!(!server.path().exists());
}

fn a_server_without_clients_ends_at_once_and_another_takes_its_path() {
    let mut server = LocalServer::default_settings();
    server.shutdown.shutdown();
    server.join().unwrap();
    let builder = testkit::way::allow_all(Server::builder(), server.path());
    let successor = testkit::echo::serve(builder, server.service.clone()).bind(server.path()).unwrap();
    let (stop, thread) = (successor.shutdown_handle(), std::thread::spawn(move || successor.run()));
    let client = server.client();
    client.count(Empty {}).timeout(PATIENCE).wait().unwrap();
    stop.shutdown();
    thread.join().unwrap().unwrap();
}
