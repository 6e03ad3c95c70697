//! What no other process can bring about at the right moment: a server that goes between two steps, callers
//! that run out of patience, a fork.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::client::classic::connection::CallError;
use crate::client::classic::open::open;
use crate::client::classic::{Lease, Pool};
use crate::connection::Config;
use crate::os::ForkMark;
use crate::rpc::{Code, Status};
use crate::wire::{ClassicConnected, ClassicReply, ClassicRequest};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that grants every connection and leaves the rest to the test.
struct Site {
    dir: tempfile::TempDir,
    sockets: Receiver<UnixStream>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let (sender, sockets) = mpsc::channel();
        let path = dir.path().join("file");
        std::fs::write(&path, [0; 4096]).unwrap();
        // Ends with the test program: nobody but the test has the socket's path.
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let mut socket = socket;
                let mut frame = Vec::new();
                ClassicRequest::Connect.encode_frame(&mut frame).unwrap();
                socket.read_exact(&mut frame).unwrap();
                let granted = ClassicConnected(Ok(("id".into(), path.to_str().unwrap().into())));
                let mut answer = Vec::new();
                granted.encode_frame(&mut answer).unwrap();
                socket.write_all(&answer).unwrap();
                if sender.send(socket).is_err() {
                    break;
                }
            }
        });
        Self { dir, sockets }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn pool(&self, capacity: usize) -> Pool {
        Pool::connect(&self.path(), &Config::default(), capacity).unwrap()
    }
}

fn start(pool: &Pool) -> Result<Lease<'_>, Status> {
    pool.start(pool.method("/a.B/C"), None, 0, &|_| Ok(()))
}

#[test]
fn calls_that_nobody_waits_for_are_not_waited_for_in_vain() {
    let site = Site::new();
    let mut pool = site.pool(2);
    pool.patience = Duration::from_millis(50);
    let (first, second) = (start(&pool).unwrap(), start(&pool).unwrap());
    let status = start(&pool).err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().contains("nobody waits for") && status.message().contains("classic_connections")
    );
    // As long as somebody waits for one of them, there is hope.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| first.reply());
        let third = scope.spawn(|| start(&pool).map(drop));
        thread::sleep(pool.patience * 4);
        assert!(!third.is_finished());
        let mut answer = Vec::new();
        let (connection_id, method) = ("id".into(), "/a.B/C".into());
        ClassicReply { connection_id, method, outcome: Ok(0) }.encode_frame(&mut answer).unwrap();
        let mut socket = site.sockets.recv_timeout(PATIENCE).unwrap();
        socket.write_all(&answer).unwrap();
        assert!(waiting.join().unwrap().unwrap().is_none());
        third.join().unwrap().unwrap();
    });
    drop(second);
}

#[test]
fn a_server_that_has_gone_before_a_call_was_sent_is_told_from_one_that_goes_later() {
    let _no_forks = crate::os::forks::forbidden();
    let site = Site::new();
    let mut connection = open(&site.path(), PATIENCE).unwrap();
    assert!(connection.is_alive());
    drop(site.sockets.recv_timeout(PATIENCE).unwrap());
    assert!(matches!(connection.call("/a.B/C", 0, None), Err(CallError::Stale)));
    assert!(!connection.is_idle());
    let mut connection = open(&site.path(), PATIENCE).unwrap();
    assert!(connection.call("/a.B/C", 0, None).is_ok());
    drop(site.sockets.recv_timeout(PATIENCE).unwrap());
    assert_eq!(connection.reply(100).err().unwrap().code(), Code::Unavailable);
}

#[test]
fn a_forked_child_leaves_its_parents_connections_alone() {
    let _no_forks = crate::os::forks::forbidden();
    let site = Site::new();
    let mut pool = site.pool(1);
    let _parents = site.sockets.recv_timeout(PATIENCE).unwrap();
    pool.process = ForkMark::of_another_process();
    let status = start(&pool).err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("connect again after fork"), "{status}");
    assert!(pool.loan(1).is_err() && pool.is_closed());
    for of_the_child in [false, true] {
        let mut connection = open(&site.path(), PATIENCE).unwrap();
        if of_the_child {
            connection.process = ForkMark::of_another_process();
        }
        drop(connection);
        let mut said = Vec::new();
        site.sockets.recv_timeout(PATIENCE).unwrap().read_to_end(&mut said).unwrap();
        assert_eq!(said.is_empty(), of_the_child, "only who opened it says farewell");
    }
}
