//! Runs one script of a document in a shell, in a process group of its own.
//!
//! As the stock agent does (`executers.go`): a script file, `sh -c FILE`, nothing on stdin, and a kill of the
//! whole group, without a TERM first, when the time is up or the command is cancelled. Two guards stand while
//! it runs: one kills the group, the other removes the script's folder. Both act on drop, so an abandoned
//! future or a panic leaves neither processes nor files. What an exit code means is not known here.

pub mod left_over;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{AccessFlags, Pid, access};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// The bytes that are kept of each stream. A reply never shows more, and needs no more to know that it has to
/// cut; the rest is read and thrown away, so that a script that prints without end neither fills the memory
/// nor blocks.
pub const KEPT_BYTES: usize = 24_000;

/// How long the pipes are read after the group was killed. They are at their end at once, unless a process
/// that left the group (`setsid`) still holds them.
const AFTER_KILL: Duration = Duration::from_millis(100);

/// How long the removal of the script's folder is waited for.
const AFTER_REMOVE: Duration = Duration::from_secs(1);

const SCRIPT_NAME: &str = "_script.sh";

/// One script and everything it runs with.
#[derive(Debug)]
pub struct Job<'a> {
    /// The text of the script file.
    pub text: &'a str,
    /// After it the whole process group is killed.
    pub timeout: Duration,
    /// An absolute path; none is our own working directory.
    pub working_directory: Option<&'a Path>,
    /// The whole environment, not an addition to ours.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// The folder of the command. The script's folder is made in it and both are removed at the end, the
    /// command's only if nothing else is in it.
    pub command_folder: &'a Path,
    /// The script's folder, relative to the command's.
    pub directory: &'a str,
}

/// What became of a script that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why it is not running any more.
    pub ending: Ending,
    /// The first [`KEPT_BYTES`] of each.
    pub stdout: Vec<u8>,
    /// As `stdout`, of the other stream.
    pub stderr: Vec<u8>,
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The shell exited, with this code from 0 to 255.
    Exited(i32),
    /// The shell itself was ended by this signal, which was not ours.
    Signalled(i32),
    /// Killed because its time was up.
    TimedOut,
    /// Killed because the command was cancelled.
    Cancelled,
}

/// Why a script was not started, or could not be followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The folder for the script is not there and cannot be made.
    #[error(
        "cannot make the folder {path}: {source}; the orchestration folder must be writable for taskfault (mount a \
         volume there if the root file system is read-only)"
    )]
    Folder {
        /// The script's folder.
        path: PathBuf,
        /// The answer to `mkdir`.
        source: io::Error,
    },
    /// The script file cannot be written.
    #[error("cannot write the script {path}: {source}; look for a full or read-only disk")]
    Script {
        /// The script file.
        path: PathBuf,
        /// The answer to `open` or `write`.
        source: io::Error,
    },
    /// The working directory of the step is no directory, or is not there.
    #[error("working directory {path} cannot be entered: {reason}; it is taken inside this container")]
    WorkingDirectory {
        /// As the document names it.
        path: PathBuf,
        /// What is wrong with it, without its name.
        reason: String,
    },
    /// No directory of the script's `PATH` has an executable `sh`.
    #[error(
        "there is no sh on the PATH: this image has no shell; use an AWSFIS document by name, which needs none, or the \
         debug image of taskfault, which has /bin/sh"
    )]
    NoShell,
    /// `fork` or `exec` failed.
    #[error("cannot start sh: {0}")]
    Start(io::Error),
    /// `waitid` failed; the script's process group has been killed.
    #[error("cannot wait for the script: {0}")]
    Wait(io::Error),
}

