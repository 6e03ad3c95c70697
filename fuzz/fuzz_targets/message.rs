//! Control messages: any bytes, and messages with each field set to likely and unlikely values.
//!
//! Properties: what was decoded can be encoded, as one frame whose body is no longer than what came, but for
//! a size that is always sent; that decodes to the same message; encoding it once more gives the same bytes.
//! Input that decodes carries the number of descriptors that its name says. (The runner bounds each
//! allocation, so a short message that asks for a large one is found as well.)
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::wire::{ControlMessage, Frames};

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut envelope = Vec::new();
    let _ = write_envelope(&mut Unstructured::new(data), &mut envelope);
    check(&envelope);
});

fn check(body: &[u8]) {
    let Ok(message) = ControlMessage::decode(body) else { return };
    if body.is_empty() {
        assert_eq!(message.name(), "doorbell", "only the doorbell is empty");
        return;
    }
    let frame = message.encode().expect("a message that was decoded passes the sender's checks");
    let mut frames = Frames::new();
    frames.feed(&frame);
    let again = frames.next_frame(<[u8]>::to_vec).expect("our own frame").expect("a whole frame");
    assert_eq!(frames.buffered(), 0, "a message is one frame");
    // A size of 0 is sent where it was left out: two bytes, and one more for the length around them.
    let added = if message.name().starts_with("RPC") { 3 } else { 0 };
    assert!(again.len() <= body.len() + added, "the canonical form is the longer one");
    let same = ControlMessage::decode(&again).expect("our own message");
    assert_eq!(same, message, "what was encoded decodes to something else");
    assert_eq!(same.encode().expect("as before"), frame, "two spellings of one message");
    let descriptors: &[usize] = match message.name() {
        // None where a file is asked for, or named.
        "ConnectRequest" | "ConnectResponse" => &[0, 2],
        "SegmentAdded" => &[1],
        _ => &[0],
    };
    assert!(descriptors.contains(&message.descriptors()));
}

/// What a field holds, in the words of the proto file.
#[derive(Clone, Copy)]
enum Type {
    Number,
    Text,
    Limits,
}

/// The fields of each message of the envelope; the message's own number is its place, from 1.
const MESSAGES: [&[(u8, Type)]; 10] = {
    use Type::{Limits, Number, Text};
    [
        &[(10, Number), (11, Number), (12, Number), (13, Number), (14, Limits), (15, Number)],
        &[
            (1, Text),
            (2, Text),
            (3, Text),
            (10, Number),
            (11, Number),
            (12, Limits),
            (13, Number),
            (14, Text),
            (14, Text),
            (15, Number),
            (16, Number),
        ],
        &[(1, Text)],
        &[(1, Text), (2, Text), (3, Number), (10, Number), (11, Number), (12, Number), (13, Number)],
        &[
            (1, Text),
            (2, Text),
            (3, Number),
            (4, Text),
            (10, Number),
            (11, Number),
            (12, Number),
            (13, Number),
        ],
        &[(1, Number), (2, Number), (3, Number), (4, Number), (5, Number)],
        &[(1, Number)],
        &[(1, Number)],
        &[(1, Number)],
        &[],
    ]
};

/// An envelope with one message, or with two.
fn write_envelope(u: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
    loop {
        let number = u.int_in_range(1..=MESSAGES.len())?;
        let mut message = Vec::new();
        for &(field, kind) in MESSAGES[number - 1] {
            if u.ratio(4, 5)? {
                write_field(u, field, kind, &mut message)?;
            }
        }
        if u.ratio(1, 9)? {
            // A field that nobody knows, or one of another type.
            let (field, kind) = (u.int_in_range(1..=30)?, *u.choose(&[Type::Number, Type::Text])?);
            write_field(u, field, kind, &mut message)?;
        }
        write_bytes(number as u8, &message, out);
        if u.ratio(7, 8)? {
            return Ok(());
        }
    }
}

fn write_field(u: &mut Unstructured<'_>, field: u8, kind: Type, out: &mut Vec<u8>) -> Result<()> {
    match kind {
        Type::Number => {
            let choices =
                [0, 1, 2, 64, 4096, 1 << 20, u32::MAX.into(), u64::MAX - 4095, u64::MAX, u.arbitrary()?];
            write_number(u64::from(field) << 3, out);
            write_number(*u.choose(&choices)?, out);
        }
        Type::Text => {
            let choices = [&b"id-1"[..], b"/a.B/C", b"/run/file", b"", b"\xff", u.arbitrary()?];
            write_bytes(field, u.choose(&choices)?, out);
        }
        Type::Limits => {
            let mut limits = Vec::new();
            for number in 1..=3 {
                write_field(u, number, Type::Number, &mut limits)?;
            }
            write_bytes(field, &limits, out);
        }
    }
    Ok(())
}

fn write_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    write_number(u64::from(field) << 3 | 2, out);
    write_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
