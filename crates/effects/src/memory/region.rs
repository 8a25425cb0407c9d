//! A stretch of anonymous memory whose pages are there once they are written to, and are given back one by one
//! or all together.

use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

/// Bytes of our own. The kernel takes them back when they are dropped, or with the process.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the region is owned memory without thread affinity, as a Vec's is.
unsafe impl Send for Region {}

impl Region {
    /// Address space for `length` bytes, not a page of it in memory yet.
    pub(super) fn new(length: usize) -> io::Result<Region> {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new mapping at an address of the kernel's choice cannot touch memory that is in use.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region { start, length })
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable for `length` bytes, zero where nothing was written, and
        // borrowed through `&mut self` by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// Gives the pages of `range` back; they read as zeros from then on. Whole pages only.
    pub(super) fn give_back(&mut self, range: Range<usize>) -> io::Result<()> {
        let part = &mut self.bytes()[range];
        // SAFETY: the pages are within the mapping and nobody holds a reference into them; a private anonymous
        // mapping stays valid, its pages are zero.
        let done = unsafe { libc::madvise(part.as_mut_ptr().cast(), part.len(), libc::MADV_DONTNEED) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no reference into it outlives the region.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
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
