//! Files that never have a name, or lose it before anything is in them: the kernel takes them away, with all
//! their space, when their last descriptor closes, however that comes to pass.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the names of files begin that have one for a moment, where the file system knows no other way.
pub const PREFIX: &str = ".taskfault-";

/// A new file in `folder` without a name, open for reading and writing.
///
/// # Errors
/// What the kernel says: a read-only or full file system, no permission, no such folder.
pub fn unlinked(folder: &Path) -> io::Result<File> {
    match open(folder, libc::O_TMPFILE) {
        // EISDIR is what kernels without O_TMPFILE say, EOPNOTSUPP file systems without it.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) =>
        {
            named_for_a_moment(folder)
        }
        other => other,
    }
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags | libc::O_CLOEXEC).open(path)
}

/// The name is gone before the file has a byte in it. A process that is killed right in between leaves an
/// empty file, no space; the next one in the same folder takes it away ([`sweep`]).
fn named_for_a_moment(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
    sweep(folder, &format!("{PREFIX}{}-", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    match std::fs::remove_file(&path) {
        // Somebody swept it: gone is what it was to be.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(file),
    }
}

/// Removes empty files with names of ours that an earlier life left, but not those of this process (`own`).
fn sweep(folder: &Path, own: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let dead = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists());
        let empty = entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
        if dead && empty && !name.starts_with(own) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Why no file can be made in `folder`, in words that say what to do.
pub fn explain(folder: &Path, error: &io::Error) -> String {
    let no_inodes = lacks_inodes(folder);
    let folder = folder.display();
    match error.kind() {
        ErrorKind::NotFound => format!("the folder {folder} does not exist"),
        ErrorKind::NotADirectory => format!("{folder} is not a folder"),
        ErrorKind::PermissionDenied => {
            format!("no file may be made in {folder} ({error}); name a folder that this user may write to")
        }
        ErrorKind::ReadOnlyFilesystem => format!(
            "the file system of {folder} is mounted read-only; name a folder on one that can be written, or \
             unset readonlyRootFilesystem"
        ),
        ErrorKind::StorageFull if no_inodes => format!(
            "the file system of {folder} has no inodes left, so no file can be made whatever space is free; remove files"
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("the file system of {folder} is full ({error})")
        }
        _ => format!("could not make a file in {folder}: {error}"),
    }
}

/// Whether the file system has a number of inodes, and all of them are used.
fn lacks_inodes(folder: &Path) -> bool {
    nix::sys::statvfs::statvfs(folder).is_ok_and(|told| told.files() > 0 && told.files_available() == 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_file_without_a_name_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        for make in [unlinked, named_for_a_moment] {
            let mut file = make(folder.path()).unwrap();
            file.write_all(b"there").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "there");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_a_dead_process_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // No process has this id: pid_max is at most 4194304.
        let (dead, living) = (format!("{PREFIX}4194305-0"), format!("{PREFIX}1-0"));
        for name in [dead.as_str(), living.as_str(), "taskfault-4194305-0", ".taskfault-x"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(folder.path().join(format!("{PREFIX}4194306-0")), "not ours: it has content").unwrap();
        named_for_a_moment(folder.path()).unwrap();
        assert!(!folder.path().join(dead).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn refusals_say_where_and_what_to_do() {
        let not_there = Path::new("/not/there");
        assert_eq!(
            explain(not_there, &unlinked(not_there).unwrap_err()),
            "the folder /not/there does not exist"
        );
        let read_only = io::Error::from_raw_os_error(libc::EROFS);
        assert!(explain(not_there, &read_only).contains("mounted read-only"));
    }
}
