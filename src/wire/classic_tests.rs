//! The classic messages against captures of the published Go client and server talking to each other.

use proptest::prelude::*;

use super::classic::{
    ClassicConnected, ClassicDecoder, ClassicError, ClassicReply, ClassicRequest, encode_farewell, is_classic,
};
use super::netstring::MAX_BODY;

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn body_of(frame: &[u8]) -> Vec<u8> {
    let mut decoder = ClassicDecoder::default();
    decoder.feed(frame);
    let body = decoder.next_frame().unwrap().expect("a whole frame").to_vec();
    assert_eq!(decoder.buffered(), 0);
    body
}

#[track_caller]
fn request(captured: &str, request: ClassicRequest) {
    let (captured, mut encoded) = (unhex(captured), Vec::new());
    request.encode_frame(&mut encoded).unwrap();
    assert_eq!(encoded, captured);
    assert_eq!(ClassicRequest::decode(&body_of(&captured)), Ok(request));
}

#[track_caller]
fn reply(captured: &str, id: &str, method: &str, outcome: Result<u64, &str>) {
    let (captured, mut encoded) = (unhex(captured), Vec::new());
    let outcome = outcome.map_err(str::to_owned);
    let reply = ClassicReply { connection_id: id.into(), method: method.into(), outcome };
    reply.encode_frame(&mut encoded).unwrap();
    assert_eq!(encoded, captured);
    assert_eq!(ClassicReply::decode(&body_of(&captured)), Ok(reply));
}

#[track_caller]
fn connected(captured: &str, answer: Result<(&str, &str), &str>) {
    let (captured, mut encoded) = (unhex(captured), Vec::new());
    let answer = answer.map(|(id, file)| (id.into(), file.into())).map_err(Into::into);
    ClassicConnected(answer.clone()).encode_frame(&mut encoded).unwrap();
    assert_eq!(encoded, captured);
    assert_eq!(ClassicConnected::decode(&body_of(&captured)), Ok(ClassicConnected(answer)));
}

const ID: &str = "3352512f-5d62-4ff6-833a-6c40c2562d84";
const LARGE: &str = "25a47ecf-f6bd-4562-9e37-60629bf7d731";
const OTHER: &str = "d14f5dc0-5cec-41ff-831d-889d64759bc1";

fn call(id: &str, method: &str, size: u64) -> ClassicRequest {
    ClassicRequest::Call { connection_id: id.into(), method: method.into(), size }
}

#[test]
fn requests_are_those_of_the_published_client() {
    request(
        "2d0000003a0a2b747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e436f6e6e656374526571756573
         742c",
        ClassicRequest::Connect,
    );
    request(
        "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e52504352657175657374123a0a
         2433333532353132662d356436322d346666362d383333612d36633430633235363264383412102f63616368652e436163
         68652f53657418492c",
        call(ID, "/cache.Cache/Set", 73),
    );
    request(
        "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e52504352657175657374123a0a
         2433333532353132662d356436322d346666362d383333612d36633430633235363264383412102f63616368652e436163
         68652f47657418072c",
        call(ID, "/cache.Cache/Get", 7),
    );
    request(
        "580000003a0a2e747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e446973636f6e6e656374526571
         7565737412260a2433333532353132662d356436322d346666362d383333612d3663343063323536326438342c",
        ClassicRequest::Disconnect { connection_id: ID.into() },
    );
    request(
        "680000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e52504352657175657374123d0a
         2432356134376563662d663662642d343536322d396533372d36303632396266376437333112102f63616368652e436163
         68652f53657418e4aad5022c",
        call(LARGE, "/cache.Cache/Set", 5_592_420),
    );
    request(
        "450000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e52504352657175657374121a0a
         046e6f706512102f63616368652e43616368652f47657418002c",
        call("nope", "/cache.Cache/Get", 0),
    );
    request(
        "650000003a0a27747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e52504352657175657374123a0a
         2464313466356463302d356365632d343166662d383331642d38383964363437353962633112102f63616368652e436163
         68652f44656c18002c",
        call(OTHER, "/cache.Cache/Del", 0),
    );
    request(
        "380000003a0a2e747970652e676f6f676c65617069732e636f6d2f6d6d61705f7270632e446973636f6e6e656374526571
         7565737412060a046e6f70652c",
        ClassicRequest::Disconnect { connection_id: "nope".into() },
    );
}

