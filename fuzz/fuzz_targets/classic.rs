//! Streams of the classic protocol, good and bad, cut anywhere, and the messages in their frames.
//!
//! Properties: the decoder agrees with a plain parser of the whole stream, however the stream is cut, and
//! says beforehand whether it has a frame; once failed it stays failed. What a frame decodes to, as whichever
//! message, encodes to one frame that decodes to the same, byte for byte if it came in the published
//! project's spelling. The first bytes tell the two protocols apart: the verdict never changes, a first
//! request passes for classic, and a netstring never does.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::wire::{ClassicFrames, ClassicMessage, Frames, MAX_BODY, is_classic};

/// The shortest frame whose length begins as a netstring may, with two digits.
const LIKE_A_NETSTRING: usize = 0x3030;

fuzz_target!(|data: &[u8]| {
    read_messages(data);
    tell_apart(data);
    let _ = run(&mut Unstructured::new(data));
    let _ = run_spelling(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let cuts: Vec<u16> = (0..u.int_in_range(0..=7)?).map(|_| u.arbitrary()).collect::<Result<_>>()?;
    let stream = stream(u)?;
    tell_apart(&stream);
    let whole = decode(&stream, &[]);
    assert_eq!(whole, reference(&stream), "the decoder differs from the plain parser");
    assert_eq!(decode(&stream, &cuts), whole, "the verdict depends on the cuts");
    if stream.len() < 1024 {
        assert_eq!(decode(&stream, &[1]), whole, "the verdict depends on the cuts");
    }
    whole.frames.iter().for_each(|body| read_messages(body));
    Ok(())
}

/// Messages written by hand, as the published project writes them, come out byte for byte.
fn run_spelling(u: &mut Unstructured<'_>) -> Result<()> {
    let [id, method, error] = [u.arbitrary::<&str>()?, u.arbitrary()?, u.arbitrary()?];
    let size = u.arbitrary::<u64>()? >> u.int_in_range(0..=63)?;
    let named = [text(1, id), text(2, method)].concat();
    let sized = |size| [named.clone(), vec![0x18], number(size)].concat();
    spelt(ClassicMessage::request, &any("ConnectRequest", b""));
    spelt(ClassicMessage::request, &any("RPCRequest", &sized(size)));
    spelt(ClassicMessage::request, &any("DisconnectRequest", &text(1, id)));
    spelt(ClassicMessage::connected, &named);
    spelt(ClassicMessage::connected, &text(3, error));
    spelt(ClassicMessage::reply, &sized(size));
    if !error.is_empty() {
        spelt(ClassicMessage::reply, &[sized(0), text(4, error)].concat());
    }
    Ok(())
}

fn spelt(decode: fn(&[u8]) -> std::result::Result<ClassicMessage, String>, body: &[u8]) {
    let mut frame = Vec::new();
    write_frame(body, b",", &mut frame);
    assert_eq!(decode(body).and_then(|message| message.encode()), Ok(frame), "another spelling");
}

/// A field of text, which is left out if it is empty.
fn text(field: u8, text: &str) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    [&[field << 3 | 2][..], &number(text.len() as u64), text.as_bytes()].concat()
}

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn any(name: &str, value: &[u8]) -> Vec<u8> {
    let mut body = text(1, &format!("type.googleapis.com/mmap_rpc.{name}"));
    if !value.is_empty() {
        body.extend([vec![0x12], number(value.len() as u64), value.to_vec()].concat());
    }
    body
}

/// Pieces that mostly make sense one behind the other.
fn stream(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut stream = Vec::new();
    while !u.is_empty() && stream.len() < 2 * MAX_BODY {
        match u.int_in_range(0..=5)? {
            0 => stream.extend_from_slice(u.bytes(u.len().min(5))?),
            1 => write_frame(b"", b",", &mut stream),
            2 => write_frame(u.arbitrary()?, b",", &mut stream),
            3 => write_frame(&request(u)?, b",", &mut stream),
            4 => {
                // Around the largest frame, with or without an end.
                let len = u.int_in_range(MAX_BODY - 2..=MAX_BODY + 2)?;
                let body = vec![u.arbitrary()?; len];
                write_frame(&body, u.choose(&[&b","[..], b"", b";"])?, &mut stream);
            }
            _ => {
                let pieces = [&b"3:ab:,"[..], b"0:,", b"10:", b"\0\0\0\0;,", b":"];
                stream.extend_from_slice(u.choose(&pieces)?);
            }
        }
    }
    Ok(stream)
}

fn write_frame(body: &[u8], end: &[u8], stream: &mut Vec<u8>) {
    stream.extend_from_slice(&(body.len() as u32).to_le_bytes());
    stream.push(b':');
    stream.extend_from_slice(body);
    stream.extend_from_slice(end);
}

/// The body of a request of a known type, whose own fields are the input's.
fn request(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let name = u.choose(&["ConnectRequest", "RPCRequest", "DisconnectRequest", "Unknown"])?;
    Ok(any(name, u.arbitrary()?))
}

#[derive(Debug, PartialEq)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    failed: bool,
    /// Bytes that no whole frame took.
    rest: usize,
}

