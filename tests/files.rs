//! Promise: memory in a file is for its user alone, goes with its connection, is swept after a crash; and
//! whatever is done to the file harms the connection that it belongs to, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mmap_rpc::{Backing, Channel, Code, Server};
use testkit::proto::{Blob, EchoClient};
use testkit::{LocalServer, PATIENCE, ServerProcess, Setup, Way, by, connect, eventually, noise};

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[]);
}

fn files(socket: &Path) -> Vec<PathBuf> {
    fs::read_dir(socket.with_extension("files")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn on_file(socket: &Path) -> EchoClient {
    by(Way::File, || EchoClient::new(connect(socket).unwrap()))
}

fn is_served(client: &EchoClient, len: usize) -> bool {
    let data = noise(len, 1);
    let reply = client.echo(Blob { data: data.clone() }).timeout(PATIENCE).wait();
    reply.is_ok_and(|reply| reply.get_ref().data == data)
}

/// A server, a client of its own file, and that file, opened.
fn site() -> (LocalServer, EchoClient, File) {
    let server = LocalServer::default_settings();
    let client = on_file(server.path());
    assert!(is_served(&client, 1000));
    let [path] = &files(server.path())[..] else { panic!("one connection, one file") };
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    (server, client, file)
}

/// The other clients notice nothing, of whatever kind they are.
#[track_caller]
fn assert_well(server: &LocalServer) {
    assert!(is_served(&server.client(), 5000) && is_served(&on_file(server.path()), 5000));
}

fn number(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn a_file_is_its_users_alone_and_goes_with_its_connection() {
    let (server, client, file) = site();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files(server.path())[0]), 0o600);
    assert_eq!(mode(&server.path().with_extension("files")), 0o700);
    let mut head = [0; 8];
    file.read_exact_at(&mut head, 0).unwrap();
    assert_eq!(&head, b"mmapfile");
    // Both regions begin as every region does.
    for at in [16, 32] {
        file.read_exact_at(&mut head, number(&file, at)).unwrap();
        assert_eq!(&head, b"mmaprpc\0");
    }
    drop(client);
    eventually("the file goes with its client", || files(server.path()).is_empty());
    let _client = on_file(server.path());
    let path = server.path().to_owned();
    assert_eq!(files(&path).len(), 1);
    server.shutdown.shutdown();
    eventually("the file goes with its server", || files(&path).is_empty());
}

#[test]
fn what_a_killed_server_left_is_swept_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let mut server = ServerProcess::start_at(&socket, Setup::default());
    let client = on_file(&socket);
    assert!(is_served(&client, 100));
    server.kill();
    drop(server);
    assert_eq!(files(&socket).len(), 1, "nobody was left to remove it");
    let _server = ServerProcess::start_at(&socket, Setup::default());
    assert!(files(&socket).is_empty());
    assert!(is_served(&on_file(&socket), 100));
}

#[test]
fn a_server_that_makes_no_files_says_which_option_would() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let server = testkit::echo::serve(Server::builder(), <_>::default()).bind(&path).unwrap();
    let (stop, thread) = (server.shutdown_handle(), std::thread::spawn(move || server.run()));
    let refused = Channel::builder().backing(Backing::File).connect(&path).wait().unwrap_err().to_string();
    assert!(refused.contains("ServerBuilder::file_backing allows it"), "{refused}");
    stop.shutdown();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_truncated_file_fails_its_own_connection() {
    for left in [0, 4096, 100_000] {
        let (server, client, file) = site();
        file.set_len(left).unwrap();
        let failed = client.echo(Blob { data: noise(1000, 1) }).timeout(PATIENCE).wait();
        // A write makes the file longer again, and what was never written then reads as zeros.
        if let Err(status) = &failed {
            assert!(matches!(status.code(), Code::Unavailable | Code::Internal), "{status}");
        }
        assert_well(&server);
    }
}

#[test]
fn returns_of_slots_that_nobody_holds_close_the_connection() {
    let (server, client, file) = site();
    // The client's own return words, as a region's header says where they are: it returns what it never had.
    let region = number(&file, 16);
    let ret = region + number(&file, region + 48);
    // The server looks at them once it runs out of slots; meanwhile the client writes over some of them.
    let failed = (0..500).find_map(|_| {
        file.write_all_at(&[0xff; 1024], ret).unwrap();
        client.echo(Blob { data: noise(1000, 1) }).timeout(PATIENCE).wait().err()
    });
    let status = failed.expect("the connection ends");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_well(&server);
}

#[test]
fn noise_all_over_a_file_harms_nobody_else() {
    for seed in 0..4 {
        let (server, client, file) = site();
        let noise = noise(1 << 20, seed);
        let length = file.metadata().unwrap().len().min(16 << 20);
        for _ in 0..3 {
            for at in (0..length).step_by(noise.len()) {
                file.write_all_at(&noise, at).unwrap();
            }
            // Any end will do, so that it comes.
            let _ = client.echo(Blob { data: noise.slice(..2000) }).timeout(PATIENCE).wait();
        }
        assert_well(&server);
    }
}
