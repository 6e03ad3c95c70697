//! What a peer can say wrong on an established connection, with the words by which the log names each check.
//! Most of it is the same from either side.

use std::os::fd::{AsFd, OwnedFd};

use mmap_rpc::internals::peer::{FileSpec, Frame, Peer, RawEntry, SLOT, Seal, netstring};

/// A name, what the hostile side does, and the words in the log.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) words: &'static [&'static str],
    pub(crate) strike: Box<dyn FnOnce(&mut Peer) + Send>,
}

pub(crate) fn attack(
    name: &'static str,
    words: &'static [&'static str],
    strike: impl FnOnce(&mut Peer) + Send + 'static,
) -> Attack {
    Attack { name, words, strike: Box::new(strike) }
}

/// The honest side may hang up before all is written: it has seen enough.
fn send(peer: &Peer, bytes: &[u8], descriptors: &[OwnedFd]) {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let _ = peer.send(bytes, &descriptors);
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

/// An announcement of slots of 4 KiB.
fn added(id: u32, slot_count: u32, first_handle: u32) -> Frame {
    let bytes = 4096 * u64::from(slot_count);
    Frame::SegmentAdded { id, bytes, slot_size: 4096, slot_count, first_handle }
}

fn file(pages: u64) -> OwnedFd {
    FileSpec::of(4096 * pages).make().unwrap()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A control message of numbers, whatever they are: its field in the envelope, and its own fields.
fn numbers(field: u8, fields: &[(u8, u64)]) -> Vec<u8> {
    let mut message = Vec::new();
    for &(number, value) in fields {
        message.push(number << 3);
        varint(value, &mut message);
    }
    let mut envelope = vec![field << 3 | 2];
    varint(message.len() as u64, &mut envelope);
    envelope.extend(message);
    netstring(&envelope)
}

/// Bytes and descriptors that do not belong on the socket of an established connection.
pub(crate) fn on_the_socket() -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut bytes = |name, bytes: Vec<u8>, words| {
        attacks.push(attack(name, words, move |peer| send(peer, &bytes, &[])));
    };
    bytes("leading zero", b"007:".to_vec(), &["malformed control frame", "starts with a zero"]);
    bytes("no number", b"hello".to_vec(), &["malformed control frame", "found 'h'"]);
    bytes("no comma", b"0:;".to_vec(), &["malformed control frame", "comma"]);
    bytes("oversize", b"70000:".to_vec(), &["malformed control frame", "70000 bytes exceeds"]);
    bytes("not protobuf", netstring(&[0xff; 9]), &["bad control message"]);
    bytes("unknown message", netstring(&[0x7a, 0]), &["bad control message", "no known message"]);
    bytes("response", Frame::Refusal.encode(), &["ConnectResponse on an established connection"]);
    bytes("rpc request", Frame::RpcRequest.encode(), &["RPCRequest on an established connection"]);
    bytes("rpc response", Frame::RpcResponse.encode(), &["RPCResponse on an established connection"]);
    bytes(
        "request without descriptors",
        Frame::ConnectRequest.encode(),
        &["ConnectRequest carries 2, 0 came"],
    );
    bytes("announcement without descriptor", added(1, 1, 256).encode(), &["SegmentAdded carries 1, 0 came"]);
    bytes("drop of nothing", Frame::SegmentDropped(9).encode(), &["drop of id 9, which is not mapped"]);
    bytes("drop of the base", numbers(7, &[(1, 0)]), &["SegmentDropped.segment_id", "is zero"]);
    bytes(
        "ack of nothing",
        Frame::SegmentDropAcknowledged(4).encode(),
        &["acknowledges the drop of segment 4, never announced"],
    );
    let mut fields = |name, fields: [u64; 5], words| {
        let [id, bytes, size, count, first] = fields;
        let frame = numbers(6, &[(1, id), (2, bytes), (3, size), (4, count), (5, first)]);
        attacks.push(attack(name, words, move |peer| send(peer, &frame, &[file(1)])));
    };
    fields("id zero", [0, 4096, 64, 1, 256], &["SegmentAdded.segment_id is zero"]);
    fields("no slots", [1, 4096, 64, 0, 256], &["SegmentAdded.slot_count is zero"]);
    fields("no bytes per slot", [1, 4096, 0, 1, 256], &["SegmentAdded.slot_size is zero"]);
    fields("part of a page", [1, 4095, 64, 1, 256], &["not a multiple of 4096"]);
    fields("slots overflow", [1, 4096, 1 << 40, 1 << 30, 256], &["such slots overflow"]);
    fields("slots past the end", [1, 4096, 4096, 2, 256], &["less than 2 slots"]);
    fields("handle inside a word", [1, 4096, 64, 1, 257], &["not a multiple of 64"]);
    fields("handles overflow", [1, 1 << 40, 64, 1 << 31, (1 << 31) + 64], &["handles from there overflow"]);
    attacks.push(attack("second request", &["ConnectRequest on an established connection"], |peer| {
        send(peer, &Frame::ConnectRequest.encode(), &[null(), null()]);
    }));
    attacks.push(attack("doorbell with descriptor", &["1 came with a message that carries none"], |peer| {
        send(peer, &Frame::Doorbell.encode(), &[null()]);
    }));
    attacks.push(attack("drop with descriptors", &["4 came with a message that carries none"], |peer| {
        send(peer, &Frame::Doorbell.encode(), &[null(), null(), null(), null()]);
    }));
    attacks.push(attack(
        "half a frame with descriptors",
        &["3 came with a message that carries none"],
        |peer| {
            send(peer, b"10:x", &[null(), null(), null()]);
        },
    ));
    attacks.extend(segments());
    attacks
}

/// Announcements of what is not a good segment, or not a new one.
fn segments() -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut announce = |name, frame: Frame, file: OwnedFd, words| {
        attacks.push(attack(name, words, move |peer| send(peer, &frame.encode(), &[file])));
    };
    announce("no memfd", added(1, 1, 256), null(), &["bad segment", "not a memfd"]);
    announce("short file", added(1, 4, 256), file(3), &["announced 16384 bytes, the file has 12288"]);
    announce("long file", added(1, 4, 256), file(5), &["announced 16384 bytes, the file has 20480"]);
    let holes = FileSpec { allocated: 4096, ..FileSpec::of(16384) };
    announce("holes", added(1, 4, 256), holes.make().unwrap(), &["holes: only 4096 of 16384"]);
    for (seal, words) in [
        (Seal::Shrink, &["seals missing", "SHRINK"]),
        (Seal::Grow, &["seals missing", "GROW"]),
        (Seal::FutureWrite, &["seals missing", "FUTURE_WRITE"]),
        (Seal::Seal, &["seals missing", "SEAL"]),
    ] {
        let file = FileSpec { missing: Some(seal), ..FileSpec::of(4096) };
        announce("a seal is missing", added(1, 1, 256), file.make().unwrap(), words);
    }
    announce("handles of the base", added(1, 1, 0), file(1), &["handles of another segment"]);
    announce("handles that reach into the base", added(1, 1, 128), file(1), &["handles of another segment"]);
    announce("handles past the last", added(1, 1, 8192), file(1), &["beyond the protocol's maximum"]);
    announce("handles across the last", added(1, 65, 8128), file(65), &["beyond the protocol's maximum"]);
    let huge =
        Frame::SegmentAdded { id: 1, bytes: 1 << 30, slot_size: 1 << 30, slot_count: 1, first_handle: 256 };
    announce("beyond the cap", huge, file(1), &["limit exceeded", "the cap is 268435456"]);
    attacks.push(attack("id in use", &["id 3 is in use"], |peer| {
        send(peer, &added(3, 1, 256).encode(), &[file(1)]);
        send(peer, &added(3, 1, 320).encode(), &[file(1)]);
    }));
    attacks.push(attack("handles in use", &["handles of another segment"], |peer| {
        send(peer, &added(3, 65, 256).encode(), &[file(65)]);
        send(peer, &added(4, 1, 320).encode(), &[file(1)]);
    }));
    attacks.push(attack("second drop", &["drop of id 3, which is not mapped"], |peer| {
        send(peer, &added(3, 1, 256).encode(), &[file(1)]);
        send(peer, &[Frame::SegmentDropped(3).encode(), Frame::SegmentDropped(3).encode()].concat(), &[]);
    }));
    attacks
}

