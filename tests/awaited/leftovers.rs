//! What is left of a call that was awaited, once it is over: nothing.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use mmap_rpc::{Channel, Code};
use testkit::proto::{EchoClient, SleepRequest};
use testkit::{PATIENCE, Setup, connect};
use tokio::runtime::{Builder, Runtime};

use crate::runtimes::{Kind, on_every_runtime, watched};
use crate::{blob, server};

const SHORT: SleepRequest = SleepRequest { milliseconds: 5 };

/// A task, as the library sees it.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// The channel holds no task that waits no more: with it, it would hold all that its runtime has open.
#[test]
fn a_call_that_is_over_forgets_its_task() {
    let server = server();
    on_every_runtime(async || {
        let client = EchoClient::new(connect(server.path()).unwrap());
        let task = Arc::new(Nobody);
        let waker = Waker::from(task.clone());
        let held = || Arc::strong_count(&task) - 2;
        for answered in [false, true] {
            let mut call = pin!(client.sleep(SHORT).into_future());
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_ne!(held(), 0, "the task waits");
            if answered {
                while held() != 0 {
                    tokio::task::yield_now().await;
                }
                call.await.unwrap();
            } else {
                call.set(client.sleep(SHORT).into_future());
            }
            assert_eq!(held(), 0, "answered: {answered}");
        }
    });
}

fn standing_still() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runtimes that have awaited calls, and live on without anybody who runs them, are in nobody's way, however
/// many they are.
#[test]
fn runtimes_that_stand_still_are_in_nobodys_way() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    let idle: Vec<_> = (0..70).map(|_| standing_still()).collect();
    for runtime in &idle {
        let call = async { client.sleep(SleepRequest { milliseconds: 1 }).await.unwrap() };
        watched("on one of many", || runtime.block_on(call));
    }
    Kind::One.run(async { client.sleep(SHORT).await.unwrap() });
    drop(idle);
    Kind::Many.run(async { client.sleep(SHORT).await.unwrap() });
}

/// The same while one of them has a call under way, whose task is not polled.
#[test]
fn a_runtime_that_stands_still_with_a_call_is_in_nobodys_way() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    let still = standing_still();
    let long = client.clone();
    let long = still.spawn(async move { long.sleep(SleepRequest { milliseconds: 20 }).await });
    still.block_on(tokio::task::yield_now());
    Kind::One.run(async {
        for _ in 0..10 {
            client.sleep(SHORT).await.unwrap();
        }
    });
    watched("on the one that stood still", || still.block_on(long)).unwrap().unwrap();
}

/// A runtime ends while calls of its tasks are under way: they are given up, and the channel goes on.
#[test]
fn a_runtime_ends_with_its_calls() {
    let server = server();
    let channel = Channel::builder().max_in_flight(3).connect(server.path()).wait().unwrap();
    let client = EchoClient::new(channel);
    for kind in [Kind::One, Kind::Many] {
        kind.run(async {
            for _ in 0..2 {
                let client = client.clone();
                tokio::spawn(async move { client.sleep(SleepRequest { milliseconds: 20 }).await });
            }
            tokio::task::yield_now().await;
        });
        client.echo(blob(10, 1)).wait().unwrap();
        // Their replies come, and give back their cells.
        thread::sleep(Duration::from_millis(60));
        let calls: Vec<_> = (0..3).map(|_| client.sleep(SHORT).start().unwrap()).collect();
        calls.into_iter().for_each(|call| _ = call.wait().unwrap());
    }
}

/// A thread of a runtime that ends in the meantime learns so when it awaits a call, and lets it end.
#[test]
fn a_runtime_that_ends_is_not_kept_from_it() {
    let server = server();
    let client = EchoClient::new(connect(server.path()).unwrap());
    let (tell, told) = mpsc::channel();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async move {
        client.sleep(SHORT).await.unwrap();
        tell.send(None).unwrap();
        thread::sleep(Duration::from_millis(100));
        tell.send(client.sleep(SHORT).await.err()).unwrap();
    });
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().map(|status| status.code()), None);
    runtime.shutdown_background();
    let status = told.recv_timeout(PATIENCE).unwrap().expect("nobody would receive the reply");
    assert_eq!(status.code(), Code::Cancelled, "{status}");
}

/// Outside of a runtime there is no thread that could make the call.
#[test]
fn outside_of_a_runtime_a_classic_call_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let server = testkit::LocalServer::start(Setup::default().builder().classic(dir.path()));
    let client: EchoClient = Channel::connect_classic(server.path()).client().wait().unwrap();
    let mut call = pin!(client.echo(blob(10, 1)).into_future());
    let Poll::Ready(Err(status)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nobody makes the call")
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("wait()"), "{status}");
}
