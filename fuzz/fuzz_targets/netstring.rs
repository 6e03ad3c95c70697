//! Streams of frames, good and bad, cut anywhere.
//!
//! Properties: the decoder agrees with a plain parser of the whole stream, however the stream is cut; what it
//! took, encoded again, is the stream's beginning, because a frame has one spelling; it holds back no more
//! than one incomplete frame; once failed it stays failed.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mmap_rpc::internals::wire::{Frames, MAX_BODY, encode_frame};

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let cuts: Vec<u16> = (0..u.int_in_range(0..=7)?).map(|_| u.arbitrary()).collect::<Result<_>>()?;
    let stream = stream(u)?;
    let whole = decode(&stream, &[]);
    assert_eq!(whole, reference(&stream), "the decoder differs from the plain parser");
    assert_eq!(decode(&stream, &cuts), whole, "the verdict depends on the cuts");
    if stream.len() < 1024 {
        assert_eq!(decode(&stream, &[1]), whole, "the verdict depends on the cuts");
    }
    let mut again = Vec::new();
    whole.frames.iter().for_each(|body| encode_frame(body, &mut again).expect("it came in a frame"));
    assert!(stream.starts_with(&again), "a frame has a second spelling");
    match whole.failed {
        false => assert_eq!(again.len() + whole.buffered, stream.len(), "bytes got lost"),
        true => assert_eq!(whole.buffered, 0, "a failed decoder holds bytes"),
    }
    Ok(())
}

/// Pieces that mostly make sense one behind the other.
fn stream(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut stream = Vec::new();
    while !u.is_empty() && stream.len() < 2 * MAX_BODY {
        match u.int_in_range(0..=5)? {
            0 => stream.extend_from_slice(u.bytes(u.len().min(5))?),
            1 => stream.extend_from_slice(b"0:,"),
            2 => {
                let body: &[u8] = u.arbitrary()?;
                encode_frame(body, &mut stream).expect("the input is shorter than a frame");
            }
            3 => {
                // Around the largest frame, with or without an end.
                let len = u.int_in_range(MAX_BODY - 2..=MAX_BODY + 2)?;
                stream.extend_from_slice(format!("{len}:").as_bytes());
                stream.resize(stream.len() + len, u.arbitrary()?);
                stream.extend_from_slice(u.choose(&[&b","[..], b"", b";"])?);
            }
            4 => stream.extend_from_slice(format!("{}", u.arbitrary::<u32>()?).as_bytes()),
            _ => stream.push(*u.choose(b"0123456789:,-+ ")?),
        }
    }
    Ok(stream)
}

#[derive(Debug, PartialEq)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    failed: bool,
    buffered: usize,
}

/// Feeds the stream in chunks of these lengths, round and round; in one piece if there are none.
fn decode(stream: &[u8], cuts: &[u16]) -> Outcome {
    let mut frames = Vec::new();
    let mut error: Option<String> = None;
    let mut decoder = Frames::new();
    // Long streams are not cut into single bytes, for speed.
    let least = (stream.len() / 1024).max(1);
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut).max(least)).cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        decoder.feed(chunk);
        let verdict = loop {
            match decoder.next_frame(<[u8]>::to_vec) {
                Ok(Some(frame)) => frames.push(frame),
                verdict => break verdict.map(|_| ()),
            }
        };
        assert!(decoder.buffered() <= MAX_BODY + 7, "it holds back more than one incomplete frame");
        if let Some(first) = &error {
            assert_eq!(verdict.as_ref(), Err(first), "a failed stream recovered");
        }
        error = verdict.err();
    }
    Outcome { frames, failed: error.is_some(), buffered: decoder.buffered() }
}

/// The format in the simplest words: split at the colon, compare the number with its own spelling.
fn reference(mut stream: &[u8]) -> Outcome {
    let mut frames = Vec::new();
    loop {
        let (failed, buffered) = match stream.iter().position(|byte| !byte.is_ascii_digit()) {
            // A number that may still grow, if some good length starts with these digits.
            None => (!stream.is_empty() && length(stream).is_none(), stream.len()),
            Some(colon) if stream[colon] == b':' => match length(&stream[..colon]) {
                None => (true, 0),
                Some(len) => match stream.get(colon + 1 + len) {
                    None => (false, stream.len()),
                    Some(b',') => {
                        frames.push(stream[colon + 1..][..len].to_vec());
                        stream = &stream[colon + len + 2..];
                        continue;
                    }
                    Some(_) => (true, 0),
                },
            },
            Some(_) => (true, 0),
        };
        return Outcome { frames, failed, buffered: if failed { 0 } else { buffered } };
    }
}

fn length(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let len: usize = text.parse().ok()?;
    (len <= MAX_BODY && len.to_string() == text).then_some(len)
}
