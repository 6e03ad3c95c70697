//! A peer that breaks the protocol after the handshake: its connection closes and the log names the check;
//! the process, its memory and its other connections stay as they were.

mod watch;

#[path = "hostile/attacks.rs"]
mod attacks;
#[path = "hostile/fills.rs"]
mod fills;
#[path = "hostile/noise.rs"]
mod noise;
#[path = "hostile/server.rs"]
mod server;
#[path = "hostile/socket_lane.rs"]
mod socket_lane;
#[cfg(feature = "tokio")]
#[path = "hostile/streams.rs"]
mod streams;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use attacks::{Attack, attack, entries, on_the_socket};
use mmap_rpc::Channel;
use mmap_rpc::internals::peer::{ClientOffer, Duel, FileSpec, Frame, Move, NOP, Peer, RawEntry, Word};
use std::os::fd::AsFd;
use watch::{ECHO, HOLD, LONG, Site, alone, clear_log, holdings, logged, nothing_left_since};

// ---- a hostile client --------------------------------------------------------------------------------

fn client_of(site: &Site) -> Peer {
    ClientOffer::honest().unwrap().knock(&site.path).unwrap()
}

/// The server hangs up, says why, and serves the others on.
#[track_caller]
fn is_cut_off(site: &Site, mut peer: Peer, name: &str, words: &[&str]) {
    assert!(peer.is_hung_up_on(), "{name}: the connection stays");
    let mut all = words.to_vec();
    all.extend(["connection closed", "the peer broke the protocol", peer.connection_id()]);
    logged(&all);
    drop(peer);
    site.honest_client_is_served();
}

#[track_caller]
fn strike_server(site: &Site, Attack { name, words, strike }: Attack) {
    clear_log();
    eprintln!("{name}");
    let mut peer = client_of(site);
    strike(&mut peer);
    is_cut_off(site, peer, name, words);
}

#[test]
fn a_client_that_misuses_its_socket_is_cut_off_by_name() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    on_the_socket().into_iter().for_each(|attack| strike_server(&site, attack));
    nothing_left_since(before);
}

#[test]
fn a_client_that_misuses_its_ring_is_cut_off_by_name() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let mut bad = entries(RawEntry::request(1, ECHO));
    bad.push((RawEntry::reply(1), &["a client sends neither replies nor goaway"]));
    bad.push((
        RawEntry { head: [4, 0, 0, 0, 0, 0, 0], ..RawEntry::default() },
        &["a client sends neither replies"],
    ));
    bad.push((RawEntry::request(1024, ECHO), &["limit exceeded", "0x400 is beyond max_in_flight (1024)"]));
    bad.push((RawEntry::request(u32::MAX, ECHO), &["beyond max_in_flight (1024)"]));
    for (entry, words) in bad {
        strike_server(&site, attack("entry", words, move |peer| peer.push(entry)));
        // Behind good ones too, and with the server parked.
        let behind = attack("behind others", words, move |peer| {
            (0..3).for_each(|id| peer.push(RawEntry::request(10 + id, ECHO)));
            (0..3).for_each(|id| assert_eq!(peer.next_entry().map(|reply| reply.call_id()), Some(10 + id)));
            std::thread::sleep(Duration::from_millis(2));
            peer.push(entry);
        });
        strike_server(&site, behind);
    }
    nothing_left_since(before);
}

#[test]
fn a_message_beyond_the_agreed_size_is_a_violation_although_it_fits_its_slot() {
    let _alone = alone();
    let site = Site::with(|builder| builder.max_message_size(6000));
    let mut peer = client_of(&site);
    two_mib(&peer, 1, 256);
    peer.push(RawEntry::request(1, ECHO).slot(256, 0, 6000));
    assert_eq!(peer.next_entry().map(|reply| reply.head[2]), Some(0), "6000 bytes are as agreed");
    drop(peer);
    strike_server(
        &site,
        attack("6001 bytes", &["longer than the agreed max_message_size"], |peer| {
            two_mib(peer, 1, 256);
            peer.push(RawEntry::request(1, ECHO).slot(256, 0, 6001));
        }),
    );
}

