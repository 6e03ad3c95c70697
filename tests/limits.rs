//! Promise: every limit is kept, says its name when it is met, and is no dead end: what waited goes on once
//! there is room, and what was given up is used again.

#[path = "limits/clients.rs"]
mod clients;

use std::fs;
use std::thread;
use std::time::Duration;

use mmap_rpc::{Channel, Code, Server, Status};
use rustix::thread::Pid;
use testkit::echo::RAW_ECHO;
use testkit::proto::{Blob, EchoClient, Empty, MakeRequest, SleepRequest};
use testkit::{
    LocalServer, PATIENCE, ServerProcess, Setup, channel_builder, connect, eventually, noise, proc,
};

const MIB: u64 = 1 << 20;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[]);
}

testkit::on_every_way![
    max_message_size_holds_for_requests_and_replies,
    a_message_that_no_region_holds_names_the_cap,
    calls_beyond_max_in_flight_fail_at_once_and_no_others_do,
    a_dropped_call_makes_room_for_another,
    a_call_whose_deadline_passed_makes_room_for_another,
    large_messages_take_turns_in_a_small_region,
    large_messages_take_turns_in_a_small_region_of_a_pool,
    messages_that_share_a_segment_take_turns_in_a_small_region,
    large_replies_take_turns_in_a_small_region,
    replies_that_nobody_takes_fill_no_more_memory_than_the_cap,
    callers_who_wait_for_their_replies_are_never_refused;
    memory: a_loan_that_is_kept_counts_and_one_that_is_dropped_does_not,
];

#[track_caller]
fn assert_exhausted<T>(result: Result<T, Status>, limit: &str) {
    let status = result.err().expect("a limit is exceeded");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains(limit), "the text names the limit: {status}");
}

fn noise_of(length: u64) -> Blob {
    Blob { data: noise(length as usize, length) }
}

/// A client whose own limits are the small ones, and one whose server's are.
fn both_sides(
    server: Setup,
    client: impl Fn(mmap_rpc::ChannelBuilder) -> mmap_rpc::ChannelBuilder,
) -> [(ServerProcess, Channel); 2] {
    let connect = |setup, builder: mmap_rpc::ChannelBuilder| {
        let server = ServerProcess::start(setup);
        let channel = builder.connect(server.path()).wait().unwrap();
        (server, channel)
    };
    [connect(server, channel_builder()), connect(Setup::default(), client(channel_builder()))]
}

fn max_message_size_holds_for_requests_and_replies() {
    const CAP: u64 = 100_000;
    let setup = Setup { max_message_size: CAP, ..Setup::default() };
    for (_server, channel) in both_sides(setup, |builder| builder.max_message_size(CAP)) {
        let client = EchoClient::new(channel.clone());
        // A tag and three bytes of length come before the data.
        let (largest, too_large) = (CAP - 4, CAP - 3);
        client.echo(noise_of(largest)).timeout(PATIENCE).wait().unwrap();
        assert_exhausted(client.echo(noise_of(too_large)).timeout(PATIENCE).wait(), "max_message_size");
        let make = |length| client.make(MakeRequest { length, seed: 1 }).timeout(PATIENCE).wait();
        assert_eq!(make(largest).unwrap().get_ref().data.len() as u64, largest);
        assert_exhausted(make(too_large), "max_message_size");
        assert_exhausted(channel.loan(CAP as usize + 1), "max_message_size");
        let loan = channel.loan(CAP as usize).unwrap();
        let reply = channel.raw(&channel.method(RAW_ECHO), loan).timeout(PATIENCE).wait().unwrap();
        assert_eq!(reply.len() as u64, CAP);
    }
}

fn a_message_that_no_region_holds_names_the_cap() {
    const CAP: u64 = 4 * MIB;
    let setup = Setup { max_region_bytes: CAP, ..Setup::default() };
    for (_server, channel) in both_sides(setup, |builder| builder.max_region_bytes(CAP)) {
        let client = EchoClient::new(channel.clone());
        assert_exhausted(client.echo(noise_of(6 * MIB)).timeout(PATIENCE).wait(), "max_region_bytes");
        let make = client.make(MakeRequest { length: 6 * MIB, seed: 1 });
        assert_exhausted(make.timeout(PATIENCE).wait(), "max_region_bytes");
        assert_exhausted(channel.loan(6 << 20), "max_region_bytes");
        client.echo(noise_of(2 * MIB)).timeout(PATIENCE).wait().unwrap();
    }
}

