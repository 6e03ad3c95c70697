//! Promise: what a client sends to a server in another process arrives as it was sent, and so does the reply,
//! however many, however large, in whatever order, from however many threads.

use bytes::Bytes;
use mmap_rpc::{Code, Pending, RawBody};
use testkit::echo::{RAW_ECHO, RAW_HALF};
use testkit::proto::{Blob, EchoClient, Empty, MakeRequest, SleepRequest};
use testkit::{PATIENCE, Rng, ServerProcess, Setup, channel_builder, checksum, eventually, noise};

const MIB: usize = 1 << 20;

/// The default of `max_in_flight`.
const IN_FLIGHT: usize = 1024;

const POOL: Setup =
    Setup { pool: 2, reactors: 1, max_message_size: 0, max_region_bytes: 0, max_in_flight: 0 };

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[]);
}

testkit::on_every_way![
    ten_thousand_messages_of_any_size_arrive_intact,
    every_size_around_a_boundary_arrives_intact,
    a_reply_may_be_far_larger_than_its_request,
    eight_threads_share_a_channel,
    eight_threads_share_a_channel_to_a_pool,
    raw_bytes_of_every_kind_arrive_intact,
    a_payload_can_be_read_in_parts,
    only_what_a_loan_was_truncated_to_is_sent,
    a_loan_of_another_channel_is_refused_and_given_back,
    started_calls_can_be_waited_for_in_any_order,
    far_more_calls_than_the_ring_holds_can_be_started,
    two_reactors_serve_six_clients,
    a_blocked_reactor_does_not_hold_up_the_other,
];

/// Sends `data` and checks that the same comes back.
#[track_caller]
fn check_echo(client: &EchoClient, data: Bytes) {
    let reply = client.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait().unwrap();
    // Not `assert_eq`: nobody wants to read megabytes.
    assert!(reply.get_ref().data == data, "{} bytes came back changed", data.len());
}

/// Sends `data` and checks that the server saw the same.
#[track_caller]
fn check_sum(client: &EchoClient, data: Bytes) {
    let sum = checksum(&data);
    let length = data.len();
    let reply = client.checksum(Blob { data }).timeout(PATIENCE).wait().unwrap();
    assert_eq!(reply.get_ref().sum, sum, "{length} bytes arrived changed");
}

fn ten_thousand_messages_of_any_size_arrive_intact() {
    const LARGEST: usize = 8 * MIB;
    let (server, mut rng) = (ServerProcess::start(Setup::default()), Rng::new(1));
    let client = server.client();
    let sea = noise(LARGEST + 4096, 2);
    for call in 0..10_000 {
        let (start, len) = (rng.below(4096) as usize, rng.size(LARGEST));
        let data = sea.slice(start..start + len);
        if call % 2 == 0 { check_echo(&client, data) } else { check_sum(&client, data) }
    }
}

fn every_size_around_a_boundary_arrives_intact() {
    let server = ServerProcess::start(Setup::default());
    let client = server.client();
    let boundaries = [96, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, MIB, 2 * MIB];
    for boundary in boundaries {
        for len in boundary - 12..boundary + 4 {
            check_echo(&client, noise(len, 3));
        }
    }
}

fn a_reply_may_be_far_larger_than_its_request() {
    let server = ServerProcess::start(Setup::default());
    let client = server.client();
    for length in [0, 1, 100, 5_000, 300_000, 8 * MIB as u64, 60 * MIB as u64] {
        let reply = client.make(MakeRequest { length, seed: length }).timeout(PATIENCE).wait().unwrap();
        assert!(reply.get_ref().data == noise(length as usize, length), "{length} bytes");
    }
}

/// So many threads call on one channel, each with data that no other has.
fn many_threads(setup: Setup) {
    let server = ServerProcess::start(setup);
    let client = server.client();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for call in 0..500 {
                    let data = noise(rng.size(64 << 10), thread << 32 | call);
                    if call % 2 == 0 { check_echo(client, data) } else { check_sum(client, data) }
                }
            });
        }
    });
}

fn eight_threads_share_a_channel() {
    many_threads(Setup::default());
}

fn eight_threads_share_a_channel_to_a_pool() {
    many_threads(POOL);
}

