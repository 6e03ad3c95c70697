//! Threads and tasks with calls of every shape on one channel, which drop what they like when they like.

use std::env;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use mmap_rpc::{Code, Status};
use testkit::interop::proto::{Empty, SimpleRequest, StreamingOutputCallResponse, TestServiceClient};
use testkit::proc::{Held, resident_bytes};
use testkit::{PATIENCE, Rng, channel_builder, eventually};
use tokio::runtime::{Builder, Runtime};

use crate::both;
use crate::site::{Site, input, output};

/// Calls that may be under way at a time: fewer than want to be.
const CALLS: usize = 12;

/// Memory of each side, and what a stream may be ahead: less than so many calls want.
const REGION: u64 = 1 << 20;
const WINDOW: u32 = 20_000;

const LONGEST: u64 = 30_000;
const STEPS: u32 = 30;

testkit::on_every_way![a_storm_leaves_nothing_behind];

fn a_storm_leaves_nothing_behind() {
    // The first runtime of a process opens what all of them share, and keeps it.
    drop(Builder::new_current_thread().enable_all().build().unwrap());
    let seeds = match env::var("STORM_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => vec![1, 2],
    };
    both(|tasks| {
        let site = Site::new(tasks, |server| server.stream_window(WINDOW).max_region_bytes(REGION));
        // What a server makes when it first serves.
        site.client().empty_call(Empty {}).timeout(PATIENCE).wait().unwrap();
        let mut settled = 0;
        for &seed in &seeds {
            eprintln!("STORM_SEED={seed}");
            storm(&site, seed);
            let now = resident_bytes(std::process::id());
            // The first one fills the buffers that are kept.
            assert!(settled == 0 || now < settled + (16 << 20), "{now} bytes, {settled} before");
            settled = now;
        }
    });
}

