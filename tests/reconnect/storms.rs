//! Many callers at once, while servers come and go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mmap_rpc::{Code, Reconnect, Status};
use testkit::proto::{Blob, EchoClient, SleepRequest};
use testkit::{Child, PATIENCE, Rng, noise};

use crate::servers::{Kind, MODES, Mode, Site, kill};

testkit::on_every_way![
    idempotent_calls_survive_every_death,
    servers_hand_over_without_a_failure,
    calls_that_may_not_be_made_twice_fail_only_at_the_last_moment,
];

const CALLERS: u64 = 6;

/// Calls from many threads while `turmoil` runs; `check` sees what failed. How many calls succeeded.
fn storm(
    client: &EchoClient,
    idempotent: bool,
    check: impl Fn(Status) + Sync,
    turmoil: impl FnOnce(),
) -> u64 {
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (over, done, check) = (&over, &done, &check);
                scope.spawn(move || {
                    let (mut rng, sea) = (Rng::new(caller), noise(100_000, caller));
                    // Those who start calls cannot take them back from a server that refuses them.
                    let modes = if idempotent { &MODES[..] } else { &[Mode::Wait, Mode::Await] };
                    while !over.load(Ordering::Relaxed) {
                        let data = sea.slice(..rng.size(sea.len()));
                        let call = client.echo(Blob { data: data.clone() }).timeout(PATIENCE);
                        let call = if idempotent { call.idempotent() } else { call };
                        match modes[rng.below(modes.len() as u64) as usize].call(call) {
                            Ok(reply) => assert!(reply.data == data),
                            Err(status) => check(status),
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        turmoil();
        let before = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < before + 100 && !callers.iter().any(|one| one.is_finished()) {
            thread::sleep(Duration::from_millis(1));
        }
        over.store(true, Ordering::Relaxed);
    });
    done.into_inner()
}

fn idempotent_calls_survive_every_death() {
    let site = Site::new();
    let mut server = Some(site.start(Kind::Plain));
    let client = EchoClient::new(site.channel(Reconnect::default().resends(u32::MAX).patience(PATIENCE)));
    let calls = storm(
        &client,
        true,
        |status| panic!("{status}"),
        || {
            let mut rng = Rng::new(1);
            for round in 0..6 {
                thread::sleep(Duration::from_millis(10 + rng.below(40)));
                server.take().into_iter().for_each(kill);
                server = Some(site.start(if round % 2 == 0 { Kind::Shifted } else { Kind::Plain }));
            }
        },
    );
    assert!(calls > 100, "{calls}");
}

/// Servers that shut down in good order, one after the other.
fn hand_over(site: &Site, client: &EchoClient, mut server: Child) -> Child {
    for round in 0..6 {
        thread::sleep(Duration::from_millis(20));
        // Keeps it from ending before others have been refused.
        let sleep = SleepRequest { milliseconds: 50 };
        let sleeps = client.sleep(sleep).timeout(PATIENCE).start();
        server.tell("stop");
        server.expect("stopping");
        // It may itself be one of those.
        drop(sleeps.and_then(|call| call.wait()));
        server.finish();
        server = site.start(if round % 2 == 0 { Kind::Shifted } else { Kind::Plain });
    }
    server
}

fn servers_hand_over_without_a_failure() {
    let site = Site::new();
    let mut server = Some(site.start(Kind::Plain));
    // On a busy machine a call may meet the last moment of more than one of them.
    let client = EchoClient::new(site.channel(Reconnect::default().resends(u32::MAX).patience(PATIENCE)));
    storm(
        &client,
        true,
        |status| panic!("{status}"),
        || {
            server = server.take().map(|server| hand_over(&site, &client, server));
        },
    );
}

/// A call that reaches a server between its last look and its end is neither served nor refused: the caller
/// cannot know, and is told so. Nothing else fails.
fn calls_that_may_not_be_made_twice_fail_only_at_the_last_moment() {
    let site = Site::new();
    let mut server = Some(site.start(Kind::Plain));
    let client = EchoClient::new(site.channel(Reconnect::default().patience(PATIENCE)));
    let check = |status: Status| {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("under way"), "{status}");
    };
    storm(&client, false, check, || server = server.take().map(|server| hand_over(&site, &client, server)));
}
