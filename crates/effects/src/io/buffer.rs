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
    /// `length` random bytes.
    pub(super) fn new(length: usize) -> Buffer {
        let bytes = random_bytes(length + ALIGNMENT);
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

/// Bytes without a pattern: neither sparse nor compressible, so that they take the space they seem to take.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
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
    fn random_bytes_have_no_blank_pages() {
        let bytes = random_bytes(3 * 4096 + 5);
        assert_eq!(bytes.len(), 3 * 4096 + 5);
        assert!(bytes.chunks(64).all(|line| line.iter().any(|byte| *byte != 0)));
    }
}
