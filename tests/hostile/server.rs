//! A hostile server: the channel that met it closes, its calls say which check failed, and deadlines hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mmap_rpc::internals::peer::{Frame, Host, NOP, Peer, RawEntry, Word};
use mmap_rpc::{Channel, Code, Request, Status};
use testkit::eventually;

use crate::attacks::{Attack, attack, entries, on_the_socket};
use crate::two_mib;
use crate::watch::{
    METHODS, SOON, Site, alone, clear_log, failing_call, holdings, logged, nothing_left_since, path_in,
};

/// A real channel, and the hostile server that has let it in.
pub(crate) fn visit(builder: mmap_rpc::ChannelBuilder) -> (Channel, Peer) {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| host.accept().unwrap().answer(&METHODS).unwrap().let_in().unwrap());
        let channel = builder.connect(&path).wait().unwrap();
        (channel, serving.join().unwrap())
    })
}

/// The call fails and says why, so does the log, and the channel stays closed.
#[track_caller]
pub(crate) fn is_given_up(channel: &Channel, status: &Status, words: &[&str]) {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(words.iter().all(|word| status.message().contains(word)), "{words:?} in {status}");
    let mut all = words.to_vec();
    all.extend(["connection closed", "the peer broke the protocol", "hostile-0"]);
    logged(&all);
    assert!(channel.is_closed());
    assert_eq!(failing_call(channel).code(), Code::Unavailable);
}

#[track_caller]
fn strike_client(site: &Site, Attack { name, words, strike }: Attack) {
    clear_log();
    eprintln!("{name}");
    let (channel, mut peer) = visit(Channel::builder());
    std::thread::scope(|scope| {
        let hostile = scope.spawn(|| {
            strike(&mut peer);
            assert!(peer.is_hung_up_on(), "{name}: the connection stays");
        });
        let status = failing_call(&channel);
        is_given_up(&channel, &status, words);
        hostile.join().unwrap();
    });
    site.honest_client_is_served();
}

#[test]
fn a_server_that_misuses_its_socket_is_given_up_by_name() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    on_the_socket().into_iter().for_each(|attack| strike_client(&site, attack));
    nothing_left_since(before);
}

#[test]
fn a_server_that_misuses_its_ring_is_given_up_by_name() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for (entry, words) in entries(RawEntry::reply(0)) {
        // The reply to a real call, but for the one thing that is wrong with it.
        let reply = attack("entry", words, move |peer| {
            let mut entry = entry;
            let call_id = peer.next_entry().unwrap().call_id();
            if entry.head[0] & 0xff == 2 {
                entry.head[1] = call_id;
            }
            peer.push(entry);
        });
        strike_client(&site, reply);
    }
    for kind in [1, 3] {
        strike_client(
            &site,
            attack(
                "what servers do not send",
                &["a server sends neither requests nor cancels"],
                move |peer| {
                    peer.push(RawEntry { head: [kind, 1, 0, 0, 0, 0, 0], ..RawEntry::default() });
                },
            ),
        );
    }
    for id in [0, 1, 0x0001_0001, 0x0007_0000, 0xffff, u32::MAX] {
        let words = &["a reply to a call that is not in flight"];
        strike_client(&site, attack("reply to no call", words, move |peer| peer.push(RawEntry::reply(id))));
    }
    for released in [1, 64, 8192, 8193, u32::MAX] {
        let forge = attack("forged release", &["forged release", "is not in flight"], move |peer| {
            let mut reply = RawEntry::reply(peer.next_entry().unwrap().call_id());
            reply.head[3] = released;
            peer.push(reply);
        });
        strike_client(&site, forge);
    }
    nothing_left_since(before);
}

#[test]
fn a_reply_is_kept_from_the_entries_that_a_leaving_server_wrote_behind_it() {
    let _alone = alone();
    let (channel, mut peer) = visit(Channel::builder().spin(Duration::ZERO));
    let echo = channel.method(METHODS[0]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let id = peer.next_entry().unwrap().call_id();
            eventually("the caller marks itself asleep", || peer.is_slept_on());
            // And has looked once more: what wakes it is the end of the stream, since no doorbell is rung.
            std::thread::sleep(Duration::from_millis(50));
            peer.cell(0, 1, RawEntry::reply(id).inline(5));
            peer.cell(1, 2, RawEntry { head: [NOP, 0, 0, 0, 0, 0, 0], body: [0; 12] });
            peer.vanish();
        });
        let reply = channel.raw(&echo, b"x").timeout(SOON).wait().unwrap();
        assert_eq!(reply.len(), 5);
    });
}

#[test]
fn a_second_reply_to_one_call_is_a_violation() {
    let _alone = alone();
    let (channel, mut peer) = visit(Channel::builder());
    let echo = channel.method(METHODS[0]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let id = peer.next_entry().unwrap().call_id();
            peer.push(RawEntry::reply(id));
            peer.push(RawEntry::reply(id));
        });
        // The first of them is good.
        let first = channel.raw(&echo, b"x").timeout(SOON).wait();
        assert!(first.is_ok_and(|reply| reply.is_empty()));
        let status = failing_call(&channel);
        is_given_up(&channel, &status, &["a reply to a call that is not in flight"]);
    });
}

