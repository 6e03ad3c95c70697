//! How many clients there may be: one more is told which option turned it away, the others notice nothing,
//! and whoever leaves or fails makes room.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mmap_rpc::{Channel, ConnectError, Server};
use testkit::proto::EchoClient;
use testkit::{LocalServer, PATIENCE, eventually};

use super::noise_of;

#[track_caller]
fn assert_served(channel: &Channel) {
    EchoClient::new(channel.clone()).echo(noise_of(5000)).timeout(PATIENCE).wait().unwrap();
}

/// One more client is refused, and told by which option.
#[track_caller]
fn assert_refused(path: &Path, option: &str) {
    match Channel::connect(path).wait() {
        Err(ConnectError::Refused { reason, .. }) => assert!(reason.contains(option), "{reason}"),
        other => panic!("one client too many: {other:?}"),
    }
}

/// A client that finds room as soon as the server has seen another one go.
#[track_caller]
fn connect_eventually(path: &Path) -> Channel {
    let mut channel = None;
    eventually("there is room for a client", || {
        channel = Channel::connect(path).wait().ok();
        channel.is_some()
    });
    channel.expect("just connected")
}

/// A client that has not introduced itself.
fn silent(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads until the server hangs up.
fn until_hung_up(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn max_connections_is_that_of_all_reactors_and_clients_that_leave_make_room() {
    let server = LocalServer::start(Server::builder().reactors(2).max_connections(3));
    let mut channels: Vec<_> = (0..3).map(|_| Channel::connect(server.path()).wait().unwrap()).collect();
    for _ in 0..5 {
        assert_refused(server.path(), "max_connections");
        channels.iter().for_each(assert_served);
        drop(channels.pop());
        channels.push(connect_eventually(server.path()));
    }
}

#[test]
fn clients_that_fail_to_introduce_themselves_are_no_connections() {
    let server = LocalServer::start(Server::builder().max_connections(1));
    for _ in 0..5 {
        let mut liar = silent(server.path());
        liar.write_all(b"7:garbage,").unwrap();
        until_hung_up(liar);
    }
    let channel = Channel::connect(server.path()).wait().unwrap();
    assert_refused(server.path(), "max_connections");
    assert_served(&channel);
}

#[test]
fn max_handshakes_leaves_out_those_who_are_connected_or_refused() {
    let builder = Server::builder().reactors(2).max_handshakes(1).max_connections(5);
    let server = LocalServer::start(builder);
    let channels: Vec<_> = (0..5).map(|_| Channel::connect(server.path()).wait().unwrap()).collect();
    (0..5).for_each(|_| assert_refused(server.path(), "max_connections"));
    channels.iter().for_each(assert_served);
}

#[test]
fn silent_clients_that_leave_fail_or_take_too_long_make_room() {
    let builder = Server::builder().reactors(2).max_handshakes(2);
    let server = LocalServer::start(builder.handshake_timeout(Duration::from_secs(2)));
    let connected = Channel::connect(server.path()).wait().unwrap();
    let (leaving, mut failing) = (silent(server.path()), silent(server.path()));
    assert_refused(server.path(), "max_handshakes");
    assert_served(&connected);

    drop(leaving);
    connect_eventually(server.path());
    let staying = silent(server.path());
    assert_refused(server.path(), "max_handshakes");

    failing.write_all(b"7:garbage,").unwrap();
    until_hung_up(failing);
    Channel::connect(server.path()).wait().unwrap();
    let staying = [staying, silent(server.path())];
    assert_refused(server.path(), "max_handshakes");

    staying.into_iter().for_each(until_hung_up);
    Channel::connect(server.path()).wait().unwrap();
    assert_served(&connected);
}
