//! Entries of a ring: what the code refuses and where, and dumps of those of real sessions.

use std::collections::BTreeSet;

use mmap_rpc::internals::peer::{Duel, Move, RawEntry};
use mmap_rpc::internals::ring::admit;
use mmap_rpc::internals::wire::ControlMessage;

use crate::document::{Block, Document, Field, assert_seamless, field, number};
use crate::dump::{self, memory};
use crate::numbers::section_bytes;
use crate::session::{CLASSIC, FILE, RING, Session};

/// Bytes of an entry.
type Entry = [u8; 128];

/// The words that an entry's bytes are, without `seq`.
fn raw(entry: &Entry) -> RawEntry {
    let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
    let double = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
    RawEntry {
        head: std::array::from_fn(|at| word(4 + at * 4)),
        body: std::array::from_fn(|at| double(32 + at * 8)),
    }
}

fn judge(entry: &Entry) -> Result<u64, String> {
    let RawEntry { head, body } = raw(entry);
    admit(head, body).map_err(|violation| violation.to_string())
}

fn put(entry: &mut Entry, field: &Field, value: u64) {
    let at = field.at as usize;
    entry[at..at + field.bytes as usize].copy_from_slice(&value.to_le_bytes()[..field.bytes as usize]);
}

/// An entry by the document's own words.
struct Words {
    fields: Vec<Field>,
    descriptor: Vec<Field>,
}

impl Words {
    fn of(document: &Document) -> Self {
        let fields = document.block("fields entry").fields();
        Self { fields, descriptor: document.block("fields descriptor").fields() }
    }

    fn entry(&self, values: &[(&str, u64)]) -> Entry {
        let mut entry = [0; 128];
        for &(name, value) in values {
            let of = self.fields.iter().chain(&self.descriptor).find(|field| field.name == name);
            put(&mut entry, of.expect("a field"), value);
        }
        entry
    }

    fn refused(&self, values: &[(&str, u64)]) -> String {
        judge(&self.entry(values)).expect_err("refused")
    }

    fn accepted(&self, values: &[(&str, u64)]) -> u64 {
        judge(&self.entry(values)).unwrap_or_else(|error| panic!("{values:?}: {error}"))
    }
}

/// Each field's bytes are where the document has them: a change there has the effect that this field has.
pub(crate) fn entry(document: &Document, block: &Block) {
    let words = Words::of(document);
    let fields = block.fields();
    assert_seamless(&fields, 0, section_bytes()[0]);
    let inline = document.block("constants").body().iter().find(|row| row[0] == "INLINE_BYTES").expect("it");
    assert_eq!(field(&fields, "body").bytes, number(&inline[1]));
    let seq = field(&fields, "seq");
    let cells = ring(&RING.memory[0]);
    assert_eq!([0, 1, 2].map(|at| seq.value(&cells[at])), [1, 2, 3]);
    for each in &fields {
        for byte in 0..each.bytes {
            let mut entry = words.entry(&[("kind", 1), ("length", 96)]);
            entry[(each.at + byte) as usize] |= 0x80;
            let says = match each.name.as_str() {
                "kind" => Err("unknown kind"),
                "flags" => Err("unknown flags"),
                "meta_len" => Err("metadata longer than what it is part of"),
                "handle" => Err("handle without a slot"),
                "length" => Err("inline length out of range"),
                "reserved" => Err("reserved word not zero"),
                // What is admitted is told by a sum of the message and the time that is left.
                "seq" | "call_id" | "code" => Ok(0),
                "deadline_us" => Ok(0x80 << (8 * byte)),
                "body" => Ok(0x80),
                other => panic!("no field of an entry is called {other:?}"),
            };
            let says = says.map_err(|text| format!("bad ring entry: {text}"));
            assert_eq!(judge(&entry), says, "byte {byte} of {}", each.name);
        }
    }
    // Call id and code: a cancellation has the one and not the other.
    words.accepted(&[("kind", 3), ("call_id", u64::from(u32::MAX))]);
    for byte in 0..4 {
        words.refused(&[("kind", 3), ("code", 1 << (8 * byte))]);
    }
}