fn a_loan_that_is_kept_counts_and_one_that_is_dropped_does_not() {
    let server = LocalServer::start(Server::builder().max_region_bytes(3 * MIB));
    let channel = connect(server.path()).unwrap();
    for _ in 0..100 {
        let loans = [channel.loan(MIB as usize + 1).unwrap(), channel.loan(MIB as usize + 1).unwrap()];
        // There is no room for a third: a call waits for it until its deadline.
        let client = EchoClient::new(channel.clone());
        let call = client.echo(noise_of(MIB + 1)).timeout(Duration::from_millis(1)).wait();
        let status = call.map(drop).unwrap_err();
        assert!(matches!(status.code(), Code::ResourceExhausted | Code::DeadlineExceeded), "{status}");
        drop(loans);
        client.echo(noise_of(MIB + 1)).timeout(PATIENCE).wait().unwrap();
    }
}

fn calls_beyond_max_in_flight_fail_at_once_and_no_others_do() {
    const CALLS: u32 = 5;
    let setup = Setup { max_in_flight: CALLS, pool: 2, ..Setup::default() };
    let client_side = |builder: mmap_rpc::ChannelBuilder| builder.max_in_flight(CALLS);
    for (_server, channel) in both_sides(setup, client_side) {
        let client = EchoClient::new(channel);
        for _ in 0..3 {
            let start =
                |_| client.sleep(SleepRequest { milliseconds: 20 }).timeout(PATIENCE).start().unwrap();
            let started: Vec<_> = (0..CALLS).map(start).collect();
            assert_exhausted(client.echo(noise_of(1)).timeout(PATIENCE).wait(), "max_in_flight");
            for pending in started {
                pending.wait().unwrap();
            }
            client.echo(noise_of(1)).timeout(PATIENCE).wait().unwrap();
        }
    }
}

fn a_dropped_call_makes_room_for_another() {
    for pool in [0, 2] {
        let server = ServerProcess::start(Setup { pool, ..Setup::default() });
        let channel = channel_builder().max_in_flight(4).connect(server.path()).wait().unwrap();
        let client = EchoClient::new(channel);
        for _ in 0..2_000 {
            // The place of a dropped call is taken until the server has answered it.
            eventually("a place comes free", || {
                client.echo(noise_of(5_000)).timeout(PATIENCE).start().map(drop).is_ok()
            });
        }
        eventually("a place comes free", || client.echo(noise_of(10)).timeout(PATIENCE).wait().is_ok());
    }
}

fn a_call_whose_deadline_passed_makes_room_for_another() {
    let server = LocalServer::start(Setup { pool: 2, ..Setup::default() }.builder());
    let channel = channel_builder().max_in_flight(2).connect(server.path()).wait().unwrap();
    let client = EchoClient::new(channel);
    for _ in 0..20 {
        let late = client.sleep(SleepRequest { milliseconds: 5 }).timeout(Duration::from_millis(1)).wait();
        assert!(matches!(late.unwrap_err().code(), Code::DeadlineExceeded | Code::ResourceExhausted));
        eventually("a place comes free", || client.echo(noise_of(10)).timeout(PATIENCE).wait().is_ok());
    }
}

/// Eight threads echo large messages through regions that hold a few of them at a time.
fn squeeze(pool: usize, region: u64, length: u64, calls: usize) {
    let setup = Setup { pool, max_region_bytes: region, ..Setup::default() };
    let server = ServerProcess::start(setup);
    let client = server.client();
    let sent = noise_of(length);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..calls {
                    let reply = client.echo(sent.clone()).timeout(PATIENCE).wait().unwrap();
                    assert!(reply.get_ref().data == sent.data, "{length} bytes came back changed");
                }
            });
        }
    });
}

fn large_messages_take_turns_in_a_small_region() {
    squeeze(0, 4 * MIB, 2 * MIB, 20);
}

fn large_messages_take_turns_in_a_small_region_of_a_pool() {
    squeeze(2, 4 * MIB, 2 * MIB, 20);
}

fn messages_that_share_a_segment_take_turns_in_a_small_region() {
    squeeze(0, 2 * MIB, 60_000, 100);
    squeeze(2, 2 * MIB, 60_000, 100);
}

