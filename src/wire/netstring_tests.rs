//! The codec against an oracle that is too simple to be wrong, and case by case.

use proptest::collection::vec;
use proptest::prelude::*;

use super::netstring::{Decoder, MAX_BODY, NetstringError, encode};

/// Feeds `stream` in pieces of the given lengths (round and round), taking frames after each.
fn run(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<usize, NetstringError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    let mut rest = stream;
    for &piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        rest = later;
        decoder.feed(now);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error.clone()), "a failed decoder stays failed");
                    assert_eq!(decoder.buffered(), 0, "a failed decoder holds nothing");
                    return (frames, Err(error));
                }
            }
        }
        assert!(decoder.buffered() <= MAX_BODY + 7, "an incomplete frame is bounded");
        if rest.is_empty() {
            break;
        }
    }
    (frames, Ok(decoder.buffered()))
}

/// What a stream starts with, judged with all of it at hand. Shares no code with the codec.
enum Verdict {
    Frame { body: std::ops::Range<usize>, end: usize },
    Incomplete,
    Bad(NetstringError),
}

/// The reference: works on the text of the length, all at once, where the codec goes byte by byte.
fn reference(stream: &[u8]) -> Verdict {
    let digits = stream.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text: String = stream[..digits].iter().map(|&byte| char::from(byte)).collect();
    if digits >= 2 && text.starts_with('0') {
        return Verdict::Bad(NetstringError::LeadingZero);
    }
    if digits >= 5 {
        let first_five: usize = text[..5].parse().unwrap();
        if first_five > 65_536 {
            return Verdict::Bad(NetstringError::TooLong { len: first_five, max: 65_536 });
        }
    }
    if digits >= 6 {
        return Verdict::Bad(NetstringError::TooManyDigits);
    }
    match stream.get(digits) {
        None => return Verdict::Incomplete,
        Some(b':') if digits > 0 => {}
        Some(&found) => return Verdict::Bad(NetstringError::NotADigit { found }),
    }
    let body = digits + 1..digits + 1 + text.parse::<usize>().unwrap();
    match stream.get(body.end) {
        None => Verdict::Incomplete,
        Some(b',') => Verdict::Frame { end: body.end + 1, body },
        Some(&found) => Verdict::Bad(NetstringError::MissingComma { found }),
    }
}

fn reference_all(stream: &[u8]) -> (Vec<Vec<u8>>, Result<usize, NetstringError>) {
    let mut frames = Vec::new();
    let mut rest = stream;
    loop {
        match reference(rest) {
            Verdict::Frame { body, end } => {
                frames.push(rest[body].to_vec());
                rest = &rest[end..];
            }
            Verdict::Incomplete => return (frames, Ok(rest.len())),
            Verdict::Bad(error) => return (frames, Err(error)),
        }
    }
}

fn error_of(stream: &[u8]) -> NetstringError {
    run(stream, &[usize::MAX]).1.expect_err("the stream is malformed")
}

#[test]
fn spells_frames_as_published() {
    let mut out = Vec::new();
    encode(b"hello world!", &mut out).unwrap();
    encode(b"", &mut out).unwrap();
    assert_eq!(out, b"12:hello world!,0:,");
    let (frames, rest) = run(&out, &[1]);
    assert_eq!((frames, rest), (vec![b"hello world!".to_vec(), vec![]], Ok(0)));
}

#[test]
fn takes_the_largest_body_and_no_more() {
    let mut out = b"before".to_vec();
    let error = encode(&vec![7; MAX_BODY + 1], &mut out).unwrap_err();
    assert_eq!(error, NetstringError::TooLong { len: 65_537, max: 65_536 });
    assert_eq!(out, b"before", "a refused body leaves nothing behind");

    out.clear();
    encode(&vec![7; MAX_BODY], &mut out).unwrap();
    assert!(out.starts_with(b"65536:"));
    assert_eq!(run(&out, &[4096]), (vec![vec![7; MAX_BODY]], Ok(0)));
    // The fifth digit already tells.
    assert_eq!(error_of(b"65537"), NetstringError::TooLong { len: 65_537, max: 65_536 });
}

