//! What becomes of calls: those that begin, those that were sent, those of methods that come and go.

use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::{Code, Reconnect, Status};
use testkit::proto::{Blob, EchoClient, Empty, SleepRequest};
use testkit::{Child, PATIENCE, eventually, noise};

use crate::servers::{HANG, HUNG, KIND, Kind, MODES, Mode, OTHER, Site, builder, kill};

testkit::on_every_way![
    a_restarted_server_is_served_again,
    calls_under_way_fail_and_say_so,
    a_call_waits_for_a_server,
    calls_that_wait_for_room_move_over,
    methods_are_found_by_name,
    idempotent_calls_are_made_again_once,
    a_server_that_drains_is_left_and_finishes,
    loans_belong_to_one_connection,
];

fn blob(length: usize) -> Blob {
    Blob { data: noise(length, 1) }
}

#[track_caller]
fn assert_under_way<T: std::fmt::Debug>(outcome: Result<T, Status>) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("under way"), "{status}");
}

fn a_restarted_server_is_served_again() {
    for mode in MODES {
        let site = Site::new();
        let mut server = site.start(Kind::Plain);
        let channel = site.channel(Reconnect::default());
        let client = EchoClient::new(channel.clone());
        for length in [10, 1000, 100_000] {
            assert_eq!(mode.call(client.echo(blob(length)).timeout(PATIENCE)).unwrap(), blob(length));
            assert_eq!(channel.peer().pid, server.pid());
            // Nobody calls while it dies: no call is under way, and none fails.
            thread::sleep(Duration::from_millis(5));
            kill(server);
            server = site.start(Kind::Plain);
            let begun = Instant::now();
            assert_eq!(
                mode.call(client.echo(blob(length)).timeout(PATIENCE)).unwrap(),
                blob(length),
                "{mode:?}"
            );
            assert!(begun.elapsed() < Duration::from_secs(5));
            assert_eq!(channel.peer().pid, server.pid());
        }
    }
}

fn calls_under_way_fail_and_say_so() {
    for mode in MODES {
        let site = Site::new();
        let server = site.start(Kind::Hanging);
        let channel = site.channel(Reconnect::default());
        let client = EchoClient::new(channel.clone());
        let hang = channel.method(HANG);
        thread::scope(|scope| {
            let typed = scope.spawn(|| mode.call(client.sleep(SleepRequest::default()).timeout(PATIENCE)));
            let raw = scope.spawn(|| mode.raw(channel.raw(&hang, b"x").timeout(PATIENCE)));
            thread::sleep(Duration::from_millis(50));
            kill(server);
            assert_under_way(typed.join().unwrap());
            assert_under_way(raw.join().unwrap());
        });
        let _server = site.start(Kind::Plain);
        mode.call(client.sleep(SleepRequest::default()).timeout(PATIENCE)).unwrap();
    }
}

fn a_call_waits_for_a_server() {
    for mode in MODES {
        let site = Site::new();
        assert!(builder(Reconnect::default()).connect(site.path()).wait().is_err(), "not lazy");
        let channel = builder(Reconnect::default()).connect_lazy(site.path());
        let client = EchoClient::new(channel.clone());
        // Within its own time.
        let begun = Instant::now();
        let late = mode.call(client.echo(blob(1)).timeout(Duration::from_millis(60))).unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
        assert!(late.message().contains("is the server running"), "{late}");
        assert!((60..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        thread::scope(|scope| {
            let waits = scope.spawn(|| mode.call(client.echo(blob(70_000)).timeout(PATIENCE)));
            let raw = scope.spawn(|| mode.raw(channel.raw(&channel.method(KIND), b"").timeout(PATIENCE)));
            thread::sleep(Duration::from_millis(100));
            assert!(!waits.is_finished() && !raw.is_finished());
            let server = site.start(Kind::Plain);
            assert_eq!(waits.join().unwrap().unwrap(), blob(70_000));
            assert_eq!(raw.join().unwrap().unwrap(), b"Plain");
            drop(server);
        });
    }
}

fn calls_that_wait_for_room_move_over() {
    for mode in MODES {
        let site = Site::new();
        let server = site.start(Kind::Plain);
        let settings = builder(Reconnect::default()).max_region_bytes(4 << 20);
        let channel = settings.connect(site.path()).wait().unwrap();
        let client = EchoClient::new(channel.clone());
        // The only slot of that size stays with us.
        let loan = channel.loan(2 << 20).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| mode.call(client.echo(blob(2 << 20)).timeout(PATIENCE)));
            thread::sleep(Duration::from_millis(50));
            assert!(!waits.is_finished());
            kill(server);
            let _next = site.start(Kind::Plain);
            assert!(waits.join().unwrap().unwrap() == blob(2 << 20));
        });
        drop(loan);
    }
}

