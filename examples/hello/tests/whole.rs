//! The project is as small as its reader is told, and does what it says.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that somebody has to write, of all files together.
const MOST: usize = 40;

/// All files of the project but its tests.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("tests") || path.ends_with("target") => {}
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// Lines that are neither empty nor comments.
fn lines(text: &str) -> usize {
    let is_comment = |line: &str| line.starts_with("//") || line.starts_with("# ");
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line)).count()
}

#[test]
fn all_files_together_are_forty_lines_at_most() {
    let mut found = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    let count = |path: &PathBuf| lines(&fs::read_to_string(path).unwrap());
    for expected in ["Cargo.toml", "build.rs", "hello.proto", "hello_server.rs", "hello_client.rs"] {
        let of_name = |path: &&PathBuf| path.file_name().unwrap() == expected;
        assert!(found.iter().find(of_name).map_or(0, count) > 0, "{expected} is among {found:?}");
    }
    let all: usize = found.iter().map(count).sum();
    println!("{all} lines in {} files", found.len());
    assert!(all <= MOST, "{all} lines in {found:#?}");
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_greets_the_client() {
    let path = std::env::temp_dir().join(format!("hello-{}.sock", std::process::id()));
    let server = Command::new(env!("CARGO_BIN_EXE_hello_server")).arg(&path).spawn().unwrap();
    let server = Running(server);
    let begun = Instant::now();
    while UnixStream::connect(&path).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server does not listen");
        thread::sleep(Duration::from_millis(1));
    }
    let client = Command::new(env!("CARGO_BIN_EXE_hello_client")).arg(&path).output().unwrap();
    drop(server);
    let _ = fs::remove_file(&path);
    assert!(client.status.success(), "{client:?}");
    assert_eq!(String::from_utf8(client.stdout).unwrap(), "Hello, Ada!\n");
}
