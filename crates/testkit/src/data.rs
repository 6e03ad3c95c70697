//! Noise to send, and a checksum to know it by.

use bytes::Bytes;

/// A small generator of numbers that repeat with their seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// A size from 0 to `max`, every order of magnitude as likely as any other.
    pub fn size(&mut self, max: usize) -> usize {
        let bits = u64::from(max.ilog2()) + 2;
        let top = 1_u64 << self.below(bits);
        (self.below(top) as usize).min(max)
    }

    /// Brings a slice into random order.
    pub fn shuffle<T>(&mut self, slice: &mut [T]) {
        for end in (2..=slice.len()).rev() {
            slice.swap(end - 1, self.below(end as u64) as usize);
        }
    }
}

/// So many bytes that no other seed and no other length begins with.
pub fn noise(len: usize, seed: u64) -> Bytes {
    let mut rng = Rng::new(seed ^ (len as u64).rotate_left(32));
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.draw().to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// Depends on every byte, its place, and the length.
pub fn checksum(bytes: &[u8]) -> u64 {
    let (mut sum, mut sums) = (bytes.len() as u64, 0_u64);
    let mut add = |word: u64| {
        sum = sum.wrapping_add(word).rotate_left(1);
        sums = sums.wrapping_add(sum);
    };
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        add(u64::from_le_bytes(word.try_into().expect("chunks of 8")));
    }
    for &byte in words.remainder() {
        add(u64::from(byte) + 1);
    }
    sum ^ sums.rotate_left(17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_sees_every_byte_its_place_and_the_length() {
        let bytes = noise(67, 1);
        let sum = checksum(&bytes);
        for place in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[place] ^= 0x10;
            assert_ne!(checksum(&changed), sum, "byte {place}");
        }
        let mut swapped = bytes.to_vec();
        swapped.swap(3, 40);
        assert_ne!(checksum(&swapped), sum);
        assert_ne!(checksum(&bytes[..66]), sum);
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 16]));
    }

    #[test]
    fn sizes_reach_both_ends() {
        let mut rng = Rng::new(7);
        let sizes: Vec<usize> = (0..10_000).map(|_| rng.size(8 << 20)).collect();
        assert!(sizes.contains(&0) && sizes.iter().all(|&size| size <= 8 << 20));
        assert!(sizes.iter().filter(|&&size| size > 4 << 20).count() > 100);
        assert!(sizes.iter().filter(|&&size| size < 100).count() > 1000);
    }
}