/// Writes the script, runs it and waits until the shell has exited and its output is closed, until the time is
/// up, or until `cancel`.
///
/// # Errors
/// [`ShellError`]; nothing of it is running then.
pub async fn run(job: &Job<'_>, cancel: &CancellationToken) -> Result<Outcome, ShellError> {
    let _running = RunningShell::count();
    let starting = Starting::of(job);
    // The folder may lie on a file system that hangs. Given up meanwhile, what was started is killed there.
    let started = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            return Ok(Outcome { ending: Ending::Cancelled, stdout: Vec::new(), stderr: Vec::new() });
        }
        started = tokio::task::spawn_blocking(move || start(&starting)) => started,
    };
    let started = started.map_err(|broken| ShellError::Start(io::Error::other(broken)))?;
    let StartedScript { mut child, group, folder } = started?;
    let mut stdout = Captured::default();
    let mut stderr = Captured::default();
    let (mut out_pipe, mut err_pipe) = (child.stdout.take(), child.stderr.take());
    // Output first, then the exit: as long as the shell is not waited for, its process group id cannot be
    // reused, so a kill reaches this group or no process.
    let ended = {
        let output = async {
            tokio::join!(stdout.fill(out_pipe.as_mut()), stderr.fill(err_pipe.as_mut()));
        };
        let whole = async {
            output.await;
            child.wait().await.map_err(ShellError::Wait)
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Ending::Cancelled),
            // Before the output: a script that prints without end uses up the turn of this task every time.
            () = tokio::time::sleep(job.timeout) => Err(Ending::TimedOut),
            status = whole => Ok(status),
        }
    };
    let ending = match ended {
        Ok(status) => {
            let status = status?;
            // Whatever the script put in the background with its output elsewhere is meant to stay.
            group.release();
            ending_of(status)
        }
        Err(ending) => {
            group.kill();
            let last = async {
                tokio::join!(stdout.fill(out_pipe.as_mut()), stderr.fill(err_pipe.as_mut()));
            };
            // Too late is no error: a process outside the group holds the pipes.
            let _ = tokio::time::timeout(AFTER_KILL, last).await;
            child.wait().await.map_err(ShellError::Wait)?;
            group.release();
            ending
        }
    };
    remove(folder).await;
    Ok(Outcome { ending, stdout: stdout.0, stderr: stderr.0 })
}

/// Removes the folder. One on a file system that hangs is not waited for.
async fn remove(folder: Folder) {
    let removed = tokio::task::spawn_blocking(move || drop(folder));
    let _ = tokio::time::timeout(AFTER_REMOVE, removed).await;
}

