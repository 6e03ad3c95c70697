//! The settings, the side effects that cargo and users see, and the errors.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use mmap_rpc_build::{Builder, Error, configure};
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types::FileDescriptorSet;
use tempfile::TempDir;

const PLAIN: &str = r#"syntax = "proto3";
package plain;
service Plain { rpc Get(Key) returns (Key); }
message Key { bytes key = 1; }
"#;

/// A folder with these files, for sources and output both.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a writable folder");
    }
    folder
}

fn compile(folder: &TempDir, builder: Builder, name: &str) -> Result<(), Error> {
    builder.out_dir(folder.path()).compile(&[folder.path().join(name)], &[folder.path()])
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("a generated file")
}

/// The descriptors that the servers of a package carry.
fn embedded(folder: &TempDir, name: &str) -> FileDescriptorSet {
    let bytes = fs::read(folder.path().join(name)).expect("a set");
    FileDescriptorSet::decode(&bytes[..]).expect("an encoded set")
}

/// Compiles one file that must be refused, and returns the message without the folder's name.
fn refusal(name: &str, text: &str) -> String {
    let folder = folder(&[(name, text)]);
    let error = compile(&folder, configure(), name).expect_err("a refusal");
    assert_eq!(format!("{error}"), format!("{error:?}"), "a build script's main prints the debug form");
    assert!(!folder.path().join("file_descriptor_set.bin").exists(), "nothing is written after an error");
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn each_half_can_be_left_out() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    compile(&folder, configure().build_server(false), "plain.proto").expect("a client");
    let client = read(&folder, "plain.rs");
    assert!(client.contains("PlainClient") && !client.contains("PlainServer"));
    assert!(!client.contains("BlockingPlain"));

    compile(&folder, configure().build_client(false), "plain.proto").expect("a server");
    let server = read(&folder, "plain.rs");
    assert!(!server.contains("PlainClient") && server.contains("PlainServer"));
    assert!(server.contains("BlockingPlain"));

    compile(&folder, configure().build_client(false).build_server(false), "plain.proto").expect("messages");
    let messages = read(&folder, "plain.rs");
    assert!(messages.contains("pub struct Key") && !messages.contains("Plain"));
}

#[test]
fn bytes_are_shared_or_copied() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    compile(&folder, configure(), "plain.proto").expect("shared");
    assert!(read(&folder, "plain.rs").contains("pub key: ::mmap_rpc::__private::prost::bytes::Bytes,"));
    compile(&folder, configure().bytes(false), "plain.proto").expect("copied");
    assert!(
        read(&folder, "plain.rs").contains("pub key: ::mmap_rpc::__private::prost::alloc::vec::Vec<u8>,")
    );
}

#[test]
fn attributes_and_settings_of_prost_pass_through() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    let builder = configure()
        .type_attribute("plain.Key", "#[derive(MyType)]")
        .field_attribute("plain.Key.key", "#[my_field]")
        .prost_config(|config| {
            config.enable_type_names();
        });
    compile(&folder, builder, "plain.proto").expect("settings");
    let code = read(&folder, "plain.rs");
    assert!(code.contains("#[derive(MyType)]"));
    assert!(code.contains("#[my_field]"));
    assert!(code.contains("fn full_name()"));
}

#[test]
fn files_bear_the_names_asked_for() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    let builder = configure().include_file("tree.rs").descriptor_set("plain.bin");
    compile(&folder, builder, "plain.proto").expect("names");
    assert!(read(&folder, "tree.rs").contains("pub mod plain {"));
    let descriptors = fs::read(folder.path().join("plain.bin")).expect("descriptors");
    assert!(descriptors.windows(11).any(|bytes| bytes == b"plain.proto"));
    assert!(!folder.path().join("mmap_rpc_includes.rs").exists());
}

