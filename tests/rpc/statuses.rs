//! What calls fail with.

use mmap_rpc::{Code, Request, Status};
use testkit::PATIENCE;
use testkit::interop::ECHO_TRAILING;
use testkit::interop::proto::{EchoStatus, SimpleRequest, StreamingOutputCallRequest};

use crate::streams::{output, rest};
use crate::{Site, via};

/// The text of gRPC's test: white space, a character of three bytes, one of four.
const SPECIAL: &str = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

fn status(code: i32, message: &str) -> Option<EchoStatus> {
    Some(EchoStatus { code, message: message.into() })
}

/// Fails a call of one response, one of a stream, and one of streams both ways, for both of its halves.
async fn fail(site: &Site, code: i32, message: &str) -> [Status; 4] {
    let client = site.client();
    let request = SimpleRequest { response_status: status(code, message), ..Default::default() };
    let unary = via!(site, client.unary_call(request).timeout(PATIENCE)).unwrap_err();

    let request = StreamingOutputCallRequest { response_status: status(code, message), ..Default::default() };
    let call = client.streaming_output_call(request.clone()).timeout(PATIENCE);
    let streamed = match via!(site, call) {
        Ok(response) => via!(site, response.into_inner().message()).unwrap_err(),
        Err(status) => status,
    };

    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(PATIENCE)).unwrap();
    via!(site, requests.send(request)).unwrap();
    let both_ways = via!(site, responses.message()).unwrap_err();
    // It is over for who sends as well, who is told the same.
    let ended = via!(site, requests.send(Default::default())).unwrap_err();
    [unary, streamed, both_ways, ended]
}

pub(crate) async fn status_code_and_message(site: &Site) {
    for code in 1..=16 {
        let message = format!("test status message {code}");
        for failed in fail(site, code, &message).await {
            assert_eq!((failed.code() as i32, failed.message()), (code, &*message));
        }
    }
}

pub(crate) async fn special_status_message(site: &Site) {
    for failed in fail(site, 2, SPECIAL).await {
        assert_eq!((failed.code(), failed.message()), (Code::Unknown, SPECIAL));
    }
}

/// All that was sent before arrives before.
pub(crate) async fn a_failure_behind_responses(site: &Site) {
    let client = site.client();
    let sizes = [1, 70_000, 0];
    let request = StreamingOutputCallRequest { response_status: status(10, "enough"), ..output(&sizes) };
    let call = client.streaming_output_call(request).timeout(PATIENCE);
    let mut responses = via!(site, call).unwrap().into_inner();
    for size in sizes {
        let response = via!(site, responses.message()).unwrap().expect("a response");
        assert_eq!(crate::streams::size_of(response), size);
    }
    let failed = rest(site, &mut responses).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::Aborted, "enough"));
}

pub(crate) async fn metadata_of_failures(site: &Site) {
    let client = site.client();
    let mut request =
        Request::new(SimpleRequest { response_status: status(5, "gone"), ..Default::default() });
    request.metadata_mut().insert_bin(ECHO_TRAILING, &b"\xab\xab\xab"[..]).unwrap();
    let failed = via!(site, client.unary_call(request).timeout(PATIENCE)).unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::NotFound, "gone"));
    assert_eq!(failed.metadata().get_bin(ECHO_TRAILING).unwrap(), &b"\xab\xab\xab"[..]);
}
