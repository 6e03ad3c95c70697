//! Admission: whatever a peer writes is either refused or exactly what a builder of ours would have written.

use proptest::prelude::*;

use super::*;
use crate::error::Violation;

/// Builds the entry again from what its accessors say.
fn rebuilt(entry: &Entry) -> Entry {
    let inline = |mut entry: Entry, message: &[u8]| {
        entry.inline_mut()[..message.len()].copy_from_slice(message);
        entry.set_inline_length(message.len());
        entry
    };
    let twin = match (entry.kind(), entry.body()) {
        (Kind::Request, Body::Inline(message)) => {
            Entry::request_inline(entry.code(), entry.call_id(), entry.deadline_us(), message)
        }
        (Kind::Request, Body::Slot(slot)) => {
            Entry::request_slot(entry.code(), entry.call_id(), entry.deadline_us(), slot)
        }
        (Kind::Request, Body::Fill(slot, fill)) => {
            Entry::request_slot(entry.code(), entry.call_id(), entry.deadline_us(), slot).with_fill(fill)
        }
        (Kind::Reply, Body::Fill(slot, fill)) => {
            Entry::reply_slot(entry.call_id(), entry.code(), entry.released(), slot).with_fill(fill)
        }
        (Kind::Reply, Body::Inline(message)) => {
            Entry::reply_inline(entry.call_id(), entry.code(), entry.released(), message)
        }
        (Kind::Reply, Body::Slot(slot)) => {
            Entry::reply_slot(entry.call_id(), entry.code(), entry.released(), slot)
        }
        (Kind::Cancel, _) => Entry::cancel(entry.call_id()),
        (Kind::Goaway, _) => Entry::goaway(),
        (Kind::Nop, _) => Entry::nop(),
        (Kind::End, _) => Entry::end(entry.call_id()),
        (Kind::Credit, _) => Entry::credit(entry.call_id(), entry.code()),
        (Kind::Message, Body::Inline(message)) => inline(Entry::message_inline(entry.call_id()), message),
        (Kind::Headers, Body::Inline(message)) => inline(Entry::headers_inline(entry.call_id()), message),
        (Kind::Message, Body::Slot(slot)) => Entry::message_slot(entry.call_id(), slot),
        (Kind::Headers, Body::Slot(slot)) => Entry::headers_slot(entry.call_id(), slot),
        (Kind::Message | Kind::Headers, Body::Fill(..)) => panic!("a fill of a stream"),
    };
    twin.with_shape(entry.shape()).with_metadata(entry.meta_len())
}

/// Words near what is legal: mostly zero or small, sometimes anything.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(0u32), 3 => 0u32..100, 1 => any::<u32>()]
}

fn head() -> impl Strategy<Value = [u32; HEAD_WORDS]> {
    let kind = prop_oneof![
        8 => (0u32..12, 0u32..17).prop_map(|(kind, flags)| kind | flags << 8),
        4 => (0u32..12, 0u32..17, 0u32..110).prop_map(|(kind, flags, meta)| kind | flags << 8 | meta << 16),
        1 => any::<u32>(),
    ];
    (kind, prop::array::uniform6(word())).prop_map(|(kind, [a, b, c, d, e, f])| [kind, a, b, c, d, e, f])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_admitted_could_be_ours(head in head(), body in prop::array::uniform12(any::<u64>())) {
        if let Ok(entry) = Entry::admit(Record::new(head, body)) {
            let twin = rebuilt(&entry);
            prop_assert_eq!(twin.record().head, head);
            prop_assert_eq!(twin.body(), entry.body());
            prop_assert_eq!(Entry::admit(*twin.record()), Ok(twin));
        }
    }

    #[test]
    fn what_is_ours_is_admitted(
        message in prop::collection::vec(any::<u8>(), 0..=INLINE_BYTES),
        ids in any::<(u32, u32, u32)>(),
        released in prop::option::of(0u32..8192),
        slot in any::<(u32, u64, u64)>(),
        fill in any::<(u64, u64)>(),
        meta in any::<u16>(),
    ) {
        let (code, call_id, deadline) = ids;
        let slot = Descriptor { handle: slot.0, offset: slot.1, length: slot.2 };
        let fill = FillStart { line: fill.0, start: fill.1 };
        let (inline, in_slot, filling) = (Body::Inline(&message), Body::Slot(slot), Body::Fill(slot, fill));
        let (request, reply) = ((Kind::Request, deadline, None), (Kind::Reply, 0, released));
        let short = || Entry::request_inline(code, call_id, deadline, &message);
        let long = || Entry::request_slot(code, call_id, deadline, slot);
        for (entry, (kind, time, gives_back), body) in [
            (short(), request, inline),
            (long(), request, in_slot),
            (Entry::reply_inline(call_id, code, released, &message), reply, inline),
            (Entry::reply_slot(call_id, code, released, slot), reply, in_slot),
            (short().with_metadata(message.len()), request, inline),
            (short().with_shape(Shape::OneRequest), request, inline),
            (long().with_shape(Shape::ManyRequests), request, in_slot),
            (Entry::reply_slot(call_id, code, released, slot).with_metadata(meta.into()), reply, in_slot),
            (long().with_fill(fill), request, filling),
            (Entry::reply_slot(call_id, code, released, slot).with_fill(fill), reply, filling),
        ] {
            let admitted = Entry::admit(*entry.record());
            prop_assert_eq!(admitted.as_ref(), Ok(&entry));
            let entry = admitted.unwrap();
            prop_assert_eq!((entry.kind(), entry.call_id(), entry.code()), (kind, call_id, code));
            prop_assert_eq!((entry.deadline_us(), entry.released(), entry.body()), (time, gives_back, body));
        }
        for (entry, kind, code) in [
            (Entry::message_inline(call_id), Kind::Message, 0),
            (Entry::message_slot(call_id, slot), Kind::Message, 0),
            (Entry::headers_inline(call_id), Kind::Headers, 0),
            (Entry::headers_slot(call_id, slot).with_metadata(meta.into()), Kind::Headers, 0),
            (Entry::end(call_id), Kind::End, 0),
            (Entry::credit(call_id, code.max(1)), Kind::Credit, code.max(1)),
        ] {
            let admitted = Entry::admit(*entry.record());
            prop_assert_eq!(admitted.as_ref(), Ok(&entry));
            prop_assert_eq!((entry.kind(), entry.call_id(), entry.code()), (kind, call_id, code));
        }
    }
}

