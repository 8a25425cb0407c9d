//! How full a file system is, and how it was mounted.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use thiserror::Error;

/// A file system from here on has no end that anybody could reach: a pebibyte.
const ENDLESS: u64 = 1 << 50;

/// How often two file systems are compared while others write to one of them.
const COUNTS: u32 = 64;

/// Why files cannot be written on a file system.
#[derive(Debug, Error)]
pub enum SpaceError {
    /// The kernel does not tell of it.
    #[error("the file system of {} cannot be looked at: {source}", path.display())]
    Unreadable {
        /// A path on it.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Nothing can be written.
    #[error(
        "the file system of {} is mounted read-only; name a path on one that can be written, or unset \
         readonlyRootFilesystem",
        path.display()
    )]
    ReadOnly {
        /// A path on it.
        path: PathBuf,
    },
}

/// The bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Taken by files.
    pub used: u64,
    /// What a process without privileges may still take. A reserve for root is neither in here nor in `used`.
    pub available: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

impl Space {
    /// Of the file system that `path` is on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(path: &Path) -> std::io::Result<Space> {
        Ok(Space::from_kernel(&statvfs(path)?))
    }

    /// Of the file system that an open file is on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_file(file: &std::fs::File) -> std::io::Result<Space> {
        Ok(Space::from_kernel(&nix::sys::statvfs::fstatvfs(file)?))
    }

    /// Of the file system that `path` is on, if it can be written at all.
    ///
    /// # Errors
    /// [`SpaceError`].
    pub fn of_writable(path: &Path) -> Result<Space, SpaceError> {
        let path_named = || path.to_path_buf();
        let space =
            Space::of(path).map_err(|source| SpaceError::Unreadable { path: path_named(), source })?;
        if space.read_only { Err(SpaceError::ReadOnly { path: path_named() }) } else { Ok(space) }
    }

    /// Whether `path` and `other` are on one disk, under two mounts: an overlay and a volume beside what it lies on. The
    /// kernel does not say so; but both count the same bytes, also from one moment to the next.
    ///
    /// What does not count, or has no end, is told apart from nothing and is never the same.
    pub fn is_one_disk(path: &Path, other: &Path) -> bool {
        let counts = |path: &Path| {
            let told = statvfs(path).ok()?;
            let space = Space::from_kernel(&told);
            (!space.is_endless()).then_some((
                told.blocks(),
                told.fragment_size(),
                space.used,
                space.available,
            ))
        };
        for _ in 0..COUNTS {
            let (before, there, after) = (counts(path), counts(other), counts(path));
            if before.is_none() || there.is_none() {
                return false;
            }
            // Others write meanwhile: look again.
            if before == after {
                return before == there;
            }
        }
        false
    }

    fn from_kernel(told: &Statvfs) -> Space {
        let bytes = |blocks: u64| blocks.saturating_mul(told.fragment_size());
        Space {
            used: bytes(told.blocks().saturating_sub(told.blocks_free())),
            available: bytes(told.blocks_available()),
            read_only: told.flags().contains(FsFlags::ST_RDONLY),
        }
    }

    /// Whether no share of it can be told: a network file system that calls itself 8 EiB large, or one in memory that
    /// has no limit and says so by 0.
    pub fn is_endless(self) -> bool {
        self.whole() == 0 || self.whole() >= ENDLESS
    }

    /// What may still be taken, by its own count; without an end where it does not count.
    pub fn room(self) -> u64 {
        if self.whole() == 0 { u64::MAX } else { self.available }
    }

    /// All that a process without privileges may use or has used: 100 %.
    pub fn whole(self) -> u64 {
        self.used.saturating_add(self.available)
    }

    /// How full it is, in percent, as `df` counts: used of used and available.
    pub fn percent(self) -> f64 {
        if self.whole() == 0 { 100.0 } else { 100.0 * self.used as f64 / self.whole() as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_of_root_is_not_counted() {
        let space = Space { used: 30, available: 10, read_only: false };
        assert_eq!(space.percent(), 75.0);
        assert_eq!(Space { used: 0, available: 0, read_only: false }.percent(), 100.0, "/proc and the like");
    }

    #[test]
    fn what_has_no_end_is_known() {
        let space = |available| Space { used: 0, available, read_only: false };
        // EFS calls itself so large.
        assert!(space(9_223_372_036_853_727_232).is_endless() && space(0).is_endless());
        assert!(!space(1 << 44).is_endless());
    }

    #[test]
    fn a_real_file_system_can_be_read() {
        let space = Space::of(Path::new("/")).unwrap();
        assert!(space.whole() > 0 && space.percent() <= 100.0, "{space:?}");
        assert!(Space::of(Path::new("/not/there")).is_err());
    }

    #[test]
    fn two_mounts_of_one_disk_are_told_from_two_disks() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(Space::is_one_disk(sources, &sources.join("src")));
        for other in ["/proc", "/dev/shm", "/not/there"] {
            assert!(!Space::is_one_disk(sources, Path::new(other)), "{other}");
        }
        assert!(!Space::is_one_disk(Path::new("/proc"), Path::new("/proc")), "it does not count");
    }
}
