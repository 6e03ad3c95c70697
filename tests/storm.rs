//! Promise: whatever tasks and threads do with their calls, and when, every reply is right, nobody waits for
//! ever, and nothing is left of it.
//!
//! `STORM_SECONDS=600 cargo test --test storm -- --ignored long` goes on with other seeds for so long;
//! `STORM_SEED=7` tries one seed.
#![cfg(feature = "tokio")]

use std::env;
use std::future::{Future, IntoFuture, poll_fn};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::{Channel, Code, Response, Status};
use testkit::echo::RAW_ECHO;
use testkit::proc::{Held, descriptors, peak_bytes};
use testkit::proto::{Blob, EchoClient, SleepRequest};
use testkit::{PATIENCE, Rng, ServerProcess, Setup, Way, alone, by, channel_builder, eventually, noise};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Calls that may be under way at a time: fewer than want to be.
const CALLS: u32 = 24;

/// Memory of each side: less than so many calls want.
const REGION: u64 = 2 << 20;

/// The longest message.
const LONGEST: usize = 300_000;

/// What each task and each thread does.
const STEPS: u32 = 40;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[]);
}

testkit::on_every_way![a_storm_leaves_nothing_behind];

fn a_storm_leaves_nothing_behind() {
    let _alone = alone();
    let server = server();
    chosen_seed().map_or(1..4, |seed| seed..seed + 1).for_each(|seed| storm(&server, seed));
}

#[test]
#[ignore = "as long as STORM_SECONDS says, 60 unless set"]
fn long() {
    let _alone = alone();
    let seconds = env::var("STORM_SECONDS").map_or(60, |seconds| seconds.parse().expect("a number"));
    let (begun, server) = (Instant::now(), server());
    let mut peak = 0;
    for seed in chosen_seed().unwrap_or(100).. {
        for way in [Way::Ring, Way::Socket, Way::File] {
            by(way, || storm(&server, seed));
        }
        // The first storms fill the buffers that are kept.
        if seed % 100 == 20 {
            peak = peak_bytes(std::process::id());
        }
        if begun.elapsed() > Duration::from_secs(seconds) {
            eprintln!("the last seed was {seed}");
            break;
        }
    }
    let grown = peak_bytes(std::process::id()).saturating_sub(peak);
    assert!(peak == 0 || grown < 32 << 20, "{grown} more bytes than after the first seeds");
}

fn chosen_seed() -> Option<u64> {
    env::var("STORM_SEED").ok().map(|seed| seed.parse().expect("a number"))
}

fn server() -> ServerProcess {
    ServerProcess::start(Setup { pool: 2, ..Setup::default() })
}

