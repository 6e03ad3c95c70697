//! Messages: the bytes that are promised, and the refusals.

use super::message::proto::{self, envelope::Message as Wire};
use super::netstring::*;
use super::*;
use prost::Message as _;

const LIMITS: Limits = few(1 << 30, 1 << 32, 1024);

/// With neither metadata nor streams.
const fn few(max_message_size: u64, max_region_bytes: u64, max_in_flight: u32) -> Limits {
    Limits { max_message_size, max_region_bytes, max_in_flight, max_metadata_size: 0, stream_window: 0 }
}

fn connect_request() -> ConnectRequest {
    ConnectRequest {
        versions: VersionRange { min: 1, max: 2 },
        required_features: 1,
        offered_features: 3,
        limits: LIMITS,
        base_segment_bytes: Some(1 << 20),
    }
}

fn segment() -> SegmentAdded {
    SegmentAdded { segment_id: 1, bytes: 8192, slot_size: 1024, slot_count: 8, first_handle: 64 }
}

fn accepted() -> ConnectResponse {
    ConnectResponse::Accepted {
        connection_id: "c1".into(),
        version: 1,
        features: 3,
        limits: LIMITS,
        memory: Memory::BaseSegment { bytes: 1 << 20 },
        methods: vec!["/cache.Cache/Get".into(), "/cache.Cache/Set".into()],
    }
}

/// Sends and receives: the frame's body, and what it decodes to.
pub(super) fn there_and_back(message: &Message) -> (Vec<u8>, Message) {
    let mut frame = Vec::new();
    message.encode_frame(&mut frame).unwrap();
    let mut decoder = Decoder::new();
    decoder.feed(&frame);
    let body = decoder.next_frame().unwrap().expect("one whole frame");
    assert_eq!(decoder.buffered(), 0);
    (body.to_vec(), Message::decode(&body).unwrap())
}

/// What a peer's generated code would send, unchecked.
fn decode_wire(wire: Wire) -> Result<Message, MessageError> {
    Message::decode(&proto::Envelope { message: Some(wire) }.encode_to_vec())
}

/// Asserts that both directions refuse, naming the field.
#[track_caller]
fn refuses(message: Message, field: &str) {
    let refused = |error: MessageError| match error {
        MessageError::Field { message: name, field: found, problem } => {
            assert_eq!((name, found), (message.name(), field), "{problem}");
        }
        other => panic!("{other:?}"),
    };
    let mut frame = b"before".to_vec();
    refused(message.encode_frame(&mut frame).unwrap_err());
    assert_eq!(frame, b"before");
    // An empty error and a success are the same bytes; only the sender can tell them apart.
    if let Some(wire) = message.to_wire().filter(|_| field != "error" || !says_nothing(&message)) {
        refused(decode_wire(wire).unwrap_err());
    }
}

fn says_nothing(message: &Message) -> bool {
    match message {
        Message::ConnectResponse(ConnectResponse::Refused { error, .. }) => error.is_empty(),
        _ => false,
    }
}

