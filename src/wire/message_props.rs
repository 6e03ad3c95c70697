//! Messages: every one goes there and back, and nothing that a peer sends panics.

use proptest::collection::vec;
use proptest::prelude::*;

use super::check::PAGE;
use super::message_tests::there_and_back;
use super::*;

fn versions() -> impl Strategy<Value = VersionRange> {
    (1u32.., 1u32..).prop_map(|(a, b)| VersionRange { min: a.min(b), max: a.max(b) })
}

fn limits() -> impl Strategy<Value = Limits> {
    (1u64.., 1u64.., 1u32.., 0..=MAX_METADATA, any::<u32>()).prop_map(
        |(max_message_size, max_region_bytes, max_in_flight, max_metadata_size, stream_window)| Limits {
            max_message_size,
            max_region_bytes,
            max_in_flight,
            max_metadata_size,
            stream_window,
        },
    )
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let pair = prop_oneof![
        ("[a-z0-9._-]{1,20}", "[ -~]{0,40}")
            .prop_map(|(key, value)| Pair { key: format!("{key}0"), value: value.into() }),
        ("[a-z0-9._-]{1,20}", vec(any::<u8>(), 0..40))
            .prop_map(|(key, value)| Pair { key: format!("{key}-bin"), value: value.into() }),
    ];
    let pairs = || vec(pair.clone(), 0..4);
    let some = (pairs(), pairs(), vec(any::<u8>(), 0..40))
        .prop_map(|(initial, trailing, details)| Metadata { initial, trailing, details: details.into() });
    prop_oneof![Just(Metadata::default()), some]
}

fn pages() -> impl Strategy<Value = u64> {
    (1..=u64::MAX / PAGE).prop_map(|pages| pages * PAGE)
}

fn span() -> impl Strategy<Value = Span> {
    (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(segment_id, a, b)| Span {
        segment_id,
        offset: a.min(b),
        size: a.max(b) - a.min(b),
    })
}

fn memory() -> impl Strategy<Value = Memory> {
    prop_oneof![
        pages().prop_map(|bytes| Memory::BaseSegment { bytes }),
        "/[^\0]{0,200}".prop_map(|path| Memory::File { path })
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    (1u32.., ".{0,200}").prop_map(|(code, text)| Failure { code, text })
}

fn any_segment() -> impl Strategy<Value = SegmentAdded> {
    (1u32.., 1u64..1 << 40, 1u32..8192, 0u32..128, 0u64..4).prop_map(
        |(segment_id, size, count, word, more)| {
            let bytes = (size * u64::from(count)).next_multiple_of(PAGE) + more * PAGE;
            SegmentAdded { segment_id, bytes, slot_size: size, slot_count: count, first_handle: word * 64 }
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    let id = "[!-~]{0,64}";
    let method = "/[a-z.A-Z]{1,30}/[A-Za-z]{1,30}";
    prop_oneof![
        (versions(), any::<u64>(), any::<u64>(), limits(), prop::option::of(pages())).prop_map(
            |(v, required, offered, l, b)| {
                Message::ConnectRequest(ConnectRequest {
                    versions: v,
                    required_features: required,
                    offered_features: offered,
                    limits: l,
                    base_segment_bytes: b,
                })
            }
        ),
        ("[!-~]{1,64}", 1u32.., any::<u64>(), limits(), memory(), prop::collection::hash_set(method, 0..20))
            .prop_map(|(connection_id, version, features, limits, memory, methods)| {
                let methods = methods.into_iter().collect();
                Message::ConnectResponse(ConnectResponse::Accepted {
                    connection_id,
                    version,
                    features,
                    limits,
                    memory,
                    methods,
                })
            }),
        (".{1,200}", versions()).prop_map(|(error, versions)| {
            Message::ConnectResponse(ConnectResponse::Refused { error, versions })
        }),
        id.prop_map(|connection_id| Message::Disconnect(Disconnect { connection_id })),
        any_segment().prop_map(Message::SegmentAdded),
        (1u32..).prop_map(|segment_id| Message::SegmentDropped { segment_id }),
        (1u32..).prop_map(|segment_id| Message::SegmentDropAcknowledged { segment_id }),
        (id, method, any::<u32>(), any::<u32>(), span(), metadata(), any::<(bool, bool)>()).prop_map(
            |(connection_id, method, call_id, timeout_us, request, metadata, (streaming, many))| {
                let messages_follow = streaming && many;
                let request = if messages_follow { Span::default() } else { request };
                Message::RpcRequest(RpcRequest {
                    connection_id,
                    method,
                    call_id,
                    timeout_us,
                    request,
                    metadata,
                    streaming,
                    messages_follow,
                })
            }
        ),
        (any::<u32>(), span()).prop_map(|(call_id, message)| Message::StreamMessage { call_id, message }),
        any::<u32>().prop_map(|call_id| Message::StreamEnd { call_id }),
        (any::<u32>(), 1u32..).prop_map(|(call_id, bytes)| Message::StreamCredit { call_id, bytes }),
        (any::<u32>(), metadata())
            .prop_map(|(call_id, metadata)| Message::StreamHeaders { call_id, metadata }),
        any::<u32>().prop_map(|call_id| Message::Cancel { call_id }),
        Just(Message::Goaway),
        (id, method, any::<u32>(), prop_oneof![span().prop_map(Ok), failure().prop_map(Err)], metadata())
            .prop_map(|(connection_id, method, call_id, reply, metadata)| {
                Message::RpcResponse(RpcResponse { connection_id, method, call_id, reply, metadata })
            }),
        Just(Message::Doorbell),
    ]
}

proptest! {
    #[test]
    fn every_message_survives(message in messages()) {
        prop_assert_eq!(there_and_back(&message).1, message);
    }

    #[test]
    fn random_bytes_never_panic(body in vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&body);
    }

    /// What was decoded can be sent again and means the same: no check is missing in one direction.
    #[test]
    fn mutated_messages_are_refused_or_consistent(
        message in messages(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = there_and_back(&message).0;
        for (at, byte) in mutations {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if let Ok(decoded) = Message::decode(&body) {
            prop_assert_eq!(there_and_back(&decoded).1, decoded);
        }
    }
}
