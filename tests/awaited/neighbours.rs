//! What tasks and runtimes do to each other: nothing.

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use mmap_rpc::Code;
use testkit::proto::{EchoClient, SleepRequest};
use testkit::{PATIENCE, ServerProcess, Setup, connect};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::runtimes::{Kind, on_every_runtime};
use crate::{blob, server};

const SHORT: SleepRequest = SleepRequest { milliseconds: 5 };

/// A call that its task has stopped to poll does not keep the task's other calls from their replies.
#[test]
fn a_call_that_nobody_polls_is_in_nobodys_way() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let mut first = pin!(client.sleep(SHORT).into_future());
        let polled = std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_ready())).await;
        assert!(!polled, "the server sleeps");
        for _ in 0..3 {
            client.sleep(SHORT).await.unwrap();
            let other = client.clone();
            tokio::spawn(async move { other.sleep(SHORT).await }).await.unwrap().unwrap();
        }
        first.await.unwrap();
    });
}

/// A thread of the runtime that blocks, and keeps the runtime from running, is served all the same.
#[test]
fn a_runtime_that_is_blocked_by_a_call_is_not_blocked_for_ever() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let mut awaited = pin!(client.sleep(SHORT).into_future());
        for _ in 0..3 {
            let _ = std::future::poll_fn(|cx| Poll::Ready(awaited.as_mut().poll(cx).is_pending())).await;
            client.sleep(SHORT).wait().unwrap();
            client.echo(blob(100, 1)).wait().unwrap();
            awaited.set(client.sleep(SHORT).into_future());
        }
    });
}

/// A channel outlives the runtime that it was awaited on first.
#[test]
fn a_channel_goes_from_runtime_to_runtime() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    for kind in [Kind::One, Kind::Many, Kind::Paused, Kind::One] {
        kind.run(async { client.sleep(SHORT).await.unwrap() });
    }
}

/// The runtime that drives a channel ends while a task of another one waits on it.
#[test]
fn a_runtime_that_ends_leaves_no_task_of_another_behind() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    let (started, wait) = oneshot::channel();
    let other = thread::spawn({
        let client = client.clone();
        move || {
            Kind::One.run(async {
                let mut call = pin!(client.sleep(SleepRequest { milliseconds: 200 }).into_future());
                let _ = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
                started.send(()).unwrap();
                call.await.unwrap();
            });
        }
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        client.sleep(SHORT).await.unwrap();
        wait.await.unwrap();
    });
    drop(runtime);
    other.join().unwrap();
}

/// More runtimes than have a driver of their own, each of them kept from running for a while.
#[test]
fn many_runtimes_share_a_channel() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    let threads: Vec<_> = (0..8)
        .map(|seed| {
            let client = client.clone();
            thread::spawn(move || {
                Kind::One.run(async {
                    for _ in 0..10 {
                        assert_eq!(client.echo(blob(50, seed)).await.unwrap().into_inner(), blob(50, seed));
                        client.sleep(SleepRequest { milliseconds: 1 }).await.unwrap();
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Awaited where there is no runtime, a call that has to wait says so; one that was answered at once does
/// not.
#[test]
fn outside_of_a_runtime_a_call_says_what_it_lacks() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    let mut call = pin!(client.sleep(SHORT).into_future());
    let Poll::Ready(Err(status)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the server sleeps")
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("wait()"), "{status}");
    client.echo(blob(10, 1)).wait().unwrap();
}

/// The first calls of a channel, all at once, on the threads of one runtime: one of them has it driven, and
/// no other fails for it.
#[test]
fn the_first_calls_of_a_runtime_are_in_nobodys_way() {
    const THREADS: usize = 4;
    let server = server();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for _ in 0..100 {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let all = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    all.wait();
                    let call = client.sleep(SleepRequest { milliseconds: 1 }).timeout(PATIENCE);
                    runtime.block_on(call.into_future()).unwrap();
                });
            }
        });
    }
}

/// A task whose replies come while it looks for them gives its runtime back now and then.
#[test]
fn a_task_that_calls_without_end_lets_others_run() {
    // The reactor answers at once.
    let server = ServerProcess::start(Setup::default());
    Kind::One.run(async {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let call = async || client.echo(blob(10, 1)).await.unwrap();
        // At first its replies are not there so soon.
        for _ in 0..5000 {
            call().await;
        }
        let ran = Rc::new(Cell::new(false));
        let others = LocalSet::new();
        others.spawn_local({
            let ran = ran.clone();
            async move { ran.set(true) }
        });
        let many_calls = others.run_until(async {
            let mut calls = 0;
            while !ran.get() {
                call().await;
                calls += 1;
                assert!(calls <= 200, "the other task never runs");
            }
        });
        many_calls.await;
    });
}