#[test]
fn published_numbers_are_kept() {
    // Envelope 4, RPCRequest: 1 connection id "c", 2 method "/s/M", 3 size 7; ours: 10 offset 64, 11 call 9,
    // 12 segment 3, 13 timeout 8.
    let request = Message::RpcRequest(RpcRequest {
        connection_id: "c".into(),
        method: "/s/M".into(),
        call_id: 9,
        timeout_us: 8,
        request: Span { segment_id: 3, offset: 64, size: 7 },
        metadata: Metadata::default(),
        streaming: false,
        messages_follow: false,
    });
    let bytes = there_and_back(&request).0;
    assert_eq!(bytes, b"\x22\x13\x0a\x01c\x12\x04/s/M\x18\x07\x50\x40\x58\x09\x60\x03\x68\x08");

    // Envelope 5, RPCResponse: 1, 2, 3 and 10 to 12 as above; 4 error; ours: 13 status code.
    let mut response = RpcResponse {
        connection_id: "c".into(),
        method: "/s/M".into(),
        call_id: 9,
        reply: Ok(Span { segment_id: 0, offset: 64, size: 7 }),
        metadata: Metadata::default(),
    };
    let bytes = there_and_back(&Message::RpcResponse(response.clone())).0;
    assert_eq!(bytes, b"\x2a\x0f\x0a\x01c\x12\x04/s/M\x18\x07\x50\x40\x58\x09");
    response.reply = Err(failure("no"));
    let bytes = there_and_back(&Message::RpcResponse(response.clone())).0;
    assert_eq!(bytes, b"\x2a\x13\x0a\x01c\x12\x04/s/M\x18\x00\x22\x02no\x58\x09\x68\x0e");
    // 14 metadata: 1 initial, 2 trailing, each of pairs with 1 key and 2 value; 3 details.
    let pair = |key: &str, value: &'static [u8]| Pair { key: key.into(), value: value.into() };
    response.metadata = Metadata {
        initial: vec![pair("i", b"j")],
        trailing: vec![pair("t-bin", b"\xff")],
        details: b"d"[..].into(),
    };
    let bytes = there_and_back(&Message::RpcResponse(response)).0;
    assert!(
        bytes.ends_with(
            b"\x68\x0e\x72\x17\x0a\x06\x0a\x01i\x12\x01j\x12\x0a\x0a\x05t-bin\x12\x01\xff\x1a\x01d"
        )
    );

    // Envelope 2, ConnectResponse: 3 error; ours: 15 and 16 versions.
    let refused = ConnectResponse::Refused { error: "no".into(), versions: VersionRange { min: 1, max: 2 } };
    let bytes = there_and_back(&Message::ConnectResponse(refused)).0;
    assert_eq!(bytes, b"\x12\x09\x1a\x02no\x78\x01\x80\x01\x02");

    // ConnectResponse: 1 connection id; ours: 10 version, 11 features, 12 limits, 13 length, 14 methods.
    let bytes = there_and_back(&Message::ConnectResponse(ConnectResponse::Accepted {
        connection_id: "c".into(),
        version: 1,
        features: 2,
        limits: few(3, 4, 5),
        memory: Memory::BaseSegment { bytes: 4096 },
        methods: vec!["/s/M".into()],
    }))
    .0;
    assert_eq!(
        bytes,
        b"\x12\x18\x0a\x01c\x50\x01\x58\x02\x62\x06\x08\x03\x10\x04\x18\x05\x68\x80\x20\x72\x04/s/M"
    );

    // ConnectResponse: 2 mmap filename.
    let bytes = there_and_back(&Message::ConnectResponse(with_file("/f"))).0;
    assert_eq!(&bytes[..10], b"\x12\x41\x0a\x02c1\x12\x02/f");

    // Envelope 3, DisconnectRequest: 1 connection id.
    let farewell = Message::Disconnect(Disconnect { connection_id: "c".into() });
    assert_eq!(there_and_back(&farewell).0, b"\x1a\x03\x0a\x01c");
}

#[test]
fn our_own_numbers_are_kept() {
    let request = Message::ConnectRequest(ConnectRequest {
        versions: VersionRange { min: 1, max: 2 },
        required_features: 3,
        offered_features: 4,
        limits: few(5, 6, 7),
        base_segment_bytes: Some(4096),
    });
    let bytes = there_and_back(&request).0;
    assert_eq!(
        bytes,
        b"\x0a\x13\x50\x01\x58\x02\x60\x03\x68\x04\x72\x06\x08\x05\x10\x06\x18\x07\x78\x80\x20"
    );
    let bytes = there_and_back(&Message::SegmentAdded(segment())).0;
    assert_eq!(bytes, b"\x32\x0c\x08\x01\x10\x80\x40\x18\x80\x08\x20\x08\x28\x40");
    assert_eq!(there_and_back(&Message::SegmentDropped { segment_id: 5 }).0, b"\x3a\x02\x08\x05");
    assert_eq!(there_and_back(&Message::SegmentDropAcknowledged { segment_id: 5 }).0, b"\x42\x02\x08\x05");
    assert_eq!(there_and_back(&Message::Cancel { call_id: 5 }).0, b"\x4a\x02\x08\x05");
    assert_eq!(there_and_back(&Message::Goaway).0, b"\x52\x00");
    let message = Span { segment_id: 3, offset: 64, size: 7 };
    let bytes = there_and_back(&Message::StreamMessage { call_id: 9, message }).0;
    assert_eq!(bytes, b"\x5a\x08\x08\x09\x18\x07\x50\x40\x60\x03");
    assert_eq!(there_and_back(&Message::StreamEnd { call_id: 5 }).0, b"\x62\x02\x08\x05");
    let bytes = there_and_back(&Message::StreamCredit { call_id: 5, bytes: 6 }).0;
    assert_eq!(bytes, b"\x6a\x04\x08\x05\x10\x06");
    let metadata = Metadata::default();
    assert_eq!(there_and_back(&Message::StreamHeaders { call_id: 5, metadata }).0, b"\x72\x02\x08\x05");
    let limits = Limits { max_metadata_size: 8, stream_window: 9, ..few(5, 6, 7) };
    let request = ConnectRequest { limits, ..connect_request() };
    let bytes = there_and_back(&Message::ConnectRequest(request)).0;
    let sent = b"\x72\x0a\x08\x05\x10\x06\x18\x07\x20\x08\x28\x09";
    assert!(bytes.windows(sent.len()).any(|window| window == sent));
}

