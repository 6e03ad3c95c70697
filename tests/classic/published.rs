//! Our own client, against a published server by hand: byte for byte, and with all the lies that it could
//! tell.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mmap_rpc::{Channel, Code, Status};
use testkit::{PATIENCE, noise};

use crate::ID;
use crate::fake::{Fake, Stage, connected, response};
use crate::raw::{call, field, frame, request, unhex};

const METHOD: &str = "/a.B/C";

type Script = Box<dyn FnOnce(Stage) + Send>;

fn ask(channel: &Channel, message: &[u8]) -> Result<Vec<u8>, Status> {
    let method = channel.method(METHOD);
    channel.raw(&method, message).timeout(PATIENCE).wait().map(|reply| reply.to_vec())
}

/// A connection that echoes, until its client hangs up.
fn echoes() -> Script {
    Box::new(|mut stage: Stage| {
        stage.connect("honest");
        // A call of five bytes, and the farewell.
        assert_eq!(stage.frame(), call("honest", METHOD, 5));
        stage.send(&response("honest", METHOD, 5, ""));
        stage.rest();
    })
}

/// A first call that is answered by `lie`, and what comes of it; the next one reaches an honest connection.
fn lied_to(lie: impl FnOnce(&mut Stage) + Send + 'static) -> Status {
    let liar = move |mut stage: Stage| {
        stage.connect("liar");
        assert_eq!(stage.frame(), call("liar", METHOD, 5));
        lie(&mut stage);
        assert!(stage.rest().is_empty(), "no farewell where nothing is in order");
    };
    let fake = Fake::play(vec![Box::new(liar), echoes()]);
    let channel = Channel::builder().classic_connections(1).connect_classic(fake.path()).wait().unwrap();
    let status = ask(&channel, b"hello").unwrap_err();
    assert_eq!(ask(&channel, b"hello").unwrap(), b"hello", "after {status}");
    drop(channel);
    fake.finish();
    status
}

#[test]
fn a_captured_session_is_played_byte_for_byte() {
    let set = unhex(
        "0a056b65792d3012406b74766b6a654c754175795a5434716f71634669573736664171696f42735
         04663344e5179706f53494b
         2b587372653365673137612f52697144536575555244",
    );
    let got = unhex(
        "0a406b74766b6a654c754175795a5434716f71634669573736664171696f4273504663344e51797
         06f53494b2b587372653365
         673137612f526971445365755552441001",
    );
    let (expected_set, expected_got) = (set.clone(), got.clone());
    let fake = Fake::once(move |mut stage| {
        let connect = unhex(
            "2d0000003a0a2b747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e436f6e6
             e6563745265717565
             73742c",
        );
        assert_eq!(stage.frame(), connect);
        let answer = connected(ID, stage.path.to_str().unwrap());
        stage.send(&answer);
        let steps = [
            (
                &expected_set[..],
                "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e5250435
                 26571756573741
                 23a0a2433333532353132662d356436322d346666362d383333612d3663343063323536326438341
                  2102f63616368
                 652e43616368652f53657418492c",
                "3a0000003a0a2433333532353132662d356436322d346666362d383333612d36633430633235363
                 264383412102f6
                 3616368652e43616368652f53657418022c",
                &b"\x08\x01"[..],
            ),
            (
                b"\x0a\x05key-0",
                "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e5250435
                 26571756573741
                 23a0a2433333532353132662d356436322d346666362d383333612d3663343063323536326438341
                  2102f63616368
                 652e43616368652f47657418072c",
                "3a0000003a0a2433333532353132662d356436322d346666362d383333612d36633430633235363
                 264383412102f6
                 3616368652e43616368652f47657418442c",
                &expected_got,
            ),
        ];
        for (message, asked, answered, reply) in steps {
            assert_eq!(stage.frame(), unhex(asked));
            assert_eq!(stage.read(message.len()), message);
            stage.write(reply);
            stage.send(&unhex(answered));
        }
        let farewell = unhex(
            "580000003a0a2e747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e4469736
             36f6e6e6563745265
             717565737412260a2433333532353132662d356436322d346666362d383333612d36633430633235
              36326438342c",
        );
        assert_eq!(stage.rest(), farewell, "and away without waiting for the answer");
    });
    let channel = Channel::connect_classic(fake.path()).wait().unwrap();
    let reply = channel.raw(&channel.method("/cache.Cache/Set"), &set).wait().unwrap();
    assert_eq!(reply.to_vec(), b"\x08\x01");
    let reply = channel.raw(&channel.method("/cache.Cache/Get"), b"\x0a\x05key-0").wait().unwrap();
    assert_eq!(reply.to_vec(), got);
    drop(channel);
    fake.finish();
}

