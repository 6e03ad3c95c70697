//! The one function that reads payload bytes which a peer may be writing, and its twin for bytes on their way
//! out.
//!
//! A `memcpy` (`ptr::copy_nonoverlapping`, a slice, `Read`) is not allowed here. It is a plain access:
//! racing with a writer it is undefined behaviour in Rust's terms, and the compiler may exploit that by
//! reading a byte twice, once for a check and once for its use, so that the two disagree. Below, each byte
//! is read exactly once, by an access that the compiler cannot see into (inline assembly), or by a relaxed
//! atomic load. A racing peer makes the copy a mixture of its old and new bytes; that is its own problem,
//! because everything is decoded from the copy.
//!
//! How to copy is measured, on x86-64 with AVX and fast short `rep movsb`, against the C library's memcpy:
//!
//! - Up to `SHORT` bytes, vector words take as long as memcpy or a few nanoseconds more, while
//!   `rep movsb` has a start-up of 10 ns.
//! - Above, `rep movsb` is what memcpy does as well; loops of 8-byte words take 2.4 to 4 times as long.
//! - Where the destination lies 1 to 31 bytes after the source, modulo 4096, `rep movsb` becomes 15 to 30
//!   times slower (the processor suspects that the two overlap; memcpy suffers with it). Large heap blocks
//!   start 16 bytes into a page and large slots start a page, so that case is common. There vector words
//!   are used at any length.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::arch::asm;

/// The longest copy that is made word by word.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const SHORT: usize = 2048;

/// Copies `len` bytes from `src`, which a peer may be writing, to private memory at `dst`.
///
/// Any alignment of either pointer is good; each byte of `src` is read exactly once.
///
/// # Safety
/// `len` bytes at `src` are mapped and readable during the call. `len` bytes at `dst` are writable, nobody
/// else accesses them during the call, and the two ranges do not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) unsafe fn copy_from_shared(src: *const u8, dst: *mut u8, len: usize) {
    let slow_string = (1..32).contains(&(dst.addr().wrapping_sub(src.addr()) % 4096));
    // SAFETY: the caller's promise is that of both callees.
    unsafe {
        if len <= SHORT || slow_string { copy_words(src, dst, len) } else { copy_string(src, dst, len) }
    }
}

/// Copies bytes of our own to where they will travel: by the same code, because memcpy has the slow case too.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub(crate) fn copy_to_slot(src: &[u8], dst: &mut [u8]) {
    assert!(src.len() == dst.len(), "as many bytes as there is room for");
    // SAFETY: two slices of one length, one of them borrowed mutably: readable, writable and apart.
    unsafe { copy_from_shared(src.as_ptr(), dst.as_mut_ptr(), src.len()) }
}

/// Copies with the processor's string instruction.
///
/// # Safety
/// As for [`copy_from_shared`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy_string(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: reads `len` bytes at `src` and writes as many at `dst`, both the caller's to use so. The
    // direction flag is clear on entry to every asm block. A racing writer changes the values only.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rsi") src => _, inout("rdi") dst => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Bytes that [`copy_wide`] copies a turn.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const WIDE: usize = 128;

/// Copies `turns` times [`WIDE`] bytes in 32-byte words, as memcpy does.
///
/// Dirty upper halves would make every older vector instruction that follows slow (200 ns per call), and
/// the compiler does not see that assembly leaves them: hence `vzeroupper` at the end.
///
/// # Safety
/// As for [`copy_from_shared`], with a length of `turns * WIDE`; the processor has AVX.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx")]
unsafe fn copy_wide(mut src: *const u8, mut dst: *mut u8, turns: usize) {
    for _ in 0..turns {
        // SAFETY: each turn reads and writes only the bytes that it advances over. An asm access needs no
        // alignment, and a racing writer changes the values only.
        unsafe {
            asm!(
                "vmovups {a}, [{src}]",
                "vmovups {b}, [{src} + 32]",
                "vmovups {c}, [{src} + 64]",
                "vmovups {d}, [{src} + 96]",
                "vmovups [{dst}], {a}",
                "vmovups [{dst} + 32], {b}",
                "vmovups [{dst} + 64], {c}",
                "vmovups [{dst} + 96], {d}",
                src = in(reg) src, dst = in(reg) dst,
                a = out(ymm_reg) _, b = out(ymm_reg) _, c = out(ymm_reg) _, d = out(ymm_reg) _,
                options(nostack, preserves_flags)
            );
            src = src.add(WIDE);
            dst = dst.add(WIDE);
        }
    }
    // SAFETY: changes only upper halves of vector registers, all of which the clobber gives up.
    unsafe { asm!("vzeroupper", clobber_abi("C"), options(nomem, nostack, preserves_flags)) };
}

