//! Memory for transfers that go past the page cache, and bytes that no file system can save itself.

/// What `O_DIRECT` may ask memory and offsets to be aligned to, on any disk of today.
pub(super) const ALIGNMENT: usize = 4096;

/// A buffer that begins on a page.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` bytes of noise.
    pub(super) fn new(length: usize) -> Buffer {
        let bytes = noise(length + ALIGNMENT);
        // The Vec is never resized, so that where it begins stays true.
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Buffer { bytes, start, length }
    }

    pub(super) fn first(&self, length: usize) -> &[u8] {
        &self.bytes[self.start..self.start + length.min(self.length)]
    }

    pub(super) fn first_mut(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + length.min(self.length)]
    }
}

/// Numbers without a pattern (xorshift64*). For spreading work, not for secrets.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Bytes without a pattern: neither sparse nor compressible, so that they take the space they seem to take.
pub fn noise(length: usize) -> Vec<u8> {
    let mut dice = Dice::new(length as u64);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_long_enough() {
        for length in [4096, 65_536, 1024 * 1024] {
            let mut buffer = Buffer::new(length);
            assert_eq!(buffer.first(length).as_ptr().align_offset(ALIGNMENT), 0);
            assert_eq!(buffer.first_mut(usize::MAX).len(), length);
        }
    }

    #[test]
    fn noise_has_no_blank_pages() {
        let bytes = noise(3 * 4096 + 5);
        assert_eq!(bytes.len(), 3 * 4096 + 5);
        assert!(bytes.chunks(64).all(|line| line.iter().any(|byte| *byte != 0)));
    }
}