/// Where a message in a slot is, and how it is followed: as a connection understands it.
pub(crate) fn descriptor(document: &Document, block: &Block) {
    let words = Words::of(document);
    assert_seamless(&block.fields(), field(&words.fields, "body").at, 64);
    let (start, end) = mmap_rpc::internals::peer::Peer::slot_bounds(64).expect("a slot");
    let good = [("kind", 1), ("flags", 3), ("handle", 64), ("offset", start), ("length ", 0)];
    let verdict = |changes: &[(&str, u64)]| {
        let mut entry = words.entry(&good[..4]);
        let length = field(&words.descriptor, "length");
        put(&mut entry, length, end - start);
        for &(name, value) in changes {
            put(&mut entry, field(&words.descriptor, name), value);
        }
        let mut duel = Duel::new(true).expect("a connection");
        duel.play(Move::Push(raw(&entry)));
        duel.play(Move::Turn);
        duel.violation().unwrap_or_default()
    };
    assert_eq!(verdict(&[]), "");
    assert!(verdict(&[("offset", start - 1)]).ends_with("it starts before the slot"));
    assert!(verdict(&[("length", end - start + 1)]).ends_with("it ends past the slot"));
    assert!(verdict(&[("length", 0)]).ends_with("its length is zero, or its end beyond any level"));
    assert!(
        verdict(&[("fill start", u64::MAX)]).ends_with("its length is zero, or its end beyond any level")
    );
    let lines = document.block("constants").body().iter().find(|row| row[0] == "FILL_LINES").expect("it");
    let lines = number(&lines[1]);
    assert_eq!(verdict(&[("fill line", lines - 1)]), "");
    assert!(verdict(&[("fill line", lines)]).ends_with("a line that no region has"));
}

/// The bits of flags by their names, as the table of flags has them.
fn flag_bits(document: &Document) -> [u64; 4] {
    let stated = document.block("flags").numbered();
    ["SLOT", "FILL", "STREAM", "MORE"].map(|name| stated.iter().find(|row| row.1 == name).expect(name).0)
}

pub(crate) fn kinds(document: &Document, block: &Block) {
    let words = Words::of(document);
    let [slot, fill, stream, more] = flag_bits(document);
    for row in block.body() {
        let [kind, name, from, flags, call_id, code, deadline, content] = &row[..] else { panic!("{row:?}") };
        let kind = number(kind);
        // A credit of nothing is none.
        let least = u64::from(code == "not 0");
        let entry =
            |values: &[(&str, u64)]| words.entry(&[&[("kind", kind), ("code", least)], values].concat());
        let takes = |values: &[(&str, u64)]| judge(&entry(values)).is_ok();
        assert!(takes(&[]), "{row:?}");
        let listed = flags.split(", ").filter(|name| *name != "none").map(|name| match name {
            "SLOT" => slot,
            "FILL" => fill,
            "STREAM" => stream,
            "MORE" => more,
            other => panic!("{row:?}: no flag is called {other:?}"),
        });
        let listed = listed.fold(0, |all, flag| all | flag);
        for flags in 0..=u64::from(u8::MAX) {
            let has = |flag| flags & flag != 0;
            let agree = (!has(fill) || has(slot) && !has(stream)) && (!has(more) || has(stream));
            assert_eq!(takes(&[("flags", flags)]), flags & !listed == 0 && agree, "{row:?}: {flags:#x}");
        }
        for (field, cell) in [("call_id", call_id), ("code", code), ("deadline_us", deadline)] {
            let taken = [0, 1, 1 << 31].map(|value| takes(&[(field, value)]));
            let expected = match cell.as_str() {
                "any" => [true; 3],
                "0" => [true, false, false],
                "not 0" => [false, true, true],
                other => panic!("{row:?}: {other:?} is no value"),
            };
            assert_eq!(taken, expected, "{row:?}: {field}");
        }
        let taken = [(0, 1), (1, 1), (1, 2)].map(|(meta, all)| takes(&[("meta_len", meta), ("length", all)]));
        let expected = match content.as_str() {
            "none" => [false; 3],
            "message" => [true, false, false],
            "metadata" => [false, true, false],
            "metadata, message" => [true; 3],
            other => panic!("{row:?}: {other:?} is no content"),
        };
        assert_eq!(taken, expected, "{row:?}");
        // To the side that it is not for it is a violation.
        let passes = |to_server: bool| {
            let mut duel = Duel::new(to_server).expect("a connection");
            duel.play(Move::Push(raw(&entry(&[]))));
            duel.play(Move::Turn);
            duel.violation().is_none()
        };
        let expected = match from.as_str() {
            "client" => (true, false),
            "server" => (false, true),
            "both" => (true, true),
            other => panic!("{other:?} is no side"),
        };
        assert_eq!((passes(true), passes(false)), expected, "{row:?}");
        let names = ["request", "reply", "cancel", "goaway", "nop", "message", "end", "credit", "headers"];
        assert_eq!(names.iter().position(|known| known == name), Some(kind as usize - 1));
    }
    let count = block.body().len() as u64;
    assert!(words.refused(&[("kind", count + 1)]).ends_with("unknown kind"));
    assert!(words.refused(&[]).ends_with("unknown kind"));
}

