//! Streams to the client, to the server, and both ways, of none, one and many messages.

use std::thread;

use futures_util::stream;
use mmap_rpc::{Code, MetadataMap, Request, Status, Streaming};
use testkit::PATIENCE;
use testkit::interop::proto::{
    EchoStatus, Payload, ResponseParameters, StreamingInputCallRequest, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};
use testkit::interop::{ECHO_INITIAL, ECHO_TRAILING, payload};

use crate::{Driver, Site, via};

/// Sizes of requests and responses as gRPC's tests have them.
const REQUESTS: [usize; 4] = [27_182, 8, 1_828, 45_904];
const RESPONSES: [usize; 4] = [31_415, 9, 2_653, 58_979];

/// A request for responses of these sizes.
pub(crate) fn output(sizes: &[usize]) -> StreamingOutputCallRequest {
    let parameters = |&size: &usize| ResponseParameters { size: size as i32, interval_us: 0 };
    StreamingOutputCallRequest {
        response_parameters: sizes.iter().map(parameters).collect(),
        ..Default::default()
    }
}

/// A request of `sent` bytes for a response of `returned`.
fn exchange(sent: usize, returned: usize) -> StreamingOutputCallRequest {
    StreamingOutputCallRequest { payload: Some(payload(sent)), ..output(&[returned]) }
}

pub(crate) fn input(size: usize) -> StreamingInputCallRequest {
    StreamingInputCallRequest { payload: Some(payload(size)) }
}

/// How long a response is, which has the right bytes.
#[track_caller]
pub(crate) fn size_of(response: StreamingOutputCallResponse) -> usize {
    let Some(Payload { body }) = response.payload else { panic!("no payload") };
    assert!(body == payload(body.len()).body, "other bytes than those of {}", body.len());
    body.len()
}

/// Sizes of all responses that are still to come.
pub(crate) async fn rest(
    site: &Site,
    responses: &mut Streaming<StreamingOutputCallResponse>,
) -> Result<Vec<usize>, Status> {
    let mut sizes = Vec::new();
    while let Some(response) = via!(site, responses.message())? {
        sizes.push(size_of(response));
    }
    Ok(sizes)
}

/// Sizes of many short messages.
fn many() -> Vec<usize> {
    (0..3000).map(|number| number * 7 % 300).collect()
}

async fn check_output(site: &Site, sizes: &[usize]) {
    let client = site.client();
    let call = client.streaming_output_call(output(sizes)).timeout(PATIENCE);
    let mut responses = via!(site, call).unwrap().into_inner();
    assert_eq!(rest(site, &mut responses).await.unwrap(), sizes);
    assert!(via!(site, responses.message()).unwrap().is_none(), "it stays at its end");
}

pub(crate) async fn server_streaming_of_none(site: &Site) {
    check_output(site, &[]).await;
}

pub(crate) async fn server_streaming_of_one(site: &Site) {
    check_output(site, &[0]).await;
    check_output(site, &[31_415]).await;
}

/// As an iterator and as a stream as well.
pub(crate) async fn server_streaming(site: &Site) {
    use futures_util::TryStreamExt;
    check_output(site, &RESPONSES).await;
    let client = site.client();
    let call = client.streaming_output_call(output(&RESPONSES)).timeout(PATIENCE);
    let responses = via!(site, call).unwrap().into_inner();
    let all: Result<Vec<_>, Status> = match site.driver {
        Driver::Blocking => responses.into_iter().collect(),
        Driver::Awaited => responses.try_collect().await,
    };
    assert!(all.unwrap().into_iter().map(size_of).eq(RESPONSES));
}

pub(crate) async fn server_streaming_of_many(site: &Site) {
    check_output(site, &many()).await;
}

async fn check_input(site: &Site, sizes: &[usize]) {
    let client = site.client();
    let (mut requests, reply) = via!(site, client.streaming_input_call().timeout(PATIENCE)).unwrap();
    for &size in sizes {
        via!(site, requests.send(input(size))).unwrap();
    }
    requests.finish();
    let response = via!(site, reply).unwrap().into_inner();
    assert_eq!(response.aggregated_payload_size as usize, sizes.iter().sum::<usize>());
}

pub(crate) async fn client_streaming_of_none(site: &Site) {
    check_input(site, &[]).await;
}

pub(crate) async fn client_streaming_of_one(site: &Site) {
    check_input(site, &[0]).await;
    check_input(site, &[27_182]).await;
}

pub(crate) async fn client_streaming(site: &Site) {
    check_input(site, &REQUESTS).await;
}

pub(crate) async fn client_streaming_of_many(site: &Site) {
    check_input(site, &many()).await;
}

/// Neither side says anything.
pub(crate) async fn empty_stream(site: &Site) {
    let client = site.client();
    let (requests, mut responses) = via!(site, client.full_duplex_call().timeout(PATIENCE)).unwrap();
    drop(requests);
    assert!(via!(site, responses.message()).unwrap().is_none());
}

/// Each request waits for the response to the one before.
pub(crate) async fn ping_pong(site: &Site) {
    let client = site.client();
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(PATIENCE)).unwrap();
    for (sent, returned) in REQUESTS.into_iter().zip(RESPONSES) {
        via!(site, requests.send(exchange(sent, returned))).unwrap();
        let response = via!(site, responses.message()).unwrap().expect("a response to each");
        assert_eq!(size_of(response), returned);
    }
    requests.finish();
    assert!(via!(site, responses.message()).unwrap().is_none());
}