#[test]
fn answers_are_those_of_the_published_server() {
    connected(
        "550000003a0a2433333532353132662d356436322d346666362d383333612d366334306332353632643834122d72756e2f
         33333532353132662d356436322d346666362d383333612d3663343063323536326438342e6d6d61702c",
        Ok((ID, "run/3352512f-5d62-4ff6-833a-6c40c2562d84.mmap")),
    );
    connected(
        "570000003a1a556f70656e206e6f2d737563682d6469722f33333666356563352d656634312d343537362d623261312d30
         65643330393939373737642e6d6d61703a206e6f20737563682066696c65206f72206469726563746f72792c",
        Err("open no-such-dir/336f5ec5-ef41-4576-b2a1-0ed30999777d.mmap: no such file or directory"),
    );
    reply(
        "3a0000003a0a2433333532353132662d356436322d346666362d383333612d36633430633235363264383412102f636163
         68652e43616368652f53657418022c",
        ID,
        "/cache.Cache/Set",
        Ok(2),
    );
    reply(
        "3a0000003a0a2433333532353132662d356436322d346666362d383333612d36633430633235363264383412102f636163
         68652e43616368652f47657418442c",
        ID,
        "/cache.Cache/Get",
        Ok(68),
    );
    reply(
        "3d0000003a0a2432356134376563662d663662642d343536322d396533372d36303632396266376437333112102f636163
         68652e43616368652f47657418dfaad5022c",
        LARGE,
        "/cache.Cache/Get",
        Ok(5_592_415),
    );
    reply(
        "360000003a0a046e6f706512102f63616368652e43616368652f4765741800221a636f6e6e656374696f6e206e6f742066
         6f756e643a206e6f70652c",
        "nope",
        "/cache.Cache/Get",
        Err("connection not found: nope"),
    );
    reply(
        "5e0000003a0a2464313466356463302d356365632d343166662d383331642d38383964363437353962633112102f636163
         68652e43616368652f44656c180022226d6574686f64206e6f7420666f756e643a202f63616368652e43616368652f4465
         6c2c",
        OTHER,
        "/cache.Cache/Del",
        Err("method not found: /cache.Cache/Del"),
    );
    let mut farewell = Vec::new();
    encode_farewell(&mut farewell);
    assert_eq!(farewell, unhex("000000003a2c"));
    assert_eq!(body_of(&farewell), b"");
}

fn error_of(stream: &[u8]) -> ClassicError {
    let mut decoder = ClassicDecoder::default();
    decoder.feed(stream);
    let error = decoder.next_frame().unwrap_err();
    decoder.feed(b"\0\0\0\0:,");
    assert_eq!(decoder.next_frame(), Err(error.clone()), "a failed stream stays failed");
    error
}

#[test]
fn a_bad_frame_is_refused_at_its_first_bad_byte() {
    assert_eq!(error_of(b"\xff\xff\xff\xff"), ClassicError::TooLong { len: u32::MAX as usize });
    let len = MAX_BODY + 1;
    assert_eq!(error_of(&(len as u32).to_le_bytes()), ClassicError::TooLong { len });
    let error = error_of(b"\x05\0\0\0;");
    assert_eq!(error.to_string(), "expected ':' after the length of a classic frame, found byte 0x3b");
    let error = error_of(b"\x02\0\0\0:hi;");
    assert_eq!(error.to_string(), "expected ',' after the body of a classic frame, found byte 0x3b");
}

#[test]
fn a_request_of_another_type_is_refused() {
    let body = |url: &str| [&[0x0a, url.len() as u8][..], url.as_bytes()].concat();
    for url in ["type.googleapis.com/cache.GetRequest", "mmap_rpc.ConnectRequest", ""] {
        let error = ClassicRequest::decode(&body(url)).unwrap_err();
        assert_eq!(error, ClassicError::UnknownType(url.into()));
    }
    assert!(matches!(ClassicRequest::decode(b"hello"), Err(ClassicError::Parse(_))));
    // A known type whose message does not parse.
    let mut bad = body("type.googleapis.com/mmap_rpc.RPCRequest");
    bad.extend_from_slice(b"\x12\x01\x0a");
    assert!(matches!(ClassicRequest::decode(&bad), Err(ClassicError::Parse(_))));
}

#[test]
fn the_first_bytes_tell_the_protocols_apart() {
    for ours in ["30:", "0:,0:,", "5:hello,", "65536:"] {
        assert_eq!(is_classic(ours.as_bytes()), Some(false), "{ours}");
    }
    for classic in [&b"\x2d\0\0\0:"[..], b"0\0\0\0:", b"\xff\xff\xff\xff:", b"\0\0\0\0:,"] {
        assert_eq!(is_classic(classic), Some(true), "{classic:?}");
    }
    for garbage in [&b"hello"[..], b"\0\0\0\0\0"] {
        assert_eq!(is_classic(garbage), Some(false), "{garbage:?}");
    }
    for short in [&b""[..], b"0", b"\x2d\0\0\0"] {
        assert_eq!(is_classic(short), None, "{short:?}");
    }
}

proptest! {
    #[test]
    fn a_stream_reads_the_same_however_it_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        cuts in prop::collection::vec(1usize..200, 1..20),
    ) {
        let mut stream = Vec::new();
        for body in &bodies {
            stream.extend_from_slice(&(body.len() as u32).to_le_bytes());
            stream.push(b':');
            stream.extend_from_slice(body);
            stream.push(b',');
        }
        let (mut decoder, mut found, mut rest) = (ClassicDecoder::default(), Vec::new(), &stream[..]);
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(cut.min(rest.len()));
            decoder.feed(now);
            while let Some(body) = decoder.next_frame().unwrap() {
                found.push(body.to_vec());
            }
            rest = later;
        }
        prop_assert_eq!(found, bodies);
    }

    #[test]
    fn any_bytes_are_read_without_harm(stream in prop::collection::vec(any::<u8>(), 0..500)) {
        let mut decoder = ClassicDecoder::default();
        decoder.feed(&stream);
        while let Ok(Some(body)) = decoder.next_frame() {
            let _ = (ClassicRequest::decode(&body), ClassicReply::decode(&body));
            let _ = ClassicConnected::decode(&body);
        }
    }
}