#[test]
fn a_second_request_with_the_index_of_one_in_flight_is_a_violation() {
    let _alone = alone();
    let site = Site::with(watch::pool);
    let before = holdings();
    let reuse = attack("index in flight", &["a second request with the index of a call in flight"], |peer| {
        peer.push(RawEntry::request(0x0001_0005, HOLD));
        peer.push(RawEntry::request(0x0002_0005, ECHO));
    });
    strike_server(&site, reuse);
    site.let_go();
    nothing_left_since(before);
}

/// Asks for replies of 200 bytes and returns none of their slots, until cut off.
fn hoard(peer: &mut Peer, calls: u32) {
    for id in 0..calls {
        if peer.has_lost() || !peer.push_when_read(RawEntry::request(id, LONG)) {
            return;
        }
        peer.pop();
    }
}

#[test]
fn forged_returns_are_violations() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for (word, bits) in [(2, 1), (2, 1 << 63), (2, 1 << 31), (2, u64::MAX)] {
        let forge = attack("forged return", &["forged return", "that it does not hold"], move |peer| {
            peer.flip(word, bits);
            hoard(peer, 150);
        });
        strike_server(&site, forge);
    }
    nothing_left_since(before);
}

#[test]
fn a_ring_head_that_leaves_its_window_is_a_violation() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for ahead in [257, 300, 1 << 32, u64::MAX] {
        let lie = attack("beyond the tail", &["ring head out of range"], move |peer| {
            for id in 0..300 {
                peer.set(Word::RxHead, ahead);
                if peer.has_lost() || !peer.push_when_read(RawEntry::request(id, ECHO)) {
                    return;
                }
            }
        });
        strike_server(&site, lie);
    }
    let back = attack("going back", &["ring head out of range", "published 10,"], |peer| {
        for id in 0..900 {
            if peer.has_lost() || !peer.push_when_read(RawEntry::request(id, ECHO)) {
                return;
            }
            peer.next_entry();
            if id > 600 {
                peer.set(Word::RxHead, 10);
            }
        }
    });
    strike_server(&site, back);
    nothing_left_since(before);
}

#[test]
fn a_client_that_takes_no_replies_is_cut_off_before_they_fill_the_memory() {
    let _alone = alone();
    let site = Site::with(|builder| builder.max_in_flight(100));
    let before = holdings();
    for method in [ECHO, LONG] {
        let deaf =
            attack("takes no replies", &["more replies wait for the client than it may have"], move |peer| {
                for id in 0..10_000 {
                    if peer.has_lost() || !peer.push_when_read(RawEntry::request(id % 100, method)) {
                        return;
                    }
                }
            });
        strike_server(&site, deaf);
    }
    // As many as were agreed may wait, and come once there is room.
    let mut peer = client_of(&site);
    (0..256).for_each(|id| assert!(peer.push_when_read(RawEntry::request(id % 100, ECHO))));
    (0..100).for_each(|id| assert!(peer.push_when_read(RawEntry::request(id, ECHO))));
    (0..356).for_each(|at| assert!(peer.next_entry().is_some(), "reply {at}"));
    drop(peer);
    nothing_left_since(before);
}

#[test]
fn a_client_that_reads_no_control_messages_is_cut_off() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let deaf = attack("deaf", &["limit exceeded", "does not read its control messages"], |peer| {
        let file = FileSpec::of(4096).make().unwrap();
        let added =
            Frame::SegmentAdded { id: 1, bytes: 4096, slot_size: 4096, slot_count: 1, first_handle: 256 };
        for _ in 0..3000 {
            if peer.frame(&added, &[file.as_fd()]).is_err()
                || peer.frame(&Frame::SegmentDropped(1), &[]).is_err()
            {
                return;
            }
        }
    });
    strike_server(&site, deaf);
    nothing_left_since(before);
}

/// A segment of 2 MiB with one slot.
fn two_mib(peer: &Peer, id: u32, first_handle: u32) {
    let bytes = 2 << 20;
    let file = FileSpec::of(bytes).make().unwrap();
    let frame = Frame::SegmentAdded { id, bytes, slot_size: bytes, slot_count: 1, first_handle };
    let _ = peer.frame(&frame, &[file.as_fd()]);
}

