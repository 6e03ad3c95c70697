//! What a client can say wrong on the socket lane.

use std::time::Duration;

use mmap_rpc::internals::peer::{ClientOffer, Frame, Peer, RawEntry};

use crate::watch::{self, METHODS, Site, alone, clear_log, holdings, logged, nothing_left_since};

fn client_of(site: &Site) -> Peer {
    ClientOffer::on_socket_lane().unwrap().knock(&site.path).unwrap()
}

fn call(method: &'static str, segment_id: u32, offset: u64, size: u64) -> Frame {
    Frame::Call { connection_id: "", method, segment_id, offset, size }
}

#[test]
fn frames_that_do_not_belong_are_cut_off_by_name() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let (start, end) = Peer::slot_bounds(0).unwrap();
    let echo = METHODS[0];
    let cases: [(Frame, &[&str]); 11] = [
        (Frame::RpcResponse, &["RPCResponse on an established connection"]),
        (Frame::Goaway, &["Goaway on an established connection"]),
        (Frame::Refusal, &["ConnectResponse on an established connection"]),
        (
            Frame::Call { connection_id: "another-1", method: echo, segment_id: 0, offset: start, size: 1 },
            &["a call of connection", "another-1", "on the socket of"],
        ),
        (call(echo, 0, 0, 1), &["no slot at offset 0 of segment 0"]),
        (call(echo, 0, start - 1, 1), &["no slot at offset"]),
        (call(echo, 0, u64::MAX - 8, 1), &["no slot at offset"]),
        (call(echo, 0, start, end - start + 1), &["descriptor out of range", "ends past the slot"]),
        (call(echo, 0, start, 1 << 40), &["longer than the agreed max_message_size"]),
        (call(echo, 7, 0, 1), &["a message in segment 7, never announced"]),
        (Frame::SegmentDropped(9), &["drop of id 9, which is not mapped"]),
    ];
    for (frame, words) in cases {
        clear_log();
        let mut peer = client_of(&site);
        peer.frame(&frame, &[]).unwrap();
        assert!(peer.is_hung_up_on(), "{frame:?}: the connection stays");
        logged(&[words, &["the peer broke the protocol", peer.connection_id()]].concat());
        drop(peer);
        site.honest_client_is_served();
    }
    nothing_left_since(before);
}

#[test]
fn calls_come_no_other_way_than_was_agreed() {
    let _alone = alone();
    let site = Site::new();
    let mut peer = ClientOffer::honest().unwrap().knock(&site.path).unwrap();
    peer.frame(&Frame::Cancel(1), &[]).unwrap();
    assert!(peer.is_hung_up_on());
    logged(&["CancelRequest on an established connection"]);
    site.honest_client_is_served();
}

#[test]
fn an_unknown_method_and_a_cancel_of_nothing_harm_nothing() {
    let _alone = alone();
    let site = Site::new();
    let mut peer = client_of(&site);
    peer.frame(&Frame::Cancel(77), &[]).unwrap();
    for method in ["/no.Such/Method", METHODS[0]] {
        peer.frame(&call(method, 0, 0, 0), &[]).unwrap();
        assert_eq!(peer.read(), Some("RPCResponse"), "{method}");
    }
    assert!(!peer.has_lost());
}

#[test]
fn a_second_call_with_the_index_of_one_in_flight_is_a_violation() {
    let _alone = alone();
    let site = Site::with(watch::pool);
    let mut peer = client_of(&site);
    let hold = call(METHODS[1], 0, 0, 0).encode();
    peer.send(&[&hold[..], &hold].concat(), &[]).unwrap();
    assert!(peer.is_hung_up_on());
    logged(&["a second request with the index of a call in flight"]);
    site.let_go();
}

/// Asks on and never reads: the server stops reading, or cuts it off, and serves the others.
#[test]
fn a_client_that_takes_no_replies_is_not_read_for_ever() {
    let _alone = alone();
    let site = Site::new();
    let mut peer = client_of(&site);
    let burst = call(METHODS[0], 0, 0, 0).encode().repeat(64);
    let (mut sent, mut stuck) = (0, 0);
    while stuck < 20 && sent < 64 << 20 {
        match peer.send_some(&burst) {
            // What is left of a frame is lost, and the next one is no frame: that ends it as well.
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stuck += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "the server has read {sent} bytes of requests and sent no reply");
    site.honest_client_is_served();
    let _ = peer.is_hung_up_on();
}

/// Nothing but room in its socket wakes the server then: the client says nothing more.
#[test]
fn replies_that_the_socket_has_no_room_for_come_once_it_has() {
    const CALLS: usize = 1000;
    let _alone = alone();
    let site = Site::new();
    let mut peer = client_of(&site);
    peer.send(&call(METHODS[0], 0, 0, 0).encode().repeat(CALLS), &[]).unwrap();
    assert_eq!(peer.read(), Some("RPCResponse"), "the server has begun");
    testkit::eventually("the server sleeps", || peer.is_slept_on());
    for number in 1..CALLS {
        assert_eq!(peer.read(), Some("RPCResponse"), "reply {number}");
    }
    assert!(!peer.has_lost());
}

/// The ring of a client that calls over the socket is nobody's business: a server that took an entry there
/// for work, and never took it out, would neither sleep nor look at its other clients.
#[test]
fn an_entry_in_a_ring_that_nobody_reads_keeps_nobody_awake() {
    let _alone = alone();
    let site = Site::with(|server| server.spin(Duration::ZERO));
    let mut peer = client_of(&site);
    peer.cell(0, 1, RawEntry::request(0, 0));
    // So that the server looks at this client at all.
    peer.frame(&call(METHODS[0], 0, 0, 0), &[]).unwrap();
    assert_eq!(peer.read(), Some("RPCResponse"));
    site.honest_client_is_served();
    assert!(watch::eventually(|| peer.is_slept_on()), "the server stays awake");
}
