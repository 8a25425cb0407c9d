//! Files of the state folder: written where nobody else can have laid anything, and by a thread of their own.
//!
//! The folder may lie on a file system that hangs (NFS, EFS). What is written there goes through one thread, in its
//! order, and is waited for for a second; while the folder is known to hang, not at all. Who submitted it goes on
//! without what is written there, and the log says so.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::unistd::{getegid, geteuid};
use tokio::sync::watch;

/// How long a write is waited for.
const LIMIT: Duration = Duration::from_secs(1);
/// Writes that may wait. One is at most a reply, of some kilobytes.
const QUEUE: usize = 1_024;
/// The user of our image, who owns the state folder in it and every volume that begins as a copy of that. Root may use
/// it: who can act as this user there could do so beside a sidecar of that user, too.
const IMAGE_USER: u32 = 65_532;
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
    if !may_own(found.uid(), ours) {
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

/// Whether `owner` may own the folder of a process of the user `ours`.
fn may_own(owner: u32, ours: u32) -> bool {
    owner == ours || owner == 0 || (ours == 0 && owner == IMAGE_USER)
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
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(FLAGS);
    regular(options.open(path)?)
}

const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"))
    }
}

/// Starts the thread of the state folder, which everything below starts where it is not there yet.
///
/// # Errors
/// No thread can be had. What is submitted is then done at once, by whoever submits it.
pub fn start() -> io::Result<()> {
    thread().queue.as_ref().map(|_| ()).map_err(|reason| io::Error::new(reason.kind(), reason.to_string()))
}

/// Has `work` done after all that came before it, on the thread of the state folder. What there is no room for is
/// dropped, and the log says so.
pub fn submit(work: impl FnOnce() + Send + 'static) {
    let _ = thread().submit(Box::new(work));
}

/// Waits until everything is done that was submitted before this call; no longer than a second, and not at all while
/// the folder is known to hang. Whether it is done.
pub async fn settled() -> bool {
    thread().settled().await
}

/// Does `work` as [`submit`] does, and waits for it as [`settled`] does.
///
/// # Errors
/// What `work` gives; [`ErrorKind::TimedOut`] if that takes longer than a second. It is done then when the folder answers
/// again, if ever.
pub async fn done<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    thread().done(work).await
}

/// Does `work` as [`submit`] does, and waits for it however long it takes: for what there is no going on without. After a
/// second the log says what is waited for.
///
/// # Errors
/// It broke off.
pub async fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    thread().patiently(work).await
}

/// As [`done`], on a thread that may wait.
///
/// # Errors
/// As [`done`].
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    thread().in_time(work)
}

fn thread() -> &'static StateThread {
    static THREAD: OnceLock<StateThread> = OnceLock::new();
    THREAD.get_or_init(StateThread::start)
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread, as those have it who give it work.
struct StateThread {
    queue: io::Result<Mutex<Queue>>,
    done: watch::Receiver<u64>,
    stall: Arc<Stall>,
}

/// Its number and its place in the queue belong together.
struct Queue {
    jobs: SyncSender<Job>,
    submitted: u64,
}

/// Up to which job the folder has been waited for in vain; 0 if it answers.
#[derive(Default)]
struct Stall(AtomicU64);

impl Stall {
    fn note(&self, number: u64) {
        if self.0.compare_exchange(0, number, SeqCst, SeqCst).is_ok() {
            tracing::error!(
                "the state folder does not answer; going on without it: taskfault status may be old, and commands that \
                 are running when this process is killed may run again or stay without an answer"
            );
        }
    }

    /// So many jobs are done.
    fn end(&self, done: u64) {
        let number = self.0.load(SeqCst);
        if number != 0 && done >= number && self.0.compare_exchange(number, 0, SeqCst, SeqCst).is_ok() {
            tracing::info!("the state folder answers again");
        }
    }
}

impl StateThread {
    fn start() -> StateThread {
        let (jobs, waiting) = sync_channel::<Job>(QUEUE);
        let (counted, done) = watch::channel(0);
        let stall = Arc::new(Stall::default());
        let noted = Arc::clone(&stall);
        let perform = move || {
            while let Ok(job) = waiting.recv() {
                // The thread is for all others, too.
                let _ = catch_unwind(AssertUnwindSafe(job));
                counted.send_modify(|count| *count += 1);
                noted.end(*counted.borrow());
            }
        };
        let thread = std::thread::Builder::new().name("state-folder".to_owned()).spawn(perform);
        StateThread { queue: thread.map(|_| Mutex::new(Queue { jobs, submitted: 0 })), done, stall }
    }

    /// The job's number; the job where there is no room for it.
    fn submit(&self, job: Job) -> Result<u64, Job> {
        let Ok(queue) = &self.queue else {
            // Nothing can hang where there is no thread to do it, but that is no reason to do nothing.
            job();
            return Ok(0);
        };
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = queue.jobs.try_send(job) {
            self.stall.note(*self.done.borrow() + 1);
            return Err(job);
        }
        queue.submitted += 1;
        Ok(queue.submitted)
    }

