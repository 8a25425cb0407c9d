//! What a file system keeps its files in: a disk, or memory, where they count against the task's memory limit.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use memmap2::MmapRaw;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::unlinked::unlinked;

/// Bytes that may be taken of the task's memory now; below 0, so many have to be given back. None for files on a
/// disk.
pub type MemoryRoom = Option<Arc<dyn Fn() -> i64 + Send + Sync>>;

/// What files are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A disk or a network: pages in memory can be had back for the asking.
    Disk,
    /// Memory alone: tmpfs, ramfs, or an overlay upon one.
    Memory,
}

/// linux/magic.h; nix has none.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// What is written to see where it stays: a page, or a part of one where pages are larger.
const LENGTH: usize = 4096;
/// A page that is still being looked at elsewhere cannot be dropped; it can be a moment later.
const TRIES: u32 = 4;

impl Medium {
    /// Of the files in `folder`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(folder: &Path) -> io::Result<Medium> {
        let kind = statfs(folder)?.filesystem_type();
        if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
            Ok(Medium::Memory)
        } else if kind == OVERLAYFS_SUPER_MAGIC {
            // What is below cannot be named from in here.
            by_trying(&unlinked(folder)?)
        } else {
            Ok(Medium::Disk)
        }
    }
}

/// Writes to a page, and asks for it to be written out and dropped. One that is still there has nowhere else to be.
fn by_trying(file: &File) -> io::Result<Medium> {
    file.write_all_at(&[1; LENGTH], 0)?;
    let page = MmapRaw::map_raw(file)?;
    for _ in 0..TRIES {
        file.sync_data()?;
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        if !is_resident(&page)? {
            return Ok(Medium::Disk);
        }
    }
    Ok(Medium::Memory)
}

fn is_resident(page: &MmapRaw) -> io::Result<bool> {
    let mut resident = 0_u8;
    // SAFETY: asks about the one page that is mapped, and writes one byte for it.
    let told = unsafe { libc::mincore(page.as_mut_ptr().cast(), LENGTH, &raw mut resident) };
    if told == 0 { Ok(resident & 1 == 1) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_memory_is_told_from_one_on_a_disk() {
        let memory = nix::sys::memfd::memfd_create(c"test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
        assert_eq!(by_trying(&memory.into()).unwrap(), Medium::Memory);
        // Where the sources are is no memory.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(by_trying(&unlinked(folder).unwrap()).unwrap(), Medium::Disk);
        assert_eq!(Medium::of(folder).unwrap(), Medium::Disk);
        assert!(Medium::of(Path::new("/not/there")).is_err());
    }
}
