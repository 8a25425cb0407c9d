//! Memory to map before a fork: pages that the child alone will have, and a page that both see.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Address space, not a page of it in memory yet. Private: what a child writes there is the child's.
#[derive(Debug)]
pub(super) struct Region(MmapMut);

impl Region {
    /// Address space for `length` bytes.
    pub(super) fn new(length: usize) -> io::Result<Region> {
        match length {
            0 => Err(io::ErrorKind::InvalidInput.into()),
            _ => MmapOptions::new().len(length).no_reserve_swap().map_anon().map(Region),
        }
    }

    /// Where it begins, in this process and in those forked from it.
    pub(super) fn start(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut()
    }
}

/// What parts processes share that were forked from each other: atomics, where all bits zero are a value.
///
/// # Safety
/// Only for types that are made of atomics alone.
pub(super) unsafe trait Atomics: Sync {}

/// A `T` in a page that a child sees, too.
#[derive(Debug)]
pub(super) struct Shared<T: Atomics> {
    page: MmapRaw,
    what: PhantomData<T>,
}

impl<T: Atomics> Shared<T> {
    /// Zeros in a page of its own.
    pub(super) fn new() -> io::Result<Shared<T>> {
        let file = File::from(memfd_create(c"taskfault", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(size_of::<T>() as u64)?;
        Ok(Shared { page: MmapRaw::map_raw(&file)?, what: PhantomData })
    }
}

impl<T: Atomics> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the page is as large as T, aligned to a page, mapped for as long as this lives, and never smaller:
        // its descriptor is closed. T is made of atomics, and zeros are one of its values.
        unsafe { &*self.page.as_ptr().cast::<T>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_can_be_is_an_error() {
        assert!(Region::new(usize::MAX / 2).is_err());
        assert!(Region::new(0).is_err());
    }
}