/// Many calls at once, none of which is answered: the first failure.
fn flood(channel: &Channel, calls: usize, len: usize) -> Status {
    let echo = channel.method(METHODS[0]);
    let message = Bytes::from(vec![1; len]);
    let mut pending = Vec::new();
    for _ in 0..calls {
        match channel.unary::<Bytes, Bytes>(&echo, Request::new(message.clone())).timeout(SOON).start() {
            Ok(call) => pending.push(call),
            Err(status) => return status,
        }
    }
    panic!("{calls} calls of {len} bytes were sent without a look at the server's words")
}

#[test]
fn a_servers_forged_words_are_violations() {
    let _alone = alone();
    let before = holdings();
    for (word, bits) in [(2, 1), (2, 1 << 63), (2, 1 << 31)] {
        clear_log();
        let (channel, peer) = visit(Channel::builder());
        peer.flip(word, bits);
        let status = flood(&channel, 200, 150);
        is_given_up(&channel, &status, &["forged return", "that it does not hold"]);
    }
    for head in [257, 1 << 40, u64::MAX] {
        clear_log();
        let (channel, peer) = visit(Channel::builder());
        peer.set(Word::RxHead, head);
        let status = flood(&channel, 300, 1);
        is_given_up(&channel, &status, &["ring head out of range"]);
    }
    nothing_left_since(before);
}

/// A call with a short deadline ends soon after it, whatever the server does meanwhile.
#[track_caller]
fn deadline_holds_against(nuisance: impl Fn(&Peer) + Sync) {
    let before = holdings();
    let (channel, peer) = visit(Channel::builder());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                nuisance(&peer);
            }
        });
        let (start, echo) = (Instant::now(), channel.method(METHODS[0]));
        let outcome = channel.raw(&echo, b"x").timeout(Duration::from_millis(200)).wait();
        let waited = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(outcome.map(|_| ()).unwrap_err().code(), Code::DeadlineExceeded);
        assert!(waited < Duration::from_secs(1), "after {waited:?}");
    });
    drop((channel, peer));
    nothing_left_since(before);
}

#[test]
fn a_server_that_never_stops_does_not_outlast_the_deadline() {
    let _alone = alone();
    let bells = b"0:,".repeat(20_000);
    let offset = std::sync::atomic::AtomicUsize::new(0);
    deadline_holds_against(move |peer| {
        let at = offset.load(Ordering::Relaxed);
        if let Ok(count) = peer.send_some(&bells[at..]) {
            offset.store((at + count) % bells.len(), Ordering::Relaxed);
        }
    });
    for kind in [NOP, 4] {
        let entry = RawEntry { head: [kind, 0, 0, 0, 0, 0, 0], ..RawEntry::default() };
        deadline_holds_against(|peer| {
            for position in 0..peer.capacity() {
                peer.cell(position, u32::MAX, entry);
            }
            (0..2000).for_each(|_| peer.ready_all());
        });
    }
    let level = std::sync::atomic::AtomicU64::new(0);
    deadline_holds_against(move |peer| {
        // A byte at a time, and never the last one.
        let now = level.fetch_add(1, Ordering::Relaxed);
        if now == 0 {
            two_mib(peer, 1, 256);
            peer.cell(0, 1, RawEntry::reply(0).slot(256, 0, 2 << 20).fill(0, 0));
        }
        peer.set(Word::Level(0), now.min((2 << 20) - 1));
        (0..20).for_each(|_| std::hint::spin_loop());
    });
    deadline_holds_against(|peer| peer.ring());
    deadline_holds_against(|peer| peer.set(Word::WantSpace, 1));
}

#[test]
fn a_segment_whose_payload_is_kept_counts_after_its_drop() {
    let _alone = alone();
    let before = holdings();
    let (channel, mut peer) = visit(Channel::builder().max_region_bytes(4 << 20));
    let echo = channel.method(METHODS[0]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            two_mib(&peer, 1, 256);
            let reply = RawEntry::reply(peer.next_entry().unwrap().call_id());
            peer.push(reply.slot(256, 0, 2 << 20));
            peer.next_entry().unwrap();
            peer.frame(&Frame::SegmentDropped(1), &[]).unwrap();
            two_mib(&peer, 2, 320);
        });
        let kept = channel.raw(&echo, b"x").timeout(SOON).wait().unwrap();
        let status = failing_call(&channel);
        is_given_up(&channel, &status, &["limit exceeded", "the cap is 4194304"]);
        // Its bytes are still there.
        assert_eq!(kept.to_vec(), vec![0; 2 << 20]);
    });
    drop((channel, peer));
    nothing_left_since(before);
}
