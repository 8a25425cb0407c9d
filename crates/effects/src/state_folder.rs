//! Files of the state folder: written where nobody else can have laid anything, and by a thread of their own.
//!
//! The folder may lie on a file system that hangs (NFS, EFS). What is written there goes through one thread, in its
//! order, and is waited for for a second; while the folder is known to hang, not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::unistd::{getegid, geteuid};

/// How long a write is waited for.
const LIMIT: Duration = Duration::from_secs(1);
/// Writes that may wait.
const QUEUE: usize = 64;
/// More than this is no file of ours.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Makes `folder` if need be, and looks at whose it is.
///
/// # Errors
/// It cannot be made, is another's, or others may write to it: they could put files in the place of ours.
pub fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    check(folder)
}

/// Whether `folder` is ours alone to write to.
///
/// # Errors
/// As [`prepare`].
pub fn check(folder: &Path) -> io::Result<()> {
    let found = fs::metadata(folder)?;
    let (ours, mode) = (geteuid().as_raw(), found.mode());
    if found.uid() != ours && found.uid() != 0 {
        return Err(refused(format!("it belongs to user {}, who could change what is in it", found.uid())));
    }
    let group_is_ours = found.gid() == getegid().as_raw() || found.gid() == 0;
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && !group_is_ours) {
        return Err(refused(format!(
            "other users may write to it (mode {:o}), and could put files in the place of ours; chmod go-w it, or name a \
             folder in it",
            mode & 0o7777
        )));
    }
    Ok(())
}

fn refused(why: String) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

/// Writes a file of `folder`, so that readers see it whole or as it was before.
///
/// # Errors
/// Disk full, read-only, …
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_after(folder, name, bytes, |_| Ok(()))
}

/// The same, and so that it is one or the other after a crash of the machine, too.
///
/// # Errors
/// As [`replace`].
pub fn replace_for_good(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_after(folder, name, bytes, File::sync_all)
}

/// Writes beside the file, does `then` with what is written, and lets that take the file's place.
fn replace_after(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    then: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    // Under a name that nobody can have laid a link or a FIFO under before.
    let beside = folder.join(format!(".{name}.{:016x}", fastrand::u64(..)));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(bytes)?;
            then(&file)
        });
    let written = written.and_then(|()| fs::rename(&beside, folder.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Opens a file of ours, to read. Neither followed where it is a link, nor waited for where it is a FIFO.
///
/// # Errors
/// It is not there, is no file, or cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true).custom_flags(FLAGS).open(path)?)
}

/// What is in a file of ours.
///
/// # Errors
/// As [`open`], or it cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file to lock, made if need be.
///
/// # Errors
/// As [`read`].
pub fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    regular(options.write(true).create(true).truncate(false).mode(0o600).custom_flags(FLAGS).open(path)?)
}

const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"))
    }
}

/// Does `work` after all that came before it, on the thread of the state folder, and waits for it.
///
/// # Errors
/// What `work` gives; [`ErrorKind::TimedOut`] if that takes longer than a second. It is done then when the folder answers
/// again, if ever.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    static THREAD: OnceLock<StateThread> = OnceLock::new();
    THREAD.get_or_init(StateThread::start).in_time(work)
}

type Job = Box<dyn FnOnce() + Send>;

struct StateThread {
    /// None where no thread could be had.
    queue: Option<SyncSender<Job>>,
    submitted: AtomicU64,
    done: Arc<AtomicU64>,
    /// What had been submitted when the folder was first seen to hang; 0 if it answers.
    hangs_at: AtomicU64,
}

impl StateThread {
    fn start() -> StateThread {
        let (queue, jobs) = sync_channel::<Job>(QUEUE);
        let done = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&done);
        let perform = move |jobs: Receiver<Job>| {
            while let Ok(job) = jobs.recv() {
                job();
                counted.fetch_add(1, SeqCst);
            }
        };
        let thread = std::thread::Builder::new().name("state-folder".to_owned()).spawn(move || perform(jobs));
        let (submitted, hangs_at) = (AtomicU64::new(0), AtomicU64::new(0));
        StateThread { queue: thread.ok().map(|_| queue), submitted, done, hangs_at }
    }

    fn in_time<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        // Nothing can hang where there is no thread to do it, but that is no reason to do nothing.
        let Some(queue) = &self.queue else { return work() };
        let (answer, answered) = sync_channel(1);
        let job = Box::new(move || {
            let _ = answer.send(work());
        });
        if queue.try_send(job).is_err() {
            return Err(hangs());
        }
        let number = self.submitted.fetch_add(1, SeqCst) + 1;
        let limit = if self.hangs() { Duration::ZERO } else { LIMIT };
        answered.recv_timeout(limit).unwrap_or_else(|_| {
            self.hangs_at.fetch_max(number, SeqCst);
            Err(hangs())
        })
    }

    /// Whether the last that was waited for in vain is still not done.
    fn hangs(&self) -> bool {
        self.done.load(SeqCst) < self.hangs_at.load(SeqCst)
    }
}

fn hangs() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the file system does not answer")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not/there");
        prepare(&folder).unwrap();
        for (mode, fine) in [(0o700, true), (0o755, true), (0o1777, false), (0o757, false)] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(prepare(&folder).is_ok(), fine, "{mode:o}");
        }
        let said = prepare(&folder).unwrap_err().to_string();
        assert!(said.contains("other users may write to it (mode 757)"), "{said}");
    }

    #[test]
    fn files_are_whole_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        replace(dir.path(), "x.json", b"[1]").unwrap();
        replace(dir.path(), "x.json", b"[2]").unwrap();
        assert_eq!(read(&dir.path().join("x.json")).unwrap(), b"[2]");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let (link, aim) = (dir.path().join("link"), dir.path().join("aim"));
        symlink(&aim, &link).unwrap();
        assert!(read(&link).is_err() && lock_file(&link).is_err() && !aim.exists());
        // Replaced, not written through.
        replace(dir.path(), "link", b"mine").unwrap();
        assert!(!aim.exists());
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&fifo).is_err() && lock_file(&fifo).is_err());
        assert!(replace(&dir.path().join("none"), "x", b"").is_err());
    }

    #[test]
    fn a_write_that_hangs_is_waited_for_once() {
        let thread = StateThread::start();
        assert_eq!(thread.in_time(|| Ok(1)).unwrap(), 1);
        let (release, hang) = channel::<()>();
        let stuck = thread.in_time(move || {
            let _ = hang.recv();
            Ok(())
        });
        assert_eq!(stuck.unwrap_err().kind(), ErrorKind::TimedOut);
        let (after, order) = channel();
        let started = std::time::Instant::now();
        for number in 0..10 {
            let after = after.clone();
            let sent = thread.in_time(move || after.send(number).map_err(io::Error::other));
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        assert!(started.elapsed() < LIMIT, "each was waited for");
        drop(release);
        drop(after);
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        while thread.hangs() {
            std::thread::yield_now();
        }
        assert_eq!(thread.in_time(|| Ok(2)).unwrap(), 2);
    }
}