#[test]
fn refuses_at_the_first_impossible_byte() {
    assert_eq!(error_of(b"00"), NetstringError::LeadingZero);
    assert_eq!(error_of(b"05"), NetstringError::LeadingZero);
    assert_eq!(error_of(b"123456"), NetstringError::TooManyDigits);
    assert_eq!(error_of(b":"), NetstringError::NotADigit { found: b':' });
    for sign in [b'+', b'-', b' ', b'_', b'\n', 0, 0xb2] {
        assert_eq!(error_of(&[sign]), NetstringError::NotADigit { found: sign });
        assert_eq!(error_of(&[b'1', sign]), NetstringError::NotADigit { found: sign });
    }
    assert_eq!(error_of(b"2:abc"), NetstringError::MissingComma { found: b'c' });
    assert_eq!(error_of(b"0:0:,"), NetstringError::MissingComma { found: b'0' });
    assert_eq!(run(b"12345", &[1]).1, Ok(5), "five digits may still become a frame");
}

#[test]
fn a_megabyte_of_digits_is_not_kept() {
    let mut decoder = Decoder::new();
    decoder.feed(&[b'9'; 1 << 20]);
    assert_eq!(decoder.next_frame(), Err(NetstringError::TooLong { len: 99_999, max: MAX_BODY }));
    assert_eq!(decoder.buffered(), 0);
    decoder.feed(b"0:,");
    assert_eq!(decoder.buffered(), 0);
    assert!(decoder.next_frame().is_err(), "a valid frame after the error is not taken");
}

#[test]
fn tells_a_stranger_apart() {
    let text = error_of(b"GET / HTTP/1.1\r\n").to_string();
    assert!(text.contains("'G' (0x47)") && text.contains("another protocol"), "{text}");
    // The first byte of TLS, which has no visible form.
    assert!(error_of(b"\x16\x03\x01").to_string().contains("byte 0x16"));
}

#[test]
fn frames_before_an_error_still_arrive() {
    let (frames, end) = run(b"1:a,2:bc,x", &[usize::MAX]);
    assert_eq!(frames, [b"a".to_vec(), b"bc".to_vec()]);
    assert_eq!(end, Err(NetstringError::NotADigit { found: b'x' }));
}

/// Bytes that look like frames more often than chance: digits, marks, and anything.
fn near_frames() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => b'0'..=b'9',
        3 => Just(b':'),
        3 => Just(b','),
        1 => any::<u8>(),
    ];
    vec(byte, 0..64)
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(prop_oneof![4 => vec(any::<u8>(), 0..24), 1 => vec(any::<u8>(), 0..3000)], 0..12)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1usize..8, 1 => 1usize..2000], 1..8)
}

fn encode_all(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for body in bodies {
        encode(body, &mut stream).unwrap();
    }
    stream
}

proptest! {
    #[test]
    fn frames_survive_any_cut(bodies in frames(), pieces in pieces()) {
        prop_assert_eq!(run(&encode_all(&bodies), &pieces), (bodies, Ok(0)));
    }

    #[test]
    fn random_bytes_agree_with_the_reference(stream in near_frames(), pieces in pieces()) {
        prop_assert_eq!(run(&stream, &pieces), reference_all(&stream));
    }

    #[test]
    fn mutated_frames_agree_with_the_reference(
        bodies in frames(),
        pieces in pieces(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut stream = encode_all(&bodies);
        for (at, byte, how) in mutations {
            let at = at.index(stream.len() + 1);
            match how {
                0 => stream.insert(at, byte),
                1 if at < stream.len() => { stream.remove(at); }
                2 if at < stream.len() => stream[at] = byte,
                _ => stream.truncate(at),
            }
        }
        prop_assert_eq!(run(&stream, &pieces), reference_all(&stream));
    }
}
