//! What the program says of running servers: names, methods, comments; and of those that say nothing.

use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use mmap_rpc::Server;
use mmap_rpc::internals::peer::Host;
use serde_json::{Value, json};
use testkit::child::{dir_of, may_start_as_others};
use testkit::{Parent, ServerProcess, Setup};

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[("plain", plain), ("server of root", server_of_root)]);
}

/// A server of plain bytes, which has nothing to describe.
fn plain(parent: &Parent) {
    let server = Server::builder().raw("/a.B/C", |_, _| Ok((&b""[..]).into()));
    let server = server.bind(parent.argument("socket")).expect("a free path");
    parent.say("listening");
    server.run().expect("the server runs until it is killed");
}

/// A server for root, as another user.
fn server_of_root(parent: &Parent) {
    let server = testkit::echo::serve(Server::builder().allow_uid(0), Default::default());
    let server = server.bind(parent.argument("socket")).expect("a free path");
    parent.say("listening");
    server.run().expect("the server runs until it is killed");
}

fn run(command: &str, socket: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mmap-rpc"));
    program.arg(command).arg(socket).args(arguments).output().unwrap()
}

#[track_caller]
fn said(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(output: Output, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    parts.iter().for_each(|part| assert!(stderr.contains(part), "{part:?} in\n{stderr}"));
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const LIST: &str = "\
testkit.Echo
  Echo(testkit.Blob) returns (testkit.Blob)
  Checksum(testkit.Blob) returns (testkit.Sum)
  Make(testkit.MakeRequest) returns (testkit.Blob)
  Sleep(testkit.SleepRequest) returns (testkit.Empty)
  Fail(testkit.FailRequest) returns (testkit.Empty)
  Panic(testkit.PanicRequest) returns (testkit.Empty)
  Count(testkit.Empty) returns (testkit.Counts)
testkit.Raw
  Echo (not described)
  Half (not described)
  Garbage (not described)
mmap_rpc.descriptors.v1.Descriptors
  Get(mmap_rpc.descriptors.v1.GetRequest) returns (mmap_rpc.descriptors.v1.GetResponse)
";

#[test]
fn services_are_listed_with_all_their_methods() {
    let server = ServerProcess::start(Setup::default());
    assert_eq!(said(run("list", server.path(), &[])), LIST);

    let services = json_lines(&said(run("list", server.path(), &["--json"])));
    let names: Vec<_> = services.iter().map(|service| service["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["testkit.Echo", "testkit.Raw", "mmap_rpc.descriptors.v1.Descriptors"]);
    let echo = json!({
        "name": "Echo",
        "comment": "Returns what it got.",
        "deprecated": false,
        "signature": {
            "request": "testkit.Blob",
            "client_streaming": false,
            "response": "testkit.Blob",
            "server_streaming": false,
        },
    });
    assert_eq!(services[0]["methods"][0], echo);
    assert_eq!(services[0]["methods"].as_array().unwrap().len(), 7);
    assert_eq!(services[1]["methods"][1]["signature"], Value::Null);
}

#[test]
fn services_and_messages_are_described_with_their_comments() {
    let server = ServerProcess::start(Setup::default());
    let all = said(run("describe", server.path(), &[]));
    let begin = "\
// One method for each way a call can go.
service testkit.Echo {
  // Returns what it got.
  rpc Echo(testkit.Blob) returns (testkit.Blob);
  // Returns the checksum of what it got.
  rpc Checksum(testkit.Blob) returns (testkit.Sum);
";
    assert!(all.starts_with(begin), "{all}");
    assert!(all.contains("\nservice testkit.Raw {\n  // Echo (not described)\n"), "{all}");

    let message = "\
// Asks for noise.
message testkit.MakeRequest {
  // How many bytes.
  uint64 length = 1;
  // Which noise.
  uint64 seed = 2;
}
";
    for name in ["testkit.MakeRequest", ".testkit.MakeRequest", "MakeRequest"] {
        assert_eq!(said(run("describe", server.path(), &[name])), message);
    }
    let method = "\
// One method for each way a call can go.
service testkit.Echo {
  // Panics.
  rpc Panic(testkit.PanicRequest) returns (testkit.Empty);
}
";
    for name in ["testkit.Echo/Panic", "/testkit.Echo/Panic", "Echo/Panic"] {
        assert_eq!(said(run("describe", server.path(), &[name])), method);
    }

    let described = json_lines(&said(run("describe", server.path(), &["testkit.FailRequest", "--json"])));
    let field = |name, number, kind, comment| {
        json!({
            "name": name, "number": number, "type": kind, "oneof": null, "deprecated": false,
            "comment": comment,
        })
    };
    let fields = [
        field("code", 1, "uint32", "gRPC's number of the status code."),
        field("text", 2, "string", "The text of the status."),
    ];
    let expected = json!({
        "kind": "message", "name": "testkit.FailRequest", "comment": "Asks for a failure.", "fields": fields,
        "oneofs": [],
    });
    assert_eq!(described, [expected]);
}

#[test]
fn what_a_server_does_not_have_is_said() {
    let server = ServerProcess::start(Setup::default());
    let describe = |name| run("describe", server.path(), &[name]);
    refused(describe("Nothing"), &["there is no \"Nothing\"; there are ", "testkit.Blob, testkit.Counts"]);
    refused(describe("Echo/Nothing"), &["the service testkit.Echo has no method \"Nothing\""]);
    refused(describe("Blob/Echo"), &["Blob is no service"]);
    refused(describe("testkit.Raw"), &["nothing describes testkit.Raw", "plain bytes"]);
}

#[test]
fn a_server_without_descriptors_is_named_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let server = testkit::Child::start("plain", &[("socket", socket.to_str().unwrap())]);
    server.expect("listening");
    for command in ["list", "describe"] {
        let path = socket.to_str().unwrap();
        refused(
            run(command, &socket, &[]),
            &[path, "tells nothing about its services", "descriptors(false)"],
        );
    }
}

#[test]
fn where_no_server_of_this_protocol_and_version_is_the_reason_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let path = socket.to_str().unwrap();
    refused(run("list", &socket, &[]), &[path, "is the server running"]);

    let host = Host::bind(&socket).unwrap();
    let answering = thread::spawn(move || {
        let visit = host.accept().unwrap();
        let _ = visit.answer(&[]).unwrap().refuse("too old", 7, 8).let_in();
        // Another client waits for an answer in vain.
        host.accept().unwrap()
    });
    refused(run("list", &socket, &[]), &[path, "too old", "versions 7 to 8"]);
    refused(
        run("describe", &socket, &["--timeout", "0.2"]),
        &[path, "no answer to the handshake within 200ms"],
    );
    drop(answering.join().unwrap());
}

#[test]
fn a_server_of_another_user_is_asked_if_it_is_to_be_trusted() {
    const UID: u32 = 54_321;
    if !may_start_as_others() {
        return;
    }
    let (_directory, folder) = dir_of(UID, UID);
    let socket = folder.join("socket");
    let server =
        testkit::Child::start_as(UID, UID, "server of root", &[("socket", socket.to_str().unwrap())]);
    server.expect("listening");
    refused(run("list", &socket, &[]), &["the server runs as user 54321", "allow_uid trusts it"]);
    refused(run("list", &socket, &["--allow-uid", "7"]), &["the server runs as user 54321"]);
    let listed = said(run("list", &socket, &["--allow-uid", "54321"]));
    assert!(listed.contains("testkit.Echo\n  Echo(testkit.Blob) returns (testkit.Blob)\n"), "{listed}");
}