fn methods_are_found_by_name() {
    for mode in MODES {
        let site = Site::new();
        let server = site.start(Kind::Plain);
        let channel = site.channel(Reconnect::default());
        let client = EchoClient::new(channel.clone());
        let [kind, other] = [KIND, OTHER].map(|name| channel.method(name));
        let name = |what: &str| {
            let call = |method| mode.raw(channel.raw(method, b"").timeout(PATIENCE));
            assert_eq!(call(&kind).unwrap(), what.as_bytes());
            call(&other)
        };
        assert_eq!(name("Plain").unwrap_err().code(), Code::Unimplemented);
        mode.call(client.count(Empty {}).timeout(PATIENCE)).unwrap();
        kill(server);

        let server = site.start(Kind::Shifted);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(name("Shifted").unwrap(), b"other");
        assert_eq!(mode.call(client.echo(blob(300)).timeout(PATIENCE)).unwrap(), blob(300));
        let new = EchoClient::new(channel.clone());
        assert_eq!(mode.call(new.echo(blob(300)).timeout(PATIENCE)).unwrap(), blob(300));
        kill(server);

        let server = site.start(Kind::Without);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(name("Without").unwrap_err().code(), Code::Unimplemented);
        for client in [&client, &new] {
            let lacks = mode.call(client.echo(blob(1)).timeout(PATIENCE)).unwrap_err();
            assert_eq!(lacks.code(), Code::Unimplemented, "{lacks}");
            assert!(lacks.message().contains("/testkit.Echo/Echo"), "{lacks}");
        }
        kill(server);

        let _server = site.start(Kind::Plain);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(mode.call(client.echo(blob(1)).timeout(PATIENCE)).unwrap(), blob(1));
        let elsewhere = site.channel(Reconnect::default());
        let foreign = mode.raw(elsewhere.raw(&kind, b"")).unwrap_err();
        assert_eq!(foreign.code(), Code::InvalidArgument, "{foreign}");
    }
}

fn idempotent_calls_are_made_again_once() {
    for mode in MODES {
        let site = Site::new();
        let server = site.start(Kind::Hanging);
        let channel = site.channel(Reconnect::default());
        let client = EchoClient::new(channel.clone());
        let hang = channel.method(HANG);
        let long = noise(50_000, 3);
        let sleep = || client.sleep(SleepRequest { milliseconds: 1 }).timeout(PATIENCE).idempotent();
        let raw = || channel.raw(&hang, &long[..]).timeout(PATIENCE).idempotent();
        let are_at = |server: &Child, calls: u8| {
            eventually("they are at the server", || {
                let hung = channel.raw(&channel.method(HUNG), b"").timeout(PATIENCE).wait();
                channel.peer().pid == server.pid() && hung.is_ok_and(|hung| hung.to_vec() == [calls])
            });
        };
        thread::scope(|scope| {
            let (typed, bytes) = (scope.spawn(|| mode.call(sleep())), scope.spawn(|| mode.raw(raw())));
            let kept =
                scope.spawn(|| mode.raw(channel.raw(&hang, long.clone()).timeout(PATIENCE).idempotent()));
            are_at(&server, 3);
            kill(server);
            thread::sleep(Duration::from_millis(20));
            let server = site.start(Kind::Plain);
            typed.join().unwrap().unwrap();
            assert!(bytes.join().unwrap().unwrap() == long);
            assert!(kept.join().unwrap().unwrap() == long);
            kill(server);
        });
        // The second time it has had its chance.
        let server = site.start(Kind::Hanging);
        thread::sleep(Duration::from_millis(5));
        thread::scope(|scope| {
            let (typed, bytes) = (scope.spawn(|| mode.call(sleep())), scope.spawn(|| mode.raw(raw())));
            are_at(&server, 2);
            kill(server);
            let next = site.start(Kind::Hanging);
            are_at(&next, 2);
            assert!(!typed.is_finished() && !bytes.is_finished());
            kill(next);
            assert_under_way(typed.join().unwrap());
            assert_under_way(bytes.join().unwrap());
        });
    }
}

