//! Readers that are slow, and readers that do not read at all.

use std::future::{IntoFuture, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use mmap_rpc::Code;
use prost::Message;
use testkit::interop::proto::{Empty, SimpleRequest, StreamingInputCallRequest};
use testkit::proc::resident_bytes;
use testkit::{PATIENCE, channel_builder, eventually};

use crate::both;
use crate::site::{DEAF, HOLD, Site, input, output, told};

testkit::on_every_way![
    a_sender_stops_at_the_window,
    a_reader_that_is_slow_bounds_what_is_sent_to_it,
    unread_streams_take_bounded_memory,
    a_client_is_let_go_on_when_its_requests_are_dropped,
    slow_streams_do_not_starve_other_calls,
    any_message_fits_any_window,
];

#[test]
fn a_sender_that_outlives_its_call_is_in_nobodys_way() {
    both(outlives);
}

const WINDOW: u32 = 64 << 10;

/// What a message costs beside its bytes: its entry.
const MESSAGE_COST: usize = 128;

/// How many messages of such a cost are sent before anything is read: while anything is left of the window.
fn most_sent(len: usize) -> u64 {
    u64::from(WINDOW).div_ceil((len + MESSAGE_COST) as u64)
}

/// Waits until a counter has come to `least` and stands, and returns where. Before that it may stand for want
/// of a processor.
fn at_rest(counter: &AtomicU64, least: u64) -> u64 {
    at_rest_while(counter, least, || ())
}

/// The same, while something is done again and again.
fn at_rest_while(counter: &AtomicU64, least: u64, mut pump: impl FnMut()) -> u64 {
    let mut last = counter.load(Ordering::SeqCst);
    eventually(&format!("it comes to {least}, and to rest"), || {
        (0..50).for_each(|_| {
            thread::sleep(Duration::from_millis(1));
            pump();
        });
        std::mem::replace(&mut last, counter.load(Ordering::SeqCst)) == last && last >= least
    });
    last
}

fn a_sender_stops_at_the_window() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server.stream_window(WINDOW));
        let client = site.client();
        for size in [0, 1000, 20_000, 300_000] {
            site.open(false);
            let call = client.streaming_input_call().metadata(told(HOLD)).timeout(PATIENCE);
            let (mut requests, reply) = call.wait().unwrap();
            let sent = Arc::new(AtomicU64::new(0));
            let sender = thread::spawn({
                let sent = sent.clone();
                move || {
                    for _ in 0..most_sent(0) + 100 {
                        requests.send(input(size)).wait().unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
            let most = most_sent(input(size).encoded_len());
            assert_eq!(at_rest(&sent, most), most, "messages of {size} bytes");
            site.open(true);
            sender.join().unwrap();
            let sum = reply.wait().unwrap().into_inner().aggregated_payload_size as u64;
            assert_eq!(sum, (most_sent(0) + 100) * size as u64);
        }
    });
}

fn a_reader_that_is_slow_bounds_what_is_sent_to_it() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server.stream_window(WINDOW));
        let client = site.client();
        for size in [0, 1000, 20_000, 300_000] {
            site.service.made.store(0, Ordering::SeqCst);
            let call = client.streaming_output_call(output(size, 1000)).timeout(PATIENCE);
            let mut responses = call.wait().unwrap().into_inner();
            let len = responses.message().wait().unwrap().expect("a response").encoded_len();
            // What was read, and one that waits in the handler's hand. What is read is granted half a window
            // at a time.
            let most = most_sent(len) + 2;
            // The ring holds fewer, and somebody has to take them out of it.
            let pump = || _ = client.empty_call(Empty {}).timeout(PATIENCE).wait().unwrap();
            let made = at_rest_while(&site.service.made, most - 1, pump);
            assert!((most - 1..=most).contains(&made), "{made} of {size} bytes, not {most}");
            assert_eq!(responses.into_iter().map(Result::unwrap).count(), 999);
        }
    });
}

fn unread_streams_take_bounded_memory() {
    const STREAMS: usize = 20;
    const SIZE: usize = 10_000;
    both(|tasks| {
        let site = Site::new(tasks, |server| server.stream_window(WINDOW));
        let client = site.client();
        client.unary_call(SimpleRequest { response_size: 100, ..Default::default() }).wait().unwrap();
        let before = resident_bytes(std::process::id());
        let mut unread = Vec::new();
        for _ in 0..STREAMS {
            let call = client.streaming_output_call(output(SIZE, 100_000)).timeout(PATIENCE);
            let mut responses = call.wait().unwrap().into_inner();
            responses.message().wait().unwrap();
            unread.push(responses);
        }
        // Somebody else takes out of the ring what is there for them.
        let pump = || _ = client.empty_call(Empty {}).timeout(PATIENCE).wait().unwrap();
        at_rest_while(&site.service.made, 1, pump);
        let grown = resident_bytes(std::process::id()).saturating_sub(before);
        // In the client's inboxes, in the region where it came, and what threads and buffers take.
        let bound = 3 * STREAMS as u64 * (u64::from(WINDOW) + SIZE as u64) + (12 << 20);
        assert!(grown < bound, "{grown} bytes more, {bound} are in bounds");
        assert!(site.service.made.load(Ordering::SeqCst) < 3 * STREAMS as u64 * most_sent(SIZE));
        drop(unread);
        eventually("the handlers end", || site.running() == 0);
        site.service.made.store(0, Ordering::SeqCst);
    });
}

