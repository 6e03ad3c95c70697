//! Calls of every shape, side by side on one channel.

use mmap_rpc::Code;
use testkit::PATIENCE;
use testkit::interop::payload;
use testkit::interop::proto::{
    EchoStatus, StreamingOutputCallRequest, StreamingOutputCallResponse, TestServiceClient,
};

use crate::streams::{input, output, size_of};
use crate::unary::simple;
use crate::{Driver, Site, via};

/// Who makes a call, apart from its site.
#[derive(Clone)]
struct Caller {
    driver: Driver,
    client: TestServiceClient,
    number: usize,
}

pub(crate) async fn mixed_calls(site: &Site) {
    let (driver, client) = (site.driver, site.client());
    site.side_by_side(100, |number| {
        let caller = Caller { driver, client: client.clone(), number };
        async move {
            for round in 0..10 {
                match (number + round) % 6 {
                    0 => caller.unary().await,
                    1 => caller.server_streaming().await,
                    2 => caller.client_streaming().await,
                    3 => caller.ping_pong().await,
                    4 => caller.fails().await,
                    _ => caller.is_given_up().await,
                }
            }
        }
    })
    .await;
}

impl Caller {
    /// A size of its own.
    fn size(&self, number: usize) -> usize {
        (self.number * 131 + number * 977) % 5000
    }

    async fn unary(&self) {
        let size = self.size(0);
        let call = self.client.unary_call(simple(size, size + 1)).timeout(PATIENCE);
        assert!(via!(self, call).unwrap().into_inner().payload == Some(payload(size + 1)));
    }

    async fn server_streaming(&self) {
        let sizes = [1, 2, 3, 4, 5].map(|number| self.size(number));
        let call = self.client.streaming_output_call(output(&sizes)).timeout(PATIENCE);
        let mut responses = via!(self, call).unwrap().into_inner();
        for size in sizes {
            assert_eq!(size_of(via!(self, responses.message()).unwrap().expect("a response")), size);
        }
        assert!(via!(self, responses.message()).unwrap().is_none());
    }

    async fn client_streaming(&self) {
        let sizes = [1, 2, 3, 4, 5].map(|number| self.size(number));
        let call = self.client.streaming_input_call().timeout(PATIENCE);
        let (mut requests, reply) = via!(self, call).unwrap();
        for size in sizes {
            via!(self, requests.send(input(size))).unwrap();
        }
        requests.finish();
        let sum = via!(self, reply).unwrap().into_inner().aggregated_payload_size;
        assert_eq!(sum as usize, sizes.iter().sum::<usize>());
    }

    async fn ping_pong(&self) {
        let call = self.client.full_duplex_call().timeout(PATIENCE);
        let (mut requests, mut responses) = via!(self, call).unwrap();
        for size in [1, 2, 3, 4, 5].map(|number| self.size(number)) {
            via!(self, requests.send(output(&[size]))).unwrap();
            assert_eq!(size_of(via!(self, responses.message()).unwrap().expect("a response")), size);
        }
        drop(requests);
        assert!(via!(self, responses.message()).unwrap().is_none());
    }

    async fn fails(&self) {
        let status = Some(EchoStatus { code: 8, message: self.number.to_string() });
        let request = StreamingOutputCallRequest { response_status: status, ..output(&[7]) };
        let call = self.client.streaming_output_call(request).timeout(PATIENCE);
        let mut responses = via!(self, call).unwrap().into_inner();
        let first: StreamingOutputCallResponse =
            via!(self, responses.message()).unwrap().expect("a response");
        assert_eq!(size_of(first), 7);
        let failed = via!(self, responses.message()).unwrap_err();
        assert_eq!((failed.code(), failed.message()), (Code::ResourceExhausted, &*self.number.to_string()));
    }

    async fn is_given_up(&self) {
        let call = self.client.streaming_output_call(output(&[3; 1000])).timeout(PATIENCE);
        let mut responses = via!(self, call).unwrap().into_inner();
        assert_eq!(size_of(via!(self, responses.message()).unwrap().expect("a response")), 3);
    }
}