fn a_server_that_drains_is_left_and_finishes() {
    for mode in MODES {
        let site = Site::new();
        let mut old = site.start(Kind::Plain);
        let channel = site.channel(Reconnect::default());
        let client = EchoClient::new(channel.clone());
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let begun = Instant::now();
                mode.call(client.sleep(SleepRequest { milliseconds: 700 }).timeout(PATIENCE)).unwrap();
                begun.elapsed()
            });
            eventually("it sleeps", || {
                mode.call(client.count(Empty {}).timeout(PATIENCE)).unwrap().sleeping == 1
            });
            old.tell("stop");
            old.expect("stopping");
            // The path is free once it does not listen any more.
            thread::sleep(Duration::from_millis(20));
            let new = site.start(Kind::Shifted);
            let kind = mode.raw(channel.raw(&channel.method(KIND), b"").timeout(PATIENCE)).unwrap();
            assert_eq!(kind, b"Shifted");
            assert_eq!(channel.peer().pid, new.pid());
            assert!(!sleeper.is_finished());
            assert!(sleeper.join().unwrap() >= Duration::from_millis(700));
            old.finish();
        });
    }
}

fn loans_belong_to_one_connection() {
    for mode in MODES {
        let site = Site::new();
        let server = site.start(Kind::Plain);
        let channel = site.channel(Reconnect::default());
        let hang = channel.method(HANG);
        let filled = || {
            let mut loan = channel.loan(5000).unwrap();
            loan.fill(7);
            loan
        };
        assert_eq!(mode.raw(channel.raw(&hang, filled()).timeout(PATIENCE)).unwrap(), [7; 5000]);
        let of_the_old = filled();
        kill(server);
        let server = site.start(Kind::Hanging);
        thread::sleep(Duration::from_millis(5));
        let refused = mode.raw(channel.raw(&hang, of_the_old).timeout(PATIENCE)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("another connection"), "{refused}");
        // It cannot be sent again, whatever is said of it.
        thread::scope(|scope| {
            let call = scope.spawn(|| mode.raw(channel.raw(&hang, filled()).timeout(PATIENCE).idempotent()));
            thread::sleep(Duration::from_millis(50));
            kill(server);
            let _next = site.start(Kind::Plain);
            assert_under_way(call.join().unwrap());
            assert_eq!(mode.raw(channel.raw(&hang, filled()).timeout(PATIENCE)).unwrap(), [7; 5000]);
        });
    }
}

/// A mode of its own: what is started before the server dies, and waited for after the next one came.
#[test]
fn calls_that_were_started_are_made_again_once_somebody_waits() {
    let site = Site::new();
    let server = site.start(Kind::Hanging);
    let channel = site.channel(Reconnect::default());
    let client = EchoClient::new(channel.clone());
    let sleep = || client.sleep(SleepRequest { milliseconds: 1 }).timeout(PATIENCE);
    let (once, twice) = (sleep().start().unwrap(), sleep().idempotent().start().unwrap());
    let dropped = sleep().start().unwrap();
    kill(server);
    let _server = site.start(Kind::Plain);
    assert_eq!(Mode::Wait.call(client.echo(blob(1)).timeout(PATIENCE)).unwrap(), blob(1));
    twice.wait().unwrap();
    assert_under_way(once.wait());
    drop(dropped);
}
