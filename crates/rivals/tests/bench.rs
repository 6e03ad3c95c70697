//! The program as its users run it: every rival has its rows, beside those of mmap-rpc.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rivals")).arg("bench").args(arguments).output().unwrap()
}

#[test]
fn every_rival_has_its_rows() {
    let rows = "typed,borrowed,headline,tonic,tonic-headline,iceoryx2,iceoryx2-events,shmipc";
    let modes = "latency,flood,wake,one-core";
    let output =
        bench(&["--duration", "0.01", "--sizes", "64,4M", "--rows", rows, "--modes", modes, "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let mut found = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(row["calls"].as_u64().unwrap() > 0, "{line}");
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        found.insert((text("row"), text("mode"), row["size"].as_u64().unwrap()));
    }

    let mut expected = BTreeSet::new();
    let mut expect = |mode: &str, names: &[&str], sizes: &[u64]| {
        for name in names {
            expected.extend(sizes.iter().map(|&size| (name.to_string(), mode.to_owned(), size)));
        }
    };
    expect("latency", &["typed", "borrowed", "tonic", "iceoryx2-events", "shmipc"], &[64, 4 << 20]);
    expect("latency", &["headline", "tonic-headline"], &[5_592_408]);
    expect("flood", &["typed", "tonic", "iceoryx2-events", "shmipc"], &[64]);
    for mode in ["wake", "one-core"] {
        expect(mode, &["typed", "tonic", "iceoryx2-events", "shmipc"], &[64]);
    }
    if thread::available_parallelism().unwrap().get() > 1 {
        expect("latency", &["iceoryx2"], &[64, 4 << 20]);
        expect("flood", &["iceoryx2"], &[64]);
    }
    assert_eq!(found, expected);
    for part in ["wake: without iceoryx2, which", "one-core: without iceoryx2, which"] {
        assert!(stderr.contains(part), "{part:?} in\n{stderr}");
    }
}