#[test]
fn each_package_with_a_service_embeds_its_own_files_and_what_they_import() {
    let folder = folder(&[
        (
            "a.proto",
            "syntax = \"proto3\"; package a; import \"part.proto\"; import \"q.proto\";\
             service A { rpc Get(p.P) returns (Q); }",
        ),
        ("q.proto", "syntax = \"proto3\"; package a; message Q {}"),
        ("b.proto", "syntax = \"proto3\"; package b; service B {}"),
        ("part.proto", "syntax = \"proto3\"; package p; message P {}"),
    ]);
    let all = ["a.proto", "q.proto", "b.proto", "part.proto"].map(|name| folder.path().join(name));
    configure().out_dir(folder.path()).compile(&all, &[folder.path()]).expect("four files");
    let files = |name: &str| {
        let mut names: Vec<String> =
            embedded(&folder, name).file.into_iter().map(|file| file.name().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(files("a.descriptors.bin"), ["a.proto", "part.proto", "q.proto"]);
    assert_eq!(files("b.descriptors.bin"), ["b.proto"]);
    assert!(!folder.path().join("p.descriptors.bin").exists(), "a package without services");
}

#[test]
fn comments_and_options_of_others_are_embedded_and_nothing_else_of_the_source() {
    let text = r#"syntax = "proto2";
package plain;
import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { optional uint32 cost = 50000; }

// Detached.

// Keeps.
service Plain {
  rpc Get(Key) returns (Key) { option (cost) = 77; } // Gets.
}
message Key { optional bytes key = 1; }
"#;
    let folder = folder(&[("plain.proto", text)]);
    compile(&folder, configure(), "plain.proto").expect("a package");
    let set = embedded(&folder, "plain.descriptors.bin");
    let file = set.file.iter().find(|file| file.name() == "plain.proto").expect("the file");
    let info = file.source_code_info.clone().expect("comments");
    let comments = info.location.iter().map(|at| {
        assert!(at.leading_detached_comments.is_empty());
        (&at.path[..], at.leading_comments(), at.trailing_comments())
    });
    let expected = [(&[6, 0][..], " Keeps.\n", ""), (&[6, 0, 2, 0][..], "", " Gets.\n")];
    assert!(comments.eq(expected), "{info:#?}");
    // 50000 << 3 as a varint, then 77: what `FileDescriptorSet` itself would have dropped.
    let bytes = fs::read(folder.path().join("plain.descriptors.bin")).expect("a set");
    assert!(bytes.windows(4).any(|bytes| bytes == [0x80, 0xb5, 0x18, 77]));
}

#[test]
fn descriptors_can_be_left_out() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    for builder in [configure().embed_descriptors(false), configure().build_server(false)] {
        compile(&folder, builder, "plain.proto").expect("code without descriptors");
        assert!(!read(&folder, "plain.rs").contains("descriptors"));
        assert!(!folder.path().join("plain.descriptors.bin").exists());
        assert!(folder.path().join("file_descriptor_set.bin").exists());
    }
}

#[test]
fn what_does_not_change_is_not_written_again() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    compile(&folder, configure(), "plain.proto").expect("a first build");
    let written =
        |name: &str| fs::metadata(folder.path().join(name)).and_then(|data| data.modified()).expect("a time");
    let names = ["plain.rs", "mmap_rpc_includes.rs", "file_descriptor_set.bin"];
    let before = names.map(written);
    std::thread::sleep(std::time::Duration::from_millis(20));
    compile(&folder, configure(), "plain.proto").expect("a second build");
    assert_eq!(before, names.map(written));
}

