//! Promise: what can be waited for can be awaited, on every kind of runtime, with the same results; and no
//! task's call is in the way of another's.
#![cfg(feature = "tokio")]

#[path = "awaited/leftovers.rs"]
mod leftovers;
#[path = "awaited/neighbours.rs"]
mod neighbours;
#[path = "awaited/runtimes.rs"]
mod runtimes;

use std::time::{Duration, Instant};

use mmap_rpc::{Channel, Code, ConnectError};
use testkit::echo::{RAW_ECHO, RAW_HALF};
use testkit::proto::{Blob, EchoClient, FailRequest, PanicRequest, SleepRequest};
use testkit::{PATIENCE, ServerProcess, Setup, channel_builder, checksum, connect, noise};
use tokio::task::JoinSet;

use runtimes::on_every_runtime;

const MIB: usize = 1 << 20;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[]);
}

testkit::on_every_way![
    a_call_returns_what_wait_would,
    messages_of_all_sizes_come_back,
    plain_bytes_come_back,
    many_tasks_share_a_channel,
    large_messages_take_turns_in_a_small_region,
    a_deadline_ends_a_call,
    a_dropped_call_makes_room,
    a_dead_server_fails_every_call,
    calls_of_threads_and_tasks_mix,
];

/// A server whose handlers do not keep others from running.
fn server() -> ServerProcess {
    ServerProcess::start(Setup { pool: 2, ..Setup::default() })
}

fn blob(length: usize, seed: u64) -> Blob {
    Blob { data: noise(length, seed) }
}

fn a_call_returns_what_wait_would() {
    let server = server();
    on_every_runtime(async || {
        let client: EchoClient = channel_builder().connect(server.path()).client().await.unwrap();
        assert_eq!(client.echo(blob(10, 1)).await.unwrap().into_inner(), blob(10, 1));
        // One whose reply takes longer than anybody looks for it.
        client.sleep(SleepRequest { milliseconds: 30 }).await.unwrap();
        for code in 1..=16 {
            let failed = client.fail(FailRequest { code, text: format!("code {code}") }).await.unwrap_err();
            assert_eq!((failed.code() as u32, failed.message()), (code, &*format!("code {code}")));
        }
        let panicked = client.panic(PanicRequest { text: "on purpose".into() }).await.unwrap_err();
        assert!(panicked.message().contains("on purpose"), "{panicked}");
        let unknown = client.channel().method("/no.Such/Method");
        let unknown = client.channel().raw(&unknown, b"").await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented);
    });
}

fn messages_of_all_sizes_come_back() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        for (seed, length) in [0, 1, 64, 96, 97, 5000, 70_000, MIB, 5 * MIB].into_iter().enumerate() {
            let sent = blob(length, seed as u64);
            assert_eq!(client.echo(sent.clone()).await.unwrap().into_inner(), sent, "{length} bytes");
            let sum = client.checksum(sent.clone()).await.unwrap().into_inner().sum;
            assert_eq!(sum, checksum(&sent.data));
        }
    });
}

fn plain_bytes_come_back() {
    let server = server();
    on_every_runtime(async || {
        let channel = connect(server.path()).unwrap();
        let (echo, half) = (channel.method(RAW_ECHO), channel.method(RAW_HALF));
        for length in [0, 96, 97, 70_000, 3 * MIB] {
            let bytes = noise(length, 7);
            assert_eq!(channel.raw(&echo, &bytes[..]).await.unwrap().to_vec(), bytes);
            let reply = channel.raw(&half, bytes.clone()).await.unwrap();
            assert_eq!(reply.to_vec(), bytes[..length / 2]);
            let mut loan = channel.loan(length).unwrap();
            loan.copy_from_slice(&bytes);
            assert_eq!(channel.raw(&echo, loan).await.unwrap().to_vec(), bytes);
        }
    });
}

