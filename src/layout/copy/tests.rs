//! Copies against slices: every short length at every alignment, long ones at the edges of each strategy.

use super::*;

type Copy = unsafe fn(*const u8, *mut u8, usize);

/// All strategies, each at any length.
fn copies() -> Vec<(&'static str, Copy)> {
    vec![
        ("copy_from_shared", copy_from_shared),
        ("copy_atomics", copy_atomics),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        ("copy_words", copy_words),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        ("copy_string", copy_string),
    ]
}

/// Bytes without a period that a wrong step could hit.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Copies `len` bytes from `from` to `to` and compares all of the destination, the untouched margin too.
fn check(name: &str, copy: Copy, source: &[u8], target: &mut [u8], from: usize, to: usize, len: usize) {
    const UNTOUCHED: u8 = 0xa5;
    let margin = 16;
    let window = &mut target[to..to + len + margin];
    window.fill(UNTOUCHED);
    let bytes = &source[from..from + len];
    // SAFETY: both slices are that long, and they are different allocations.
    unsafe { copy(bytes.as_ptr(), window.as_mut_ptr(), len) };
    assert!(window[..len] == *bytes, "{name}: {len} bytes from {from} to {to} differ");
    assert!(
        window[len..].iter().all(|b| *b == UNTOUCHED),
        "{name}: {len} bytes from {from} to {to} run over"
    );
}

#[test]
fn every_short_length_at_every_alignment() {
    let source = noise(1024);
    let mut target = vec![0; 1024];
    for (name, copy) in copies() {
        for len in 0..600 {
            for align in 0..16 {
                check(name, copy, &source, &mut target, align, 0, len);
                check(name, copy, &source, &mut target, 0, align, len);
                check(name, copy, &source, &mut target, align, 15 - align, len);
            }
        }
    }
}

#[test]
fn long_copies_around_every_threshold() {
    let source = noise((4 << 20) + 128);
    let mut target = vec![0; (4 << 20) + 128];
    for (name, copy) in copies() {
        for len in [1024, 2047, 2048, 2049, 4095, 4096, 4097, 65535, 65536, 65537, (4 << 20) - 1, 4 << 20] {
            for (from, to) in [(0, 0), (1, 0), (0, 1), (7, 9), (0, 16), (31, 63)] {
                check(name, copy, &source, &mut target, from, to, len);
            }
        }
    }
}

#[test]
fn every_distance_modulo_a_page() {
    // The choice of strategy depends on the distance; its result does not.
    let source = noise(3000);
    let mut target = vec![0; 3000 + 4096];
    for to in 0..4096 {
        check("copy_from_shared", copy_from_shared, &source, &mut target, 0, to, 2500);
    }
}

#[test]
fn a_racing_writer_yields_old_or_new_bytes() {
    use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

    let shared: Vec<AtomicU8> = (0..4096).map(|_| AtomicU8::new(0x0f)).collect();
    // Ends the writer when dropped: a failing assertion must not leave the scope waiting for it.
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                shared.iter().for_each(|b| b.store(0xf0, Ordering::Relaxed));
                shared.iter().for_each(|b| b.store(0x0f, Ordering::Relaxed));
            }
        });
        let _stop = StopOnDrop(&stop);
        for round in 0..2000 {
            let len = if round % 2 == 0 { 200 } else { 2048 + 512 };
            let mut copy = vec![0; len];
            // SAFETY: the atomics are longer than `len` and outlive the call; the copy is private.
            unsafe { copy_from_shared(shared.as_ptr().cast(), copy.as_mut_ptr(), len) };
            assert!(copy.iter().all(|b| *b == 0x0f || *b == 0xf0), "a byte that nobody wrote");
        }
    });
}
