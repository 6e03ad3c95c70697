//! Messages of both protocols: fields against the proto file, limits and names against what the code takes.

use std::collections::BTreeSet;

use mmap_rpc::Code;
use mmap_rpc::internals::peer::Seal;
use mmap_rpc::internals::wire::{ClassicMessage, ControlMessage, is_classic};
use prost::Message;
use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};

use crate::document::{Block, Document, number};
use crate::dump::{delimited, proto_messages, varint};
use crate::refusals;
use crate::session::{FILE, Frame, RING, SOCKET, Session};

/// What the proto file generates.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/mmap_rpc.rs"));
}

use proto::envelope::Message as Sum;
use proto::*;

/// The envelope in a netstring.
fn envelope(frame: &Frame) -> Sum {
    let body = frame.bytes.iter().position(|&byte| byte == b':').expect("a length") + 1;
    let envelope = Envelope::decode(&frame.bytes[body..frame.bytes.len() - 1]).expect("an envelope");
    envelope.message.expect("a message")
}

/// What the client of a session said first.
pub(crate) fn connect_request(session: &Session) -> ConnectRequest {
    match envelope(&session.frames[0]) {
        Sum::ConnectRequest(request) => request,
        other => panic!("{other:?} is no ConnectRequest"),
    }
}

/// The fields of a message by its name.
fn fields_of(name: &str) -> Vec<FieldDescriptorProto> {
    let of = proto_messages().into_iter().find(|(known, _)| known == name);
    of.unwrap_or_else(|| panic!("no message {name}")).1.field
}

/// A message and its fields, in the proto file's order. Every message has a table.
pub(crate) fn message(document: &Document, block: &Block) {
    let name = block.kind.split(' ').nth(1).expect("a name");
    let in_file = |field: &FieldDescriptorProto| {
        let kind = match field.r#type() {
            Type::Bool => "bool".to_owned(),
            Type::Bytes => "bytes".to_owned(),
            Type::Uint32 => "uint32".to_owned(),
            Type::Uint64 => "uint64".to_owned(),
            Type::String => "string".to_owned(),
            Type::Message => field.type_name().trim_start_matches(".mmap_rpc.").to_owned(),
            other => panic!("a type that the document does not know: {other:?}"),
        };
        let kind = match field.label() {
            Label::Repeated => format!("repeated {kind}"),
            _ if field.proto3_optional() => format!("optional {kind}"),
            _ => kind,
        };
        (field.number() as u64, field.name().to_owned(), kind)
    };
    let expected: Vec<_> = fields_of(name).iter().map(in_file).collect();
    let stated: Vec<_> =
        block.body().iter().map(|row| (number(&row[0]), row[1].clone(), row[2].clone())).collect();
    assert_eq!(stated, expected, "{name}");
    block.assert_words_from(3);
    for row in block.body().iter().filter(|row| row[3].contains("not zero")) {
        assert_not_zero(name, number(&row[0]), &row[1]);
    }
    let tables: BTreeSet<&str> =
        document.blocks.iter().filter_map(|block| block.kind.strip_prefix("message ")).collect();
    assert_eq!(tables, proto_messages().iter().map(|(name, _)| name.as_str()).collect());
}

/// Checks that a message is refused, in words that name it, once this field of it is zero.
fn assert_not_zero(message: &str, number: u64, name: &str) {
    let good = match message {
        "Limits" | "ConnectRequest" => request(4096),
        "ConnectResponse" => refusal("x".into()),
        "SegmentAdded" => Sum::SegmentAdded(added()),
        "SegmentDropped" => Sum::SegmentDropped(SegmentDropped { segment_id: 1 }),
        "SegmentDropAcknowledged" => Sum::SegmentDropAcknowledged(SegmentDropAcknowledged { segment_id: 1 }),
        "StreamCredit" => Sum::StreamCredit(StreamCredit { call_id: 0, bytes: 1 }),
        other => panic!("no {other} to be changed"),
    };
    decode(good.clone()).expect("a good message");
    let number_in = |outer: &str, inner: &str| {
        let mut fields = fields_of(outer).into_iter();
        let field = fields.find(|field| field.type_name().ends_with(&format!(".{inner}")));
        field.expect("a field of this type").number() as u64
    };
    // What comes later in a message is merged into what came before.
    let mut zero = [varint(number << 3), varint(0)].concat();
    let mut outer = message;
    if message == "Limits" {
        outer = "ConnectRequest";
        zero = delimited(number_in(outer, message), &zero);
    }
    let good = Envelope { message: Some(good) }.encode_to_vec();
    let changed = [good, delimited(number_in("Envelope", outer), &zero)].concat();
    let error = ControlMessage::decode(&changed).expect_err("refused");
    assert!(error.contains(name) && error.contains("zero"), "{message}.{name}: {error}");
}

fn decode(message: Sum) -> Result<ControlMessage, String> {
    ControlMessage::decode(&Envelope { message: Some(message) }.encode_to_vec())
}

fn limits() -> Option<Limits> {
    Some(Limits { max_message_size: 1, max_region_bytes: 1, max_in_flight: 1, ..<_>::default() })
}

