//! A temporary folder, removed with everything in it: at the end of its process, or at the next start of one after
//! a `kill -9`.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// The name is this and 32 hex digits. While it is made it is called otherwise, so that nobody takes it for left over.
const NAME: &str = "taskfault-";
const NAME_AT_FIRST: &str = "taskfault-new-";

/// The file in it that is locked as long as its process lives: the kernel lets go when that ends, however it ends.
const LOCK: &str = ".lock";

/// A folder that only its owner can read, and that is removed when the value is dropped.
#[derive(Debug)]
#[must_use = "dropping a folder removes it"]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// A new folder under `TMPDIR`, or `/tmp`. Those of processes that have ended without removing theirs go first.
    ///
    /// # Errors
    /// It cannot be made there; the error names the place.
    pub fn new() -> io::Result<Folder> {
        let parent = std::env::temp_dir();
        remove_left_over(&parent);
        let id = uuid::Uuid::new_v4().simple();
        let (first, path) = (parent.join(format!("{NAME_AT_FIRST}{id}")), parent.join(format!("{NAME}{id}")));
        let made = || {
            DirBuilder::new().mode(0o700).create(&first)?;
            let lock = File::create(first.join(LOCK))?;
            lock.lock()?;
            fs::rename(&first, &path)?;
            Ok(lock)
        };
        let lock = made().map_err(|error: io::Error| {
            let what = format!("making a temporary folder in {} (TMPDIR): {error}", parent.display());
            io::Error::new(error.kind(), what)
        })?;
        Ok(Folder { path, _lock: lock })
    }

    /// Where it is: absolute, if `TMPDIR` is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Removes the folders of this user whose processes have ended. What cannot be removed is left: it is in nobody's way.
fn remove_left_over(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for path in entries.filter(is_ours).map(|entry| entry.path()) {
        // Without the file it may be another's.
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                let _ = fs::remove_dir_all(&path);
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

/// A folder with such a name that belongs to this user: not a link, and not what another user has laid out.
fn is_ours(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let id = name.to_str().and_then(|name| name.strip_prefix(NAME)).unwrap_or_default();
    let named = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Of the entry itself, not of what a link leads to.
    named && entry.metadata().is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_with_everything_in_it() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("state/file"), "text").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_has_left_goes_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, lock: bool| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("app.log"), "text").unwrap();
            lock.then(|| File::create(path.join(LOCK)).unwrap())
        };
        let (dead, alive, other) = ("a".repeat(32), "b".repeat(32), "c".repeat(32));
        drop(make(&format!("{NAME}{dead}"), true));
        let held = make(&format!("{NAME}{alive}"), true).unwrap();
        held.lock().unwrap();
        make(&format!("{NAME}{other}"), false);
        drop(make("taskfault-report", true));
        std::os::unix::fs::symlink(parent.path(), parent.path().join(format!("{NAME}{}", "d".repeat(32))))
            .unwrap();
        remove_left_over(parent.path());
        let mut left: Vec<String> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected = [alive, other, "d".repeat(32)].map(|id| format!("{NAME}{id}"));
        assert_eq!(left, [&expected[..], &["taskfault-report".to_owned()]].concat());
    }
}
