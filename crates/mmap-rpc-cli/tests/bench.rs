//! The program as its users run it: what it prints, and what it refuses.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mmap-rpc")).arg("bench").args(arguments).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Row, mode, and what tells cells of a mode apart.
type Cell = (String, String, u64);

fn cells(names: &[&str], mode: &str, keys: &[u64]) -> impl Iterator<Item = Cell> {
    let (names, mode) = (names.iter().map(|name| name.to_string()).collect::<Vec<_>>(), mode.to_owned());
    let keys = keys.to_vec();
    names
        .into_iter()
        .flat_map(move |name| keys.clone().into_iter().map(move |key| (name.clone(), key)))
        .map(move |(name, key)| (name, mode.clone(), key))
}

#[test]
fn json_has_every_row() {
    let output = bench(&["--duration", "0.02", "--connections", "20", "--json"]);
    let mut rows = BTreeSet::new();
    for line in succeeded(&output).lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let number = |field: &str| row[field].as_f64();
        let mode = row["mode"].as_str().unwrap();
        if mode != "idle" {
            assert!(number("calls").unwrap() >= 1.0 && number("rate").unwrap() > 0.0, "{line}");
            assert!(row["allocs_per_call"]["client"].is_number(), "{line}");
        }
        if !["idle", "flood", "stream"].contains(&mode) {
            let quantiles = ["p50_ns", "p90_ns", "p99_ns", "p999_ns"].map(|name| number(name).unwrap());
            assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{line}");
        }
        assert!(number("cpu_client_s").is_some(), "{line}");
        let key = match mode {
            "connections" => "connections",
            "threads" => "threads",
            _ => "size",
        };
        let key = row[key].as_u64().unwrap_or(0);
        assert!(rows.insert((row["row"].as_str().unwrap().into(), mode.into(), key)), "twice: {line}");
    }

    let two = thread::available_parallelism().unwrap().get() > 1;
    let sizes = [64, 4096, 65_536, 1 << 20, 4 << 20];
    let mut expected = BTreeSet::new();
    expected.extend(cells(
        &[
            "work",
            "memcpy",
            "typed",
            "awaited",
            "raw",
            "borrowed",
            "socket-lane",
            "socket-lane-loans",
            "classic",
            "unix-socket",
        ],
        "latency",
        &sizes,
    ));
    expected.extend(cells(&["headline", "copies"], "latency", &[5_592_408]));
    expected.extend(cells(&["typed-fixed", "awaited-beside", "async-handler"], "latency", &[64]));
    expected.extend(cells(&["bidi", "bidi-tasks"], "latency", &[64, 4096]));
    let streams = ["server-stream", "server-stream-tasks", "client-stream", "client-stream-tasks"];
    expected.extend(cells(&streams, "stream", &[64, 4096]));
    expected.extend(cells(
        &[
            "typed",
            "typed-fixed",
            "awaited",
            "awaited-threads",
            "async-handler",
            "socket-lane",
            "classic",
            "unix-socket",
        ],
        "flood",
        &[64],
    ));
    expected.extend(cells(&["bare-futex", "typed", "awaited", "unix-socket"], "wake", &[64]));
    expected.extend(cells(&["bare-futex", "typed", "unix-socket"], "one-core", &[64]));
    expected.extend(cells(&["typed"], "idle", &[0]));
    expected.extend(cells(&["typed"], "connections", &[1, 20]));
    expected.extend(cells(&["typed"], "threads", &[1, 2, 4, 8]));
    if two {
        expected.extend(cells(&["ping-pong"], "latency", &[0]));
        expected.extend(cells(&["bare-ring"], "latency", &sizes));
        expected.extend(cells(&["bare-ring"], "flood", &[64]));
    }
    // The largest are left out where memory is short.
    rows.retain(|(name, _, size)| name != "untouched" || *size <= 1 << 20);
    expected.extend(cells(&["untouched"], "latency", &[4096, 65_536, 1 << 20]));
    assert_eq!(rows, expected);
}

#[test]
fn the_table_is_for_people_and_the_plot_is_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("plot.svg");
    let options = ["--duration", "0.01", "--sizes", "64,1K", "--rows", "typed,work", "--plot"];
    let modes = ["--modes", "latency,threads"];
    let output = bench(&[&options[..], &[plot.to_str().unwrap()], &modes].concat());
    let text = succeeded(&output);
    for part in ["Linux", "latency: ", "   64 B  work", "1 KiB  typed", "threads: ", "never falls"] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    assert!(!text.contains("ping-pong") && !text.contains("flood: "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    assert!(output.stderr.is_empty(), "no progress where nobody watches");
    assert!(std::fs::read_to_string(plot).unwrap().contains(">typed<"));
}

#[test]
fn what_there_is_not_is_refused() {
    for (arguments, part) in [
        (["--rows", "typed,fast"], "there is no row \"fast\"; there are ping-pong, bare-ring"),
        (["--modes", "fast"], "possible values: latency, flood"),
        (["--duration", "0"], "give a number of seconds above 0"),
        (["--sizes", "1X"], "such as 64, 4K or 1M"),
        (["--pin", "0,4000"], "no processor 4000"),
    ] {
        let output = bench(&arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(part), "{part:?} in\n{stderr}");
    }
    let output = bench(&["--rows", "memcpy", "--modes", "wake"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("none of these rows takes part"));
}