fn ending_of(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

fn check_directory(path: &Path) -> Result<(), ShellError> {
    let wrong = |reason: String| ShellError::WorkingDirectory { path: path.to_owned(), reason };
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(wrong("it is not a directory".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// What a thread of its own needs to start a script.
struct Starting {
    text: String,
    working_directory: Option<PathBuf>,
    environment: BTreeMap<OsString, OsString>,
    command_folder: PathBuf,
    directory: String,
}

impl Starting {
    fn of(job: &Job<'_>) -> Starting {
        Starting {
            text: job.text.to_owned(),
            working_directory: job.working_directory.map(Path::to_owned),
            environment: job.environment.clone(),
            command_folder: job.command_folder.to_owned(),
            directory: job.directory.to_owned(),
        }
    }
}

/// A shell that runs. Dropped, it is killed with its group, then its folder removed.
struct StartedScript {
    child: Child,
    group: Group,
    folder: Folder,
}

/// Writes the script and starts it.
fn start(job: &Starting) -> Result<StartedScript, ShellError> {
    if let Some(path) = &job.working_directory {
        check_directory(path)?;
    }
    let mut folder = Folder::default();
    let child = start_in(job, &mut folder)?;
    Ok(StartedScript { group: Group::of(&child), child, folder })
}

fn start_in(job: &Starting, folder: &mut Folder) -> Result<Child, ShellError> {
    // A script file that is open for writing anywhere, even for a moment in a child of another thread between
    // fork and exec, cannot be executed ("text file busy"). So writing and starting exclude each other.
    static WRITE_OR_START: Mutex<()> = Mutex::new(());
    let _turn = WRITE_OR_START.lock().unwrap_or_else(PoisonError::into_inner);
    folder.make(&job.command_folder, &job.directory)?;
    let script = folder.path().join(SCRIPT_NAME);
    write_script(&script, &job.text).map_err(|source| ShellError::Script { path: script.clone(), source })?;
    // Found by ourselves, so that the child can be spawned without a copy of our address space, which may be
    // large while memory is stressed.
    let mut command = Command::new(find_shell(&job.environment).ok_or(ShellError::NoShell)?);
    command
        .arg0("sh")
        .arg("-c")
        .arg(quoted(&script))
        .env_clear()
        .envs(&job.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(path) = &job.working_directory {
        command.current_dir(path);
    }
    let child = command.spawn().map_err(ShellError::Start)?;
    if let Some(pid) = child.id() {
        left_over::note(folder.path(), pid);
    }
    Ok(child)
}

/// `sh` on the PATH that the script will have.
fn find_shell(environment: &BTreeMap<OsString, OsString>) -> Option<PathBuf> {
    let default = OsString::from("/bin:/usr/bin");
    let path = environment.get(OsStr::new("PATH")).unwrap_or(&default);
    std::env::split_paths(path)
        .map(|folder| folder.join("sh"))
        .find(|shell| shell.is_absolute() && access(shell, AccessFlags::X_OK).is_ok())
}

fn write_script(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(path)?;
    file.write_all(text.as_bytes())
}

/// The path as one word for the shell. Paths of plain characters stay as they are, as in the stock agent.
fn quoted(path: &Path) -> OsString {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match path.to_str() {
        Some(text) if !text.chars().all(plain) => format!("'{}'", text.replace('\'', "'\\''")).into(),
        _ => path.as_os_str().to_owned(),
    }
}

/// The part of a stream that is kept.
#[derive(Default)]
struct Captured(Vec<u8>);

impl Captured {
    /// Reads to the end. Can be abandoned and resumed without losing what was read.
    async fn fill(&mut self, pipe: Option<&mut (impl AsyncRead + Unpin)>) {
        let Some(pipe) = pipe else { return };
        let mut chunk = [0; 8192];
        // An error of a pipe is its end as far as we are concerned.
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            let room = KEPT_BYTES.saturating_sub(self.0.len());
            self.0.extend_from_slice(&chunk[..read.min(room)]);
        }
    }
}

thread_local! {
    /// Shells that are not waited for yet. They are all started and waited for on the control thread.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// Counts one shell until it is dropped.
#[must_use = "dropped, the script is killed"]
struct RunningShell;

impl RunningShell {
    fn count() -> RunningShell {
        RUNNING.set(RUNNING.get() + 1);
        RunningShell
    }
}

impl Drop for RunningShell {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
        reap_orphans();
    }
}

/// Waits for processes that were left to us as the first process of a PID namespace: what a script put in
/// the background comes to us when its shell ends. Does nothing while a shell runs, because that one is
/// waited for elsewhere; and nothing where we are not the first process.
pub fn reap_orphans() {
    if std::process::id() != 1 || RUNNING.get() > 0 {
        return;
    }
    // An error means that there is no child left, or none that has ended.
    while let Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) =
        waitpid(None, Some(WaitPidFlag::WNOHANG))
    {}
}

/// The process group of a shell that is not yet waited for. Killed on drop.
#[must_use = "the group is killed when this is dropped"]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        // The shell leads its group, so the ids are the same.
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // The only possible error is that the group is empty.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }

    /// The shell has been waited for: its id may be reused from now on.
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folders made for a script. Removed on drop.
#[must_use = "the folders are removed when this is dropped"]
#[derive(Default)]
struct Folder {
    command: PathBuf,
    script: PathBuf,
}

impl Folder {
    fn path(&self) -> &Path {
        &self.script
    }

    fn make(&mut self, command: &Path, directory: &str) -> Result<(), ShellError> {
        let path = command.join(directory);
        // Known before it is made, so that half of it is removed too.
        self.command = command.to_owned();
        self.script = path.clone();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| ShellError::Folder { path, source })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.script.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.script)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.script.display(), %error, "The folder of a script could not be removed");
        }
        // Upwards as far as the command's own folder, as long as they are empty: another step may be in there.
        for folder in self.script.ancestors().skip(1) {
            if !folder.starts_with(&self.command) || fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}
