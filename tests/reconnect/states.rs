//! What a channel says of itself, how long it tries, and how often.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::ChannelState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
use mmap_rpc::{Channel, Code, Reconnect};
use testkit::{PATIENCE, channel_builder, eventually};

use crate::servers::{KIND, Kind, MODES, Mode, Site, builder, kill, runtime};

testkit::on_every_way![a_channel_says_how_it_is, fail_fast_calls_do_not_wait, a_channel_gives_up,];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A call that any server answers.
fn kind(channel: &Channel, mode: Mode, timeout: Duration) -> Result<Vec<u8>, mmap_rpc::Status> {
    mode.raw(channel.raw(&channel.method(KIND), b"").timeout(timeout))
}

fn a_channel_says_how_it_is() {
    for mode in MODES {
        let site = Site::new();
        let channel = builder(Reconnect::default()).connect_lazy(site.path());
        assert_eq!((channel.state(), channel.peer().pid), (Idle, 0));
        assert_eq!(channel.wait_for_state_change(Idle, ms(10)), Idle);
        kind(&channel, mode, ms(5)).unwrap_err();
        assert_eq!(channel.state(), TransientFailure);
        thread::scope(|scope| {
            let changed = scope.spawn(|| channel.wait_for_state_change(TransientFailure, PATIENCE));
            let awaited = scope.spawn(|| {
                runtime().block_on(async {
                    let mut state = TransientFailure;
                    while state != Ready {
                        state = channel.state_changed(state).await;
                    }
                })
            });
            let server = site.start(Kind::Plain);
            kind(&channel, mode, PATIENCE).unwrap();
            assert!([Connecting, Ready].contains(&changed.join().unwrap()));
            awaited.join().unwrap();
            assert_eq!((channel.state(), channel.peer().pid), (Ready, server.pid()));
            let changed = scope.spawn(|| channel.wait_for_state_change(Ready, PATIENCE));
            let awaited = scope.spawn(|| runtime().block_on(channel.state_changed(Ready)));
            kill(server);
            assert_eq!((changed.join().unwrap(), awaited.join().unwrap()), (Idle, Idle));
        });
        assert!(!channel.is_closed());
        // One that does not reconnect.
        let server = site.start(Kind::Plain);
        let once = channel_builder().connect(site.path()).wait().unwrap();
        assert_eq!(once.state(), Ready);
        kill(server);
        assert_eq!(once.wait_for_state_change(Ready, PATIENCE), Shutdown);
        assert!(once.is_closed());
    }
}

fn fail_fast_calls_do_not_wait() {
    for mode in MODES {
        let site = Site::new();
        // The next attempt is far away.
        let policy = Reconnect::default().first_delay(PATIENCE).longest_delay(PATIENCE);
        let channel = builder(policy.wait_for_ready(false)).connect_lazy(site.path());
        let begun = Instant::now();
        for _ in 0..3 {
            let failed = kind(&channel, mode, PATIENCE).unwrap_err();
            assert_eq!(failed.code(), Code::Unavailable, "{failed}");
            assert!(failed.message().contains("is the server running"), "{failed}");
        }
        assert!(begun.elapsed() < PATIENCE / 2);
        // One that waits does so for as long as the channel lets it.
        let patient = builder(policy.patience(ms(100))).connect_lazy(site.path());
        let begun = Instant::now();
        let failed = kind(&patient, mode, PATIENCE).unwrap_err();
        assert_eq!(failed.code(), Code::Unavailable, "{failed}");
        assert!(failed.message().contains("patience"), "{failed}");
        assert!(begun.elapsed() >= ms(100) && begun.elapsed() < PATIENCE / 2);
    }
}

fn a_channel_gives_up() {
    for mode in MODES {
        let site = Site::new();
        let policy = Reconnect::default().give_up_after(ms(60)).longest_delay(ms(20));
        let channel = builder(policy).connect_lazy(site.path());
        let begun = Instant::now();
        let failed = kind(&channel, mode, PATIENCE).unwrap_err();
        assert_eq!(failed.code(), Code::Unavailable, "{failed}");
        assert!(failed.message().contains("given up"), "{failed}");
        assert!(begun.elapsed() >= ms(60) && begun.elapsed() < PATIENCE / 2);
        assert_eq!(channel.state(), Shutdown);
        assert!(channel.is_closed());
        let _server = site.start(Kind::Plain);
        assert_eq!(kind(&channel, mode, PATIENCE).unwrap_err().code(), Code::Unavailable);
    }
}

/// One that accepts and does `with` what it got; counts what it has accepted.
fn listener<T: Send + 'static>(
    site: &Site,
    with: fn(std::os::unix::net::UnixStream) -> T,
) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(site.path()).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    // Ends with the test program: nobody but the test has the socket's path.
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            counter.fetch_add(1, Ordering::SeqCst);
            kept.push(with(stream));
        }
    });
    count
}

#[test]
fn attempts_keep_their_distance() {
    for mode in MODES {
        let site = Site::new();
        // A server that dies whenever it is called.
        let accepted = listener(&site, drop);
        let policy = Reconnect::default().first_delay(ms(40)).multiplier(2.0).jitter(0.2).patience(PATIENCE);
        let channel = Channel::builder().reconnect(policy).connect_lazy(site.path());
        thread::scope(|scope| {
            for _ in 0..4 {
                let channel = &channel;
                scope.spawn(move || kind(channel, mode, ms(600)).unwrap_err());
            }
        });
        // At 0, 40, 120, 280 and 600 ms, a fifth of each delay sooner or later.
        let attempts = accepted.load(Ordering::SeqCst);
        assert!((3..=5).contains(&attempts), "{mode:?}: {attempts} attempts");
    }
}

#[test]
fn callers_of_little_patience_come_to_the_end_of_one_handshake() {
    for mode in MODES {
        let site = Site::new();
        // A server that takes its time to answer.
        let accepted = listener(&site, |stream| stream);
        let channel = Channel::builder().reconnect(Reconnect::default()).connect_lazy(site.path());
        for _ in 0..20 {
            let late = kind(&channel, mode, ms(5)).unwrap_err();
            assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
        }
        assert_eq!(channel.state(), Idle, "nobody attends to it");
        eventually("it is accepted", || accepted.load(Ordering::SeqCst) > 0);
        assert_eq!(accepted.load(Ordering::SeqCst), 1, "{mode:?}");
    }
}

#[test]
fn a_caller_that_is_dropped_leaves_the_attempt_to_the_next() {
    let site = Site::new();
    let accepted = listener(&site, |stream| stream);
    let settings = Channel::builder().reconnect(Reconnect::default()).connect_timeout(ms(300));
    let channel = settings.connect_lazy(site.path());
    runtime().block_on(async {
        let method = channel.method(KIND);
        let dropped = tokio::time::timeout(ms(30), channel.raw(&method, b""));
        let waits = channel.raw(&method, b"").timeout(ms(150));
        let (dropped, waited) = tokio::join!(dropped, waits);
        assert!(dropped.is_err());
        assert_eq!(waited.unwrap_err().code(), Code::DeadlineExceeded);
    });
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    // A thread comes to the end of it: no answer is a failure.
    let failed = channel.raw(&channel.method(KIND), b"").timeout(ms(290)).wait().unwrap_err();
    assert!(failed.message().contains("no answer to the handshake"), "{failed}");
}
