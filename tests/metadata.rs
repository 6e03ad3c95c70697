//! Promise: what is said beside the messages arrives on the other side whole and in order, on every lane,
//! whether the message is short or long; and what is too much fails its own call, with the limit's name.

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Code, Loan, MetadataMap, RawBody, Request, Response, Server, ServerBuilder, Status};
use testkit::proto::{Blob, Empty};
use testkit::{LocalServer, channel_builder, noise};

const ECHO: &str = "/meta.Meta/Echo";
const FAIL: &str = "/meta.Meta/Fail";
const RAW: &str = "/meta.Meta/Raw";

testkit::on_every_way![
    metadata_go_there_and_back_with_messages_of_all_sizes,
    a_failure_brings_details_and_metadata,
    metadata_that_are_too_long_fail_their_call_alone,
    a_status_whose_details_are_too_long_arrives_without,
    a_raw_handler_sees_metadata,
    large_replies_with_metadata_wait_for_room;
    memory: a_raw_failure_brings_details,
];

struct Site(LocalServer);

/// Says again as initial metadata, and in reverse as trailing ones, what it was told.
fn echo(request: Request<Blob>) -> Result<Response<Blob>, Status> {
    let told = request.metadata().clone();
    let mut response = Response::new(request.into_inner());
    *response.metadata_mut() = told.clone();
    let reversed: Vec<_> = told.iter().collect();
    for (key, value) in reversed.into_iter().rev() {
        let trailers = response.trailers_mut();
        match value {
            mmap_rpc::MetadataValue::Text(text) => trailers.append(key, text).unwrap(),
            mmap_rpc::MetadataValue::Binary(bytes) => trailers.append_bin(key, bytes.clone()).unwrap(),
        }
    }
    Ok(response)
}

fn fail(request: Request<Blob>) -> Result<Response<Empty>, Status> {
    let details = request.get_ref().data.clone();
    let mut status = Status::with_details(Code::DataLoss, "lost: größer", details);
    *status.metadata_mut() = request.metadata().clone();
    Err(status)
}

impl Site {
    fn new(set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let builder = Server::builder().unary(ECHO, echo).unary(FAIL, fail).raw(RAW, |request, _| {
            let text = request.metadata().get("key").unwrap_or("nothing").to_owned();
            match request.get_ref().len() {
                0 => Err(Status::with_details(Code::Aborted, text, &b"details"[..])),
                _ => Ok(RawBody::from(text.into_bytes())),
            }
        });
        Self(LocalServer::start(set(builder)))
    }

    fn channel(&self) -> Channel {
        channel_builder().connect(self.0.path()).wait().unwrap()
    }
}

fn some() -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.append("x-first", "1").unwrap();
    metadata.append("x-first", "two words, ~ and all").unwrap();
    metadata.append_bin("x-second-bin", noise(100, 1)).unwrap();
    metadata.append("x-empty", "").unwrap();
    metadata
}

fn request(message: Blob, metadata: MetadataMap) -> Request<Blob> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

fn blob(length: usize) -> Blob {
    Blob { data: noise(length, length as u64) }
}

fn metadata_go_there_and_back_with_messages_of_all_sizes() {
    for handlers in [Handlers::Inline, Handlers::Pool(2)] {
        let site = Site::new(|server| server.handlers(handlers));
        let channel = site.channel();
        let method = channel.method(ECHO);
        let mut few = MetadataMap::new();
        few.insert("k", "v").unwrap();
        for metadata in [MetadataMap::new(), few, some()] {
            for length in [0, 1, 60, 96, 97, 5_000, 100_000, 3 << 20] {
                let sent = blob(length);
                let call = channel.unary::<_, Blob>(&method, request(sent.clone(), metadata.clone()));
                let response = call.wait().unwrap();
                assert_eq!(*response.metadata(), metadata);
                let keys = |map: &MetadataMap| map.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
                let mut reversed = keys(&metadata);
                reversed.reverse();
                assert_eq!(keys(response.trailers()), reversed);
                assert!(response.into_inner() == sent, "{length} bytes");
            }
        }
    }
}

fn a_failure_brings_details_and_metadata() {
    let site = Site::new(|server| server);
    let channel = site.channel();
    for (length, metadata) in [(0, some()), (3, MetadataMap::new()), (4_000, some())] {
        let sent = blob(length);
        let call = channel.unary::<_, Empty>(&channel.method(FAIL), request(sent.clone(), metadata.clone()));
        let status = call.wait().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "lost: größer"));
        assert_eq!(status.details(), &sent.data);
        assert_eq!(*status.metadata(), metadata);
    }
}

fn metadata_that_are_too_long_fail_their_call_alone() {
    let site = Site::new(|server| server.max_metadata_size(300));
    let channel = site.channel();
    let method = channel.method(ECHO);
    let call = |length: usize| {
        let mut metadata = MetadataMap::new();
        metadata.insert_bin("x-bin", noise(length, 1)).unwrap();
        channel.unary::<_, Blob>(&method, request(blob(10), metadata)).wait()
    };
    // The handler says twice what it was told.
    for (length, side) in [(400, "request"), (200, "reply")] {
        let status = call(length).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{side}: {status}");
        assert!(status.message().contains("max_metadata_size (300 bytes)"), "{side}: {status}");
    }
    assert_eq!(call(100).unwrap().into_inner(), blob(10));
}

fn a_status_whose_details_are_too_long_arrives_without() {
    let site = Site::new(|server| server.max_metadata_size(300));
    let channel = site.channel();
    let call = channel.unary::<_, Empty>(&channel.method(FAIL), blob(1000).into());
    let status = call.wait().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "lost: größer"));
    assert!(status.details().is_empty());
}

fn a_raw_handler_sees_metadata() {
    let site = Site::new(|server| server);
    let channel = site.channel();
    let mut metadata = MetadataMap::new();
    metadata.insert("key", "value").unwrap();
    // As messages, because plain bytes are sent without metadata.
    let call = channel.unary::<_, Empty>(&channel.method(RAW), request(blob(200), metadata));
    let status = call.wait().unwrap_err();
    assert!(status.message().contains("decode"), "\"value\" is no message: {status}");
    let plain: Vec<u8> = channel.raw(&channel.method(RAW), &[1, 2]).wait().unwrap().to_vec();
    assert_eq!(plain, b"nothing");
}

fn large_replies_with_metadata_wait_for_room() {
    let site = Site::new(|server| server.max_region_bytes(4 << 20).max_message_size(1 << 20));
    let channel = site.channel();
    let method = channel.method(ECHO);
    let size = 700_000;
    let calls = (0..12).map(|_| channel.unary::<_, Blob>(&method, request(blob(size), some())));
    let pending: Vec<_> = calls.map(|call| call.start().unwrap()).collect();
    for call in pending {
        let response = call.wait().unwrap();
        assert_eq!(*response.metadata(), some());
        assert!(response.into_inner() == blob(size));
    }
}

fn a_raw_failure_brings_details() {
    let site = Site::new(|server| server);
    let channel = site.channel();
    let nothing: Loan = channel.loan(0).unwrap();
    let status = channel.raw(&channel.method(RAW), nothing).wait().unwrap_err();
    assert_eq!((status.code(), &status.details()[..]), (Code::Aborted, &b"details"[..]));
}