fn storm(server: &ServerProcess, seed: u64) {
    // The first runtime of a process opens what all of them share, and keeps it.
    drop(Builder::new_current_thread().enable_all().build().expect("a runtime"));
    let failing = Failing(seed, Held::here());
    let before = failing.1;
    let connect = channel_builder().max_in_flight(CALLS).max_region_bytes(REGION).connect(server.path());
    let client = EchoClient::new(connect.wait().unwrap());
    let mut rng = Rng::new(seed);
    let (over, ended) = mpsc::channel();
    let mut threads = Vec::new();
    for runtime in [true, true, true, false, false] {
        let (client, seed, over) = (client.clone(), rng.draw(), over.clone());
        threads.push(thread::spawn(move || {
            if runtime {
                run_tasks(&client, seed)
            } else {
                run_thread(&client, seed)
            }
            let _ = over.send(());
        }));
    }
    drop(over);
    for _ in &threads {
        // A thread that panics does not say that it is over; all others do.
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("STORM_SEED={seed}: a task or a thread waits for ever");
            std::process::abort();
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    eventually("every cell is free again", || {
        let calls: Vec<_> = (0..CALLS).map(|seed| client.echo(blob(10, seed.into())).start()).collect();
        let all = calls.iter().all(Result::is_ok);
        calls.into_iter().flatten().for_each(|call| _ = call.wait().unwrap());
        all
    });
    drop(client);
    // Less than before is what another test has given back meanwhile.
    eventually("nothing is held any more", || {
        let now = Held::here();
        now.descriptors <= before.descriptors && now.memfds <= before.memfds && now.regions <= before.regions
    });
    drop(failing);
}

/// Says which seed it was, if this one fails.
struct Failing(u64, Held);

impl Drop for Failing {
    fn drop(&mut self) {
        if thread::panicking() {
            let open = descriptors(std::process::id());
            eprintln!("STORM_SEED={}, {:?} before, now {:?}: {open:?}", self.0, self.1, Held::here());
        }
    }
}

// ---- who calls ---------------------------------------------------------------------------------------

fn run_thread(client: &EchoClient, seed: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..STEPS {
        let (sent, patience) = (any_blob(&mut rng), short(&mut rng));
        match rng.below(5) {
            0 => check(client.echo(sent.clone()).timeout(patience).wait(), &sent, true),
            1 => drop(client.echo(sent).start()),
            2 => _ = client.sleep(nap(&mut rng)).timeout(patience).wait(),
            3 => thread::sleep(patience),
            _ => check(client.echo(sent.clone()).wait(), &sent, false),
        }
    }
}

fn run_tasks(client: &EchoClient, seed: u64) {
    let mut rng = Rng::new(seed);
    // Some runtimes follow each other.
    for _ in 0..1 + rng.below(3) {
        let runtime = runtime(&mut rng);
        let mut tasks = JoinSet::new();
        for number in 0..6 {
            let (client, mut rng) = (client.clone(), Rng::new(rng.draw()));
            let task = async move {
                // Two of them are under way when their runtime ends.
                let steps = if number < 2 { u32::MAX } else { STEPS / 2 };
                for _ in 0..steps {
                    step(&client, &mut rng).await;
                }
            };
            if number < 2 {
                runtime.spawn(task);
            } else {
                tasks.spawn_on(task, runtime.handle());
            }
        }
        runtime.block_on(async {
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
        });
    }
}

fn runtime(rng: &mut Rng) -> Runtime {
    let mut builder = match rng.below(2) {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Something that a task may do with a call.
async fn step(client: &EchoClient, rng: &mut Rng) {
    let (sent, patience) = (any_blob(rng), short(rng));
    match rng.below(13) {
        0 => check(client.echo(sent.clone()).timeout(patience).await, &sent, true),
        1 => _ = client.sleep(nap(rng)).await,
        2 => _ = client.sleep(nap(rng)).timeout(patience).await,
        3 => {
            let mut call = pin!(client.echo(sent).into_future());
            poll_for_a_while(call.as_mut(), rng).await;
        }
        4 => {
            let mut call = pin!(client.sleep(nap(rng)).into_future());
            poll_for_a_while(call.as_mut(), rng).await;
        }
        5 => tokio::select! {
            reply = client.echo(sent.clone()) => check(reply, &sent, false),
            () = tokio::time::sleep(patience) => {}
        },
        6 => {
            // One that is not polled, while others are.
            let mut first = pin!(client.echo(sent.clone()).into_future());
            let polled = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await;
            for _ in 0..rng.below(4) {
                let other = any_blob(rng);
                check(client.echo(other.clone()).await, &other, false);
            }
            match polled {
                Poll::Ready(reply) => check(reply, &sent, false),
                Poll::Pending => check(first.await, &sent, false),
            }
        }
        7 => {
            let (client, other) = (client.clone(), sent.clone());
            let task = tokio::spawn(async move { check(client.echo(other.clone()).await, &other, false) });
            if rng.below(2) == 0 {
                tokio::task::yield_now().await;
            }
            task.abort();
            assert!(task.await.map_or_else(|error| error.is_cancelled(), |()| true));
        }
        8 => loaned(client.channel(), &sent.data).await,
        9 => thread::sleep(patience),
        10 => check(client.echo(sent.clone()).wait(), &sent, false),
        11 => {
            let mut calls = JoinSet::new();
            for _ in 0..rng.below(10) {
                let (client, sent) = (client.clone(), any_blob(rng));
                calls.spawn(async move { check(client.echo(sent.clone()).await, &sent, false) });
            }
            while let Some(ended) = calls.join_next().await {
                ended.unwrap();
            }
        }
        _ => check(client.echo(sent.clone()).await, &sent, false),
    }
    // However fast the calls were, other tasks have their turn.
    tokio::task::yield_now().await;
}

/// Polls a call a few times, whether it was woken or not, and stops where it is.
async fn poll_for_a_while<F: Future>(mut call: Pin<&mut F>, rng: &mut Rng) {
    for _ in 0..rng.below(4) {
        if poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await {
            return;
        }
        tokio::time::sleep(short(rng) / 4).await;
    }
}

async fn loaned(channel: &Channel, bytes: &[u8]) {
    // A loan waits for room as long as that takes, on this thread.
    let Ok(mut loan) = channel.loan(bytes.len()).inspect_err(|status| assert_full(status)) else { return };
    loan.copy_from_slice(bytes);
    match channel.raw(&channel.method(RAW_ECHO), loan).await {
        Ok(reply) => assert_eq!(reply.to_vec(), bytes),
        Err(status) => assert_full(&status),
    }
}

// ---- what is sent, and what comes back ---------------------------------------------------------------

fn blob(length: usize, seed: u64) -> Blob {
    Blob { data: noise(length, seed) }
}

fn any_blob(rng: &mut Rng) -> Blob {
    blob(rng.size(LONGEST), rng.draw())
}

fn any(rng: &mut Rng, range: Range<u64>) -> u64 {
    range.start + rng.below(range.end - range.start)
}

fn short(rng: &mut Rng) -> Duration {
    Duration::from_micros(any(rng, 0..1500))
}

fn nap(rng: &mut Rng) -> SleepRequest {
    SleepRequest { milliseconds: any(rng, 0..3) as u32 }
}

#[track_caller]
fn check(reply: Result<Response<Blob>, Status>, sent: &Blob, hurried: bool) {
    match reply {
        Ok(reply) => assert!(reply.into_inner() == *sent, "another reply to {} bytes", sent.data.len()),
        Err(status) if hurried && status.code() == Code::DeadlineExceeded => {}
        Err(status) => assert_full(&status),
    }
}

/// More calls than may be under way are what this is about, and runtimes that end; nothing else is in their
/// way.
#[track_caller]
fn assert_full(status: &Status) {
    let ends = status.code() == Code::Cancelled && status.message().contains("runtime");
    assert!(status.code() == Code::ResourceExhausted || ends, "{status}");
}
