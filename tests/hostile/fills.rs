//! Messages that are read while they are written, from a writer that does not keep to it.

use std::time::Duration;

use mmap_rpc::internals::peer::{Peer, RawEntry, Word};
use testkit::proc;

use crate::attacks::attack;
use crate::watch::{ECHO, HOLD, Site, alone, holdings, nothing_left_since, pool};
use crate::{client_of, served_beside, strike_server};

/// Messages that one connection's reader follows at a time.
const FOLLOWED: u32 = 16;

/// A request whose message of `length` bytes is being written into a slot of 4 KiB.
fn filling(call_id: u32, line: u64, start: u64, length: u64) -> RawEntry {
    let (first, _) = Peer::slot_bounds(128).unwrap();
    RawEntry::request(call_id, ECHO).slot(128, first, length).fill(line, start)
}

fn answered(peer: &mut Peer) -> Option<u32> {
    peer.next_entry().map(|reply| reply.call_id())
}

#[test]
fn a_message_is_served_when_all_of_it_has_come() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let mut peer = client_of(&site);
    peer.push(filling(1, 3, 0, 1000));
    for level in [1, 2, 500, 999] {
        peer.set(Word::Level(3), level);
        // An answered call behind it: by then its level has been looked at.
        peer.push(RawEntry::request(2, ECHO));
        assert_eq!(answered(&mut peer), Some(2), "level {level}");
    }
    peer.set(Word::Level(3), 1000);
    peer.ring();
    assert_eq!(answered(&mut peer), Some(1));
    // The line goes on where it ended, and a late reader finds the level of the message after its own.
    peer.set(Word::Level(3), 5000);
    peer.push(filling(3, 3, 1000, 1000));
    assert_eq!(answered(&mut peer), Some(3));
    // What is given up is no call.
    peer.push(filling(4, 3, 5000, 1000));
    peer.set(Word::GivenUp(3), 6000);
    peer.set(Word::Level(3), 6000);
    peer.push(filling(4, 2, 0, 10));
    peer.set(Word::Level(2), 10);
    peer.ring();
    assert_eq!(answered(&mut peer), Some(4));
    assert!(peer.pop().is_none());
    drop(peer);
    nothing_left_since(before);
}

#[test]
fn a_level_that_falls_is_a_violation() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for (seen, then) in [(500, 499), (1, 0), (999, 0)] {
        let fall = attack("falls", &["bad fill", "its level fell"], move |peer| {
            peer.push(filling(1, 0, 0, 1000));
            peer.set(Word::Level(0), seen);
            peer.push(RawEntry::request(2, ECHO));
            assert_eq!(answered(peer), Some(2));
            peer.set(Word::Level(0), then);
            peer.ring();
        });
        strike_server(&site, fall);
    }
    nothing_left_since(before);
}

#[test]
fn messages_that_never_come_hold_up_their_own_connection_alone() {
    let _alone = alone();
    let site = Site::with(pool);
    let before = holdings();
    let mut peer = client_of(&site);
    for id in 0..FOLLOWED - 1 {
        peer.push(filling(id, 0, 0, 1000));
    }
    peer.push(RawEntry::request(100, ECHO));
    assert_eq!(answered(&mut peer), Some(100), "calls pass by what is under way");
    peer.push(filling(FOLLOWED, 1, 0, 1000));
    peer.push(RawEntry::request(101, ECHO));
    for _ in 0..50 {
        site.honest_client_is_served();
    }
    assert!(peer.pop().is_none(), "as many are followed as may be: the rest waits");
    // Nor does what waits in the ring keep the server awake, once it looks at this connection alone: it could
    // only look again and again.
    std::thread::sleep(Duration::from_millis(20));
    // On another processor, so that the server spins.
    peer.set(Word::Cpu, u64::from(u32::MAX));
    peer.ring();
    let (ticks, length) = (proc::cpu_ticks(std::process::id()), Duration::from_millis(500));
    std::thread::sleep(length);
    let used = proc::cpu_ticks(std::process::id()) - ticks;
    assert!(used <= 10, "{used} ticks of processor time in {length:?}");
    peer.set(Word::Level(1), 1000);
    peer.ring();
    let mut ids = [answered(&mut peer), answered(&mut peer)];
    ids.sort_unstable();
    assert_eq!(ids, [Some(FOLLOWED), Some(101)]);
    drop(peer);
    site.honest_client_is_served();
    nothing_left_since(before);
}

#[test]
fn a_second_request_is_noticed_when_it_is_whole() {
    let _alone = alone();
    let site = Site::with(pool);
    let before = holdings();
    let words = &["a second request with the index of a call in flight"];
    let reuse = attack("index in flight", words, |peer| {
        peer.push(filling(0x0002_0005, 0, 0, 1000));
        peer.push(RawEntry::request(0x0001_0005, HOLD));
        peer.push(RawEntry::request(6, ECHO));
        assert_eq!(answered(peer), Some(6));
        peer.set(Word::Level(0), 1000);
        peer.ring();
    });
    strike_server(&site, reuse);
    site.let_go();
    nothing_left_since(before);
}

#[test]
fn a_message_that_comes_byte_by_byte_does_not_starve_the_others() {
    let _alone = alone();
    let (first, end) = Peer::slot_bounds(128).unwrap();
    let length = end - first;
    let level = std::sync::atomic::AtomicU64::new(0);
    served_beside(move |peer| {
        use std::sync::atomic::Ordering;
        let now = level.fetch_add(1, Ordering::Relaxed);
        if now.is_multiple_of(length) {
            let position = now / length;
            peer.cell(position, position as u32 + 1, filling(position as u32 % 1000, 0, now, length));
            peer.ring();
        }
        peer.set(Word::Level(0), now);
    });
}