/// Cargo reads standard output, which the test harness keeps to itself: the same test runs again as a process
/// of its own, told by a variable to do what a build script does.
#[test]
fn every_file_that_was_read_is_watched() {
    const ROLE: &str = "MMAP_RPC_BUILD_TEST_FOLDER";
    if let Some(folder) = env::var_os(ROLE) {
        let folder = Path::new(&folder);
        let protos = [folder.join("root.proto")];
        configure().out_dir(folder).compile(&protos, &[folder]).expect("a build");
        return;
    }
    let folder = folder(&[
        (
            "root.proto",
            "syntax = \"proto3\";\npackage root;\nimport \"part.proto\";\nmessage Root { Part part = 1; }",
        ),
        (
            "part.proto",
            "syntax = \"proto3\";\npackage root;\nimport \"google/protobuf/any.proto\";\nmessage Part {}",
        ),
    ]);
    let output = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "every_file_that_was_read_is_watched", "--nocapture"])
        .env(ROLE, folder.path())
        .output()
        .expect("a second process");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let mut watched: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=")).collect();
    watched.sort();
    let expected = ["part.proto", "root.proto"].map(|name| folder.path().join(name).display().to_string());
    assert_eq!(watched, expected, "the imported file as well, and no file that lies on no disk");
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let message = refusal("bad.proto", "syntax = \"proto3\";\nmessage M {\n  string key = 1\n}\n");
    assert!(message.starts_with("bad.proto:4:1: expected "), "{message}");
    assert!(message.contains("\n  help: correct the syntax there; a missing `;`"), "{message}");
}

#[test]
fn an_unknown_type_names_file_and_line() {
    let message = refusal("bad.proto", "syntax = \"proto3\";\nmessage M {\n  Key key = 1;\n}\n");
    assert!(message.starts_with("bad.proto:3:3: name 'Key' is not defined"), "{message}");
    assert!(message.contains("needs an `import`"), "{message}");
}

#[test]
fn a_missing_import_names_file_line_and_remedy() {
    let message = refusal("bad.proto", "syntax = \"proto3\";\nimport \"lost.proto\";\n");
    assert!(message.starts_with("bad.proto:2:1: import 'lost.proto' not found"), "{message}");
    assert!(message.contains("`includes`"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder(&[]);
    let message = compile(&folder, configure(), "lost.proto").expect_err("a refusal").to_string();
    assert!(message.contains("lost.proto") && message.contains("`includes`"), "{message}");
}

#[test]
fn methods_that_become_one_are_refused() {
    let text = "syntax = \"proto3\";\npackage p;\nservice S {\n  rpc GetKey(M) returns (M);\n  \
                rpc get_key(M) returns (M);\n}\nmessage M {}\n";
    let message = refusal("p.proto", text);
    assert!(
        message.starts_with("/p.S/GetKey and /p.S/get_key both become the method `get_key`"),
        "{message}"
    );
}

#[test]
fn types_of_streams_that_become_one_are_refused() {
    let text = "syntax = \"proto3\";\npackage p;\nservice S {\n  rpc List2(M) returns (stream M);\n  \
                rpc list_2(M) returns (stream M);\n}\nmessage M {}\n";
    let message = refusal("p.proto", text);
    assert!(
        message.starts_with("the responses of /p.S/List2 and /p.S/list_2 both become the type `List2Stream`"),
        "{message}"
    );
    // Where one of them is no stream, nothing collides; nor without traits, which alone have such types.
    let folder = folder(&[
        ("one.proto", &text.replace("List2(M) returns (stream M)", "List2(M) returns (M)")),
        ("two.proto", text),
    ]);
    compile(&folder, configure(), "one.proto").expect("one stream");
    compile(&folder, configure().build_server(false), "two.proto").expect("a client");
}

#[test]
fn types_that_become_one_are_refused() {
    let text = "syntax = \"proto3\";\npackage p;\nservice S {}\nmessage SClient {}\n";
    let message = refusal("p.proto", text);
    assert!(
        message.starts_with("two definitions become the Rust type `SClient` in the module `p`"),
        "{message}"
    );
}

#[test]
fn an_output_folder_that_is_missing_is_named() {
    let folder = folder(&[("plain.proto", PLAIN)]);
    let builder = configure().out_dir(folder.path().join("nowhere"));
    let error =
        builder.compile(&[folder.path().join("plain.proto")], &[folder.path()]).expect_err("a refusal");
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(error.to_string().contains("/nowhere/"), "{error}");
}
