//! `docs/coming-from-tonic.md` shows this project's files, and they do what it says.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};

/// The differences that the guide shows: of which file, and their lines.
fn diffs(guide: &str) -> Vec<(&str, Vec<&str>)> {
    let blocks = guide.split("\n```diff\n").skip(1).map(|rest| {
        let block = rest.split("\n```").next().expect("there is always one part");
        let mut lines = block.lines();
        let before = lines.next().expect("a line that says what it was");
        assert!(before.starts_with("--- "), "{before:?}");
        let after = lines.next().expect("a line that names the file");
        (after.strip_prefix("+++ ").expect("a line that names the file"), lines.collect())
    });
    blocks.collect()
}

/// The text that a difference leads to.
fn after(lines: &[&str]) -> String {
    let kept = lines.iter().filter_map(|line| match line.split_at_checked(1) {
        Some((" " | "+", rest)) => Some(rest),
        Some(("-", _)) => None,
        // An empty line of both sides.
        None => Some(""),
        Some(_) => panic!("not a line of a difference: {line:?}"),
    });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_differences_of_the_guide_lead_to_these_files() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(project.join("../../docs/coming-from-tonic.md")).unwrap();
    let shown = diffs(&guide);
    let names: Vec<_> = shown.iter().map(|(name, _)| *name).collect();
    let expected = ["build.rs", "src/bin/route_guide_server.rs", "src/bin/route_guide_client.rs"];
    assert_eq!(names, expected.map(|name| format!("examples/route_guide/{name}")));
    for (name, lines) in &shown {
        let removed = lines.iter().filter(|line| line.starts_with('-')).count();
        assert!(removed > 0, "{name}: a difference has two sides");
        let file = fs::read_to_string(project.join("../..").join(name)).unwrap();
        assert_eq!(after(lines), file, "the + side of {name} in the guide is the file");
    }
}

#[test]
fn a_difference_has_two_sides() {
    let shown = diffs("# A\n\n```diff\n--- b\n+++ c.rs\n a\n\n-b\n+ c\n```\n\n```rust\nd\n```\n");
    assert_eq!(shown, [("c.rs", vec![" a", "", "-b", "+ c"])]);
    assert_eq!(after(&shown[0].1), "a\n\n c\n");
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
fn the_client_is_told_what_tonics_would_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Command::new(env!("CARGO_BIN_EXE_route_guide_server")).arg(&path).spawn().unwrap();
    let _server = Running(server);
    testkit::eventually("the server listens", || UnixStream::connect(&path).is_ok());
    let client = Command::new(env!("CARGO_BIN_EXE_route_guide_client")).arg(&path).output().unwrap();
    assert!(client.status.success(), "{client:?}");
    let told = [
        "here is an inn",
        "NotFound: nothing is there",
        "there is an inn",
        "there is a mill",
        "passed 3 points, 2 known",
        "found note a",
        "found note a",
        "found note b",
    ];
    assert_eq!(String::from_utf8(client.stdout).unwrap().lines().collect::<Vec<_>>(), told);
}