fn storm(site: &Site, seed: u64) {
    let before = Held::here();
    let client = site.client_with(channel_builder().max_in_flight(CALLS as u32).max_region_bytes(REGION));
    let mut rng = Rng::new(seed);
    let (over, ended) = mpsc::channel();
    let mut threads = Vec::new();
    for number in 0..6 {
        let (client, seed, over) = (client.clone(), rng.draw(), over.clone());
        threads.push(thread::spawn(move || {
            if number % 2 == 0 {
                run_thread(&client, seed)
            } else {
                run_tasks(&client, seed)
            }
            let _ = over.send(());
        }));
    }
    drop(over);
    for _ in &threads {
        if ended.recv_timeout(2 * PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("STORM_SEED={seed}: a task or a thread waits for ever");
            std::process::abort();
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    eventually("no handler is left", || site.running() == 0);
    eventually("every cell and every sender's place is free again", || {
        let call = || client.streaming_input_call().timeout(PATIENCE).wait();
        let calls: Vec<_> = (0..CALLS).map(|_| call()).collect();
        let all = calls.iter().all(Result::is_ok);
        for (mut requests, reply) in calls.into_iter().flatten() {
            requests.send(input(100)).wait().unwrap();
            requests.finish();
            assert_eq!(reply.wait().unwrap().get_ref().aggregated_payload_size, 100);
        }
        all
    });
    drop(client);
    eventually("nothing is held any more", || {
        let now = Held::here();
        now.descriptors <= before.descriptors && now.memfds <= before.memfds && now.regions <= before.regions
    });
}

/// How long a call may take.
fn patience(rng: &mut Rng) -> Duration {
    if rng.below(4) == 0 { short(rng) } else { PATIENCE }
}

fn short(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.below(2000))
}

/// More calls than may be under way are what this is about, and runtimes that end. A deadline passes only for
/// who is in a hurry: for anybody else that is a wake-up that was lost.
#[track_caller]
fn expected(status: &Status, patience: Duration) {
    let is_expected = match status.code() {
        Code::ResourceExhausted => true,
        Code::DeadlineExceeded => patience < PATIENCE,
        Code::Cancelled => {
            let known = ["runtime", "receiving half was dropped", "the server has answered"];
            known.iter().any(|text| status.message().contains(text))
        }
        _ => false,
    };
    assert!(is_expected, "{status}");
}

fn check(response: &StreamingOutputCallResponse, size: usize) {
    assert_eq!(response.payload.as_ref().map_or(0, |payload| payload.body.len()), size);
}

// ---- threads -----------------------------------------------------------------------------------------

fn run_thread(client: &TestServiceClient, seed: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..STEPS {
        let patience = patience(&mut rng);
        step(client, &mut rng, patience).unwrap_or_else(|status| expected(&status, patience));
    }
}

fn step(client: &TestServiceClient, rng: &mut Rng, patience: Duration) -> Result<(), Status> {
    let (size, count) = (rng.below(LONGEST) as usize, rng.below(20) as usize);
    match rng.below(5) {
        0 => {
            let request = SimpleRequest { response_size: size as i32, ..Default::default() };
            client.unary_call(request).timeout(patience).wait()?;
        }
        1 => {
            let call = client.streaming_output_call(output(size, count)).timeout(patience);
            let mut responses = call.wait()?.into_inner();
            for _ in 0..rng.below(25) {
                match responses.message().wait()? {
                    Some(response) => check(&response, size),
                    None => break,
                }
            }
        }
        2 => {
            let (mut requests, reply) = client.streaming_input_call().timeout(patience).wait()?;
            let mut reply = Some(reply);
            for number in 0..count {
                if rng.below(30) == 0 {
                    reply = None;
                }
                if let Err(status) = requests.send(input(size)).wait() {
                    // Cancelled by us, or late.
                    expected(&status, patience);
                    assert!(reply.is_none() || patience < PATIENCE || number > 0, "{status}");
                    return Ok(());
                }
            }
            let Some(reply) = reply else { return Ok(()) };
            if rng.below(3) == 0 {
                // The other half first.
                drop(reply);
                return Ok(());
            }
            requests.finish();
            assert_eq!(reply.wait()?.get_ref().aggregated_payload_size as usize, size * count);
        }
        3 => {
            let (mut requests, mut responses) = client.full_duplex_call().timeout(patience).wait()?;
            let stop = rng.below(40) as usize;
            let sender = thread::spawn(move || {
                for _ in 0..count {
                    if let Err(status) = requests.send(output(size, 1)).wait() {
                        return expected(&status, patience);
                    }
                }
            });
            let mut read = 0;
            let ended = loop {
                if read == stop {
                    break Ok(false);
                }
                match responses.message().wait() {
                    Ok(Some(response)) => check(&response, size),
                    Ok(None) => break Ok(true),
                    Err(status) => break Err(status),
                }
                read += 1;
            };
            drop(responses);
            sender.join().unwrap();
            assert!(!ended? || read == count, "{read} responses to {count} requests");
        }
        _ => {
            let messages = (0..count).map(|_| output(90, 1)).collect::<Vec<_>>();
            let responses = client.full_duplex_call().timeout(patience).send_all(messages).wait()?;
            let sizes: Result<Vec<_>, _> = responses.into_inner().into_iter().collect();
            assert_eq!(sizes?.len(), count);
        }
    }
    Ok(())
}

// ---- tasks -------------------------------------------------------------------------------------------

fn runtime(rng: &mut Rng) -> Runtime {
    let mut builder = match rng.below(2) {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn run_tasks(client: &TestServiceClient, seed: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..2 {
        let runtime = runtime(&mut rng);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..4 {
            let (client, mut rng) = (client.clone(), Rng::new(rng.draw()));
            let task = async move {
                // One of them is under way when its runtime ends.
                for _ in 0..if number == 0 { u32::MAX } else { STEPS / 2 } {
                    let (seed, pause, patience) = (rng.draw(), short(&mut rng), patience(&mut rng));
                    let call = step_async(&client, Rng::new(seed), patience);
                    let ended = match rng.below(4) {
                        0 => tokio::select! {
                            ended = call => ended,
                            () = tokio::time::sleep(pause) => Ok(()),
                        },
                        _ => call.await,
                    };
                    ended.unwrap_or_else(|status| expected(&status, patience));
                    tokio::task::yield_now().await;
                }
            };
            match number {
                0 => drop(runtime.spawn(task)),
                _ => drop(tasks.spawn_on(task, runtime.handle())),
            }
        }
        runtime.block_on(async {
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
        });
    }
}

/// Polls something once, and leaves it where it is for a while.
async fn touched<F: Future>(mut future: Pin<&mut F>, pause: Duration) -> Option<F::Output> {
    let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    tokio::time::sleep(pause).await;
    match polled {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn step_async(client: &TestServiceClient, mut rng: Rng, patience: Duration) -> Result<(), Status> {
    let (size, count) = (rng.below(LONGEST) as usize, rng.below(20) as usize);
    match rng.below(5) {
        0 => {
            let request = SimpleRequest { response_size: size as i32, ..Default::default() };
            client.unary_call(request).timeout(patience).await?;
        }
        1 => {
            let call = client.streaming_output_call(output(size, count)).timeout(patience);
            let mut responses = call.await?.into_inner();
            for _ in 0..rng.below(25) {
                match responses.message().await? {
                    Some(response) => check(&response, size),
                    None => break,
                }
            }
        }
        2 => {
            let (mut requests, reply) = client.streaming_input_call().timeout(patience).await?;
            for _ in 0..count {
                requests.send(input(size)).await?;
            }
            // A message that is given up is not sent.
            if rng.below(3) == 0
                && touched(pin!(requests.send(input(0)).into_future()), short(&mut rng)).await.is_none()
            {
                return Ok(());
            }
            requests.finish();
            assert_eq!(reply.await?.get_ref().aggregated_payload_size as usize, size * count);
        }
        3 => {
            // The reply goes while a message waits, which stays where it is for longer.
            let (mut requests, reply) = client.streaming_input_call().timeout(patience).await?;
            let mut reply = Some(reply);
            for _ in 0..40 {
                let mut sending = pin!(requests.send(input(size)).into_future());
                if touched(sending.as_mut(), Duration::ZERO).await.is_none() {
                    drop(reply.take());
                    tokio::time::sleep(short(&mut rng)).await;
                    break;
                }
            }
        }
        _ => {
            let (mut requests, mut responses) = client.full_duplex_call().timeout(patience).await?;
            let send = async move {
                for _ in 0..count {
                    requests.send(output(size, 1)).await?;
                }
                Ok(())
            };
            let read = async {
                let mut read = 0;
                while let Some(response) = responses.message().await? {
                    check(&response, size);
                    read += 1;
                }
                Ok(read)
            };
            let (sent, read): (Result<(), Status>, Result<usize, Status>) = tokio::join!(send, read);
            sent?;
            assert_eq!(read?, count);
        }
    }
    Ok(())
}