#[test]
fn a_segment_that_a_handler_still_holds_counts_after_its_drop() {
    let _alone = alone();
    let site = Site::with(|builder| watch::pool(builder).max_region_bytes(4 << 20));
    let before = holdings();
    let mut peer = client_of(&site);
    for round in 0..3 {
        // Given back before the drop, as one should: the same bytes go round for ever.
        two_mib(&peer, 1 + round, 256);
        peer.push(RawEntry::request(round, ECHO).slot(256, 0, 1000));
        assert!(peer.next_entry().is_some());
        peer.frame(&Frame::SegmentDropped(1 + round), &[]).unwrap();
        assert_eq!(peer.read(), Some("SegmentDropAcknowledged"));
    }
    drop(peer);
    let hold = attack("dropped while held", &["limit exceeded", "the cap is 4194304"], |peer| {
        two_mib(peer, 1, 256);
        peer.push(RawEntry::request(1, HOLD).slot(256, 0, 1000));
        // An answered call behind it: by then the first one has been taken in.
        peer.push(RawEntry::request(2, ECHO));
        assert!(peer.next_entry().is_some());
        peer.frame(&Frame::SegmentDropped(1), &[]).unwrap();
        two_mib(peer, 2, 320);
    });
    strike_server(&site, hold);
    site.let_go();
    nothing_left_since(before);
}

#[test]
fn a_client_that_says_it_has_closed_is_believed() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let mut peer = client_of(&site);
    peer.push(RawEntry::request(1, ECHO));
    assert!(peer.next_entry().is_some());
    peer.set(Word::Closed, 1);
    peer.ring();
    assert!(peer.is_hung_up_on(), "the server goes on looking for a hang-up that does not come");
    drop(peer);
    site.honest_client_is_served();
    nothing_left_since(before);
}

/// Honest calls on the one reactor while a hostile client does something without end.
fn served_beside(nuisance: impl Fn(&Peer) + Sync) {
    let site = Site::new();
    let before = holdings();
    let peer = client_of(&site);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hostile = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                nuisance(&peer);
            }
        });
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            site.honest_client_is_served();
        }
        // A newcomer is let in as well: the epoll gets its turn.
        drop(Channel::connect(&site.path).wait().unwrap());
        stop.store(true, Ordering::Relaxed);
        hostile.join().unwrap();
    });
    drop(peer);
    nothing_left_since(before);
}

#[test]
fn an_entry_that_means_nothing_counts_like_any_other() {
    let _alone = alone();
    let nothing = RawEntry { head: [NOP, 0, 0, 0, 0, 0, 0], ..RawEntry::default() };
    let mut duel = Duel::new(true).unwrap();
    (0..256).for_each(|_| duel.play(Move::Push(nothing)));
    for turn in 1..=4 {
        duel.play(Move::Turn);
        // Else a peer that writes them as fast as they are read would keep its reader for ever.
        assert_eq!(duel.entries_read(), turn * Duel::LOOKS_PER_TURN);
    }
    assert_eq!(duel.verdict(), None);
    duel.check();
}

#[test]
fn a_ring_that_never_runs_dry_does_not_starve_the_others() {
    let _alone = alone();
    let nothing = RawEntry { head: [NOP, 0, 0, 0, 0, 0, 0], ..RawEntry::default() };
    served_beside(|peer| {
        for position in 0..peer.capacity() {
            peer.cell(position, u32::MAX, nothing);
        }
        (0..2000).for_each(|_| peer.ready_all());
    });
}

#[test]
fn a_socket_that_never_runs_dry_does_not_starve_the_others() {
    let _alone = alone();
    let flood = b"0:,".repeat(20_000);
    // Frames would break where a full socket cuts them: write the rest first.
    let offset = std::sync::atomic::AtomicUsize::new(0);
    served_beside(move |peer| {
        let at = offset.load(Ordering::Relaxed);
        if let Ok(count) = peer.send_some(&flood[at..]) {
            offset.store((at + count) % flood.len(), Ordering::Relaxed);
        }
    });
}