pub(crate) fn flags(document: &Document, block: &Block) {
    let words = Words::of(document);
    let [slot, fill, stream, more] = flag_bits(document);
    for good in [slot, slot | fill, stream, stream | more, stream | slot, stream | more | slot] {
        words.accepted(&[("kind", 1), ("flags", good)]);
    }
    for (bad, says) in [
        (fill, "a fill without a slot"),
        (slot | fill | stream, "a fill of a stream, or with metadata"),
        (more, "messages follow a call without streams"),
    ] {
        assert!(words.refused(&[("kind", 1), ("flags", bad)]).ends_with(says));
    }
    let known = slot | fill | stream | more;
    for flag in (0..8).map(|bit| 1 << bit).filter(|&flag| flag & known == 0) {
        assert!(words.refused(&[("kind", 1), ("flags", flag)]).ends_with("unknown flags"));
    }
    assert_eq!(block.body().len() as u32, known.count_ones());
}

/// Every check of an entry by an entry that fails it, and no check without one.
pub(crate) fn entry_checks(document: &Document, block: &Block) {
    let words = Words::of(document);
    for row in block.body() {
        let bad: &[(&str, u64)] = match row[0].as_str() {
            "the kind is known" => &[("kind", 77)],
            "no flag that the kind has not" => &[("kind", 2), ("flags", 4)],
            "FILL comes with SLOT" => &[("kind", 1), ("flags", 2)],
            "with FILL, no STREAM and meta_len 0" => &[("kind", 2), ("flags", 3), ("meta_len", 1)],
            "MORE comes with STREAM" => &[("kind", 1), ("flags", 8)],
            "with MORE, no message" => &[("kind", 1), ("flags", 12), ("meta_len", 1), ("length", 2)],
            "meta_len is at most length" => &[("kind", 1), ("meta_len", 9), ("length", 8)],
            "a message has no metadata" => &[("kind", 6), ("meta_len", 1), ("length", 1)],
            "headers have no message" => &[("kind", 9), ("meta_len", 1), ("length", 2)],
            "reserved is 0" => &[("kind", 1), ("reserved", 1)],
            "with SLOT, length is 0" => &[("kind", 1), ("flags", 1), ("length", 1)],
            "without SLOT, length is at most INLINE_BYTES" => &[("kind", 1), ("length", 97)],
            "without SLOT, handle is 0" => &[("kind", 1), ("handle", 1)],
            "all other kinds have no length" => &[("kind", 4), ("length", 1)],
            "a credit's code is not 0" => &[("kind", 8), ("code", 0)],
            "unused fields are 0" => &[("kind", 7), ("code", 1)],
            other => panic!("no check is called {other:?}"),
        };
        // `length` of the head, of two fields with this name the first.
        assert_eq!(words.refused(bad), format!("bad ring entry: {}", row[1]));
    }
    let source = include_str!("../../src/ring/entry/admit.rs");
    let checks = source.split("fn check(&mut self)").nth(1).expect("the checks");
    let mut texts: BTreeSet<&str> = checks.split('"').skip(1).step_by(2).collect();
    // That one is elsewhere.
    texts.insert("unknown kind");
    assert_eq!(block.body().iter().map(|row| row[1].as_str()).collect::<BTreeSet<_>>(), texts);
}

// ---- metadata ----------------------------------------------------------------------------------------

/// The runs of bytes that something takes, as the document writes them.
fn runs(takes: impl Fn(u8) -> bool) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for byte in (0..=u8::MAX).filter(|&byte| takes(byte)) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == byte => *last = byte,
            _ => runs.push((byte, byte)),
        }
    }
    let shown = |&(first, last): &(u8, u8)| match last - first {
        0 => format!("{first:#04x}"),
        _ => format!("{first:#04x} to {last:#04x}"),
    };
    runs.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Whether both lanes take metadata of one pair, and no lane alone does.
