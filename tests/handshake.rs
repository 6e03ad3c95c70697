//! Whoever does not shake hands properly is turned away: with a reason that both ends can read, within the
//! deadline, and without a trace in the server or in its other connections.

mod watch;

#[path = "handshake/paths.rs"]
mod paths;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use mmap_rpc::internals::peer::{ClientOffer, FileSpec, Frame, Host, Refusal, Seal, ServerOffer, netstring};
use mmap_rpc::{Channel, ConnectError};
use watch::{Site, alone, holdings, logged, nothing_left_since, path_in};

const BASE: u64 = 0x10000;

fn eventfd(flags: rustix::event::EventfdFlags) -> OwnedFd {
    rustix::event::eventfd(0, flags).unwrap()
}

/// Its name, the announced length of the base segment, what comes instead of base segment and doorbell, and
/// the words of the refusal.
type BadOffer = (&'static str, u64, Option<OwnedFd>, Option<OwnedFd>, &'static [&'static str]);

/// What can be wrong with a base segment or a doorbell, and the words that say so. The same for both sides.
fn bad_descriptors() -> Vec<BadOffer> {
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let pipe = || OwnedFd::from(std::io::pipe().unwrap().0);
    let file = |spec: FileSpec| Some(spec.make().unwrap());
    let base = FileSpec::base;
    let header = |at: usize, byte: u8| {
        let mut spec = base();
        spec.head[at] = byte;
        file(spec)
    };
    let regular = tempfile::tempfile().unwrap();
    regular.set_len(BASE).unwrap();
    vec![
        ("null", BASE, Some(null()), None, &["bad segment", "not a memfd"]),
        ("pipe", BASE, Some(pipe()), None, &["bad segment", "not a memfd"]),
        ("regular file", BASE, Some(regular.into()), None, &["bad segment", "seal"]),
        (
            "short",
            BASE,
            file(FileSpec { bytes: BASE - 4096, allocated: BASE - 4096, ..base() }),
            None,
            &["size differs", "65536", "61440"],
        ),
        (
            "long",
            BASE,
            file(FileSpec { bytes: BASE + 4096, allocated: BASE + 4096, ..base() }),
            None,
            &["size differs"],
        ),
        ("holes", BASE, file(FileSpec { allocated: 8192, ..base() }), None, &["holes", "8192"]),
        (
            "shrink",
            BASE,
            file(FileSpec { missing: Some(Seal::Shrink), ..base() }),
            None,
            &["seals missing", "SHRINK"],
        ),
        (
            "grow",
            BASE,
            file(FileSpec { missing: Some(Seal::Grow), ..base() }),
            None,
            &["seals missing", "GROW"],
        ),
        (
            "writable",
            BASE,
            file(FileSpec { missing: Some(Seal::FutureWrite), ..base() }),
            None,
            &["seals missing", "FUTURE_WRITE"],
        ),
        (
            "unsealed",
            BASE,
            file(FileSpec { missing: Some(Seal::Seal), ..base() }),
            None,
            &["seals missing", "SEAL"],
        ),
        ("beyond the cap", 1 << 40, None, None, &["limit exceeded", "max_region_bytes is 268435456"]),
        ("no region", BASE, file(FileSpec { head: vec![], ..base() }), None, &["header", "wrong magic"]),
        ("layout version", BASE, header(8, 9), None, &["layout version 9, this side speaks 1"]),
        ("header features", BASE, header(16, 1), None, &["unknown feature bits 0x1"]),
        ("header length", BASE, header(25, 1), None, &["stated length", "actual length 65536"]),
        ("ring capacity", BASE, header(64, 3), None, &["header", "capacity"]),
        ("overlap", BASE, header(41, 0x10), None, &["header", "overlap"]),
        (
            "tiny",
            4096,
            file(FileSpec { bytes: 4096, allocated: 4096, ..base() }),
            None,
            &["stated length 65536"],
        ),
        ("bell: pipe", BASE, None, Some(pipe()), &["doorbell", "not an eventfd"]),
        ("bell: null", BASE, None, Some(null()), &["doorbell", "not an eventfd"]),
        ("bell: memfd", BASE, None, file(base()), &["doorbell", "not an eventfd"]),
        ("bell: blocking", BASE, None, Some(eventfd(rustix::event::EventfdFlags::CLOEXEC)), &["O_NONBLOCK"]),
    ]
}

/// The server's log and the client's error say the same, in these words.
#[track_caller]
fn refused(site: &Site, offer: ClientOffer, words: &[&str]) {
    watch::clear_log();
    let Err(Refusal::Said { error, versions }) = offer.knock(&site.path) else {
        panic!("not refused, or without a word: {words:?}")
    };
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error:?}");
    assert_eq!(versions, (1, 1));
    let mut both = words.to_vec();
    both.push("client refused");
    logged(&both);
    site.honest_client_is_served();
}

#[test]
fn a_client_of_another_version_learns_both_versions_and_so_does_the_log() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for (min, max) in [(2, 3), (7, u32::MAX)] {
        let theirs = format!("the client speaks {min} to {max}");
        let offer = ClientOffer::honest().unwrap().versions(min, max);
        refused(&site, offer, &["no common protocol version", &theirs, "the server 1 to 1"]);
    }
    // A client that speaks ours among others is let in.
    ClientOffer::honest().unwrap().versions(1, 9).knock(&site.path).unwrap().vanish();
    nothing_left_since(before);
}

