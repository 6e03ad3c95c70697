//! Promise: a connection that nobody uses costs no processor time, on either side.

use std::thread;
use std::time::Duration;

use testkit::proto::{Blob, EchoClient, Empty, SleepRequest};
use testkit::{
    Child, PATIENCE, Parent, ServerProcess, Setup, Way, by, connect, eventually, noise, proc, way,
};

/// How long both processes are watched.
const WATCHED: Duration = Duration::from_secs(3);

/// Wake-ups of a process in that time which mean nothing: fewer than one in a second per thread of a timer.
const STRAY_NAPS: u64 = 5;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[
        ("idle client", idle_client),
        #[cfg(feature = "tokio")]
        ("idle tasks", idle_tasks),
        #[cfg(feature = "tokio")]
        ("stream server", streams::server),
        #[cfg(feature = "tokio")]
        ("idle streams", streams::client),
    ]);
}

/// Holds a channel that nobody waits on, and one on which two threads wait for a call that takes long.
fn idle_client(parent: &Parent) {
    let way = Way::named(&parent.argument("way")).unwrap();
    let connect = || by(way, || connect(parent.argument("socket")).unwrap());
    let (unused, waited_on) = (EchoClient::new(connect()), EchoClient::new(connect()));
    for client in [&unused, &waited_on] {
        for size in [10, 1_000, 300_000] {
            client.echo(Blob { data: noise(size, 1) }).timeout(PATIENCE).wait().unwrap();
        }
    }
    thread::scope(|scope| {
        let sleep = || waited_on.sleep(SleepRequest { milliseconds: 600_000 }).wait();
        let threads = [scope.spawn(sleep), scope.spawn(sleep)];
        let sleeping = || unused.count(Empty {}).timeout(PATIENCE).wait().unwrap().get_ref().sleeping;
        eventually("both wait", || sleeping() == 2);
        parent.say("idle");
        // The parent kills this process.
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}

/// The same with tasks in the place of threads, on runtimes that live on.
#[cfg(feature = "tokio")]
fn idle_tasks(parent: &Parent) {
    use tokio::runtime::Builder;

    let way = Way::named(&parent.argument("way")).unwrap();
    let connect = || by(way, || connect(parent.argument("socket")).unwrap());
    let (unused, waited_on) = (EchoClient::new(connect()), EchoClient::new(connect()));
    let runtimes = [
        Builder::new_multi_thread().worker_threads(2).enable_all(),
        Builder::new_current_thread().enable_all(),
    ]
    .map(|builder| builder.build().unwrap());
    thread::scope(|scope| {
        for runtime in &runtimes {
            scope.spawn(|| {
                runtime.block_on(async {
                    for client in [&unused, &waited_on] {
                        for size in [10, 1_000, 300_000] {
                            client.echo(Blob { data: noise(size, 1) }).timeout(PATIENCE).await.unwrap();
                        }
                        client.sleep(SleepRequest { milliseconds: 1 }).await.unwrap();
                    }
                    waited_on.sleep(SleepRequest { milliseconds: 600_000 }).await.unwrap();
                });
            });
        }
        let sleeping = || unused.count(Empty {}).timeout(PATIENCE).wait().unwrap().get_ref().sleeping;
        eventually("both wait", || sleeping() == 2);
        parent.say("idle");
        // The parent kills this process.
    });
}

testkit::on_every_way![an_idle_connection_uses_no_processor_time_on_either_side];

#[cfg(feature = "tokio")]
mod awaited {
    testkit::on_every_way![a_connection_that_tasks_use_costs_as_little];

    fn a_connection_that_tasks_use_costs_as_little() {
        super::costs_nothing("idle tasks");
    }
}

fn an_idle_connection_uses_no_processor_time_on_either_side() {
    costs_nothing("idle client");
}

fn costs_nothing(role: &str) {
    // One more worker than calls that sleep: the count is served too.
    let server = ServerProcess::start(Setup { pool: 3, reactors: 2, ..Setup::default() });
    watch(role, server.pid(), server.path().to_str().unwrap());
}

/// Watches a server, and a client of it.
fn watch(role: &str, server: u32, socket: &str) {
    let client = Child::start(role, &[("socket", socket), ("way", way().name())]);
    client.expect("idle");
    let pids = [server, client.pid()];
    let naps = || pids.map(proc::naps);
    // The last spin ends, the last thread lies down.
    let mut last = naps();
    eventually("both come to rest", || {
        thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut last, naps()) == last
    });
    let before = pids.map(proc::cpu_ticks);
    thread::sleep(WATCHED);
    let (ticks, woken) = (pids.map(proc::cpu_ticks), naps());
    for (side, name) in ["server", "client"].into_iter().enumerate() {
        let (used, woken) = (ticks[side] - before[side], woken[side] - last[side]);
        assert!(used <= 1, "the {name} used {used} ticks of processor time in {WATCHED:?}");
        assert!(woken <= STRAY_NAPS, "the {name} woke {woken} times in {WATCHED:?}");
    }
}

/// Streams that are open, and say nothing: one that waits for a request, one that waits for a response, and
/// one whose reader does not read what there is.
#[cfg(feature = "tokio")]
mod streams {
    use std::path::Path;
    use std::sync::Arc;

    use mmap_rpc::Server;
    use testkit::interop::proto::{
        ResponseParameters, StreamingInputCallRequest, StreamingOutputCallRequest, TestServiceClient,
        TestServiceServer,
    };
    use testkit::interop::{Service, payload};
    use testkit::way::allow_all;

    use super::*;

    testkit::on_every_way![streams_that_say_nothing_cost_nothing];

    fn streams_that_say_nothing_cost_nothing() {
        for handlers in ["tasks", "threads"] {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("socket");
            let socket = socket.to_str().unwrap();
            let server = Child::start("stream server", &[("socket", socket), ("handlers", handlers)]);
            server.expect("listening");
            watch("idle streams", server.pid(), socket);
        }
    }

    pub(super) fn server(parent: &Parent) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (service, socket) = (Arc::new(Service::default()), parent.argument("socket"));
        let builder = Server::builder().runtime(runtime.handle().clone());
        let builder = match parent.argument("handlers").as_str() {
            "tasks" => builder.service(TestServiceServer::from_arc(service)),
            _ => builder.service(TestServiceServer::blocking_from_arc(service)),
        };
        let server = allow_all(builder, Path::new(&socket)).bind(&socket).unwrap();
        parent.say("listening");
        server.run().unwrap();
    }

    pub(super) fn client(parent: &Parent) {
        let way = Way::named(&parent.argument("way")).unwrap();
        let connect = || by(way, || connect(parent.argument("socket")).unwrap());
        let (threads, tasks) = (TestServiceClient::new(connect()), TestServiceClient::new(connect()));
        let output = |count: usize| StreamingOutputCallRequest {
            response_parameters: vec![ResponseParameters { size: 10_000, interval_us: 0 }; count],
            ..Default::default()
        };
        let input = || StreamingInputCallRequest { payload: Some(payload(1000)) };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Nobody reads on: neither the client nor, behind the window, the server has anything to do.
        let mut unread = threads.streaming_output_call(output(1000)).wait().unwrap().into_inner();
        unread.message().wait().unwrap();
        let (mut requests, _reply) = threads.streaming_input_call().wait().unwrap();
        requests.send(input()).wait().unwrap();
        let (mut asks, mut answers) = tasks.full_duplex_call().wait().unwrap();
        runtime.block_on(async {
            asks.send(output(1)).await.unwrap();
            answers.message().await.unwrap();
        });
        // A task, and a thread, that wait for what does not come.
        let waiting = runtime.spawn(async move { answers.message().await.map(drop) });
        let (_asks, mut answers) = threads.full_duplex_call().wait().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| answers.message().wait().map(drop));
            thread::sleep(Duration::from_millis(50));
            parent.say("idle");
            // The parent kills this process.
            runtime.block_on(waiting).unwrap().unwrap();
        });
    }
}