fn many_tasks_share_a_channel() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let mut tasks = JoinSet::new();
        for number in 0..200 {
            let client = client.clone();
            tasks.spawn(async move {
                for round in 0..20 {
                    let sent = blob((number * 37 + round * 11) % 3000, round as u64);
                    assert_eq!(client.echo(sent.clone()).await.unwrap().into_inner(), sent);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
}

fn large_messages_take_turns_in_a_small_region() {
    let server = server();
    on_every_runtime(async || {
        let channel =
            channel_builder().max_region_bytes(6 * MIB as u64).connect(server.path()).await.unwrap();
        let client = EchoClient::new(channel);
        let mut tasks = JoinSet::new();
        for number in 0..24 {
            let client = client.clone();
            tasks.spawn(async move {
                let sent = blob(700_000, number);
                assert_eq!(client.echo(sent.clone()).await.unwrap().into_inner(), sent);
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
}

fn a_deadline_ends_a_call() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let begun = Instant::now();
        let late = client.sleep(SleepRequest { milliseconds: 400 }).timeout(Duration::from_millis(30));
        assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() >= Duration::from_millis(30), "not before its time, by any clock");
        let past = client.echo(blob(10, 1)).timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(past.code(), Code::DeadlineExceeded);
        // One that is long enough is no hindrance.
        client.sleep(SleepRequest { milliseconds: 20 }).timeout(PATIENCE).await.unwrap();
    });
}

fn a_dropped_call_makes_room() {
    let server = server();
    on_every_runtime(async || {
        let channel = channel_builder().max_in_flight(2).connect(server.path()).await.unwrap();
        let client = EchoClient::new(channel);
        let short = SleepRequest { milliseconds: 2 };
        let mut dropped = 0;
        for _ in 0..20 {
            let call = async { client.sleep(short).await.map(drop) };
            tokio::select! {
                biased;
                // This thread slept longer than the server: nothing is left to drop.
                slept = call => slept.unwrap(),
                () = tokio::task::yield_now() => dropped += 1,
            }
            // The reply to the dropped one, still to come, has one of the two cells until then.
            client.sleep(short).await.unwrap();
            client.sleep(short).await.unwrap();
        }
        assert!(dropped > 0, "a machine as slow as this one tests nothing");
    });
}

fn a_dead_server_fails_every_call() {
    for kind in runtimes::ALL {
        let mut server = server();
        kind.run(async {
            let client = EchoClient::new(connect(server.path()).unwrap());
            let calls = (0..10).map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.sleep(SleepRequest { milliseconds: 60_000 }).await })
            });
            let calls = calls.collect::<Vec<_>>();
            tokio::time::sleep(Duration::from_millis(20)).await;
            server.kill();
            for call in calls {
                assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
            }
            assert_eq!(client.echo(blob(10, 1)).await.unwrap_err().code(), Code::Unavailable);
            assert!(client.channel().is_closed());
        });
    }
}

fn calls_of_threads_and_tasks_mix() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let threads = [1, 2].map(|seed| {
            let client = client.clone();
            std::thread::spawn(move || {
                for length in 0..2000 {
                    assert_eq!(
                        client.echo(blob(length, seed)).wait().unwrap().into_inner(),
                        blob(length, seed)
                    );
                }
            })
        });
        let mut tasks = JoinSet::new();
        for seed in 3..7 {
            let client = client.clone();
            tasks.spawn(async move {
                for length in 0..500 {
                    assert_eq!(
                        client.echo(blob(length, seed)).await.unwrap().into_inner(),
                        blob(length, seed)
                    );
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A server that nobody can reach says why, to a task as to a thread.
#[test]
fn connecting_fails_as_it_does_for_a_thread() {
    let dir = tempfile::tempdir().unwrap();
    on_every_runtime(async || {
        let path = dir.path().join("nobody");
        let awaited = Channel::connect(&path).await.unwrap_err().to_string();
        assert_eq!(awaited, Channel::connect(&path).wait().unwrap_err().to_string());
        // One that listens and never answers.
        let silent = dir.path().join("silent");
        let _ = std::fs::remove_file(&silent);
        let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
        let begun = Instant::now();
        let patience = Duration::from_millis(50);
        let late = Channel::builder().connect_timeout(patience).connect(&silent).await.unwrap_err();
        assert!(matches!(late, ConnectError::Timeout { .. }), "{late}");
        assert!(begun.elapsed() >= patience);
    });
}

#[test]
fn classic_connections_can_be_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let server = testkit::LocalServer::start(Setup::default().builder().classic(dir.path()));
    on_every_runtime(async || {
        let client: EchoClient = Channel::connect_classic(server.path()).client().await.unwrap();
        for length in [0, 10, 100_000] {
            assert_eq!(client.echo(blob(length, 1)).await.unwrap().into_inner(), blob(length, 1));
        }
        let failed = client.fail(FailRequest { code: 5, text: "none".into() }).await.unwrap_err();
        assert_eq!(failed.code(), Code::NotFound);
        let raw = client.channel().raw(&client.channel().method(RAW_ECHO), b"plain").await.unwrap();
        assert_eq!(raw.to_vec(), b"plain");
    });
}
