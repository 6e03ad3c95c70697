//! Random scribbling over everything that a peer can write, while honest calls go on beside it.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mmap_rpc::Channel;
use mmap_rpc::internals::peer::{ClientOffer, FileSpec, Frame, Host, Peer, RawEntry, Word};

use crate::watch::{
    ECHO, HOLD, METHODS, Site, alone, holdings, nothing_left_since, path_in, pool, resident_bytes,
};

const LASTS: Duration = Duration::from_secs(2);

/// Memory that the process may have more of afterwards: pooled buffers among it, in bytes.
const SLACK: u64 = 150 << 20;

/// Small, seeded, and good enough for noise.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of the kind that checks have their edges at.
    fn odd_number(&mut self) -> u64 {
        match self.below(6) {
            0 => self.next(),
            1 => self.below(300),
            2 => u64::MAX - self.below(3),
            3 => 1 << self.below(64),
            4 => self.below(1 << 20),
            _ => 0,
        }
    }
}

/// An entry that may be good, or nearly.
fn entry(random: &mut Random, is_client: bool) -> RawEntry {
    let call_id = random.below(1024) as u32;
    let mut entry = if is_client {
        RawEntry::request(call_id, random.below(2) as u32 * 2)
    } else {
        RawEntry::reply(call_id)
    };
    entry = match random.below(4) {
        0 => entry.inline(random.below(97) as u32),
        1 => {
            let handle = random.below(256) as u32;
            let (start, end) = Peer::slot_bounds(handle).unwrap_or((0, 1));
            let entry = entry.slot(handle, start, random.below(end - start + 1));
            if random.below(3) == 0 { entry.fill(random.below(8), random.below(4)) } else { entry }
        }
        _ => entry,
    };
    if random.below(40) == 0 {
        entry.head[random.below(7) as usize] = random.odd_number() as u32;
    }
    if entry.head[2] == HOLD {
        // That one blocks, and whoever runs it: no harm of the noise's.
        entry.head[2] = ECHO;
    }
    if random.below(40) == 0 {
        entry.body[random.below(2) as usize] = random.odd_number();
    }
    entry
}

/// Something, anywhere; mostly harmless, so that the next thing still has somebody to meet.
fn scribble(random: &mut Random, peer: &mut Peer, is_client: bool, file: &impl AsFd) {
    let word = |random: &mut Random| match random.below(6) {
        0 => Word::Sleep,
        1 => Word::Cpu,
        2 => Word::Level(random.below(8) as usize),
        3 => Word::GivenUp(random.below(8) as usize),
        _ => Word::WantSpace,
    };
    match random.below(100) {
        0..=59 => peer.push(entry(random, is_client)),
        60..=69 => _ = peer.pop(),
        70..=79 => {
            let value = random.odd_number();
            peer.set(word(random), value);
        }
        80 => {
            let (position, seq) = (random.odd_number(), random.odd_number() as u32);
            let entry = entry(random, is_client);
            peer.cell(position, seq, entry);
        }
        81 => peer.flip(random.below(128) as usize, 1 << random.below(64)),
        82..=86 => peer.give_back(random.below(192) as u32),
        87 => peer.set(Word::RxHead, random.odd_number()),
        88..=93 => _ = peer.frame(&Frame::Doorbell, &[]),
        94 | 95 => {
            let id = 1 + random.below(4) as u32;
            let first_handle = 256 + 64 * random.below(8) as u32;
            let frame =
                Frame::SegmentAdded { id, bytes: 1 << 16, slot_size: 1 << 12, slot_count: 16, first_handle };
            let _ = peer.frame(&frame, &[file.as_fd()]);
        }
        96 => _ = peer.frame(&Frame::SegmentDropped(1 + random.below(4) as u32), &[]),
        97 if random.below(20) == 0 => peer.set(Word::Closed, 1),
        98 if random.below(20) == 0 => {
            let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
            let _ = peer.send_some(&bytes);
        }
        _ => peer.ring(),
    }
}

#[test]
fn a_client_that_scribbles_over_everything_harms_nobody() {
    let _alone = alone();
    for (seed, site) in [(1, Site::new()), (2, Site::with(pool))] {
        let (before, resident) = (holdings(), resident_bytes());
        let until = Instant::now() + LASTS / 2;
        let (connections, calls) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
                let file = FileSpec::of(1 << 16).make().unwrap();
                while Instant::now() < until {
                    let mut peer = ClientOffer::honest().unwrap().knock(&site.path).unwrap();
                    connections.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..5000 {
                        scribble(&mut random, &mut peer, true, &file);
                        if peer.has_lost() {
                            break;
                        }
                    }
                }
            });
            while Instant::now() < until {
                site.honest_client_is_served();
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(connections.into_inner() > 10 && calls.into_inner() > 10, "nothing much happened");
        assert!(resident_bytes() < resident + SLACK, "memory grew from {resident} to {}", resident_bytes());
        nothing_left_since(before);
        site.honest_client_is_served();
    }
}

#[test]
fn a_server_that_scribbles_over_everything_harms_nobody() {
    let _alone = alone();
    let site = Site::new();
    let (before, resident) = (holdings(), resident_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    let until = Instant::now() + LASTS;
    let mut connections = 0;
    let mut random = Random(77);
    while Instant::now() < until {
        connections += 1;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = FileSpec::of(1 << 16).make().unwrap();
                let mut peer = host.accept().unwrap().answer(&METHODS).unwrap().let_in().unwrap();
                for _ in 0..3000 {
                    // Now and then a good answer, so that the next call is made.
                    if let Some(request) = peer.pop()
                        && random.below(4) != 0
                    {
                        peer.push(RawEntry::reply(request.call_id()));
                    }
                    scribble(&mut random, &mut peer, false, &file);
                    if peer.has_lost() {
                        break;
                    }
                }
            });
            let channel = Channel::connect(&path).wait().unwrap();
            let echo = channel.method(METHODS[0]);
            for call in 0..1000_usize {
                let start = Instant::now();
                let body = vec![7; call * 37 % 9000];
                let outcome = channel.raw(&echo, &body).timeout(Duration::from_millis(100)).wait();
                assert!(start.elapsed() < Duration::from_secs(2), "a call outlived its deadline");
                drop(outcome.map(|reply| reply.to_vec()));
                if channel.is_closed() {
                    break;
                }
            }
        });
        site.honest_client_is_served();
    }
    assert!(connections > 10, "nothing much happened");
    assert!(resident_bytes() < resident + SLACK, "memory grew from {resident} to {}", resident_bytes());
    drop(host);
    nothing_left_since(before);
}
