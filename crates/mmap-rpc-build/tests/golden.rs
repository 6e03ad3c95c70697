//! What is generated, compared with what was generated before.
//!
//! Each folder of `tests/golden` is a case: the `.proto` files in it are compiled, and every file of code or
//! of a package's descriptors that comes out must equal the one of that name in the folder's `expected`.
//! After a wanted change,
//! `BLESS=1 cargo test -p mmap-rpc-build --test golden` rewrites them; read the difference before it is
//! committed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types::FileDescriptorSet;

/// The folders of `tests/golden`, sorted.
const CASES: [&str; 8] =
    ["bare", "cache", "empty", "keywords", "nested", "no_package", "streams", "well_known"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file").to_string_lossy().into_owned()
}

fn contents(folder: &Path) -> BTreeMap<String, String> {
    files(folder, "rs")
        .into_iter()
        .map(|path| (name(&path), fs::read_to_string(&path).expect("a text file")))
        .collect()
}

/// The sets that the code embeds, by the names of their files.
fn descriptors(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let embedded = files(folder, "bin").into_iter().filter(|path| name(path).ends_with(".descriptors.bin"));
    embedded.map(|path| (name(&path), fs::read(&path).expect("a readable file"))).collect()
}

/// Compiles a case into a folder of its own and returns code and descriptors.
fn generate(case: &str) -> (BTreeMap<String, String>, BTreeMap<String, Vec<u8>>) {
    let out = tempfile::tempdir().expect("a folder");
    mmap_rpc_build::configure()
        .out_dir(out.path())
        .compile(&files(&golden().join(case), "proto"), &[golden()])
        .expect("a case that compiles");
    assert!(out.path().join("file_descriptor_set.bin").exists());
    (contents(out.path()), descriptors(out.path()))
}

/// The first place where two texts part, with the lines around it.
fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let same = expected.iter().zip(&actual).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(3);
    let mut text: Vec<String> = expected[from..same].iter().map(|line| format!("  {line}")).collect();
    text.extend(expected.iter().skip(same).take(10).map(|line| format!("- {line}")));
    text.extend(actual.iter().skip(same).take(10).map(|line| format!("+ {line}")));
    format!("line {}:\n{}", same + 1, text.join("\n"))
}

fn check(case: &str) {
    let (actual, embedded) = generate(case);
    let folder = golden().join(case).join("expected");
    if env::var_os("BLESS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a writable folder");
        for (name, text) in &actual {
            fs::write(folder.join(name), text).expect("a writable file");
        }
        for (name, set) in &embedded {
            fs::write(folder.join(name), set).expect("a writable file");
        }
    }
    let expected = contents(&folder);
    let command = "if it is wanted: BLESS=1 cargo test -p mmap-rpc-build --test golden";
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        actual.keys().collect::<Vec<_>>(),
        "{case}: other files than expected; {command}"
    );
    for (name, text) in &actual {
        let wanted = &expected[name];
        assert!(text == wanted, "{case}/{name} differs at {}\n{command}", difference(wanted, text));
    }
    let wanted = descriptors(&folder);
    assert!(wanted.keys().eq(embedded.keys()), "{case}: {:?}; {command}", embedded.keys());
    for (name, set) in &embedded {
        let read = |set: &[u8]| FileDescriptorSet::decode(set).map_err(|error| error.to_string());
        assert!(*set == wanted[name], "{case}/{name}: {:#?}\n{command}", read(set));
    }
}

#[test]
fn comments_bytes_and_deprecation() {
    check("cache");
}

#[test]
fn keywords_and_names_of_the_client() {
    check("keywords");
}

#[test]
fn packages_that_import_each_other() {
    check("nested");
}

#[test]
fn well_known_types_and_services_across_files() {
    check("well_known");
}

#[test]
fn a_service_without_methods() {
    check("empty");
}

#[test]
fn a_service_without_package() {
    check("no_package");
}

#[test]
fn streams_of_every_shape_among_messages_of_their_names() {
    check("streams");
}

#[test]
fn nothing_has_a_comment() {
    check("bare");
}

#[test]
fn every_folder_is_a_case_here_and_in_the_lints_test() {
    let mut cases: Vec<String> = fs::read_dir(golden())
        .expect("the cases")
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .collect();
    cases.sort();
    assert_eq!(cases, CASES);
    let lints = include_str!("lints.rs");
    for case in CASES {
        let include = format!("golden/{case}/expected/mmap_rpc_includes.rs");
        assert!(lints.contains(&include), "tests/lints.rs does not compile {case}");
    }
}

/// Users compile this text in crates of their own, whose features, dependencies and lints are not ours.
#[test]
fn no_conditions_no_unsafe_and_no_crate_but_the_runtime() {
    for case in CASES {
        for (name, text) in generate(case).0 {
            for forbidden in ["cfg", "unsafe", "::prost::Message", "\"::prost", "extern crate"] {
                let found = text.replace("::__private::prost", "").contains(forbidden);
                assert!(!found, "{case}/{name} contains `{forbidden}`");
            }
            for (i, _) in text.match_indices("::") {
                // A path that begins here starts with the name of a crate.
                let begins = text[..i].ends_with([' ', '<', '(', '[', '&', '"', ',']);
                let root: String =
                    text[i + 2..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = ["mmap_rpc", "std", "core"].contains(&root.as_str());
                assert!(!begins || known, "{case}/{name} names the crate `{root}`");
            }
        }
    }
}