fn raw_bytes_of_every_kind_arrive_intact() {
    let server = ServerProcess::start(Setup::default());
    let channel = server.channel();
    let echo = channel.method(RAW_ECHO);
    for len in [0, 1, 96, 97, 5_000, 70_000, 3 * MIB] {
        let data = noise(len, 4);
        let loan = || {
            let mut loan = channel.loan(len).unwrap();
            loan.copy_from_slice(&data);
            loan
        };
        let bodies: [RawBody<'_>; 4] =
            [(&data[..]).into(), data.to_vec().into(), data.clone().into(), loan().into()];
        for body in bodies {
            let reply = channel.raw(&echo, body).timeout(PATIENCE).wait().unwrap();
            assert_eq!(reply.len(), len);
            assert!(reply.into_bytes() == data, "{len} bytes came back changed");
        }
    }
}

fn a_payload_can_be_read_in_parts() {
    let server = ServerProcess::start(Setup::default());
    let channel = server.channel();
    let data = noise(50_000, 5);
    let reply = channel.raw(&channel.method(RAW_ECHO), &data[..]).timeout(PATIENCE).wait().unwrap();
    let mut part = vec![0; 777];
    reply.copy_to_slice(33_333, &mut part);
    assert!(part == data[33_333..34_110]);
    assert!(reply.to_vec() == data);
}

fn only_what_a_loan_was_truncated_to_is_sent() {
    let server = ServerProcess::start(Setup::default());
    let channel = server.channel();
    for (len, kept) in [(10_000, 0), (10_000, 1), (10_000, 9_999), (200, 50), (3 * MIB, 5_000)] {
        let data = noise(len, 6);
        let mut loan = channel.loan(len).unwrap();
        loan.copy_from_slice(&data);
        loan.truncate(kept);
        let reply = channel.raw(&channel.method(RAW_ECHO), loan).timeout(PATIENCE).wait().unwrap();
        assert!(reply.into_bytes() == data[..kept], "{len} cut to {kept}");
        let reply = channel.raw(&channel.method(RAW_HALF), &data[..]).timeout(PATIENCE).wait().unwrap();
        assert!(reply.into_bytes() == data[..len / 2], "the server's own loan of {len}");
    }
}

fn a_loan_of_another_channel_is_refused_and_given_back() {
    let server = ServerProcess::start(Setup::default());
    let build = || channel_builder().max_region_bytes(4 * MIB as u64).connect(server.path()).wait().unwrap();
    let (mine, other) = (build(), build());
    // Far more than a region holds: each refused loan must have gone back to its own.
    for _ in 0..100 {
        let loan = other.loan(MIB / 8).unwrap();
        let refused = mine.raw(&mine.method(RAW_ECHO), loan).wait().unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let method = other.method(RAW_ECHO);
    let refused = mine.raw(&method, &b"x"[..]).wait().unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "a method of another channel: {refused}");
    let reply = mine.raw(&mine.method(RAW_ECHO), &b"x"[..]).timeout(PATIENCE).wait().unwrap();
    assert_eq!(reply.to_vec(), b"x");
}

/// Starts `count` calls before the first is waited for, then waits in random order.
fn start_all_then_wait(client: &EchoClient, count: usize, size: impl Fn(usize) -> usize) {
    let data = |call: usize| noise(size(call), call as u64);
    let start = |call| (call, client.echo(Blob { data: data(call) }).timeout(PATIENCE).start().unwrap());
    let mut started: Vec<(usize, Pending<'_, Blob>)> = (0..count).map(start).collect();
    Rng::new(8).shuffle(&mut started);
    for (call, pending) in started {
        let reply = pending.wait().unwrap();
        assert!(reply.get_ref().data == data(call), "call {call} got another's reply");
    }
}

fn started_calls_can_be_waited_for_in_any_order() {
    let server = ServerProcess::start(POOL);
    start_all_then_wait(&server.client(), 500, |call| call % 3000);
}

fn far_more_calls_than_the_ring_holds_can_be_started() {
    for setup in [Setup::default(), POOL] {
        let server = ServerProcess::start(setup);
        // Each call's reply waits in the server, because nobody here takes replies meanwhile.
        start_all_then_wait(&server.client(), IN_FLIGHT, |call| call % 200);
    }
    let many = 8 * IN_FLIGHT;
    let server = ServerProcess::start(Setup { max_in_flight: many as u32, ..Setup::default() });
    let channel = channel_builder().max_in_flight(many as u32).connect(server.path()).wait().unwrap();
    start_all_then_wait(&EchoClient::new(channel), many, |_| 1000);
}

fn two_reactors_serve_six_clients() {
    let server = ServerProcess::start(Setup { reactors: 2, ..Setup::default() });
    std::thread::scope(|scope| {
        for number in 0..6 {
            let client = server.client();
            scope.spawn(move || {
                let mut rng = Rng::new(number);
                for call in 0..200 {
                    check_echo(&client, noise(rng.size(256 << 10), number << 32 | call));
                }
            });
        }
    });
}

fn a_blocked_reactor_does_not_hold_up_the_other() {
    let server = ServerProcess::start(Setup { reactors: 2, ..Setup::default() });
    // Connections go to the reactors in turn.
    let (blocked, free) = (server.client(), server.client());
    let sleeping = || free.count(Empty {}).timeout(PATIENCE).wait().unwrap().get_ref().sleeping;
    let pending = blocked.sleep(SleepRequest { milliseconds: 700 }).timeout(PATIENCE).start().unwrap();
    eventually("the handler sleeps", || sleeping() == 1);
    for call in 0..50 {
        check_echo(&free, noise(1000, call));
    }
    assert_eq!(sleeping(), 1, "the calls ran while the other reactor was busy");
    pending.wait().unwrap();
    assert_eq!(sleeping(), 0);
}