#[test]
fn the_doorbell_is_the_empty_frame() {
    let mut frame = Vec::new();
    Message::Doorbell.encode_frame(&mut frame).unwrap();
    assert_eq!(frame, b"0:,");
    assert_eq!(Message::decode(b""), Ok(Message::Doorbell));
}

#[test]
fn unknown_fields_pass_and_unknown_messages_do_not() {
    // Field 200 beside a known message, and inside of it.
    let known = b"\x3a\x02\x08\x05\xc0\x0c\x01";
    assert_eq!(Message::decode(known), Ok(Message::SegmentDropped { segment_id: 5 }));
    let inside = b"\x3a\x05\x08\x05\xc0\x0c\x01";
    assert_eq!(Message::decode(inside), Ok(Message::SegmentDropped { segment_id: 5 }));
    assert_eq!(Message::decode(b"\xc0\x0c\x01"), Err(MessageError::Unknown));
    assert!(matches!(Message::decode(b"\x3a\x7f"), Err(MessageError::Parse(_))), "cut short");
    assert!(matches!(Message::decode(b"\x1a\x03\x0a\x01\xff"), Err(MessageError::Parse(_))), "not UTF-8");
}

#[test]
fn descriptors_are_counted_exactly() {
    let refused = ConnectResponse::Refused { error: "no".into(), versions: VersionRange { min: 1, max: 1 } };
    let counts = [
        (Message::ConnectRequest(connect_request()), 2),
        (Message::ConnectRequest(ConnectRequest { base_segment_bytes: None, ..connect_request() }), 0),
        (Message::ConnectResponse(accepted()), 2),
        (Message::ConnectResponse(with_file("/run/f")), 0),
        (Message::ConnectResponse(refused), 0),
        (Message::SegmentAdded(segment()), 1),
        (Message::SegmentDropped { segment_id: 1 }, 0),
        (Message::SegmentDropAcknowledged { segment_id: 1 }, 0),
        (Message::Disconnect(Disconnect { connection_id: String::new() }), 0),
        (Message::Cancel { call_id: 1 }, 0),
        (Message::Goaway, 0),
        (Message::Doorbell, 0),
    ];
    for (message, descriptors) in counts {
        assert_eq!(message.descriptors(), descriptors, "{}", message.name());
        assert_eq!(there_and_back(&message).1, message);
    }
}

#[test]
fn connect_request_is_checked() {
    let bad = |change: fn(&mut ConnectRequest), field| {
        let mut message = connect_request();
        change(&mut message);
        refuses(Message::ConnectRequest(message), field);
    };
    bad(|m| m.versions.min = 0, "min_version");
    bad(|m| m.versions = VersionRange { min: 1, max: 0 }, "max_version");
    bad(|m| m.versions = VersionRange { min: 3, max: 2 }, "min_version");
    bad(|m| m.limits.max_message_size = 0, "limits.max_message_size");
    bad(|m| m.limits.max_region_bytes = 0, "limits.max_region_bytes");
    bad(|m| m.limits.max_in_flight = 0, "limits.max_in_flight");
    bad(|m| m.limits.max_metadata_size = MAX_METADATA + 1, "limits.max_metadata_size");
    bad(|m| m.base_segment_bytes = Some(4097), "base_segment_bytes");

    let mut wire = proto::ConnectRequest { min_version: 1, max_version: 1, ..Default::default() };
    wire.base_segment_bytes = 4096;
    let error = decode_wire(Wire::ConnectRequest(wire)).unwrap_err();
    assert_eq!(error.to_string(), "ConnectRequest.limits is missing");
}