fn a_client_is_let_go_on_when_its_requests_are_dropped() {
    both(|tasks| {
        let site = Site::new(tasks, |server| server.stream_window(WINDOW));
        let client = site.client();
        let call = client.streaming_input_call().metadata(told(DEAF)).timeout(PATIENCE);
        let (mut requests, reply) = call.wait().unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let sender = thread::spawn({
            let sent = sent.clone();
            move || {
                for _ in 0..500 {
                    requests.send(input(1000)).wait().unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let most = most_sent(input(1000).encoded_len());
        assert_eq!(at_rest(&sent, most), most);
        site.open(true);
        sender.join().unwrap();
        site.open(false);
        assert_eq!(reply.wait().unwrap().into_inner().aggregated_payload_size, 0);
    });
}

fn slow_streams_do_not_starve_other_calls() {
    const SIZE: usize = 20_000;
    both(|tasks| {
        let small = 2 << 20;
        let site = Site::new(tasks, |server| server.max_region_bytes(small));
        let client = site.client_with(channel_builder().max_region_bytes(small));
        // Each side's streams want several times what the regions have.
        let mut slow = Vec::new();
        for _ in 0..20 {
            let call = client.streaming_input_call().metadata(told(HOLD)).timeout(PATIENCE);
            let (mut requests, reply) = call.wait().unwrap();
            for _ in 0..10 {
                requests.send(input(SIZE)).wait().unwrap();
            }
            let call = client.streaming_output_call(output(SIZE, 10_000)).timeout(PATIENCE);
            slow.push((requests, reply, call.wait().unwrap()));
        }
        for _ in 0..50 {
            let request = SimpleRequest { payload: input(100_000).payload, ..Default::default() };
            let request = SimpleRequest { response_size: 100_000, ..request };
            let response = client.unary_call(request).timeout(Duration::from_secs(5)).wait().unwrap();
            assert_eq!(response.into_inner().payload.unwrap().body.len(), 100_000);
        }
        site.open(true);
        for (requests, reply, _responses) in slow {
            requests.finish();
            assert_eq!(reply.wait().unwrap().into_inner().aggregated_payload_size as usize, 10 * SIZE);
        }
    });
}

fn any_message_fits_any_window() {
    both(|tasks| [1, 200, 1 << 20].into_iter().for_each(|window| fit(tasks, window)));
}

fn fit(tasks: bool, window: u32) {
    {
        let site = Site::new(tasks, |server| server.stream_window(window).max_region_bytes(4 << 20));
        let client = site.client();
        let sizes = [0, 1, 90, 200, 0, 700_000, 5_000, 0, 3_000_000, 0];
        let (mut requests, reply) = client.streaming_input_call().timeout(PATIENCE).wait().unwrap();
        sizes.iter().for_each(|&size| requests.send(input(size)).wait().unwrap());
        requests.finish();
        let sum = reply.wait().unwrap().into_inner().aggregated_payload_size as usize;
        assert_eq!(sum, sizes.iter().sum::<usize>());
        for size in sizes {
            let call = client.streaming_output_call(output(size, 3)).timeout(PATIENCE);
            let responses = call.wait().unwrap().into_inner();
            let sizes = responses.into_iter().map(|response| response.unwrap().payload.unwrap().body.len());
            assert_eq!(sizes.collect::<Vec<_>>(), [size; 3], "window {window}");
        }
    }
}

/// A message that waits for credit of a call that is over, and a new call where the old one was.
fn outlives(tasks: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let site = Site::new(tasks, |server| server.stream_window(WINDOW));
    let client = site.client_with(channel_builder().max_in_flight(2));
    runtime.block_on(async {
        let hold = || client.streaming_input_call().metadata(told(HOLD)).timeout(PATIENCE);
        let (mut old, old_reply) = hold().await.unwrap();
        let enough = most_sent(input(1000).encoded_len());
        for _ in 0..enough {
            old.send(input(1000)).await.unwrap();
        }
        let mut waiting = Box::pin(old.send(input(1000)).into_future());
        assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        drop(old_reply);
        site.open(true);
        eventually("the old call ends", || site.running() == 0);
        site.open(false);
        client.empty_call(Empty {}).timeout(PATIENCE).await.unwrap();

        let (mut requests, reply) = hold().await.unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let sender = tokio::spawn({
            let sent = sent.clone();
            async move {
                for _ in 0..4 * enough {
                    requests.send(input(1000)).await.unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        assert_eq!(at_rest(&sent, enough), enough);
        drop(waiting);
        site.open(true);
        sender.await.unwrap();
        let sum = pin!(reply).await.unwrap().into_inner().aggregated_payload_size as u64;
        assert_eq!(sum, 4 * enough * 1000);
        let late = old.send(StreamingInputCallRequest::default()).await.unwrap_err();
        assert_eq!(late.code(), Code::Cancelled);
    });
}
