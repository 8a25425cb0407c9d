//! One sidecar for each state folder: two would drive each other off the control channel, second by second.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use effects::state_folder;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

/// The file in the state folder. The lock on it ends with the process, whatever ends that; the file with a clean end.
const FILE: &str = "sidecar.lock";

/// For so long a lock is waited for whose holder is dead. A process that it had forked, and that is not yet the program
/// that it is to be, has inherited the lock, and closes it when it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Another sidecar has it.
    #[error(
        "another sidecar{holder} uses the state folder {}; give each a folder of its own (--state-dir)", folder.display()
    )]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// ` (process 7)`, as far as it says.
        holder: String,
        /// Whether there is no such process here. It may be one of another container.
        is_gone: bool,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {}: {reason}; taskfault needs a writable directory there (--state-dir)", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
}

impl LockError {
    /// Whether it may be ours in a moment ([`PATIENCE`]).
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, LockError::Taken { is_gone: true, .. })
    }
}

/// The folder is ours until this is dropped, and what was submitted before is done there.
#[derive(Debug)]
#[must_use = "dropped, the folder is another's"]
pub(super) struct StateLock {
    path: PathBuf,
    file: Option<Flock<File>>,
}

impl Drop for StateLock {
    fn drop(&mut self) {
        let (path, file) = (std::mem::take(&mut self.path), self.file.take());
        state_folder::submit(move || {
            // While it is locked still: who waits for this one finds out that it is gone ([`StateLock::take`]).
            let _ = std::fs::remove_file(path);
            drop(file);
        });
    }
}

impl StateLock {
    /// Takes the folder, making it if need be. Waits for the folder; [`state_folder::patiently`] is the place for it.
    ///
    /// # Errors
    /// [`LockError`]: another sidecar has it, or the file cannot be made.
    pub(super) fn take(folder: &Path) -> Result<StateLock, LockError> {
        let path = folder.join(FILE);
        let fail = |reason| LockError::Failed { path: path.clone(), reason };
        state_folder::prepare(folder).map_err(fail)?;
        loop {
            let file = state_folder::lock_file(&path).map_err(|error| fail(with_owner(error, folder)))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // One that its owner has removed in between locks nothing.
                Ok(file) if !is_at(&file, &path) => {}
                Ok(mut file) => {
                    // For people alone: what counts is the lock.
                    let pid = std::process::id().to_string();
                    let _ = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
                    return Ok(StateLock { path, file: Some(file) });
                }
                Err((file, Errno::EWOULDBLOCK)) => {
                    let (folder, holder) = (folder.to_owned(), holder(file));
                    let is_gone = holder.as_deref().is_some_and(is_gone);
                    let holder = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                    return Err(LockError::Taken { folder, holder, is_gone });
                }
                Err((_, errno)) => return Err(fail(errno.into())),
            }
        }
    }
}

/// What the kernel said, and of a refusal whose the folder is: a volume of a task may be root's.
fn with_owner(error: io::Error, folder: &Path) -> io::Error {
    let owner = std::fs::metadata(folder).map(|found| found.uid());
    match (error.kind(), owner) {
        (io::ErrorKind::PermissionDenied, Ok(owner)) => {
            let why =
                format!("{error}: {} is user {owner}'s, and this is user {}", folder.display(), geteuid());
            io::Error::new(error.kind(), why)
        }
        _ => error,
    }
}

/// Whether the file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    let (locked, there) = (file.metadata(), std::fs::symlink_metadata(path));
    locked.is_ok_and(|locked| {
        there.is_ok_and(|there| (locked.dev(), locked.ino()) == (there.dev(), there.ino()))
    })
}

/// The process id of who has it, as far as the file says.
fn holder(mut file: File) -> Option<String> {
    let mut pid = String::new();
    let _ = file.rewind().and_then(|()| file.take(16).read_to_string(&mut pid));
    Some(pid).filter(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether no process of this id lives. A zombie has no program; that of others may not be looked at, but is there.
fn is_gone(pid: &str) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    program.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_has_one_sidecar_and_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not/there/yet");
        let lock = StateLock::take(&folder).unwrap();
        let error = StateLock::take(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("another sidecar (process {})", std::process::id())), "{error}");
        assert!(error.contains("not/there/yet") && error.contains("--state-dir"), "{error}");
        drop(lock);
        assert!(state_folder::settled().await);
        drop(StateLock::take(&folder).unwrap());
        assert!(state_folder::settled().await);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left of it");
    }

    #[test]
    fn what_is_no_file_is_an_error_and_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::Failed { .. })));
    }
}
