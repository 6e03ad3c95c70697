//! Promise: a server admits whom it was told to admit, on every lane; whoever is refused reads why and what
//! to do about it; and a user who is admitted can harm no more than our own.

mod watch;

#[path = "admission/others.rs"]
mod others;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mmap_rpc::{Channel, ConnectError, Server, ServerBuilder, Status};
use testkit::proto::{Blob, EchoClient};
use testkit::{LocalServer, PATIENCE, Way, by, connect, noise};
use watch::{alone, logged};

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[
        ("visitor", others::visitor),
        ("published", others::published),
        ("hostile", others::hostile),
        ("server of root", others::server_of_root),
    ]);
}

/// Every way that a client of this library can come.
const WAYS: [Option<Way>; 4] = [Some(Way::Ring), Some(Way::Socket), Some(Way::File), None];

/// Connects this way; `None` is the classic one.
fn come(way: Option<Way>, path: &Path) -> Result<Channel, ConnectError> {
    match way {
        Some(way) => by(way, || connect(path)),
        None => Channel::connect_classic(path).wait(),
    }
}

#[track_caller]
fn refusal<T: std::fmt::Debug>(outcome: Result<T, ConnectError>) -> String {
    match outcome {
        Err(refused @ ConnectError::Refused { .. }) => refused.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn assert_served(channel: Channel) {
    let sent = Blob { data: noise(5000, 1) };
    let client = EchoClient::new(channel);
    assert_eq!(client.echo(sent.clone()).timeout(PATIENCE).wait().unwrap().into_inner(), sent);
}

/// Serves every way that there is.
fn serve(builder: ServerBuilder) -> (LocalServer, tempfile::TempDir) {
    let dir = testkit::child::open_dir();
    (LocalServer::start(builder.classic(dir.path().join("classic"))), dir)
}

/// A hook that asks `decide` from the `from`th client on, and refuses those before.
fn from_the(
    from: usize,
    decide: impl Fn() -> Result<(), Status> + Send + Sync + 'static,
) -> impl Fn(mmap_rpc::Credentials) -> Result<(), Status> + Send + Sync + 'static {
    let came = AtomicUsize::new(0);
    move |_| match came.fetch_add(1, Ordering::Relaxed) {
        before if before < from => Err(Status::permission_denied("come again")),
        _ => decide(),
    }
}

#[test]
fn a_hook_refuses_with_a_text_that_the_client_and_the_log_have() {
    let _alone = alone();
    let refuse = || Err(Status::permission_denied("not before nine: \u{1b}[2J 😀"));
    let (server, _dir) = serve(Server::builder().accept(from_the(0, refuse)));
    for way in WAYS {
        watch::clear_log();
        let text = refusal(come(way, server.path()));
        assert!(text.contains("PERMISSION_DENIED: not before nine: "), "{way:?}: {text}");
        assert!(text.ends_with(['😀', ')']) && !text.contains('\u{1b}'), "{way:?}: {text}");
        logged(&["client refused", "PERMISSION_DENIED: not before nine", "peer_uid", "peer_gid"]);
    }
}

#[test]
fn a_hook_that_admits_is_asked_once_for_each_client() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, own) = (asked.clone(), std::process::id());
    let (server, _dir) = serve(Server::builder().accept(move |peer| {
        assert_eq!(peer.pid, own);
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    for (before, way) in WAYS.into_iter().enumerate() {
        assert_served(come(way, server.path()).unwrap());
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
    }
}

#[test]
fn a_hook_that_panics_refuses_and_the_server_goes_on() {
    let _alone = alone();
    let (server, _dir) = serve(Server::builder().accept(from_the(1, || panic!("out of cheese"))));
    refusal(come(Some(Way::Ring), server.path()));
    for way in WAYS {
        watch::clear_log();
        let text = refusal(come(way, server.path()));
        assert!(text.contains("the hook of ServerBuilder::accept panicked"), "{way:?}: {text}");
        assert!(!text.contains("cheese"), "what the hook said is for the log: {text}");
        logged(&["an accept hook panicked", "out of cheese"]);
    }
}

#[test]
fn a_text_of_any_length_is_cut_to_what_a_frame_holds() {
    let long = "ä".repeat(100_000);
    let (server, _dir) = serve(Server::builder().accept(move |_| Err(Status::aborted(long.clone()))));
    for way in WAYS {
        let text = refusal(come(way, server.path()));
        assert!(text.contains("ABORTED: äää") && text.len() < 5000, "{way:?}: {} bytes", text.len());
    }
}

#[test]
fn the_refused_take_no_seats_of_others() {
    let crowd = 200;
    let hook = from_the(crowd, || Ok(()));
    let server = LocalServer::start(Server::builder().max_handshakes(2).accept(hook));
    let mut silent = Vec::new();
    for _ in 0..crowd {
        silent.push(UnixStream::connect(server.path()).unwrap());
    }
    assert_served(Channel::connect(server.path()).wait().unwrap());
    // Those who are more than a few are told at once, in our own protocol; the others when they speak.
    let mut told = Vec::new();
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    last.read_to_end(&mut told).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("come again"));
    let (first, mut told) = (&mut silent[0], [0; 2]);
    first.set_nonblocking(true).unwrap();
    assert!(first.read(&mut told).is_err(), "which protocol it speaks is not known yet");
    first.set_nonblocking(false).unwrap();
    first.write_all(b"0:,").unwrap();
    let mut told = Vec::new();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    first.read_to_end(&mut told).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("come again"));
}
