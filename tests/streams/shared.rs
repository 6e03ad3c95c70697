//! One runtime with one thread, for the client's tasks and for the server's.

use testkit::PATIENCE;
use tokio::runtime::Builder;

use crate::site::{Site, input, output};

testkit::on_every_way![streams_of_both_sides_share_a_thread];

const MESSAGES: usize = 2000;

/// Each side has to make way for the other one, message by message where the window is small.
fn streams_of_both_sides_share_a_thread() {
    let _alone = testkit::alone();
    for window in [1, 5000, 256 << 10] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let site = Site::new(true, |server| server.runtime(handle).stream_window(window));
        let client = site.client();
        runtime.block_on(async {
            let download = async {
                let call = client.streaming_output_call(output(90, MESSAGES)).timeout(PATIENCE);
                let mut responses = call.await.unwrap().into_inner();
                let mut count = 0;
                while responses.message().await.unwrap().is_some() {
                    count += 1;
                }
                assert_eq!(count, MESSAGES);
            };
            let upload = async {
                let (mut requests, reply) = client.streaming_input_call().timeout(PATIENCE).await.unwrap();
                for _ in 0..MESSAGES {
                    requests.send(input(90)).await.unwrap();
                }
                requests.finish();
                let sum = reply.await.unwrap().into_inner().aggregated_payload_size;
                assert_eq!(sum as usize, 90 * MESSAGES);
            };
            let exchange = async {
                let (mut requests, mut responses) =
                    client.full_duplex_call().timeout(PATIENCE).await.unwrap();
                for size in 0..MESSAGES {
                    requests.send(output(size, 1)).await.unwrap();
                    let response = responses.message().await.unwrap().expect("one each");
                    assert_eq!(response.payload.unwrap().body.len(), size);
                }
                requests.finish();
                assert!(responses.message().await.unwrap().is_none());
            };
            tokio::join!(download, upload, exchange);
        });
    }
}