/// Entries that no honest side makes out of a good one, which has no message.
pub(crate) fn entries(good: RawEntry) -> Vec<(RawEntry, &'static [&'static str])> {
    let head = |index: usize, value: u32| {
        let mut entry = good;
        entry.head[index] = value;
        entry
    };
    let kind = good.head[0];
    let (start, end) = Peer::slot_bounds(64).unwrap();
    vec![
        (head(0, 0), &["bad ring entry", "unknown kind"]),
        (head(0, 10), &["unknown kind"]),
        (head(0, 0xff), &["unknown kind"]),
        (head(0, kind | 0x200), &["a fill without a slot"]),
        (head(0, kind | 0x1000), &["unknown flags"]),
        (head(0, kind | 0x8000), &["unknown flags"]),
        (head(0, kind | 0x4000_0000), &["metadata longer than what it is part of"]),
        (head(0, kind | 0x8000_0000), &["metadata longer than what it is part of"]),
        (head(6, 1), &["reserved word not zero"]),
        (head(5, 97), &["inline length out of range"]),
        (head(5, u32::MAX), &["inline length out of range"]),
        (head(4, 1), &["handle without a slot"]),
        (good.inline(8).slot(64, start, 8), &["both inline and in a slot"]),
        (RawEntry { head: [3, 0, 1, 0, 0, 0, 0], ..good }, &["unused field not zero"]),
        (RawEntry { head: [3, 0, 0, 0, 0, 1, 0], ..good }, &["message with a kind that has none"]),
        (RawEntry { head: [4 | SLOT, 0, 0, 0, 0, 0, 0], ..good }, &["message with a kind that has none"]),
        (RawEntry { head: [5, 7, 0, 0, 0, 0, 0], ..good }, &["unused field not zero"]),
        (good.slot(8192, 0, 1), &["descriptor out of range", "handle beyond the maximum"]),
        (good.slot(u32::MAX, 0, 1), &["handle beyond the maximum"]),
        (good.slot(256, 0, 1), &["segment not announced"]),
        (good.slot(8191, 0, 1), &["segment not announced"]),
        (good.slot(128 + 32, start, 1), &["handle beyond the segment's slots"]),
        (good.slot(64, start - 1, 1), &["starts before the slot"]),
        (good.slot(64, 0, 8), &["starts before the slot"]),
        (good.slot(64, start, end - start + 1), &["ends past the slot"]),
        (good.slot(64, end, 1), &["ends past the slot"]),
        (good.slot(64, u64::MAX, 1), &["offset plus length overflows"]),
        (good.slot(64, start, u64::MAX), &["longer than the agreed max_message_size"]),
        (good.slot(64, start, (64 << 20) + 1), &["longer than the agreed max_message_size"]),
        (good.slot(64, start, end - start + 1).fill(0, 0), &["ends past the slot"]),
        (good.slot(64, start, 8).fill(8, 0), &["bad fill", "a line that no region has"]),
        (good.slot(64, start, 8).fill(u64::MAX, 0), &["a line that no region has"]),
        (good.slot(64, start, 0).fill(0, 0), &["bad fill", "its length is zero"]),
        (good.slot(64, start, 8).fill(0, u64::MAX - 7), &["or its end beyond any level"]),
        (good.slot(64, start, 8).fill(7, 1), &["bad fill", "its level fell"]),
    ]
}