    async fn patiently<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        let mut job: Job = Box::new(move || drop(answer.send(work())));
        let number = loop {
            match self.submit(job) {
                Ok(number) => break number,
                Err(again) => job = again,
            }
            tokio::time::sleep(LIMIT).await;
        };
        if let Ok(done) = tokio::time::timeout(self.limit(), &mut answered).await {
            return done.map_err(io::Error::other);
        }
        self.stall.note(number);
        answered.await.map_err(io::Error::other)
    }

    async fn settled(&self) -> bool {
        let submitted = self
            .queue
            .as_ref()
            .map_or(0, |queue| queue.lock().unwrap_or_else(PoisonError::into_inner).submitted);
        let mut done = self.done.clone();
        let all = done.wait_for(|done| *done >= submitted);
        // Polled once also where nothing is waited for.
        let settled = matches!(tokio::time::timeout(self.limit(), all).await, Ok(Ok(_)));
        if !settled {
            self.stall.note(submitted);
        }
        settled
    }

    async fn done<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let job = Box::new(move || drop(answer.send(work())));
        let number = self.submit(job).map_err(|_| hangs())?;
        match tokio::time::timeout(self.limit(), answered).await {
            Ok(Ok(answer)) => answer,
            _ => Err(self.hung(number)),
        }
    }

    fn in_time<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = sync_channel(1);
        let job = Box::new(move || drop(answer.send(work())));
        let number = self.submit(job).map_err(|_| hangs())?;
        answered.recv_timeout(self.limit()).unwrap_or_else(|_| Err(self.hung(number)))
    }

    fn hung(&self, number: u64) -> io::Error {
        self.stall.note(number);
        hangs()
    }

    /// How long is waited now.
    fn limit(&self) -> Duration {
        let hangs = *self.done.borrow() < self.stall.0.load(SeqCst);
        if hangs { Duration::ZERO } else { LIMIT }
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
    fn a_folder_belongs_to_the_process_or_to_root_and_root_takes_that_of_the_image() {
        for (owner, ours, fine) in [
            (1000, 1000, true),
            (0, 1000, true),
            (0, 0, true),
            (IMAGE_USER, IMAGE_USER, true),
            (IMAGE_USER, 0, true),
            (IMAGE_USER, 1000, false),
            (1000, 0, false),
            (1000, IMAGE_USER, false),
        ] {
            assert_eq!(may_own(owner, ours), fine, "folder of {owner}, process of {ours}");
        }
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

    /// Keeps the thread until what is given is dropped.
    fn keep(thread: &StateThread) -> std::sync::mpsc::Sender<()> {
        let (release, hang) = channel::<()>();
        let job = move || assert!(hang.recv().is_err());
        assert!(thread.submit(Box::new(job)).is_ok());
        release
    }

    #[tokio::test]
    async fn writes_are_done_in_their_order() {
        let thread = StateThread::start();
        assert!(thread.settled().await, "nothing to wait for");
        let (sender, numbers) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            assert!(thread.submit(Box::new(move || sender.send(number).unwrap())).is_ok());
        }
        assert!(thread.settled().await);
        assert_eq!(numbers.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(thread.done(|| Ok(1)).await.unwrap(), 1);
        assert!(thread.patiently(|| panic!("out of luck")).await.is_err());
        assert_eq!(thread.patiently(|| 2).await.unwrap(), 2, "the thread goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_is_waited_for_once_and_no_longer_than_a_second() {
        let thread = StateThread::start();
        let release = keep(&thread);
        let started = tokio::time::Instant::now();
        assert!(!thread.settled().await);
        for _ in 0..2 * QUEUE {
            let _ = thread.submit(Box::new(|| ()));
            assert!(!thread.settled().await);
            assert_eq!(thread.done(|| Ok(())).await.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        assert_eq!(started.elapsed(), LIMIT, "by the clock of tokio");
        drop(release);
        // However long it takes, and also where there is no room yet.
        assert_eq!(thread.patiently(|| 3).await.unwrap(), 3);
        while thread.limit().is_zero() {
            std::thread::yield_now();
        }
        assert_eq!(thread.stall.0.load(SeqCst), 0, "the stall is over");
        assert_eq!(thread.in_time(|| Ok(2)).unwrap(), 2);
    }

    #[test]
    fn a_write_that_hangs_is_waited_for_once() {
        let thread = StateThread::start();
        assert_eq!(thread.in_time(|| Ok(1)).unwrap(), 1);
        let release = keep(&thread);
        assert_eq!(thread.in_time(|| Ok(())).unwrap_err().kind(), ErrorKind::TimedOut);
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
        while thread.limit().is_zero() {
            std::thread::yield_now();
        }
        assert_eq!(thread.in_time(|| Ok(2)).unwrap(), 2);
    }
}