/// Copies 32-byte words where the processor has them, then 64 bytes a turn, then 16, then the rest by its
/// binary digits.
///
/// # Safety
/// As for [`copy_from_shared`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
unsafe fn copy_words(mut src: *const u8, mut dst: *mut u8, mut len: usize) {
    /// Copies one general register of `$size` bytes.
    macro_rules! copy_register {
        ($size:literal, $class:ident, $from:literal, $to:literal) => {
            if len & $size != 0 {
                asm!(
                    $from, $to,
                    src = in(reg) src, dst = in(reg) dst, word = out($class) _,
                    options(nostack, preserves_flags)
                );
                src = src.add($size);
                dst = dst.add($size);
            }
        };
    }
    // SAFETY: the steps add up to `len`, and each reads and writes only the bytes that it advances over. An
    // asm access needs no alignment, and a racing writer changes the values only.
    unsafe {
        if len >= WIDE && is_x86_feature_detected!("avx") {
            copy_wide(src, dst, len / WIDE);
            let done = len / WIDE * WIDE;
            (src, dst, len) = (src.add(done), dst.add(done), len - done);
        }
        for _ in 0..len / 64 {
            asm!(
                "movups {a}, [{src}]",
                "movups {b}, [{src} + 16]",
                "movups {c}, [{src} + 32]",
                "movups {d}, [{src} + 48]",
                "movups [{dst}], {a}",
                "movups [{dst} + 16], {b}",
                "movups [{dst} + 32], {c}",
                "movups [{dst} + 48], {d}",
                src = in(reg) src, dst = in(reg) dst,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                options(nostack, preserves_flags)
            );
            src = src.add(64);
            dst = dst.add(64);
        }
        for _ in 0..len % 64 / 16 {
            asm!(
                "movups {a}, [{src}]",
                "movups [{dst}], {a}",
                src = in(reg) src, dst = in(reg) dst, a = out(xmm_reg) _,
                options(nostack, preserves_flags)
            );
            src = src.add(16);
            dst = dst.add(16);
        }
        copy_register!(8, reg, "mov {word}, [{src}]", "mov [{dst}], {word}");
        copy_register!(4, reg, "mov {word:e}, [{src}]", "mov [{dst}], {word:e}");
        copy_register!(2, reg, "mov {word:x}, [{src}]", "mov [{dst}], {word:x}");
        if len & 1 != 0 {
            asm!(
                "mov {word}, [{src}]",
                "mov [{dst}], {word}",
                src = in(reg) src, dst = in(reg) dst, word = out(reg_byte) _,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Copies by relaxed atomic loads: single bytes up to an aligned word, words, single bytes.
///
/// What other processors do, and the interpreter, which knows no assembly.
///
/// # Safety
/// As for `copy_from_shared`.
#[cfg(any(not(target_arch = "x86_64"), miri, test))]
pub(crate) unsafe fn copy_atomics(src: *const u8, dst: *mut u8, len: usize) {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    let head = src.align_offset(8).min(len);
    let tail = head + (len - head) / 8 * 8;
    // SAFETY: every index is below `len`, and words are read where `src` is 8-aligned. The references are
    // to atomics, as memory that another side writes asks for; relaxed loads are allowed on read-only maps.
    unsafe {
        let byte = |i: usize| dst.add(i).write((*src.add(i).cast::<AtomicU8>()).load(Ordering::Relaxed));
        (0..head).for_each(byte);
        for i in (head..tail).step_by(8) {
            let word = (*src.add(i).cast::<AtomicU64>()).load(Ordering::Relaxed);
            dst.add(i).cast::<u64>().write_unaligned(word);
        }
        (tail..len).for_each(byte);
    }
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
pub(crate) use copy_atomics as copy_from_shared;

#[cfg(test)]
mod tests;
