//! Streams without end.

use testkit::proc::resident_bytes;
use testkit::{PATIENCE, Way, by};

use crate::both;
use crate::site::{Site, input, output};

/// As many as the fast suite has time for.
const MANY: usize = 100_000;

#[test]
fn many_messages_take_no_more_memory_than_few() {
    both(|tasks| constant(tasks, MANY));
}

#[test]
#[ignore = "a million messages each way"]
fn long() {
    for way in [Way::Ring, Way::Socket, Way::File] {
        by(way, || both(|tasks| constant(tasks, 1_000_000)));
    }
}

/// Memory after a tenth of the messages, and after all.
fn constant(tasks: bool, messages: usize) {
    let site = Site::new(tasks, |server| server);
    let client = site.client();
    let resident = || resident_bytes(std::process::id());
    let (mut early, mut count) = (0, 0);
    let call = client.streaming_output_call(output(50, messages)).wait().unwrap();
    for response in call.into_inner() {
        response.unwrap();
        count += 1;
        if count == messages / 10 {
            early = resident();
        }
    }
    assert_eq!(count, messages);
    let grown = resident().saturating_sub(early);
    assert!(grown < 4 << 20, "{grown} bytes more after {messages} responses");

    let (mut requests, reply) = client.streaming_input_call().timeout(10 * PATIENCE).wait().unwrap();
    for number in 0..messages {
        requests.send(input(50)).wait().unwrap();
        if number == messages / 10 {
            early = resident();
        }
    }
    let grown = resident().saturating_sub(early);
    assert!(grown < 4 << 20, "{grown} bytes more after {messages} requests");
    requests.finish();
    assert_eq!(reply.wait().unwrap().into_inner().aggregated_payload_size as usize, 50 * messages);
}
