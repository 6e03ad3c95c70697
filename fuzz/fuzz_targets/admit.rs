//! Ring entries of any words whatever.
//!
//! Properties: an entry is admitted exactly if the table of fields in `ring::entry` allows it, and what is
//! then read out of it are its own words.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::ring::admit;

const REQUEST: u32 = 1;
const REPLY: u32 = 2;
const GOAWAY: u32 = 4;
const NOP: u32 = 5;
const MESSAGE: u32 = 6;
const CREDIT: u32 = 8;
const HEADERS: u32 = 9;
const KINDS: std::ops::RangeInclusive<u32> = REQUEST..=HEADERS;
const INLINE_BYTES: u32 = 96;

const SLOT: u32 = 1;
const FILL: u32 = 2;
const STREAM: u32 = 4;
const MORE: u32 = 8;

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let zeros: u8 = u.arbitrary()?;
    let mut head: [u32; 7] = u.arbitrary()?;
    let body: [u64; 12] = u.arbitrary()?;
    if zeros & 0x80 != 0 {
        // Near an entry that somebody would build: some words zero, kind and length in a small range.
        head.iter_mut().enumerate().filter(|(at, _)| zeros >> at & 1 != 0).for_each(|(_, word)| *word = 0);
        head[0] &= 0x0041_0f0f;
        head[5] &= 0x7f;
    }
    let expected = is_good(&head).then(|| digest(&head, &body));
    assert_eq!(admit(head, body).ok(), expected, "{head:x?} {body:x?}");
    Ok(())
}

fn is_good(head: &[u32; 7]) -> bool {
    let [first, call_id, code, deadline, handle, length, reserved] = *head;
    let (kind, flags, meta_len) = (first & 0xff, first >> 8 & 0xff, first >> 16);
    let has = |flag: u32| flags & flag != 0;
    let admitted = match kind {
        REQUEST => SLOT | FILL | STREAM | MORE,
        REPLY => SLOT | FILL,
        MESSAGE | HEADERS => SLOT,
        _ => 0,
    };
    // Of a message in a slot, the slot knows the length.
    let no_message = has(SLOT) || length == meta_len;
    let fields = match kind {
        REQUEST | REPLY => true,
        MESSAGE => code == 0 && deadline == 0 && meta_len == 0,
        HEADERS => code == 0 && deadline == 0 && no_message,
        CREDIT => code != 0 && deadline == 0 && length == 0,
        _ => code == 0 && deadline == 0 && length == 0,
    };
    KINDS.contains(&kind)
        && flags & !admitted == 0
        && reserved == 0
        && (!has(SLOT) || length == 0)
        && (has(SLOT) || (length <= INLINE_BYTES && handle == 0 && meta_len <= length))
        && (!has(FILL) || (has(SLOT) && !has(STREAM) && meta_len == 0))
        && (!has(MORE) || (has(STREAM) && no_message))
        && fields
        && (!matches!(kind, GOAWAY | NOP) || call_id == 0)
}

/// What the door reports of an admitted entry.
fn digest(head: &[u32; 7], body: &[u64; 12]) -> u64 {
    let [first, _, _, deadline, handle, length, _] = *head;
    let (kind, flags) = (first & 0xff, first >> 8 & 0xff);
    let message = if flags & SLOT != 0 {
        let fill = if flags & FILL != 0 { body[2] ^ body[3] } else { 0 };
        body[0] ^ body[1] ^ u64::from(handle) ^ fill
    } else {
        let bytes = body.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(length as usize).map(u64::from).sum()
    };
    let time_left = if kind == REQUEST { deadline } else { 0 };
    let released = if kind == REPLY { deadline.saturating_sub(1) } else { 0 };
    message ^ u64::from(time_left) ^ u64::from(released)
}
