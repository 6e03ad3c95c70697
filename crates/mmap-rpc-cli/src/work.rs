//! The work that every row does: the client fills bytes, the server sums them and fills bytes of its own,
//! and the client sums those.
//!
//! Word `i` of a message is its seed plus `i`, so a sum has a closed form and is checked without another
//! pass. The seed of a reply is the sum of its request: whoever did not read the request cannot answer it.
//! The loops are never inlined, so that every row runs the same code.

use anyhow::ensure;

const WORD: usize = size_of::<u64>();

/// The seed of the request number `number`: neighbours share no bytes.
#[inline]
pub fn seed(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Fills a message.
#[inline(never)]
pub fn fill(bytes: &mut [u8], seed: u64) {
    let mut words = bytes.chunks_exact_mut(WORD);
    let mut value = seed;
    for word in &mut words {
        word.copy_from_slice(&value.to_le_bytes());
        value = value.wrapping_add(1);
    }
    let tail = words.into_remainder();
    tail.copy_from_slice(&value.to_le_bytes()[..tail.len()]);
}

/// Sums a message: all its words, and what is left at its end as one more.
#[inline(never)]
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(WORD);
    let last = tail(words.remainder());
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("a word has eight bytes"));
    words.fold(last, |sum, bytes| sum.wrapping_add(word(bytes)))
}

/// The bytes after the last whole word, as a word.
fn tail(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// What the sum of a message of `len` bytes is that was filled with `seed`.
#[inline]
pub fn expected(len: usize, seed: u64) -> u64 {
    let words = (len / WORD) as u64;
    // 0 + 1 + … + (words - 1); one of the factors is even.
    let steps = if words.is_multiple_of(2) {
        (words / 2).wrapping_mul(words.wrapping_sub(1))
    } else {
        words.wrapping_mul((words - 1) / 2)
    };
    let whole = words.wrapping_mul(seed).wrapping_add(steps);
    match len % WORD {
        0 => whole,
        rest => whole.wrapping_add(tail(&seed.wrapping_add(words).to_le_bytes()[..rest])),
    }
}

/// The seed of the reply to a request with this sum.
#[inline]
pub fn reply_seed(request_sum: u64) -> u64 {
    request_sum.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5555_5555_5555_5555
}

/// Sums a reply, and says whether it is the one to a request of the same length filled with `seed`.
///
/// # Errors
/// If it is not: then the transport lost, mixed up or tore a message.
#[inline]
pub fn check(reply: &[u8], len: usize, seed: u64) -> anyhow::Result<()> {
    ensure!(reply.len() == len, "the reply has {} bytes instead of {len}", reply.len());
    check_sum(sum(reply), len, seed)
}

/// As [`check`], of a reply that was summed already.
///
/// # Errors
/// As [`check`].
#[inline]
pub fn check_sum(reply_sum: u64, len: usize, seed: u64) -> anyhow::Result<()> {
    let right = expected(len, reply_seed(expected(len, seed)));
    ensure!(reply_sum == right, "a reply of {len} bytes sums to {reply_sum:#x} instead of {right:#x}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_what_was_filled_is_the_expected_one() {
        for len in (0..70).chain([96, 4096, 65_536, 65_543, 1 << 20]) {
            for number in [0, 1, 77, u64::MAX - 1] {
                let mut bytes = vec![0xaa; len];
                fill(&mut bytes, seed(number));
                assert_eq!(sum(&bytes), expected(len, seed(number)), "{len} bytes, number {number}");
            }
        }
    }

    #[test]
    fn a_reply_passes_and_one_to_another_request_does_not() {
        for len in [1, 7, 8, 64, 4097] {
            let answer = |number| {
                let mut bytes = vec![0; len];
                fill(&mut bytes, seed(number));
                let sum = sum(&bytes);
                fill(&mut bytes, reply_seed(sum));
                bytes
            };
            check(&answer(5), len, seed(5)).unwrap();
            let error = check(&answer(5), len, seed(6)).unwrap_err().to_string();
            assert!(error.contains(" sums to "), "{error}");
            let error = check(&answer(5)[1..], len, seed(5)).unwrap_err().to_string();
            assert!(error.contains("instead of"), "{error}");
        }
    }

    #[test]
    fn one_changed_byte_is_noticed() {
        let mut bytes = vec![0; 100];
        fill(&mut bytes, reply_seed(expected(100, 9)));
        check(&bytes, 100, 9).unwrap();
        for at in 0..100 {
            bytes[at] ^= 1;
            assert!(check(&bytes, 100, 9).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
    }
}
