//! Clients that break the protocol lose their connection or their call, and harm nobody else.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::Server;
use mmap_rpc::server::Handlers;
use testkit::{eventually, noise, proc};

use crate::raw::{Raw, call, field, frame, request};
use crate::{ECHO, Site, assert_echo};

#[test]
fn what_is_no_request_ends_its_connection_and_no_other() {
    let site = Site::new();
    let mut neighbour = site.connect();
    let any = |url: &[u8]| frame(&field(1, url));
    let streams: [(&str, Vec<u8>); 9] = [
        ("text", b"hello world".to_vec()),
        ("a netstring", b"5:hello,".to_vec()),
        ("a wrong mark", b"\x02\0\0\0;hi,".to_vec()),
        ("a wrong end", b"\x02\0\0\0:hi;".to_vec()),
        ("a body that does not parse", frame(b"hello")),
        ("an unknown type", any(b"type.googleapis.com/cache.GetRequest")),
        ("a type without its domain", any(b"mmap_rpc.ConnectRequest")),
        ("a value that does not parse", request("RPCRequest", b"\x0a\xff")),
        ("an id that is not UTF-8", request("RPCRequest", &field(1, b"\xff"))),
    ];
    for (what, stream) in &streams {
        for connected in [false, true] {
            let mut raw = if connected { site.connect() } else { Raw::socket(site.server.path()) };
            raw.send(stream);
            // Our own protocol answers with a reason.
            let ours = !connected && stream.get(4).is_none_or(|&mark| mark != b':');
            let mut answer = Vec::new();
            let ended = raw.socket.read_to_end(&mut answer);
            assert!(ended.is_ok_and(|_| ours != answer.is_empty()), "{what}: {answer:?}");
        }
    }
    eventually("the files of the others go", || site.count() == 1);
    assert_echo(&mut neighbour);
}

#[test]
fn a_length_without_end_is_refused_at_once() {
    let site = Site::new();
    let before = proc::peak_bytes(std::process::id());
    for connected in [false, true] {
        for len in [65_537_u32, u32::MAX] {
            let mut raw = if connected { site.connect() } else { Raw::socket(site.server.path()) };
            raw.send(&[&len.to_le_bytes()[..], b":"].concat());
            assert!(raw.is_hung_up_on(), "{len}");
            // What it pours after that goes nowhere.
            let poured = (0..100).find_map(|_| raw.socket.write_all(&[0; 1 << 20]).err());
            assert!(matches!(poured.unwrap().kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
        }
    }
    assert!(proc::peak_bytes(std::process::id()) - before < 32 << 20);
    site.assert_well();
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let site = Site::new();
    let mut raw = Raw::socket(site.server.path());
    let slowly = |raw: &mut Raw, bytes: &[u8]| {
        for byte in bytes {
            raw.send(&[*byte]);
            thread::sleep(Duration::from_micros(200));
        }
    };
    slowly(&mut raw, &request("ConnectRequest", b""));
    raw.id = raw.receive().texts[1].clone();
    let asked = call(&raw.id, ECHO, 0);
    slowly(&mut raw, &asked);
    assert_eq!(raw.receive().error(), "");
    // Half a frame is no reason to hold anybody else up.
    raw.send(&asked[..asked.len() / 2]);
    site.assert_well();
    raw.send(&asked[asked.len() / 2..]);
    assert_eq!(raw.receive().error(), "");
}

#[test]
fn a_client_that_does_not_introduce_itself_is_not_waited_for() {
    let site = Site::with(Server::builder().handshake_timeout(Duration::from_millis(100)));
    let whole = request("ConnectRequest", b"");
    for some in [1, 4, 5, 20, whole.len() - 1] {
        let mut raw = Raw::socket(site.server.path());
        raw.send(&whole[..some]);
        let begun = Instant::now();
        // Below five bytes it could be one of our own clients, who are told why.
        let ended = raw.socket.read_to_end(&mut Vec::new());
        assert!(ended.is_ok_and(|count| (count == 0) == (some >= 5)), "{some} bytes");
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }
    site.assert_well();
}

#[test]
fn an_id_is_honoured_from_its_own_socket_alone() {
    let site = Site::new();
    let (mut owner, mut thief) = (site.connect(), site.connect());
    let stolen = owner.id.clone();
    thief.send(&call(&stolen, ECHO, 0));
    assert_eq!(thief.receive().error(), format!("connection not found: {stolen}"));
    thief.send(&request("DisconnectRequest", &field(1, stolen.as_bytes())));
    assert_eq!(thief.receive_frame().unwrap(), b"");
    assert!(owner.path.exists());
    assert_echo(&mut owner);
    assert_echo(&mut thief);
}

#[test]
fn a_truncated_file_fails_the_call_and_nothing_else() {
    let site = Site::new();
    let mut neighbour = site.connect();
    for len in [0, 10, 4096] {
        let mut raw = site.connect();
        raw.write(&noise(8192, 1));
        raw.file().set_len(len).unwrap();
        let error = raw.announce(ECHO, 8192).texts[4].clone();
        assert!(error.contains(&format!("ends after {len} bytes of a request of 8192")), "{error}");
        // Whole again, it is as good as ever.
        raw.file().set_len(8 << 20).unwrap();
        assert_echo(&mut raw);
    }
    assert_echo(&mut neighbour);
}

#[test]
fn a_file_that_changes_all_the_time_harms_its_own_calls_only() {
    let site = Site::new();
    let (mut raw, mut neighbour) = (site.connect(), site.connect());
    let file = raw.file().try_clone().unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                turn += 1;
                file.set_len(turn.wrapping_mul(7919) % (1 << 20)).unwrap();
                std::os::unix::fs::FileExt::write_at(&file, &noise(5000, turn), 0).unwrap();
            }
        });
        for _ in 0..300 {
            // Any outcome but a crash or a hang.
            let reply = raw.announce(ECHO, 300_000);
            assert!(reply.size.is_some());
            assert_echo(&mut neighbour);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_client_that_leaves_during_a_call_leaves_nothing_behind() {
    let site = Site::with(Server::builder().handlers(Handlers::Pool(1)));
    let mut raw = site.connect();
    raw.write(&[0x08, 0xe8, 0x07]);
    raw.send(&call(&raw.id.clone(), "/testkit.Echo/Sleep", 3));
    eventually("the handler runs", || site.server.service.sleeping() == 1);
    drop(raw);
    eventually("the file goes", || site.count() == 0);
    assert_eq!(site.server.service.sleeping(), 1, "before the handler ends");
    site.assert_well();
}

#[test]
fn a_client_that_takes_no_answers_is_served_no_further() {
    let site = Site::new();
    let mut raw = site.connect();
    let before = proc::peak_bytes(std::process::id());
    raw.socket.set_nonblocking(true).unwrap();
    let asked = call("nobody", ECHO, 0);
    let (mut sent, mut stalled) = (0_usize, 0);
    // Until the server reads no more for a while.
    while stalled < 50 && sent < 64 << 20 {
        match raw.socket.write(&asked[sent % asked.len()..]) {
            Ok(count) => (sent, stalled) = (sent + count, 0),
            Err(_) => {
                stalled += 1;
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
    assert!(sent < 8 << 20, "{sent} bytes were taken");
    assert!(proc::peak_bytes(std::process::id()) - before < 16 << 20);
    site.assert_well();
    // It is served on as soon as it takes them.
    raw.socket.set_nonblocking(false).unwrap();
    for _ in 0..sent / asked.len() {
        assert_eq!(raw.receive().error(), "connection not found: nobody");
    }
}