/// Feeds the stream in chunks of these lengths, round and round; in one piece if there are none.
fn decode(stream: &[u8], cuts: &[u16]) -> Outcome {
    let mut frames = Vec::new();
    let mut error: Option<String> = None;
    let mut decoder = ClassicFrames::new();
    // Long streams are not cut into single bytes, for speed.
    let least = (stream.len() / 1024).max(1);
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut).max(least)).cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        decoder.feed(chunk);
        let verdict = loop {
            let promised = decoder.has_frame();
            let verdict = decoder.next_frame();
            assert_eq!(promised, verdict.as_ref().map(Option::is_some).map_err(Clone::clone));
            match verdict {
                Ok(Some(frame)) => frames.push(frame),
                verdict => break verdict.map(|_| ()),
            }
        };
        if let Some(first) = &error {
            assert_eq!(verdict.as_ref(), Err(first), "a failed stream recovered");
        }
        error = verdict.err();
        assert!(error.is_some() || decoder.buffered() < MAX_BODY + 6, "it holds back a whole frame");
    }
    Outcome { frames, failed: error.is_some(), rest: decoder.buffered() }
}

/// The format in the simplest words.
fn reference(mut stream: &[u8]) -> Outcome {
    let mut frames = Vec::new();
    loop {
        let failed = match stream {
            [a, b, c, d, after @ ..] => {
                let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                match after {
                    _ if len > MAX_BODY => true,
                    [] => false,
                    [b':', body @ ..] => match body.get(len) {
                        None => false,
                        Some(b',') => {
                            frames.push(body[..len].to_vec());
                            stream = &body[len + 1..];
                            continue;
                        }
                        Some(_) => true,
                    },
                    _ => true,
                }
            }
            _ => false,
        };
        return Outcome { frames, failed, rest: stream.len() };
    }
}

/// Decodes a body as each message that it might be, there and back.
fn read_messages(body: &[u8]) {
    for decode in [ClassicMessage::request, ClassicMessage::connected, ClassicMessage::reply] {
        let Ok(message) = decode(body) else { continue };
        let Ok(frame) = message.encode() else {
            // A size that was left out is sent, and the lengths around it grow.
            assert!(body.len() + 8 > MAX_BODY, "a message that came in a frame fits none");
            continue;
        };
        let [again] = &decode_one(&frame)[..] else { panic!("a message is one frame") };
        assert_eq!(decode(again).as_ref(), Ok(&message), "what was encoded decodes to something else");
        assert_eq!(message.encode().as_ref(), Ok(&frame), "two spellings of one message");
    }
}

fn decode_one(frame: &[u8]) -> Vec<Vec<u8>> {
    let outcome = decode(frame, &[]);
    assert!(!outcome.failed && outcome.rest == 0, "our own frame");
    outcome.frames
}

/// What the first bytes say of the protocol.
fn tell_apart(stream: &[u8]) {
    let mut verdict = None;
    for len in 0..=stream.len().min(8) {
        let now = is_classic(&stream[..len]);
        assert!(verdict.is_none() || now == verdict, "more bytes change the verdict");
        verdict = now;
    }
    assert!(verdict.is_some() || stream.len() < 5, "five bytes are enough");
    assert!(verdict != Some(true) || stream[4] == b':', "no frame of either kind begins so");
    if reference(stream).frames.first().is_some_and(|first| first.len() < LIKE_A_NETSTRING) {
        assert_eq!(verdict, Some(true), "a classic client is taken for one of ours");
    }
    let mut netstrings = Frames::new();
    netstrings.feed(stream);
    if let Ok(Some(())) = netstrings.next_frame(|_| ()) {
        assert_eq!(verdict, Some(false), "a client of ours is taken for a classic one");
    }
}
