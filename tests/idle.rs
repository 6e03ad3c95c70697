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
    let client = Child::start(role, &[("socket", server.path().to_str().unwrap()), ("way", way().name())]);
    client.expect("idle");
    let pids = [server.pid(), client.pid()];
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