fn request(base_segment_bytes: u64) -> Sum {
    let limits = limits();
    Sum::ConnectRequest(ConnectRequest {
        min_version: 1,
        max_version: 1,
        limits,
        base_segment_bytes,
        ..<_>::default()
    })
}

/// The most metadata that a side may be willing to take.
pub(crate) fn most_metadata() -> u64 {
    let takes = |max_metadata_size: u32| {
        let Sum::ConnectRequest(mut offer) = request(4096) else { unreachable!("made so") };
        offer.limits = Some(Limits { max_metadata_size, ..offer.limits.expect("limits") });
        decode(Sum::ConnectRequest(offer)).is_ok()
    };
    let most = (0..1 << 17).take_while(|&size| takes(size)).last().expect("none at all, at least");
    assert!(!takes(u32::MAX) && (most + 1..1 << 17).all(|size| !takes(size)));
    most.into()
}

fn refusal(error: String) -> Sum {
    Sum::ConnectResponse(ConnectResponse { error, min_version: 1, max_version: 1, ..<_>::default() })
}

fn accepted(base_segment_bytes: u64, mmap_filename: String) -> Sum {
    let connection_id = "x".into();
    let limits = limits();
    Sum::ConnectResponse(ConnectResponse {
        connection_id,
        version: 1,
        limits,
        base_segment_bytes,
        mmap_filename,
        ..<_>::default()
    })
}

/// How many bytes a text may have: one more is refused.
pub(crate) fn longest(field: &str) -> u64 {
    let text = |len: usize| "x".repeat(len);
    let message = |len: usize| match field {
        "DisconnectRequest.connection_id" => {
            Sum::DisconnectRequest(DisconnectRequest { connection_id: text(len) })
        }
        "ConnectResponse.mmap_filename" => accepted(0, format!("/{}", text(len - 1))),
        "ConnectResponse.error" => refusal(text(len)),
        "RPCRequest.fully_qualified_method_name" => {
            let fully_qualified_method_name = format!("/x/{}", text(len.saturating_sub(3)));
            Sum::RpcRequest(RpcRequest { fully_qualified_method_name, ..<_>::default() })
        }
        "RPCResponse.error" => {
            Sum::RpcResponse(RpcResponse { error: text(len), status_code: 2, ..<_>::default() })
        }
        other => panic!("no text is called {other:?}"),
    };
    let most = (4..10_000).take_while(|&len| decode(message(len)).is_ok()).last().expect("some text");
    assert!((most + 1..10_000).all(|len| decode(message(len)).is_err()));
    most as u64
}

pub(crate) fn lengths(_: &Document, block: &Block) {
    for row in block.body() {
        assert_eq!(longest(&row[0]), number(&row[1]), "{}", row[0]);
    }
    assert_eq!(block.body().len(), 5);
}

fn added() -> SegmentAdded {
    SegmentAdded { segment_id: 1, bytes: 4096, slot_size: 64, slot_count: 1, first_handle: 64 }
}

pub(crate) fn descriptors(_: &Document, block: &Block) {
    let count = |message: Sum| decode(message).expect("a message").descriptors() as u64;
    for row in block.body() {
        let expected: &[u64] = &match row[0].as_str() {
            "ConnectRequest" => vec![count(request(4096)), RING.frames[0].descriptors as u64],
            "ConnectRequest without a base segment" => {
                vec![count(request(0)), FILE.frames[0].descriptors as u64]
            }
            "ConnectResponse" => {
                vec![count(accepted(4096, String::new())), RING.frames[1].descriptors as u64]
            }
            "ConnectResponse with a file or an error" => {
                let file = FILE.frames[1].descriptors as u64;
                vec![count(accepted(0, "/x".into())), count(refusal("x".into())), file]
            }
            "SegmentAdded" => vec![count(Sum::SegmentAdded(added()))],
            "every other message" => {
                let id = SegmentDropped { segment_id: 1 };
                let acknowledged = SegmentDropAcknowledged { segment_id: 1 };
                let method = RpcRequest { fully_qualified_method_name: "/x/y".into(), ..<_>::default() };
                let others = [
                    Sum::StreamMessage(<_>::default()),
                    Sum::StreamEnd(<_>::default()),
                    Sum::StreamCredit(StreamCredit { call_id: 0, bytes: 1 }),
                    Sum::StreamHeaders(<_>::default()),
                    Sum::DisconnectRequest(<_>::default()),
                    Sum::RpcRequest(method),
                    Sum::RpcResponse(<_>::default()),
                    Sum::SegmentDropped(id),
                    Sum::SegmentDropAcknowledged(acknowledged),
                    Sum::CancelRequest(<_>::default()),
                    Sum::Goaway(<_>::default()),
                ];
                // And the three that may come with some.
                assert_eq!(others.len() + 3, fields_of("Envelope").len());
                others.into_iter().map(count).collect()
            }
            other => panic!("no message is called {other:?}"),
        };
        assert!(expected.iter().all(|&count| count == number(&row[1])), "{}: {expected:?}", row[0]);
    }
    assert_eq!(block.body().len(), 6);
}