#[test]
fn connect_response_is_checked() {
    type Change = fn(&mut String, &mut u32, &mut Limits, &mut Memory, &mut Vec<String>);
    let bad = |change: Change, field| {
        let mut message = accepted();
        let ConnectResponse::Accepted { connection_id, version, limits, memory, methods, .. } = &mut message
        else {
            unreachable!()
        };
        change(connection_id, version, limits, memory, methods);
        refuses(Message::ConnectResponse(message), field);
    };
    bad(|id, _, _, _, _| id.clear(), "connection_id");
    bad(|id, _, _, _, _| *id = "x".repeat(65), "connection_id");
    bad(|id, _, _, _, _| *id = "a\nb".into(), "connection_id");
    bad(|_, version, _, _, _| *version = 0, "version");
    bad(|_, _, limits, _, _| limits.max_in_flight = 0, "limits.max_in_flight");
    bad(|_, _, _, memory, _| *memory = Memory::BaseSegment { bytes: 100 }, "base_segment_bytes");
    bad(|_, _, _, memory, _| *memory = Memory::BaseSegment { bytes: 0 }, "base_segment_bytes");
    bad(|_, _, _, memory, _| *memory = Memory::File { path: "run/f".into() }, "mmap_filename");
    bad(|_, _, _, memory, _| *memory = Memory::File { path: "/f\0".into() }, "mmap_filename");
    bad(|_, _, _, memory, _| *memory = Memory::File { path: "/".repeat(4096) }, "mmap_filename");
    let both = proto::ConnectResponse { mmap_filename: "/f".into(), ..accepted_wire() };
    let error = decode_wire(Wire::ConnectResponse(both)).unwrap_err();
    assert_eq!(error.to_string(), "ConnectResponse.mmap_filename is set together with a base segment");
    bad(|_, _, _, _, methods| methods.push("/cache.Cache/Get".into()), "methods");
    bad(|_, _, _, _, methods| methods.push(format!("/s/{}", "M".repeat(510))), "methods");
    for name in ["", "/", "//", "s/M", "/s", "/s/", "//M", "/s/M/x"] {
        let mut wire = accepted_wire();
        wire.methods.push(name.into());
        let error = decode_wire(Wire::ConnectResponse(wire)).unwrap_err();
        assert!(matches!(error, MessageError::Field { field: "methods", .. }), "{name}: {error}");
    }

    let versions = VersionRange { min: 1, max: 1 };
    let refused =
        |error: String, versions| Message::ConnectResponse(ConnectResponse::Refused { error, versions });
    refuses(refused(String::new(), versions), "error");
    refuses(refused("x".repeat(4097), versions), "error");
    refuses(refused("no".into(), VersionRange { min: 0, max: 1 }), "min_version");
}

fn with_file(path: &str) -> ConnectResponse {
    let mut response = accepted();
    if let ConnectResponse::Accepted { memory, .. } = &mut response {
        *memory = Memory::File { path: path.into() };
    }
    response
}

fn failure(text: &str) -> Failure {
    Failure { code: 14, text: text.into() }
}

