//! The program as its users run it: what it prints, and that it leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::{Backing, Channel, Code};
use serde_json::Value;

/// The program, with its temporary files in `directory`.
fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache"));
    command.env("TMPDIR", directory);
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let output = program(directory).args(arguments).output().unwrap();
    assert!(is_empty(directory), "nothing stays in the temporary directory");
    output
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// Processes of this machine that have `text` among their arguments.
fn processes_with(text: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|arguments| String::from_utf8_lossy(arguments).contains(text))
        .count()
}

#[test]
fn json_has_every_row() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["--seconds", "0.02", "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "no progress where nobody watches");

    let mut rows = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        let number = |field: &str| row[field].as_f64().unwrap();
        let (p50, p99, calls) = (number("p50_ns"), number("p99_ns"), number("calls"));
        assert!(0.0 < p50 && p50 <= p99, "{line}");
        assert!(calls >= 1.0, "{line}");
        // Half of the calls take p50 or longer, so a rate in the right unit is at most twice its inverse.
        let busy = number("rate") * p50 / 1e9;
        assert!(0.0 < busy && busy <= 2.1, "{line}");
        assert!(rows.insert((text("transport"), text("op"), number("size") as u64)), "twice: {line}");
    }
    let mut expected = BTreeSet::from([("floor".to_owned(), "ping-pong".to_owned(), 0)]);
    for transport in ["mmap-rpc", "unix-socket"] {
        for op in ["set", "get", "set+get"] {
            expected.extend([64, 4096, 1 << 20, 4 << 20].map(|size| (transport.into(), op.into(), size)));
        }
    }
    assert_eq!(rows, expected);
}

#[test]
fn the_table_is_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["--seconds", "0.01"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    for part in ["mmap-rpc", "unix socket", "p99", "ratio", "64 B  set ", "4 MiB  set+get", "floor:"] {
        assert!(table.contains(part), "{part:?} in\n{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn a_failure_names_the_step_and_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let output = program(&directory.path().join("missing")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot create a directory for the sockets; set TMPDIR"), "{stderr}");
}

#[test]
fn a_server_that_cannot_listen_says_so_and_nothing_stays() {
    let directory = tempfile::tempdir().unwrap();
    // Longer than the path of a socket may be.
    let deep = directory.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let output = run(&deep, &["--seconds", "0.01"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the server cannot listen"), "{stderr}");
    assert!(stderr.contains("the server process did not get ready"), "{stderr}");
}

#[test]
fn a_killed_server_ends_the_run_with_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = program(directory.path());
    let mut parent = program.args(["--seconds", "4", "--json"]).stderr(Stdio::piped()).spawn().unwrap();
    let server = wait_for_child(&parent, "serve");
    wait_for_child(&parent, "measure");
    kill(server);
    let status = wait(&mut parent);
    assert_eq!(status, Some(1));
    let lines = BufReader::new(parent.stderr.take().unwrap()).lines().map(Result::unwrap);
    let stderr: String = lines.collect::<Vec<_>>().join("\n");
    assert!(stderr.contains("the client process failed"), "{stderr}");
    assert!(is_empty(directory.path()));
}

#[test]
fn a_killed_parent_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut parent = program(directory.path()).args(["--seconds", "4", "--json"]).spawn().unwrap();
    wait_for_child(&parent, "serve");
    wait_for_child(&parent, "measure");
    let name = directory.path().to_str().unwrap();
    assert_eq!(processes_with(name), 2);
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the children end", || processes_with(name) == 0);
    eventually("their directory goes", || is_empty(directory.path()));
}

#[test]
fn a_server_with_a_directory_of_files_serves_clients_that_need_them() {
    let directory = tempfile::tempdir().unwrap();
    let (sockets, files) = (directory.path().join("sockets"), directory.path().join("files"));
    fs::create_dir(&sockets).unwrap();
    let mut server = program(directory.path());
    server.arg("serve").arg(&sockets).arg("--files").arg(&files).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");

    let socket = sockets.join("mmap-rpc.sock");
    let in_a_file = Channel::builder().backing(Backing::File).connect(&socket).wait().unwrap();
    for channel in [in_a_file, Channel::connect_classic(&socket).wait().unwrap()] {
        let checksum = channel.method("/cache.Cache/Checksum");
        let status = channel.raw(&checksum, b"nobody").wait().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no value under \"nobody\""));
        assert!(!is_empty(&files));
    }
    drop(server.stdin.take());
    assert_eq!(wait(&mut server), Some(0));
    assert!(is_empty(&files) && !sockets.exists());
}

/// The process id of the child that has this role, once it is there.
fn wait_for_child(parent: &Child, role: &str) -> u32 {
    let mut found = None;
    eventually("a child starts", || {
        let children = format!("/proc/{0}/task/{0}/children", parent.id());
        let children = fs::read_to_string(children).unwrap();
        found = children.split_whitespace().map(|id| id.parse().unwrap()).find(|id: &u32| {
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            arguments.split(|&byte| byte == 0).nth(1) == Some(role.as_bytes())
        });
        found.is_some()
    });
    found.unwrap()
}

fn kill(process: u32) {
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
    assert!(status.success());
}

fn wait(child: &mut Child) -> Option<i32> {
    let mut status = None;
    eventually("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what} within 20 seconds");
        thread::sleep(Duration::from_millis(10));
    }
}
