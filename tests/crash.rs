//! Promise: a process may be killed at any instruction. The survivor learns it at once, gets everything back
//! that the connection took, and goes on; nothing is left behind anywhere.

use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::{Code, Status};
use testkit::echo::RAW_ECHO;
use testkit::proc::{self, Held};
use testkit::proto::{Blob, EchoClient, SleepRequest};
use testkit::{
    Child, PATIENCE, Parent, Rng, ServerProcess, Setup, Way, alone, by, channel_builder, connect, eventually,
    median_of_3, noise, way,
};

/// How long after the kill a caller may learn of it.
const NEWS: Duration = Duration::from_millis(100);

/// A handler that sleeps so long outlives every test.
const FOREVER: SleepRequest = SleepRequest { milliseconds: 600_000 };

/// Enough threads that none of the sleepers waits in a queue.
const POOL: Setup =
    Setup { pool: 9, reactors: 0, max_message_size: 0, max_region_bytes: 0, max_in_flight: 0 };

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[("busy client", busy_client)]);
}

testkit::on_every_way![
    every_caller_learns_of_the_servers_death_at_once,
    calls_that_nobody_waits_for_yet_learn_of_it_too,
    a_caller_that_waits_for_space_learns_of_it_too,
    a_channel_stays_closed_and_a_new_one_reaches_the_successor,
    two_hundred_killed_clients_leave_nothing_in_the_server,
    two_hundred_killed_clients_leave_nothing_in_a_server_with_a_pool;
    memory: nothing_is_left_of_a_killed_server,
];

fn sleepers(client: &EchoClient) -> u64 {
    client.count(testkit::proto::Empty {}).timeout(PATIENCE).wait().unwrap().get_ref().sleeping
}

