//! Any script of frames, descriptors, entries and scribbled words, into an honest side's receiving machine.
//!
//! Properties: no panic, no access outside of a mapping, no endless turn; afterwards every slot that the
//! honest side claims is its alone. A script without anything forbidden in it never closes the connection.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::peer::{Duel, Frame, Move, Peer, RawEntry, Word, netstring};

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let is_server = u.arbitrary()?;
    let mut duel = Duel::new(is_server).expect("memory and descriptors for two ends");
    let mut harmless = true;
    // Bounded, because every script makes two regions anew.
    for _ in 0..200 {
        if u.is_empty() {
            break;
        }
        let (play, is_harmless) = step(u, is_server)?;
        harmless &= is_harmless;
        duel.play(play);
    }
    duel.play(Move::Turn);
    assert!(!harmless || duel.verdict().is_none(), "closed for no reason: {:?}", duel.verdict());
    duel.check();
    Ok(())
}

/// The next move, and whether an honest peer could make it at any time.
fn step(u: &mut Unstructured<'_>, is_server: bool) -> Result<(Move, bool)> {
    Ok(match u.int_in_range(0..=11)? {
        0 => (Move::Turn, true),
        1 => (Move::Send(*u.choose(&[0, 1, 96, 97, 256, 257, 5000, 20_000, 70_000, 300_000])?), true),
        2 => (Move::Keep(u.arbitrary()?), true),
        3 => (Move::Bytes(Frame::Doorbell.encode(), 0), true),
        4 => (Move::Bytes(u.arbitrary()?, u.int_in_range(0..=4)?), false),
        5 => (Move::Bytes(netstring(u.arbitrary()?), u.int_in_range(0..=2)?), false),
        6 => (Move::Bytes(frame(u)?.encode(), u.int_in_range(0..=2)?), false),
        7 => (Move::Push(entry(u, is_server)?), false),
        8 => (Move::Cell(u.int_in_range(0..=600)?, u.int_in_range(0..=600)?, entry(u, is_server)?), false),
        9 => {
            let line = u.int_in_range(0..=7)?;
            let words = [
                Word::RxHead,
                Word::Sleep,
                Word::Cpu,
                Word::WantSpace,
                Word::Closed,
                Word::Level(line),
                Word::GivenUp(line),
            ];
            let word = *u.choose(&words)?;
            let value = if u.arbitrary()? { u.int_in_range(0..=300)? } else { u.arbitrary()? };
            // Only positions are ever judged.
            (Move::Set(word, value), !matches!(word, Word::RxHead | Word::Level(_)))
        }
        10 => (Move::Flip(u.int_in_range(0..=127)?, u.arbitrary()?), false),
        _ => (Move::Push(RawEntry { head: [5, 0, 0, 0, 0, 0, 0], ..RawEntry::default() }), false),
    })
}

fn frame(u: &mut Unstructured<'_>) -> Result<Frame> {
    let id = u.int_in_range(1..=4)?;
    Ok(match u.int_in_range(0..=8)? {
        0 => Frame::Disconnect,
        1 => Frame::SegmentDropped(id),
        2 => Frame::SegmentDropAcknowledged(id),
        3 => *u.choose(&[Frame::ConnectRequest, Frame::Refusal, Frame::RpcRequest, Frame::RpcResponse])?,
        _ => {
            let shapes = [(4096, 16), (65536, 1), (64, 1024), (1, 65536), (1000, 65)];
            let (slot_size, slot_count) = *u.choose(&shapes)?;
            let first_handle = 64 * u.int_in_range(0..=130)?;
            Frame::SegmentAdded { id, bytes: 65536, slot_size, slot_count, first_handle }
        }
    })
}

fn entry(u: &mut Unstructured<'_>, is_server: bool) -> Result<RawEntry> {
    let call_id = u.int_in_range(0..=3)?;
    let mut entry = if is_server { RawEntry::request(call_id, 0) } else { RawEntry::reply(call_id) };
    entry = match u.int_in_range(0..=3)? {
        0 => entry.inline(u.int_in_range(0..=97)?),
        1 => {
            let handle = u.int_in_range(0..=255)?;
            let (start, end) = Peer::slot_bounds(handle).unwrap_or((0, 0));
            let entry = entry.slot(handle, start, u.int_in_range(0..=end - start + 1)?);
            if u.arbitrary()? { entry.fill(u.int_in_range(0..=8)?, u.int_in_range(0..=300)?) } else { entry }
        }
        2 => entry.slot(u.arbitrary()?, u.arbitrary()?, u.arbitrary()?),
        _ => entry,
    };
    if u.ratio(1, 8)? {
        entry.head[u.int_in_range(0..=6)?] = u.arbitrary()?;
    }
    Ok(entry)
}