fn takes_pair(words: &Words, key: &[u8], value: &[u8]) -> bool {
    let metadata = dump::delimited(1, &[dump::delimited(1, key), dump::delimited(2, value)].concat());
    let mut entry =
        words.entry(&[("kind", 1), ("meta_len", metadata.len() as u64), ("length", metadata.len() as u64)]);
    let body = field(&words.fields, "body").at as usize;
    entry[body..body + metadata.len()].copy_from_slice(&metadata);
    let mut duel = Duel::new(true).expect("a connection");
    duel.play(Move::Push(raw(&entry)));
    duel.play(Move::Turn);
    let on_ring = duel.violation().is_none_or(|text| {
        assert!(text.contains(": bad control message: Metadata"), "{text}");
        false
    });
    let request = [dump::delimited(2, b"/x/y"), dump::delimited(14, &metadata)].concat();
    let on_socket = ControlMessage::decode(&dump::delimited(4, &request)).is_ok();
    assert_eq!(on_ring, on_socket, "{key:x?}: {value:x?}");
    on_ring
}

pub(crate) fn metadata_bytes(document: &Document, block: &Block) {
    let words = Words::of(document);
    for row in block.body() {
        let found = match row[0].as_str() {
            "of a key" => runs(|byte| takes_pair(&words, &[b'k', byte], b"v")),
            "of a value, if its key does not end with -bin" => runs(|byte| takes_pair(&words, b"k", &[byte])),
            "of a value, if its key ends with -bin" => runs(|byte| takes_pair(&words, b"k-bin", &[byte])),
            other => panic!("no bytes {other:?}"),
        };
        assert_eq!(row[1], found, "{}", row[0]);
    }
    assert_eq!(block.body().len(), 3);
    assert!(!takes_pair(&words, b"", b"v"), "a key has at least one byte");
    assert!(takes_pair(&words, b"k", b"") && takes_pair(&words, b"-bin", b"\xff"));
}

// ---- dumps -------------------------------------------------------------------------------------------

fn number_at(memory: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(memory[at as usize..][..8].try_into().expect("eight bytes"))
}

/// The cells of the ring of a standard base segment.
fn ring(segment: &[u8]) -> Vec<Entry> {
    let at = number_at(segment, 32) as usize;
    segment[at..at + 256 * 128].chunks_exact(128).map(|cell| cell.try_into().expect("a cell")).collect()
}

pub(crate) fn ring_header() -> Vec<String> {
    let mut out = Vec::new();
    memory("fields, then three of sixteen classes", &RING.memory[0], 0, 80 + 3 * 32, &mut out);
    out
}

/// The entries of a session's ring that are used, each as far as it is.
pub(crate) fn ring_entries(session: &Session, side: usize) -> Vec<String> {
    let (segment, mut out) = (&session.memory[side], Vec::new());
    let at = number_at(segment, 32);
    for (position, cell) in ring(segment).iter().enumerate().filter(|(_, cell)| cell[0] != 0) {
        let used = if cell[5] & 1 == 0 { 32 + u64::from(cell[24]).next_multiple_of(16) } else { 48 };
        memory(&format!("position {position}"), segment, at + 128 * position as u64, used, &mut out);
    }
    out
}

pub(crate) fn ring_slot() -> Vec<String> {
    let ([client, server], mut out) = ([&RING.memory[0], &RING.memory[1]], Vec::new());
    let entry = &ring(client)[2];
    let (offset, length) = (number_at(entry, 32), number_at(entry, 40));
    memory("slot with handle 0, in the client's base segment", client, offset, length, &mut out);
    memory("return word 0, in the server's base segment", server, number_at(server, 48), 8, &mut out);
    out
}

/// A region of the file: its messages and the words that return the peer's.
pub(crate) fn file_region(server: bool) -> Vec<String> {
    let (file, mut out) = (&FILE.memory[0], Vec::new());
    let at = number_at(file, if server { 32 } else { 16 });
    if !server {
        memory("head of the file", file, 0, 48, &mut out);
    }
    let side = if server { "server" } else { "client" };
    memory(&format!("header of the {side}'s region"), file, at, 80 + 2 * 32, &mut out);
    let slots = at + number_at(file, at + 80 + 8);
    for (handle, bytes) in if server { [(0, 2), (1, 68)] } else { [(0, 73), (1, 7)] } {
        memory(&format!("slot with handle {handle}"), file, slots + handle * 256, bytes, &mut out);
    }
    memory("return word 0", file, at + number_at(file, at + 48), 8, &mut out);
    out
}

pub(crate) fn classic_memory() -> Vec<String> {
    let mut out = Vec::new();
    memory("after Set: the reply, and what it left of the request", &CLASSIC.memory[0], 0, 80, &mut out);
    memory("after Get: the reply, and what it left of those before", &CLASSIC.memory[1], 0, 80, &mut out);
    out
}