#[track_caller]
fn assert_gone<T>(result: Result<T, Status>) {
    let status = result.err().expect("the server is gone");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

// ---- the server dies ---------------------------------------------------------------------------------

/// Kills a server while `callers` threads of one channel wait in a handler; how long the last one waited for
/// the news.
fn time_of_news(callers: u64) -> Duration {
    let mut server = ServerProcess::start(POOL);
    let client = server.client();
    thread::scope(|scope| {
        let call = || {
            assert_gone(client.sleep(FOREVER).timeout(PATIENCE).wait());
            Instant::now()
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        let other = server.client();
        eventually("all wait in a handler", || sleepers(&other) == callers);
        let killed = Instant::now();
        server.kill();
        threads.into_iter().map(|thread| thread.join().unwrap() - killed).max().unwrap()
    })
}

fn every_caller_learns_of_the_servers_death_at_once() {
    let _alone = alone();
    for callers in [1, 8] {
        let news = median_of_3(|| time_of_news(callers));
        assert!(news < NEWS, "{callers} callers heard {news:?} after the kill");
    }
}

fn calls_that_nobody_waits_for_yet_learn_of_it_too() {
    let _alone = alone();
    let mut server = ServerProcess::start(POOL);
    let client = server.client();
    let started = [(); 3].map(|()| client.sleep(FOREVER).timeout(PATIENCE).start().unwrap());
    server.kill();
    started.into_iter().for_each(|pending| assert_gone(pending.wait()));
    assert_gone(client.echo(Blob::default()).timeout(PATIENCE).wait());
}

fn a_caller_that_waits_for_space_learns_of_it_too() {
    let _alone = alone();
    let mut server = ServerProcess::start(Setup { pool: 1, ..POOL });
    let channel = channel_builder().max_region_bytes(4 << 20).connect(server.path()).wait().unwrap();
    let client = EchoClient::new(channel.clone());
    thread::scope(|scope| {
        // The only slot of that size stays with us.
        let loan = channel.loan(2 << 20).unwrap();
        let waits = scope.spawn(|| client.echo(Blob { data: noise(2 << 20, 1) }).timeout(PATIENCE).wait());
        let other = server.client();
        // It has begun to wait some time after it began at all: what matters is that it ends in either case.
        for _ in 0..100 {
            sleepers(&other);
        }
        server.kill();
        assert_gone(waits.join().unwrap());
        drop(loan);
    });
}

fn nothing_is_left_of_a_killed_server() {
    let _alone = alone();
    // Whatever the first use of the library takes for good, it takes here.
    drop(ServerProcess::start(POOL).client());
    let (files, before) = (proc::files_of_ours(), Held::here());
    let mut server = ServerProcess::start(POOL);
    let channel = server.channel();
    let client = EchoClient::new(channel.clone());
    // Segments on both sides, and memory in both directions under way.
    for length in [100, 10_000, 300_000, 5 << 20] {
        client.echo(Blob { data: noise(length, 1) }).timeout(PATIENCE).wait().unwrap();
    }
    let kept = channel.raw(&channel.method(RAW_ECHO), &noise(70_000, 2)[..]).wait().unwrap();
    let loan = channel.loan(70_000).unwrap();
    let held = Held::here();
    assert!(
        held.regions > 2 && held.descriptors > before.descriptors,
        "there is something to lose: {held:?}"
    );
    thread::scope(|scope| {
        let call = || assert_gone(client.sleep(FOREVER).timeout(PATIENCE).wait());
        let threads = [(); 4].map(|()| scope.spawn(call));
        let other = server.client();
        eventually("all wait in a handler", || sleepers(&other) == 4);
        server.kill();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(channel.is_closed());
    assert!(kept.to_vec() == noise(70_000, 2), "a payload that was received stays readable");
    drop((server, client, channel));
    let held = Held::here();
    assert!(held.regions > 0, "the payload and the loan keep what they lie in: {held:?}");
    drop((kept, loan));
    let after = Held::here();
    assert_eq!((after.regions, after.memfds), (0, 0));
    assert_eq!(after.descriptors, before.descriptors, "{:#?}", proc::descriptors(std::process::id()));
    assert_eq!(proc::files_of_ours(), files);
}

fn a_channel_stays_closed_and_a_new_one_reaches_the_successor() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let mut old = None;
    for round in 0..3 {
        let mut server = ServerProcess::start_at(&path, Setup::default());
        let channel = server.channel();
        let client = EchoClient::new(channel.clone());
        client.echo(Blob { data: noise(100_000, round) }).timeout(PATIENCE).wait().unwrap();
        assert!(!channel.is_closed());
        if let Some(old) = old.replace(channel.clone()) {
            assert_gone(EchoClient::new(old).echo(Blob::default()).timeout(PATIENCE).wait());
        }
        server.kill();
        drop(server);
        assert!(path.exists(), "a killed server leaves its socket");
        assert_gone(client.echo(Blob::default()).timeout(PATIENCE).wait());
        assert!(channel.is_closed());
        assert_gone(channel.loan(100).map(drop));
    }
    assert!(connect(&path).is_err());
}

// ---- the client dies ---------------------------------------------------------------------------------

/// Calls without end, in every way, on several threads.
fn busy_client(parent: &Parent) {
    let way = Way::named(&parent.argument("way")).unwrap();
    let channel = by(way, || connect(parent.argument("socket")).unwrap());
    let client = EchoClient::new(channel.clone());
    let seed: u64 = parent.argument("seed").parse().unwrap();
    client.echo(Blob { data: noise(100_000, seed) }).wait().unwrap();
    parent.say("busy");
    thread::scope(|scope| {
        let (client, channel) = (&client, &channel);
        for thread in 0..2 {
            scope.spawn(move || {
                let mut rng = Rng::new(seed << 8 | thread);
                let sea = noise(2 << 20, seed);
                loop {
                    let data = sea.slice(..rng.size(sea.len()));
                    match rng.below(4) {
                        0 => drop(client.echo(Blob { data }).start()),
                        1 => drop(client.sleep(SleepRequest { milliseconds: 1 }).wait()),
                        2 => drop(channel.raw(&channel.method(RAW_ECHO), &data[..]).wait()),
                        _ => drop(client.echo(Blob { data }).wait()),
                    }
                }
            });
        }
    });
}

/// Kills two hundred clients in the middle of their calls; the server must end up with what it had before.
fn kill_clients(setup: Setup) {
    const KILLS: u64 = 200;
    const AT_ONCE: u64 = 4;
    let server = ServerProcess::start(setup);
    let start = |seed: u64| {
        let socket = server.path().to_str().unwrap();
        Child::start("busy client", &[("socket", socket), ("seed", &seed.to_string()), ("way", way().name())])
    };
    let kill_some = |first: u64| {
        let mut clients: Vec<_> = (first..first + AT_ONCE).map(start).collect();
        let mut rng = Rng::new(first);
        for client in &mut clients {
            client.expect("busy");
            // Anywhere in its first calls: no two of them die at the same place.
            thread::sleep(Duration::from_micros(rng.below(3000)));
            client.kill();
        }
    };
    // Stands by all the time, and must not notice any of it.
    let witness = server.client();
    let alive = |seed| {
        let data = noise(50_000, seed);
        let reply = witness.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait().unwrap();
        assert!(reply.get_ref().data == data);
    };
    alive(0);
    let before = Held::by(server.pid());
    // What the allocator takes for four clients at once it keeps for good.
    kill_some(1_000);
    let held = || {
        let Held { descriptors, memfds, regions, .. } = Held::by(server.pid());
        (descriptors, memfds, regions)
    };
    let baseline = (before.descriptors, before.memfds, before.regions);
    eventually("four dead clients leave nothing", || held() == baseline);
    let maps = Held::by(server.pid()).maps;
    for first in (0..KILLS).step_by(AT_ONCE as usize) {
        kill_some(first);
        alive(first);
    }
    eventually("two hundred dead clients leave nothing", || held() == baseline);
    let after = Held::by(server.pid()).maps;
    // Private memory of the allocator may differ by a few; one line per client would be two hundred.
    assert!(after < maps + 20, "{maps} maps before, {after} after");
}

fn two_hundred_killed_clients_leave_nothing_in_the_server() {
    let _alone = alone();
    kill_clients(Setup::default());
}

fn two_hundred_killed_clients_leave_nothing_in_a_server_with_a_pool() {
    let _alone = alone();
    kill_clients(Setup { pool: 2, reactors: 2, ..Setup::default() });
}
