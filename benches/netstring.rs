//! Frames of the control channel: encoding, decoding, and a stream that arrives in pieces.
//!
//! Control messages are rare, so the point is that nothing here grows with how a peer cuts its bytes.
//! `cargo bench --bench netstring`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mmap_rpc::internals::wire::{Frames, MAX_BODY, encode_frame};

const BODIES: [usize; 4] = [0, 100, 4096, MAX_BODY];

/// A stream of `count` frames with bodies of `len` bytes.
fn stream(count: usize, len: usize) -> Vec<u8> {
    let (body, mut bytes) = (vec![7; len], Vec::new());
    for _ in 0..count {
        encode_frame(&body, &mut bytes).expect("short enough");
    }
    bytes
}

/// Feeds a stream in pieces and takes every frame; how many there were.
fn decode(bytes: &[u8], piece: usize) -> usize {
    let (mut frames, mut count) = (Frames::new(), 0);
    for piece in bytes.chunks(piece) {
        frames.feed(piece);
        while frames.next_frame(|body| black_box(body.len())).expect("well-formed").is_some() {
            count += 1;
        }
    }
    count
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for len in BODIES {
        let (body, mut out) = (vec![7; len], Vec::new());
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_frame(black_box(&body), &mut out).expect("short enough");
            });
        });
    }
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for len in BODIES {
        let bytes = stream(1, len);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(len.to_string(), |bencher| {
            bencher.iter(|| assert_eq!(decode(black_box(&bytes), bytes.len()), 1));
        });
    }
}

fn pieces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1000_frames_of_20_bytes");
    let bytes = stream(1000, 20);
    group.throughput(Throughput::Elements(1000));
    for piece in [1, 64, 4096] {
        group.bench_function(format!("in_pieces_of_{piece}"), |bencher| {
            bencher.iter(|| assert_eq!(decode(black_box(&bytes), piece), 1000));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = encoding, decoding, pieces
}
criterion_main!(benches);
