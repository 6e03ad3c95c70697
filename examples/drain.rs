//! A server that leaves in good order, and another one that takes its place: `cargo run --example drain`.
//!
//! The first server is shut down while it is at a call. That call finishes; new ones on its connections are
//! refused with `Unavailable`; and the clients that reconnect go on at the second server, at the same path,
//! before the first one has ended.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Code, Reconnect, Server, Status};

/// Tells which server answers.
const WHO: &str = "/demo.Server/Who";
/// The same, but it takes as long as this example wants.
const SLOW: &str = "/demo.Server/Slow";

/// A server at `path`, whose slow calls begin and end at the barrier.
fn bind(path: &Path, name: &'static str, gate: Arc<Barrier>) -> Result<Server, Box<dyn Error>> {
    let builder = Server::builder()
        .handlers(Handlers::Pool(2))
        // Calls that run when it is shut down have so long to finish.
        .grace(Duration::from_secs(30))
        .raw(WHO, move |_, _| Ok(name.as_bytes().into()))
        .raw(SLOW, move |_, _| {
            gate.wait();
            gate.wait();
            Ok(name.as_bytes().into())
        });
    Ok(builder.bind(path)?)
}

fn call(channel: &Channel, method: &'static str) -> Result<String, Status> {
    let reply = channel.raw(&channel.method(method), b"").timeout(Duration::from_secs(20)).wait()?;
    Ok(String::from_utf8_lossy(&reply.to_vec()).into_owned())
}

/// Prints what has come of something, and fails if it is not what this example promises.
fn show(what: &str, outcome: &Result<String, Status>, expected: Result<&str, Code>) -> Result<(), String> {
    match outcome {
        Ok(reply) => println!("{what}: answered by the {reply} server"),
        Err(status) => println!("{what}: {status}"),
    }
    let as_expected = outcome.as_ref().map(String::as_str).map_err(Status::code) == expected;
    if as_expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}")) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let gate = Arc::new(Barrier::new(2));

    let first = bind(&path, "first", gate.clone())?;
    let leave = first.shutdown_handle();
    let first = thread::spawn(move || first.run());
    let channel = Channel::connect(&path).wait()?;
    let reconnecting = Channel::builder().reconnect(Reconnect::default()).connect(&path).wait()?;
    show("a call", &call(&channel, WHO), Ok("first"))?;

    let under_way = thread::spawn({
        let channel = channel.clone();
        move || call(&channel, SLOW)
    });
    gate.wait();
    // Returns at once. The server stops listening, and tells its clients that it goes.
    leave.shutdown();
    println!("the first server is shut down, and at a call");
    show("a new call on its connection", &call(&channel, WHO), Err(Code::Unavailable))?;

    // It listens no more, so the path is free.
    let second = bind_when_free(&path, gate.clone())?;
    let leave = second.shutdown_handle();
    let second = thread::spawn(move || second.run());
    show("a call on a channel that reconnects", &call(&reconnecting, WHO), Ok("second"))?;

    gate.wait();
    show("the call that was under way", &under_way.join().expect("no panic"), Ok("first"))?;
    first.join().expect("no panic")?;
    println!("the first server has ended");

    leave.shutdown();
    second.join().expect("no panic")?;
    Ok(())
}

/// The first server gives its path up a moment after it has been told to go.
fn bind_when_free(path: &Path, gate: Arc<Barrier>) -> Result<Server, Box<dyn Error>> {
    while path.exists() {
        thread::yield_now();
    }
    bind(path, "second", gate)
}
