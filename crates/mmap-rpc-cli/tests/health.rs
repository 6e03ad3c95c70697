//! The probe tells by its exit code how a server in another process is.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mmap_rpc::Server;
use mmap_rpc::health::Health;
use rustix::process::{Pid, Signal, kill_process};
use testkit::{Child, Parent, ServerProcess, Setup};

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[("healthy", healthy)]);
}

/// A server whose health the parent says.
fn healthy(parent: &Parent) {
    let (health, reporter) = Health::new();
    let server = Server::builder().service(health).bind(parent.argument("socket")).expect("a free path");
    std::thread::scope(|scope| {
        scope.spawn(|| server.run().expect("the server runs until it is killed"));
        parent.say("ready");
        loop {
            match parent.hear().split_once(' ') {
                Some(("serving", name)) => reporter.set_serving(name),
                Some(("drain", _)) => reporter.drain(),
                other => panic!("{other:?}"),
            }
            parent.say("ready");
        }
    });
}

fn health(socket: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mmap-rpc"));
    program.arg("health").arg(socket).args(arguments).output().unwrap()
}

/// Its code, and what it says where it says something.
#[track_caller]
fn assert_says(output: Output, code: i32, stdout: &str, stderr: &[&str]) {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout);
    stderr.iter().for_each(|part| assert!(said.contains(part), "{part:?} in\n{said}"));
    assert_eq!(stderr.is_empty(), said.is_empty(), "{said}");
}

#[test]
fn each_state_of_a_server_has_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let path = socket.to_str().unwrap();
    assert_says(health(&socket, &[]), 3, "", &[path, "is the server running"]);

    let mut server = Child::start("healthy", &[("socket", path)]);
    server.expect("ready");
    assert_says(health(&socket, &[]), 0, "SERVING\n", &[]);
    assert_says(health(&socket, &["a.B"]), 4, "", &[path, "NOT_FOUND", "\"a.B\""]);
    server.tell("serving a.B");
    server.expect("ready");
    assert_says(health(&socket, &["a.B"]), 0, "SERVING\n", &[]);
    server.tell("drain everything");
    server.expect("ready");
    assert_says(health(&socket, &["a.B"]), 1, "NOT_SERVING\n", &[]);
    assert_says(health(&socket, &[]), 1, "NOT_SERVING\n", &[]);

    // A process that is there and does nothing.
    let pid = Pid::from_raw(server.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    assert_says(health(&socket, &["--timeout", "0.2"]), 3, "", &[path, "within 200ms"]);
    kill_process(pid, Signal::CONT).unwrap();
    assert_says(health(&socket, &[]), 1, "NOT_SERVING\n", &[]);
    drop(server);
    assert_says(health(&socket, &[]), 3, "", &[path, "is the server running"]);
}

#[test]
fn a_watch_prints_each_change_until_the_server_ends() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let path = socket.to_str().unwrap();
    let mut server = Child::start("healthy", &[("socket", path)]);
    server.expect("ready");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_mmap-rpc"));
    watch.arg("health").arg(&socket).args(["--watch", "a.B"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "SERVICE_UNKNOWN");
    for (told, status) in [("serving a.B", "SERVING"), ("drain everything", "NOT_SERVING")] {
        server.tell(told);
        server.expect("ready");
        assert_eq!(lines.next().unwrap(), status);
    }
    drop(server);
    assert_eq!(lines.next(), None);
    let ended = watch.wait_with_output().unwrap();
    assert_says(ended, 3, "", &[path, "UNAVAILABLE"]);
    assert_says(health(&socket, &["--watch"]), 3, "", &[path, "is the server running"]);
}

#[test]
fn a_server_without_the_service_has_a_code_of_its_own() {
    let server = ServerProcess::start(Setup::default());
    assert_says(health(server.path(), &[]), 4, "", &["this server has no health service"]);
    assert_says(health(server.path(), &["--watch"]), 4, "", &["this server has no health service"]);
    let wrong = Command::new(env!("CARGO_BIN_EXE_mmap-rpc")).arg("health").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