#[test]
fn a_feature_that_the_server_lacks_is_named() {
    let _alone = alone();
    let site = Site::new();
    let offer = ClientOffer::honest().unwrap().required_features(0x40);
    refused(&site, offer, &["requires features 0x40", "update the server"]);
}

#[test]
fn a_clients_bad_segment_or_doorbell_is_refused_by_name() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for (name, bytes, base, bell, words) in bad_descriptors() {
        let mut offer = ClientOffer::honest().unwrap().base_bytes(bytes);
        offer = if let Some(base) = base { offer.base(base) } else { offer };
        offer = if let Some(bell) = bell { offer.bell(bell) } else { offer };
        eprintln!("{name}");
        refused(&site, offer, words);
    }
    nothing_left_since(before);
}

#[test]
fn too_few_and_too_many_descriptors_are_refused() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    for (count, words) in [
        (0, &["ConnectRequest carries 2, 0 came"][..]),
        (1, &["ConnectRequest carries 2, 1 came"]),
        (3, &["file descriptors"]),
        (4, &["file descriptors"]),
    ] {
        let mut offer = ClientOffer::honest().unwrap();
        while offer.descriptors.len() < count {
            offer.descriptors.push(std::fs::File::open("/dev/null").unwrap().into());
        }
        offer.descriptors.truncate(count);
        if count <= 2 {
            refused(&site, offer, words);
        } else if let Ok(mut peer) = offer.knock(&site.path) {
            // The request itself was complete: what came too many is found behind it.
            assert!(peer.is_hung_up_on());
            logged(&["file descriptors", "came with a message that carries none"]);
        }
        site.honest_client_is_served();
    }
    nothing_left_since(before);
}

#[test]
fn more_descriptors_than_any_message_carries_are_lost_and_so_is_the_client() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let null = std::fs::File::open("/dev/null").unwrap();
    for count in [5, 50] {
        watch::clear_log();
        let mut stream = UnixStream::connect(&site.path).unwrap();
        let many = vec![null.as_fd(); count];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(50))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        let bytes = [std::io::IoSlice::new(b"100:")];
        sendmsg(&stream, &bytes, &mut control, SendFlags::empty()).unwrap();
        stream.set_read_timeout(Some(watch::SOON)).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        logged(&["client refused", "file descriptors", "more than 4 at once"]);
        site.honest_client_is_served();
    }
    drop(null);
    nothing_left_since(before);
}

/// Sends bytes to a fresh connection and reads until the server hangs up.
fn say(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(watch::SOON)).unwrap();
    // The server may hang up in the middle of it.
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no hang-up: {error}"),
        _ => heard,
    }
}

