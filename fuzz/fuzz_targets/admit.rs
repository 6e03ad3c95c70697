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
const CANCEL: u32 = 3;
const KINDS: std::ops::RangeInclusive<u32> = 1..=5;
const INLINE_BYTES: u32 = 96;
/// Flags: none, in a slot, in a slot that is still being written.
const FLAGS: [u32; 3] = [0, 1, 3];

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
        head[0] &= 0x0000_0307;
        head[5] &= 0x7f;
    }
    let expected = is_good(&head).then(|| digest(&head, &body));
    assert_eq!(admit(head, body).ok(), expected, "{head:x?} {body:x?}");
    Ok(())
}

fn is_good(head: &[u32; 7]) -> bool {
    let [kind_and_flags, call_id, code, deadline, handle, length, reserved] = *head;
    let (kind, flags) = (kind_and_flags & 0xff, kind_and_flags >> 8);
    let slot = flags & 1;
    let message = kind == REQUEST || kind == REPLY;
    let empty = flags == 0 && length == 0 && code == 0 && deadline == 0;
    KINDS.contains(&kind)
        && FLAGS.contains(&flags)
        && reserved == 0
        && (slot == 0 || length == 0)
        && (slot == 1 || (length <= INLINE_BYTES && handle == 0))
        && (message || empty)
        && (message || kind == CANCEL || call_id == 0)
}

/// What the door reports of an admitted entry.
fn digest(head: &[u32; 7], body: &[u64; 12]) -> u64 {
    let [kind_and_flags, _, _, deadline, handle, length, _] = *head;
    let message = if kind_and_flags >> 8 != 0 {
        let fill = if kind_and_flags >> 8 == 3 { body[2] ^ body[3] } else { 0 };
        body[0] ^ body[1] ^ u64::from(handle) ^ fill
    } else {
        let bytes = body.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(length as usize).map(u64::from).sum()
    };
    let time_left = if kind_and_flags & 0xff == REQUEST { deadline } else { 0 };
    let released = if kind_and_flags & 0xff == REPLY { deadline.saturating_sub(1) } else { 0 };
    message ^ u64::from(time_left) ^ u64::from(released)
}