fn large_replies_take_turns_in_a_small_region() {
    // One fits into a region beside the base segment, two do not; both together fit what may wait beside it.
    const REGION: u64 = 3 * MIB;
    const LENGTH: u64 = 1_400_000;
    for pool in [0, 2] {
        let setup = Setup { pool, max_region_bytes: REGION, ..Setup::default() };
        let server = ServerProcess::start(setup);
        let client = server.client();
        let make = || client.make(MakeRequest { length: LENGTH, seed: 9 }).timeout(PATIENCE);
        for _ in 0..50 {
            let started = [make().start().unwrap(), make().start().unwrap()];
            // The pool may answer the second one first, and the first one then needs the slot of that answer.
            for pending in started {
                assert!(pending.wait().unwrap().get_ref().data == noise(LENGTH as usize, 9));
            }
        }
    }
}

fn replies_that_nobody_takes_fill_no_more_memory_than_the_cap() {
    const REPLIES: u64 = 200;
    // Both regions, as much again beside them, and a process that does nothing.
    const BOUND: u64 = 64 * MIB;
    let server = ServerProcess::start(Setup { max_region_bytes: 4 * MIB, ..Setup::default() });
    let (client, other) = (server.client(), server.client());
    let make = |_| client.make(MakeRequest { length: MIB, seed: 9 }).timeout(PATIENCE).start().unwrap();
    let started: Vec<_> = (0..REPLIES).map(make).collect();
    let begun = || other.count(Empty {}).timeout(PATIENCE).wait().unwrap().get_ref().begun;
    let mut last = 0;
    eventually("the server has done what it can", || {
        thread::sleep(Duration::from_millis(20));
        std::mem::replace(&mut last, begun()) == last
    });
    let peak = proc::peak_bytes(server.pid());
    assert!(peak < BOUND, "the server used {peak} bytes for replies of {}", REPLIES * MIB);
    let mut served = 0;
    for pending in started {
        match pending.wait() {
            Ok(reply) => {
                assert_eq!(reply.get_ref().data.len() as u64, MIB);
                served += 1;
            }
            Err(status) => assert_exhausted::<()>(Err(status), "max_region_bytes"),
        }
    }
    assert!(served > 0);
    client.echo(noise_of(MIB)).timeout(PATIENCE).wait().unwrap();
}

/// Many threads that each wait for their reply, and a region that holds few of them at a time.
fn crowd(pool: usize, region: u64, threads: usize, call: impl Fn(&EchoClient) -> Result<(), Status> + Sync) {
    let server = ServerProcess::start(Setup { pool, max_region_bytes: region, ..Setup::default() });
    let client = server.client();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..10).for_each(|_| call(&client).unwrap()));
        }
    });
}

fn callers_who_wait_for_their_replies_are_never_refused() {
    for pool in [0, 2] {
        let echo = |blob: Blob| {
            move |client: &EchoClient| client.echo(blob.clone()).timeout(PATIENCE).wait().map(drop)
        };
        crowd(pool, 6 * MIB, 32, echo(noise_of(700_000)));
        crowd(pool, 2 * MIB, 64, echo(noise_of(60_000)));
        let make = MakeRequest { length: 2 * MIB, seed: 1 };
        crowd(pool, 4 * MIB, 8, |client| client.make(make).timeout(PATIENCE).wait().map(drop));
    }
}

/// Processor time that a call which takes 100 ms costs its caller.
fn cost_of_waiting(channel: &Channel) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let client = EchoClient::new(channel.clone());
    // The server tells its processor with the first.
    client.sleep(SleepRequest { milliseconds: 1 }).timeout(PATIENCE).wait().unwrap();
    let before = used();
    client.sleep(SleepRequest { milliseconds: 100 }).timeout(PATIENCE).wait().unwrap();
    used() - before
}

/// Keeps this thread on the first processor and a server on the last; false if that is the same one, on which
/// nobody spins.
fn part_from(server: &ServerProcess) -> bool {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).unwrap();
    let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect::<Vec<_>>();
    let keep = |thread, cpu| {
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(thread, &one).unwrap();
    };
    for task in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let id = task.unwrap().file_name().into_string().unwrap().parse().unwrap();
        keep(Pid::from_raw(id), *cpus.last().unwrap());
    }
    keep(None, cpus[0]);
    cpus.len() > 1
}

#[test]
fn a_caller_looks_for_its_reply_as_long_as_it_was_told() {
    let server = ServerProcess::start(Setup { pool: 1, ..Setup::default() });
    let parted = part_from(&server);
    let cost = |spin| cost_of_waiting(&Channel::builder().spin(spin).connect(server.path()).wait().unwrap());
    // Of 100 ms: a sleeper uses next to none, and one who spins most of them, unless the machine is busy.
    let some = Duration::from_millis(20);
    assert!(cost(Duration::ZERO) < some);
    if parted {
        assert!(cost(PATIENCE) > some);
    }
}