#[test]
fn bytes_that_are_no_handshake_are_hung_up_on_and_the_log_says_why() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let garbage = netstring(&[0xff; 40]);
    let oversize = [b"65537:".to_vec(), vec![b'x'; 70_000]].concat();
    let rpc = Frame::RpcRequest.encode();
    let cases: [(&[u8], &[&str]); 12] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &["found 'G'", "another protocol"]),
        (b"\x16\x03\x01\x02\x00", &["found byte 0x16", "another protocol"]),
        (b"01:x,", &["starts with a zero"]),
        (b"-1:x,", &["found '-'"]),
        (b" 1:x,", &["found byte 0x20"]),
        (b":,", &["found ':'"]),
        (b"123456:", &["more than 5 digits"]),
        (&oversize, &["65537 bytes exceeds the maximum of 65536"]),
        (b"3:abc;", &["expected a comma", "';'"]),
        (&garbage, &["bad control message"]),
        (b"2:\xfa\x7f,", &["bad control message"]),
        (&rpc, &["RPCRequest instead of ConnectRequest"]),
    ];
    for (bytes, words) in cases {
        watch::clear_log();
        say(&site.path, bytes);
        let mut all = words.to_vec();
        all.push("client refused");
        logged(&all);
        site.honest_client_is_served();
    }
    // Messages that a server sends, or that belong to a connection.
    for (frame, name) in [
        (Frame::Refusal, "ConnectResponse"),
        (Frame::Disconnect, "DisconnectRequest"),
        (Frame::SegmentDropped(3), "SegmentDropped"),
        (Frame::SegmentDropAcknowledged(3), "SegmentDropAcknowledged"),
        (Frame::RpcResponse, "RPCResponse"),
    ] {
        watch::clear_log();
        say(&site.path, &frame.encode());
        logged(&[&format!("{name} instead of ConnectRequest")]);
    }
    nothing_left_since(before);
}

#[test]
fn a_client_that_says_nothing_or_half_a_word_is_gone_at_the_deadline() {
    let _alone = alone();
    let patience = Duration::from_millis(150);
    let site = Site::with(|builder| builder.handshake_timeout(patience));
    let before = holdings();
    for bytes in [&b""[..], b"1", b"2000:", b"2000:half a request", b"0:,0:,"] {
        watch::clear_log();
        let mut stream = UnixStream::connect(&site.path).unwrap();
        stream.set_read_timeout(Some(watch::SOON)).unwrap();
        stream.write_all(bytes).unwrap();
        let (start, mut heard) = (Instant::now(), Vec::new());
        stream.read_to_end(&mut heard).unwrap();
        let waited = start.elapsed();
        assert!(waited >= patience - Duration::from_millis(20), "after {waited:?} only");
        assert!(waited < patience + Duration::from_secs(1), "after {waited:?}");
        assert!(String::from_utf8_lossy(&heard).contains("within 150ms"));
        logged(&["no complete ConnectRequest came within 150ms"]);
        drop(stream);
        site.honest_client_is_served();
    }
    nothing_left_since(before);
}

#[test]
fn a_client_that_never_stops_ringing_does_not_keep_the_server_from_others() {
    let _alone = alone();
    let site = Site::new();
    let before = holdings();
    let mut stream = UnixStream::connect(&site.path).unwrap();
    let flood = b"0:,".repeat(20_000);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(move || {
            let until = Instant::now() + watch::SOON;
            while Instant::now() < until && stream.write_all(&flood).is_ok() {}
            assert!(Instant::now() < until, "nobody stopped the flood");
        });
        site.honest_client_is_served();
        flooding.join().unwrap();
    });
    logged(&["limit exceeded", "no complete ConnectRequest"]);
    nothing_left_since(before);
}

// ---- the client's side -------------------------------------------------------------------------------

/// A real client at a hostile server: what it makes of the answer.
#[track_caller]
fn visited(answer: impl FnOnce(ServerOffer) -> ServerOffer + Send) -> ConnectError {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    let outcome = watch::visit_by_channel(
        &path,
        |path| Channel::connect(path).wait().map(|_| ()),
        || {
            let offer = host.accept().unwrap().answer(&watch::METHODS).unwrap();
            let mut peer = answer(offer).let_in().unwrap();
            assert!(peer.is_hung_up_on(), "the client stays");
        },
    );
    outcome.expect_err("the client accepts")
}

