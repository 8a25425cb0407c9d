//! A stretch of anonymous memory whose pages are there once they are written to, and are given back one by one
//! or all together.

use std::io;
use std::ops::Range;

use memmap2::{MmapMut, MmapOptions, UncheckedAdvice};

/// Bytes of our own. The kernel takes them back when they are dropped, or with the process.
#[derive(Debug)]
pub(super) struct Region(MmapMut);

impl Region {
    /// Address space for `length` bytes, not a page of it in memory yet.
    pub(super) fn new(length: usize) -> io::Result<Region> {
        match length {
            0 => Err(io::ErrorKind::InvalidInput.into()),
            _ => MmapOptions::new().len(length).no_reserve_swap().map_anon().map(Region),
        }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Gives the pages of `range` back; they read as zeros from then on. Whole pages only.
    pub(super) fn give_back(&mut self, range: Range<usize>) -> io::Result<()> {
        self.0.get(range.clone()).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the pages are within the region, which nobody else borrows; a private anonymous mapping stays
        // valid, its pages are zero.
        unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_can_be_used_and_given_back() {
        let mut region = Region::new(3 * 4096).unwrap();
        region.bytes().fill(7);
        region.give_back(4096..2 * 4096).unwrap();
        let bytes = region.bytes();
        assert!(bytes[..4096].iter().all(|byte| *byte == 7));
        assert!(bytes[4096..2 * 4096].iter().all(|byte| *byte == 0));
        assert!(bytes[2 * 4096..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn more_than_there_can_be_is_an_error() {
        assert!(Region::new(usize::MAX / 2).is_err());
        assert!(Region::new(0).is_err());
    }
}
