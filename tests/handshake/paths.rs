//! Paths where no server is, and servers that cannot be.

use std::os::unix::net::UnixListener;

use mmap_rpc::server::BindError;
use mmap_rpc::{Channel, ConnectError, Server};

use crate::watch::{Site, alone, eventually, path_in};

#[test]
fn a_path_without_a_server_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (nobody, file, dead) = (path_in(&dir), dir.path().join("file"), dir.path().join("dead"));
    std::fs::write(&file, "precious").unwrap();
    drop(UnixListener::bind(&dead).unwrap());
    for path in [&nobody, &file, &dead] {
        let error = Channel::connect(path).wait().map(|_| ()).unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("is the server running"), "{text}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let long = dir.path().join("x".repeat(120));
    let text = Channel::connect(&long).wait().map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("the limit is 107") && text.contains("choose a shorter directory"), "{text}");
    let text = Channel::connect("").wait().map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("it is empty"), "{text}");
}

#[test]
fn a_server_that_cannot_be_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let with = |names: &[&str]| {
        let add =
            |builder: mmap_rpc::ServerBuilder, name: &&str| builder.raw(*name, |_, _| Ok(Vec::new().into()));
        names.iter().fold(Server::builder(), add).bind(&path)
    };
    for (names, words) in [
        (&[][..], "no methods"),
        (&["/a.B/C", "/a.B/C"], "added twice"),
        (&["a.B/C"], "not of the form"),
        (&["/a.B"], "not of the form"),
        (&["/a.B/C\n"], "not of the form"),
    ] {
        let error = with(names).map(|_| ()).unwrap_err();
        assert!(matches!(error, BindError::Methods(_)) && error.to_string().contains(words), "{error}");
    }
    let long = format!("/a.B/{}", "C".repeat(600));
    let error = with(&[&long]).map(|_| ()).unwrap_err();
    assert!(matches!(error, BindError::Methods(_)), "{error}");
    assert!(!path.exists(), "a server that is none has bound its path");

    std::fs::write(&path, "precious").unwrap();
    let error = with(&["/a.B/C"]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("not a socket") && error.contains("choose another path"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_living_servers_path_is_refused_and_a_dead_ones_is_taken() {
    let _alone = alone();
    let site = Site::new();
    let server = || Server::builder().raw("/a.B/C", |_, _| Ok(Vec::new().into()));
    let error = server().bind(&site.path).map(|_| ()).unwrap_err();
    assert!(matches!(error, BindError::Listen(_)), "{error}");
    assert!(error.to_string().contains("another server answers there"), "{error}");
    site.honest_client_is_served();

    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    drop(UnixListener::bind(&path).unwrap());
    let server = server().bind(&path).unwrap();
    let stop = server.shutdown_handle();
    let running = std::thread::spawn(move || server.run());
    drop(Channel::connect(&path).wait().unwrap());
    stop.shutdown();
    running.join().unwrap().unwrap();
    assert!(eventually(|| !path.exists()));
}

#[test]
fn a_server_without_a_directory_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let bound = Server::builder()
        .raw("/a.B/C", |_, _| Ok(Vec::new().into()))
        .bind(directory.path().join("missing").join("socket"));
    let error = bound.expect_err("there is no such directory").to_string();
    assert!(error.contains("missing") && error.contains("create the directory first"), "{error}");
}