/// Requests are sent while responses are read, with no regard for each other.
async fn both_ways(site: &Site, sizes: &[usize]) {
    let client = site.client();
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(PATIENCE)).unwrap();
    let returned = match site.driver {
        Driver::Blocking => thread::scope(|scope| {
            scope.spawn(move || {
                for &size in sizes {
                    requests.send(exchange(size, size)).wait().unwrap();
                }
            });
            let sizes = (&mut responses).into_iter().map(|response| response.map(size_of));
            sizes.collect::<Result<Vec<_>, _>>()
        }),
        Driver::Awaited => {
            let send = async move {
                for &size in sizes {
                    requests.send(exchange(size, size)).await.unwrap();
                }
            };
            tokio::join!(send, rest(site, &mut responses)).1
        }
    };
    assert_eq!(returned.unwrap(), sizes);
}

pub(crate) async fn full_duplex_of_many(site: &Site) {
    both_ways(site, &many()).await;
}

pub(crate) async fn large_messages(site: &Site) {
    both_ways(site, &[1 << 20, 0, 5 << 20, 100, 3 << 20, 3 << 20, 97]).await;
}

pub(crate) async fn messages_sent_at_once(site: &Site) {
    let client = site.client();
    let upload = client.streaming_input_call().timeout(PATIENCE);
    let inputs = many().into_iter().map(input);
    let response = match site.driver {
        Driver::Blocking => upload.send_all(inputs).wait(),
        Driver::Awaited => upload.send_all(stream::iter(inputs)).await,
    };
    let sum = response.unwrap().into_inner().aggregated_payload_size;
    assert_eq!(sum as usize, many().iter().sum::<usize>());

    // Beside the responses a task sends, which threads do not have.
    if site.driver == Driver::Awaited {
        let chat = client.full_duplex_call().timeout(PATIENCE);
        let requests = many().into_iter().map(|size| exchange(size, size));
        let mut responses = chat.send_all(stream::iter(requests)).await.unwrap().into_inner();
        assert_eq!(rest(site, &mut responses).await.unwrap(), many());
    }
}

/// The server answers once the client has said all it has to say.
pub(crate) async fn the_client_ends_first(site: &Site) {
    let client = site.client();
    let (mut requests, mut responses) = via!(site, client.half_duplex_call().timeout(PATIENCE)).unwrap();
    for (sent, returned) in REQUESTS.into_iter().zip(RESPONSES) {
        via!(site, requests.send(exchange(sent, returned))).unwrap();
    }
    requests.finish();
    assert_eq!(rest(site, &mut responses).await.unwrap(), RESPONSES);
}

/// The server has said all it has to say while the client could go on.
pub(crate) async fn the_server_ends_first(site: &Site) {
    let client = site.client();
    let (mut requests, mut responses) = via!(site, client.full_duplex_call().timeout(PATIENCE)).unwrap();
    let last = EchoStatus { code: 0, message: String::new() };
    let last = StreamingOutputCallRequest { response_status: Some(last), ..output(&RESPONSES) };
    via!(site, requests.send(last)).unwrap();
    assert_eq!(rest(site, &mut responses).await.unwrap(), RESPONSES);
    site.expect_running(0);
    // Nobody reads this; that the call went well was told by its responses.
    let ended = via!(site, requests.send(output(&[1]))).unwrap_err();
    assert_eq!(ended.code(), Code::Cancelled, "{ended}");
}

/// What comes back before the responses and behind them.
pub(crate) fn metadata_to_echo() -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert(ECHO_INITIAL, "test_initial_metadata_value").unwrap();
    metadata.insert_bin(ECHO_TRAILING, &b"\xab\xab\xab"[..]).unwrap();
    metadata
}

#[track_caller]
pub(crate) fn assert_echoed(initial: &MetadataMap, trailing: &MetadataMap) {
    assert_eq!(initial.get(ECHO_INITIAL), Some("test_initial_metadata_value"));
    assert_eq!(trailing.get_bin(ECHO_TRAILING).unwrap(), &b"\xab\xab\xab"[..]);
    assert_eq!((initial.len(), trailing.len()), (1, 1));
}

pub(crate) async fn metadata_of_streams(site: &Site) {
    let client = site.client();
    for sizes in [&[][..], &[1], &RESPONSES] {
        let mut request = Request::new(output(sizes));
        *request.metadata_mut() = metadata_to_echo();
        let call = client.streaming_output_call(request).timeout(PATIENCE);
        let response = via!(site, call).unwrap();
        assert_eq!(response.metadata().get(ECHO_INITIAL), Some("test_initial_metadata_value"));
        let mut responses = response.into_inner();
        assert!(responses.trailers().is_none());
        assert_eq!(rest(site, &mut responses).await.unwrap(), sizes);
        assert_echoed(responses.metadata().expect("it began"), responses.trailers().expect("it ended"));

        let call = client.streaming_input_call().metadata(metadata_to_echo()).timeout(PATIENCE);
        let (mut requests, reply) = via!(site, call).unwrap();
        for &size in sizes {
            via!(site, requests.send(input(size))).unwrap();
        }
        requests.finish();
        let response = via!(site, reply).unwrap();
        assert_echoed(response.metadata(), response.trailers());

        let call = client.full_duplex_call().metadata(metadata_to_echo()).timeout(PATIENCE);
        let (mut requests, mut responses) = via!(site, call).unwrap();
        via!(site, requests.send(output(sizes))).unwrap();
        requests.finish();
        assert_eq!(rest(site, &mut responses).await.unwrap(), sizes);
        assert_echoed(responses.metadata().expect("it began"), responses.trailers().expect("it ended"));
    }
}