#[test]
fn a_long_value_is_announced_as_captured() {
    const LONG: usize = 5_592_420;
    const OTHER: &str = "25a47ecf-f6bd-4569-9e37-60629bf7d731";
    let long = noise(LONG, 1);
    let expected = long.clone();
    let fake = Fake::once(move |mut stage| {
        stage.connect(OTHER);
        let asked = "680000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e5250435
             2657175657374123d0a
             2432356134376563662d663662642d343536392d396533372d36303632396266376437333112102f
              63616368652e436163
             68652f53657418e4aad5022c";
        assert_eq!(stage.frame(), unhex(asked));
        assert!(stage.read(LONG) == expected);
        let answered = "3d0000003a0a2432356134376563662d663662642d343536392d396533372d36303632396266376
             437333112102f636163
             68652e43616368652f53657418dfaad5022c";
        stage.send(&unhex(answered));
        stage.rest();
    });
    let channel = Channel::connect_classic(fake.path()).wait().unwrap();
    let reply = channel.raw(&channel.method("/cache.Cache/Set"), long.clone()).wait().unwrap();
    assert!(reply.to_vec() == long[..5_592_415]);
    drop(channel);
    fake.finish();
}

#[test]
fn errors_are_read_and_the_connection_goes_on() {
    let cases = [
        ("method not found: /a.B/C", Code::Unimplemented, "method not found: /a.B/C"),
        ("handler error: NOT_FOUND: no such key", Code::NotFound, "no such key"),
        (
            "handler error: proto:\u{a0}cannot parse invalid wire-format data",
            Code::Unknown,
            "proto:\u{a0}cannot",
        ),
        ("failed to lock mmap: cannot allocate memory", Code::Unknown, "failed to lock mmap"),
    ];
    let fake = Fake::once(move |mut stage| {
        stage.connect("x");
        for (error, ..) in cases {
            stage.frame();
            stage.send(&response("x", METHOD, 0, error));
        }
        assert_eq!(stage.rest(), request("DisconnectRequest", &field(1, b"x")));
    });
    let channel = Channel::connect_classic(fake.path()).wait().unwrap();
    for (error, code, text) in cases {
        let status = ask(&channel, b"hello").unwrap_err();
        assert!(status.code() == code && status.message().starts_with(text), "{error}: {status}");
    }
    drop(channel);
    fake.finish();
}

#[test]
fn a_connection_that_the_server_does_not_know_is_given_up() {
    let status = lied_to(|stage| stage.send(&response("liar", METHOD, 0, "connection not found: liar")));
    assert_eq!(status, Status::unavailable("connection not found: liar"));
}

#[test]
fn a_reply_beyond_the_file_is_refused() {
    for size in [(8 << 20) + 1, 1 << 63, u64::MAX] {
        let status = lied_to(move |stage| stage.send(&response("liar", METHOD, size, "")));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let text = status.message();
        assert!(text.contains(&format!("{size} bytes")) && text.contains("classic_file_size"), "{text}");
    }
}

#[test]
fn an_answer_to_something_else_is_refused() {
    for (id, method) in [("other", METHOD), ("", METHOD), ("liar", "/a.B/D"), ("liar", "")] {
        for error in ["", "method not found: /a.B/D"] {
            let status = lied_to(move |stage| stage.send(&response(id, method, 0, error)));
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains("broke the classic protocol: an answer to"), "{status}");
        }
    }
}

#[test]
fn a_truncated_file_is_an_error() {
    for len in [0, 4] {
        let status = lied_to(move |stage| {
            stage.file.set_len(len).unwrap();
            stage.send(&response("liar", METHOD, 5, ""));
        });
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains(&format!("ends after {len} bytes of a reply of 5")), "{status}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let streams: [(&str, Vec<u8>); 5] = [
        ("text", b"hello world".to_vec()),
        ("a netstring", b"5:hello,".to_vec()),
        ("a wrong end", b"\x02\0\0\0:hi;".to_vec()),
        ("a body that does not parse", frame(b"hello")),
        ("a length without end", b"\xff\xff\xff\xff:".to_vec()),
    ];
    for (what, stream) in streams {
        let status = lied_to(move |stage| stage.send(&stream));
        assert_eq!(status.code(), Code::Unavailable, "{what}");
        assert!(status.message().contains("broke the classic protocol"), "{what}: {status}");
    }
}

#[test]
fn a_hang_up_in_the_middle_is_unavailable() {
    for sent in [0, 3, 20] {
        let status = lied_to(move |stage| {
            let answer = response("liar", METHOD, 5, "");
            stage.send(&answer[..sent]);
            stage.socket.shutdown(std::net::Shutdown::Both).unwrap();
        });
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("hung up before it answered /a.B/C"), "{status}");
    }
}