#[test]
fn each_check_refuses_alone() {
    let request = [1, 5, 6, 7, 0, 8, 0];
    let in_slot = [0x0101, 5, 6, 7, 3, 0, 0];
    let cancel = [3, 5, 0, 0, 0, 0, 0];
    let nop = [5, 0, 0, 0, 0, 0, 0];
    let message = [6, 5, 0, 0, 0, 8, 0];
    let end = [7, 5, 0, 0, 0, 0, 0];
    let credit = [8, 5, 6, 0, 0, 0, 0];
    let headers = [0x0008_0009, 5, 0, 0, 0, 8, 0];
    let admit = |head| Entry::admit(Record::new(head, [0; BODY_WORDS]));
    for good in [request, in_slot, cancel, nop, message, end, credit, headers] {
        assert!(admit(good).is_ok(), "{good:?}");
    }
    let cases = [
        (request, 0, 0, "unknown kind"),
        (request, 0, 10, "unknown kind"),
        (request, 0, 0x0201, "a fill without a slot"),
        (request, 0, 0x1001, "unknown flags"),
        (request, 0, 0x8001, "unknown flags"),
        (request, 0, 0x0402, "unknown flags"),
        (request, 0, 0x0009_0001, "metadata longer than what it is part of"),
        (request, 0, 0x0100_0001, "metadata longer than what it is part of"),
        (request, 0, 0x0801, "messages follow a call without streams"),
        (request, 0, 0x0c01, "a message, and others follow"),
        (in_slot, 0, 0x0701, "a fill of a stream, or with metadata"),
        (in_slot, 0, 0x0001_0301, "a fill of a stream, or with metadata"),
        (message, 0, 0x0001_0006, "metadata with a kind that has none"),
        (message, 0, 0x0306, "unknown flags"),
        (message, 2, 1, "unused field not zero"),
        (headers, 5, 9, "message with a kind that has none"),
        (headers, 3, 1, "unused field not zero"),
        (end, 5, 1, "message with a kind that has none"),
        (end, 2, 1, "unused field not zero"),
        (credit, 2, 0, "a credit of zero"),
        (credit, 3, 1, "unused field not zero"),
        (request, 6, 1, "reserved word not zero"),
        (request, 5, 97, "inline length out of range"),
        (request, 5, u32::MAX, "inline length out of range"),
        (request, 4, 1, "handle without a slot"),
        (in_slot, 5, 1, "both inline and in a slot"),
        (cancel, 5, 1, "message with a kind that has none"),
        (cancel, 0, 0x0303, "unknown flags"),
        (cancel, 0, 0x0103, "message with a kind that has none"),
        (cancel, 2, 1, "unused field not zero"),
        (cancel, 3, 1, "unused field not zero"),
        (nop, 1, 1, "unused field not zero"),
    ];
    for (mut head, index, value, check) in cases {
        head[index] = value;
        assert_eq!(admit(head), Err(Violation::Entry(check)), "{head:?}");
    }
}

#[test]
fn a_message_is_encoded_in_place() {
    let mut entry = Entry::reply_inline(1, 0, None, &[]);
    entry.inline_mut()[..3].copy_from_slice(b"abc");
    entry.set_inline_length(3);
    assert_eq!(entry, Entry::reply_inline(1, 0, None, b"abc"));
    assert_eq!(entry.body(), Body::Inline(b"abc"));
}

#[test]
fn the_ring_and_the_entry_agree_on_the_nop() {
    assert_eq!(Entry::nop().record(), &Record::nop());
}
