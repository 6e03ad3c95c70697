//! Tasks that always find something to do, and those beside them. On the ring lane alone: over the socket
//! they wait anyhow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use testkit::interop::proto::Empty;
use testkit::{PATIENCE, channel_builder, eventually};
use tokio::runtime::Builder;
use tokio::task::yield_now;

use crate::site::{HOLD, Site, input, output, told};

/// So many messages fit into a ring that nobody reads, and are more than the turn of a task has.
const FEW: usize = 200;

/// Counts the turns of a task beside another one.
async fn turns_beside(task: impl Future<Output = ()>) -> u64 {
    let (turns, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let counting = tokio::spawn({
        let (turns, over) = (turns.clone(), over.clone());
        async move {
            while !over.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        }
    });
    yield_now().await;
    let before = turns.load(Ordering::Relaxed);
    task.await;
    over.store(true, Ordering::Relaxed);
    let turns = turns.load(Ordering::Relaxed) - before;
    counting.await.expect("no panic");
    turns
}

#[test]
fn a_reader_makes_way() {
    const MANY: usize = 20_000;
    let _alone = testkit::alone();
    let site = Site::new(true, |server| server.stream_window(64 << 20));
    let client = site.client_with(channel_builder().stream_window(64 << 20));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let call = client.streaming_output_call(output(50, MANY)).timeout(PATIENCE);
    let mut responses = call.wait().unwrap().into_inner();
    // All of it is here before anything is read.
    eventually("all are sent", || {
        client.empty_call(Empty {}).timeout(PATIENCE).wait().unwrap();
        site.service.made.load(Ordering::SeqCst) == MANY as u64
    });
    client.empty_call(Empty {}).timeout(PATIENCE).wait().unwrap();
    let turns = runtime.block_on(turns_beside(async {
        for _ in 0..MANY - 2 * FEW {
            responses.message().await.unwrap().expect("many more");
        }
    }));
    assert!(turns > 50, "{turns} turns beside {MANY} messages");
}

#[test]
fn a_sender_makes_way() {
    let _alone = testkit::alone();
    let site = Site::new(true, |server| server);
    let client = site.client();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let call = client.streaming_input_call().metadata(told(HOLD)).timeout(PATIENCE);
        let (mut requests, _reply) = call.await.unwrap();
        let turns = turns_beside(async {
            for _ in 0..FEW {
                requests.send(input(50)).await.unwrap();
            }
        });
        assert!(turns.await > 0);
    });
}

#[test]
fn a_handler_makes_way() {
    let _alone = testkit::alone();
    let site = Site::new(true, |server| server);
    // Beside the handler, on the server's one worker: has it seen the handler on its way?
    let (service, over) = (site.service.clone(), Arc::new(AtomicBool::new(false)));
    let beside = site.runtime.spawn({
        let over = over.clone();
        async move {
            let mut seen = false;
            while !over.load(Ordering::Relaxed) {
                seen |= (1..FEW as u64).contains(&service.made.load(Ordering::SeqCst));
                yield_now().await;
            }
            seen
        }
    });
    let call = site.client().streaming_output_call(output(50, FEW)).timeout(PATIENCE).wait();
    assert_eq!(call.unwrap().into_inner().into_iter().map(Result::unwrap).count(), FEW);
    over.store(true, Ordering::Relaxed);
    let seen = site.runtime.block_on(beside).expect("no panic");
    assert!(seen, "the handler had the worker for itself");
}