#[test]
fn an_answer_to_nobody_costs_its_connection_and_no_call() {
    let liar = |mut stage: Stage| {
        stage.connect("liar");
        stage.frame();
        stage.send(&response("liar", METHOD, 5, ""));
        stage.send(&response("liar", METHOD, 4, ""));
        assert!(stage.rest().is_empty());
    };
    let fake = Fake::play(vec![Box::new(liar), echoes()]);
    let channel = Channel::connect_classic(fake.path()).wait().unwrap();
    assert_eq!(ask(&channel, b"hello").unwrap(), b"hello");
    // The second answer may come a little later.
    thread::sleep(Duration::from_millis(30));
    assert_eq!(ask(&channel, b"hello").unwrap(), b"hello");
    drop(channel);
    fake.finish();
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    for drips in [false, true] {
        let silent = move |mut stage: Stage| {
            stage.connect("silent");
            stage.frame();
            // A byte of a long frame now and then buys no time.
            let mut answer = [&60_000_u32.to_le_bytes()[..], b":"].concat().into_iter();
            while drips && stage.socket.write_all(&[answer.next().unwrap_or(0)]).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(stage.rest().is_empty());
        };
        let fake = Fake::play(vec![Box::new(silent), echoes()]);
        let channel = Channel::connect_classic(fake.path()).wait().unwrap();
        let (begun, timeout) = (Instant::now(), Duration::from_millis(60));
        let status = channel.raw(&channel.method(METHOD), b"hello").timeout(timeout).wait().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(begun.elapsed() >= timeout && begun.elapsed() < PATIENCE / 4);
        assert_eq!(ask(&channel, b"hello").unwrap(), b"hello");
        drop(channel);
        fake.finish();
    }
}

#[test]
fn a_dropped_call_hangs_up_at_once() {
    let (sender, hung_up) = mpsc::channel();
    let dropped = move |mut stage: Stage| {
        stage.connect("dropped");
        stage.frame();
        assert!(stage.rest().is_empty(), "no farewell in the middle of a call");
        sender.send(()).unwrap();
    };
    let fake = Fake::play(vec![Box::new(dropped), echoes()]);
    let channel = Channel::connect_classic(fake.path()).wait().unwrap();
    let method = channel.method(METHOD);
    drop(channel.raw(&method, b"hello").start().unwrap());
    hung_up.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ask(&channel, b"hello").unwrap(), b"hello");
    drop(channel);
    fake.finish();
}

#[test]
fn a_server_that_always_hangs_up_is_not_tried_for_ever() {
    let leaves = || -> Script { Box::new(|mut stage: Stage| stage.connect("leaves")) };
    let fake = Fake::play((0..3).map(|_| leaves()).collect());
    let channel = Channel::connect_classic(fake.path()).wait().unwrap();
    let status = ask(&channel, b"hello").unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("hung up"), "{status}");
}

#[test]
fn a_connection_that_does_not_come_about_says_why() {
    let connect = |script: Script| {
        let fake = Fake::play(vec![script]);
        let builder = Channel::builder().connect_timeout(Duration::from_millis(100));
        let error = builder.connect_classic(fake.path()).wait().unwrap_err().to_string();
        fake.finish();
        error
    };
    let answer = |bytes: Vec<u8>| -> String {
        connect(Box::new(move |mut stage| {
            stage.frame();
            stage.send(&bytes);
            stage.rest();
        }))
    };
    let refused = answer(unhex(
        "570000003a1a556f70656e206e6f2d737563682d6469722f33333666356563352d656634312d343
         537362d623261312d3065643
         330393939373737642e6d6d61703a206e6f20737563682066696c65206f72206469726563746f72792c",
    ));
    assert!(refused.contains("open no-such-dir/336f5ec5") && refused.contains("no such file"), "{refused}");
    let missing = answer(connected("x", "run/nowhere.mmap"));
    assert!(missing.contains("run/nowhere.mmap") && missing.contains("absolute path"), "{missing}");
    for nothing in [connected("", "/x"), connected("x", ""), frame(b"")] {
        assert!(answer(nothing).contains("neither an error nor both"));
    }
    assert!(answer(b"hello world".to_vec()).contains("not a usable server"));
    let silent = connect(Box::new(|mut stage| drop((stage.frame(), stage.rest()))));
    assert!(silent.contains("no answer to the handshake within 100ms"), "{silent}");
    let gone = connect(Box::new(|mut stage| drop(stage.frame())));
    assert!(gone.contains("closed the connection during the handshake"), "{gone}");
}

#[test]
fn only_a_regular_file_of_ours_is_opened() {
    let fake = |make: fn(&std::path::Path) -> std::path::PathBuf| {
        let script = move |mut stage: Stage| {
            stage.frame();
            let path = make(stage.path.parent().unwrap());
            stage.send(&connected("x", path.to_str().unwrap()));
            stage.rest();
        };
        let fake = Fake::once(script);
        assert!(fake.folder().is_dir());
        let error = Channel::connect_classic(fake.path()).wait().unwrap_err().to_string();
        fake.finish();
        error
    };
    let link = fake(|folder| {
        fs::write(folder.join("target"), "precious").unwrap();
        symlink(folder.join("target"), folder.join("link")).unwrap();
        folder.join("link")
    });
    assert!(link.contains("link\": ") && link.contains("symbolic link"), "{link}");
    assert!(fake(|_| "/dev/null".into()).contains("no regular file"));
    assert!(fake(|folder| folder.to_owned()).contains("cannot be used"));
}