#[test]
fn a_server_of_another_version_is_refused_and_both_versions_are_named() {
    let _alone = alone();
    let before = holdings();
    let error = visited(|offer| offer.refuse("too old for me", 7, 9));
    assert!(matches!(error, ConnectError::Refused { .. }));
    let text = error.to_string();
    for words in ["too old for me", "versions 7 to 9", "this client 1 to 1"] {
        assert!(text.contains(words), "{words:?} in {text:?}");
    }
    let text = visited(|offer| offer.version(4)).to_string();
    assert!(text.contains("chose protocol version 4, offered were 1 to 1"), "{text}");
    let text = visited(|offer| offer.features(8)).to_string();
    assert!(text.contains("features 0x8, asked for were 0x0"), "{text}");
    nothing_left_since(before);
}

#[test]
fn a_servers_bad_segment_or_doorbell_is_refused_by_name() {
    let _alone = alone();
    let before = holdings();
    for (name, bytes, base, bell, words) in bad_descriptors() {
        let error = visited(|mut offer| {
            offer = offer.base_bytes(bytes);
            offer = if let Some(base) = base { offer.base(base) } else { offer };
            if let Some(bell) = bell { offer.bell(bell) } else { offer }
        });
        assert!(matches!(error, ConnectError::Protocol { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{name}: {words:?} in {text:?}");
    }
    for count in [0, 1, 3, 4] {
        let error = visited(|mut offer| {
            offer.descriptors.truncate(count);
            while offer.descriptors.len() < count {
                offer.descriptors.push(std::fs::File::open("/dev/null").unwrap().into());
            }
            offer
        });
        assert!(error.to_string().contains("file descriptors"), "{count}: {error}");
    }
    nothing_left_since(before);
}

/// A real client at a server that says these bytes and nothing else.
fn answered_with(bytes: &[u8], patience: Duration) -> ConnectError {
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    std::thread::scope(|scope| {
        let client =
            scope.spawn(|| Channel::builder().connect_timeout(patience).connect(&path).wait().map(|_| ()));
        let visit = host.accept().unwrap();
        if !bytes.is_empty() {
            visit.say(bytes).unwrap();
        }
        client.join().unwrap().expect_err("that is no answer")
    })
}

#[test]
fn an_answer_that_is_none_is_an_error_that_says_so() {
    let _alone = alone();
    let before = holdings();
    for (bytes, words) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "found 'H' (0x48): the peer seems to speak another protocol",
        ),
        (b"99999:", "99999 bytes exceeds the maximum"),
        (b"1:x;", "expected a comma"),
        (b"2:\xfa\x7f,", "bad control message"),
        (&Frame::RpcRequest.encode(), "RPCRequest instead of ConnectResponse"),
        (&Frame::Disconnect.encode(), "DisconnectRequest instead of ConnectResponse"),
    ] {
        let error = answered_with(bytes, watch::SOON);
        assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
        assert!(error.to_string().contains(words), "{words:?} in {error}");
    }
    nothing_left_since(before);
}

#[test]
fn a_server_that_does_not_answer_is_a_timeout() {
    let _alone = alone();
    let before = holdings();
    let patience = Duration::from_millis(150);
    for bytes in [&b""[..], b"1000:half", b"0:,"] {
        let start = Instant::now();
        let error = answered_with(bytes, patience);
        assert!(start.elapsed() >= patience && start.elapsed() < Duration::from_secs(2));
        assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("150ms"), "{error}");
    }
    nothing_left_since(before);
}

#[test]
fn a_server_that_never_stops_ringing_is_a_timeout() {
    let _alone = alone();
    let before = holdings();
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    let flood = b"0:,".repeat(20_000);
    let error = watch::visit_by_channel(
        &path,
        |path| {
            let start = Instant::now();
            let outcome = Channel::builder().connect_timeout(Duration::from_millis(200)).connect(path).wait();
            assert!(start.elapsed() < Duration::from_secs(2), "the flood outlasted the deadline");
            outcome.expect_err("that is no answer")
        },
        || {
            let visit = host.accept().unwrap();
            while visit.say(&flood).is_ok() {}
        },
    );
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    drop(host);
    nothing_left_since(before);
}

#[test]
fn a_server_that_hangs_up_is_said_to_have_done_so() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = path_in(&dir);
    let host = Host::bind(&path).unwrap();
    let connect = |path: &Path| Channel::connect(path).wait().map(|_| ());
    let error = watch::visit_by_channel(&path, connect, || drop(host.accept().unwrap())).unwrap_err();
    assert!(error.to_string().contains("its log says why"), "{error}");
}