fn accepted_wire() -> proto::ConnectResponse {
    match Message::ConnectResponse(accepted()).to_wire() {
        Some(Wire::ConnectResponse(wire)) => wire,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_response_says_one_thing() {
    let refusal =
        proto::ConnectResponse { error: "no".into(), min_version: 1, max_version: 1, ..Default::default() };
    assert!(decode_wire(Wire::ConnectResponse(refusal.clone())).is_ok());
    let changes: [fn(&mut proto::ConnectResponse); 7] = [
        |m| m.mmap_filename = "/f".into(),
        |m| m.connection_id = "c".into(),
        |m| m.version = 1,
        |m| m.features = 1,
        |m| m.limits = Some(proto::Limits::default()),
        |m| m.base_segment_bytes = 4096,
        |m| m.methods = vec!["/s/M".into()],
    ];
    for change in changes {
        let mut wire = refusal.clone();
        change(&mut wire);
        let error = decode_wire(Wire::ConnectResponse(wire.clone())).expect_err(&format!("{wire:?}"));
        assert!(matches!(error, MessageError::Field { field: "error", .. }), "{error}");
    }
    let refused = |wire| decode_wire(Wire::RpcResponse(wire)).unwrap_err().to_string();
    for (size, offset, segment_id) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
        let size = Some(size);
        let wire = proto::RpcResponse { status_code: 5, size, offset, segment_id, ..Default::default() };
        assert_eq!(refused(wire), "RPCResponse.status_code is set together with a reply");
    }
    let wire = proto::RpcResponse { error: "no".into(), ..Default::default() };
    assert_eq!(refused(wire), "RPCResponse.error is set without a status_code");
}

#[test]
fn segments_are_checked() {
    let bad = |change: fn(&mut SegmentAdded), field| {
        let mut message = segment();
        change(&mut message);
        refuses(Message::SegmentAdded(message), field);
    };
    bad(|m| m.segment_id = 0, "segment_id");
    bad(|m| m.slot_size = 0, "slot_size");
    bad(|m| m.slot_count = 0, "slot_count");
    bad(|m| m.bytes = 0, "bytes");
    bad(|m| m.bytes = 8200, "bytes");
    bad(|m| m.bytes = 4096, "bytes");
    bad(|m| m.slot_size = 1 << 61, "slot_size");
    bad(|m| m.first_handle = 65, "first_handle");
    bad(|m| (m.first_handle, m.slot_count, m.bytes) = (u32::MAX - 63, 64, 1 << 20), "first_handle");
    refuses(Message::SegmentDropped { segment_id: 0 }, "segment_id");
    refuses(Message::SegmentDropAcknowledged { segment_id: 0 }, "segment_id");
}

#[test]
fn calls_are_checked() {
    let request = |id: &str, method: &str, offset| {
        let request = Span { segment_id: 0, offset, size: 8 };
        Message::RpcRequest(RpcRequest {
            connection_id: id.into(),
            method: method.into(),
            call_id: 0,
            timeout_us: 0,
            request,
            metadata: Metadata::default(),
            streaming: false,
            messages_follow: false,
        })
    };
    let many = |streaming, size| {
        let Message::RpcRequest(request) = request("", "/s/M", 0) else { unreachable!() };
        let span = Span { size, ..Span::default() };
        Message::RpcRequest(RpcRequest { request: span, streaming, messages_follow: true, ..request })
    };
    assert!(many(true, 0).encode_frame(&mut Vec::new()).is_ok());
    refuses(many(false, 0), "messages_follow");
    refuses(many(true, 1), "messages_follow");
    refuses(Message::StreamCredit { call_id: 1, bytes: 0 }, "bytes");
    let bad = Pair { key: "A".into(), value: "x".into() };
    let metadata = Metadata { initial: vec![bad], ..Metadata::default() };
    refuses(Message::StreamHeaders { call_id: 1, metadata }, "metadata");
    assert!(request("", "/s/M", u64::MAX - 8).encode_frame(&mut Vec::new()).is_ok());
    refuses(request("", "/s/M", u64::MAX - 7), "offset");
    refuses(request("", "", 0), "fully_qualified_method_name");
    refuses(request(&"x".repeat(65), "/s/M", 0), "connection_id");
    let response = |method: &str, reply| {
        Message::RpcResponse(RpcResponse {
            connection_id: "".into(),
            method: method.into(),
            call_id: 0,
            reply,
            metadata: Metadata::default(),
        })
    };
    assert!(response("", Err(failure(""))).encode_frame(&mut Vec::new()).is_ok());
    refuses(response("M", Err(failure("no"))), "fully_qualified_method_name");
    refuses(response("", Err(failure(&"x".repeat(4097)))), "error");
    refuses(response("", Ok(Span { segment_id: 0, offset: 1, size: u64::MAX })), "offset");
    let mut frame = Vec::new();
    let no_failure = response("", Err(Failure { code: 0, text: "no".into() })).encode_frame(&mut frame);
    assert!(matches!(no_failure, Err(MessageError::Field { field: "status_code", .. })), "{no_failure:?}");
    refuses(Message::Disconnect(Disconnect { connection_id: "é".into() }), "connection_id");
}

#[test]
fn too_many_methods_do_not_fit() {
    let mut message = accepted();
    if let ConnectResponse::Accepted { methods, .. } = &mut message {
        *methods = (0..10_000).map(|n| format!("/s/M{n}")).collect();
    }
    let mut frame = Vec::new();
    let error = Message::ConnectResponse(message).encode_frame(&mut frame).unwrap_err();
    assert!(matches!(error, MessageError::Frame { message: "ConnectResponse", .. }), "{error}");
    assert!(frame.is_empty());
}

#[test]
fn the_smaller_limit_holds() {
    let a = Limits { max_metadata_size: 9, ..few(1, 20, 3) };
    let b = Limits { max_metadata_size: 5, stream_window: 7, ..few(10, 2, 30) };
    let smaller = Limits { max_metadata_size: 5, ..few(1, 2, 3) };
    assert_eq!((a.min(b), b.min(a)), (smaller, smaller));
}