pub(crate) fn features(_: &Document, block: &Block) {
    let required = |session| connect_request(session).required_features;
    let (lane, both) = (required(&SOCKET), required(&FILE));
    assert_eq!(block.numbered(), [(lane, "SOCKET_LANE"), (both & !lane, "FILE_BACKING")]);
    assert_eq!(connect_request(&RING).offered_features, both, "all features that there are");
    assert_eq!(required(&RING), 0);
}

pub(crate) fn codes(_: &Document, block: &Block) {
    let codes: Vec<(u64, String)> =
        (0..17).map(|number| (number.into(), Code::from_u32(number).to_string())).collect();
    assert!((17..1000).all(|number| Code::from_u32(number) == Code::Unknown));
    let stated: Vec<(u64, String)> =
        block.numbered().into_iter().map(|(code, name)| (code, name.to_owned())).collect();
    assert_eq!(stated, codes);
}

// ---- the classic protocol ----------------------------------------------------------------------------

/// A request in an `Any`.
pub(crate) fn any(type_url: &str, value: &impl Message) -> Vec<u8> {
    prost_types::Any { type_url: type_url.into(), value: value.encode_to_vec() }.encode_to_vec()
}

pub(crate) fn type_urls(_: &Document, block: &Block) {
    for row in block.body() {
        let url = row[1].as_str();
        let read = |url: &str| ClassicMessage::request(&any(url, &Goaway {}));
        let message = read(url).expect("a request");
        assert!(read(&format!("{url}x")).expect_err("no request").contains("unknown type"));
        let message = format!("{message:?}").to_lowercase();
        let (expected, answer) = match row[0].as_str() {
            "connect" => ("connect", "ConnectResponse"),
            "call" => ("call", "RPCResponse"),
            "farewell" => ("disconnect", "an empty message"),
            other => panic!("no request is called {other:?}"),
        };
        assert!(message.contains(expected) && row[2] == answer, "{message}, {row:?}");
    }
    assert_eq!(block.body().len(), 3);
}

/// The fields below ten of the messages that both protocols have.
pub(crate) fn classic_messages(_: &Document, block: &Block) {
    let names = ["ConnectRequest", "ConnectResponse", "RPCRequest", "RPCResponse", "DisconnectRequest"];
    let fields = |name: &str| {
        let low = fields_of(name).into_iter().filter(|field| field.number() < 10);
        let low: Vec<String> = low.map(|field| format!("{} {}", field.number(), field.name())).collect();
        if low.is_empty() { "none".to_owned() } else { low.join(", ") }
    };
    let expected: Vec<Vec<String>> =
        names.iter().map(|name| vec![(*name).to_owned(), fields(name)]).collect();
    assert_eq!(block.body(), expected);
}

pub(crate) fn classic_frame(_: &Document, block: &Block) {
    let fields = block.boxes();
    let request = any("type.googleapis.com/mmap_rpc.ConnectRequest", &Goaway {});
    let frame = ClassicMessage::request(&request).expect("a request").encode().expect("a frame");
    let [length, colon, body, comma] = &fields[..] else { panic!("{fields:?}") };
    assert_eq!(length.value(&frame), request.len() as u64);
    assert_eq!((colon.name.as_str(), frame[colon.at as usize]), ("':'", b':'));
    let end = body.at as usize + request.len();
    assert_eq!(frame[body.at as usize..end], request);
    assert_eq!((comma.name.as_str(), &frame[end..]), ("','", &b","[..]));
    assert_eq!((length.bytes, colon.bytes), (4, 1));
}

pub(crate) fn telling(_: &Document, block: &Block) {
    for row in block.body() {
        let bytes: Vec<u8> =
            row[0].split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
        let expected = match row[1].as_str() {
            "netstrings" => Some(false),
            "classic" => Some(true),
            "not known yet" => None,
            other => panic!("{other:?} is no verdict"),
        };
        assert_eq!(is_classic(&bytes), expected, "{row:?}");
    }
}

/// The seals of a real base segment, by the kernel's names.
pub(crate) fn seals(_: &Document, block: &Block) {
    use rustix::fs::SealFlags;
    let expected = [
        (SealFlags::SEAL, "F_SEAL_SEAL"),
        (SealFlags::SHRINK, "F_SEAL_SHRINK"),
        (SealFlags::GROW, "F_SEAL_GROW"),
        (SealFlags::FUTURE_WRITE, "F_SEAL_FUTURE_WRITE"),
    ];
    let stated: Vec<(u64, &str)> =
        block.body().iter().map(|row| (number(&row[1]), row[0].as_str())).collect();
    assert_eq!(stated, expected.map(|(flag, name)| (u64::from(flag.bits()), name)));
    let all = stated.iter().fold(0, |all, (flag, _)| all | flag);
    assert_eq!(u64::from(RING.seals) & all, all, "they are on a base segment of ours");
    for (seal, (_, name)) in
        [Seal::Seal, Seal::Shrink, Seal::Grow, Seal::FutureWrite].into_iter().zip(expected)
    {
        let error = refusals::without_seal(seal);
        assert_eq!(error, format!("bad segment: seals missing: {}", name.trim_start_matches("F_SEAL_")));
    }
}
