//! Filling a file system: one file without a name, grown until the file system is as full as was asked.
//!
//! The kernel takes the file away when its descriptor closes, and it closes with the process. Knows nothing of
//! documents or of what a percentage means.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, getrlimit};
use thiserror::Error;
use tokio_util::sync::WaitForCancellationFutureOwned;

pub mod space;
pub mod unlinked;

use super::worker_pool::{StopSignal, WorkerPool};
use crate::amount::whole;
use space::Space;
use unlinked::unlinked;

/// Most bytes taken in one step. Between two steps the space that is left is looked at again, and a stop
/// is seen.
const STEP_BYTES: u64 = 64 * 1024 * 1024;
/// The same where the file system cannot reserve space and bytes have to be written.
const WRITE_STEP_BYTES: u64 = 1024 * 1024;
/// Only whole blocks are taken, so that the goal is not overstepped.
const BLOCK: u64 = 4096;
/// How often the fullness is read once the file has its size.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What to fill, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillPlan {
    /// Where the file is made; it stands for its file system.
    pub folder: PathBuf,
    /// Bytes that shall be in use on the file system, by us and all others.
    pub used_goal: u64,
}

/// Why a fill could not be started. Nothing has been taken.
#[derive(Debug, Error)]
pub enum FillError {
    /// No file without a name can be made in the folder.
    #[error("{}", unlinked::explain(folder, source))]
    NoFile {
        /// Where it was to be.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The size of the file system is not told.
    #[error("could not read how full the file system of {folder} is: {source}")]
    NoSpace {
        /// Which stands for the file system.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file limit of this process is below what is asked.
    #[error(
        "{required} bytes are to be taken, but this process may make files of at most {limit} bytes (RLIMIT_FSIZE); \
         raise the fsize ulimit"
    )]
    FileLimit {
        /// Bytes that the file was to have.
        required: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// The thread that fills could not be had; the text says why.
    #[error("{0}")]
    Thread(String),
}

/// What a fill came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FillReport {
    /// Before the fill began.
    pub before: Space,
    /// While it was full: the fullest that was seen.
    pub fullest: Space,
    /// While it was full: the least full that was seen, because others freed space.
    pub least_full: Option<Space>,
    /// After the file is gone.
    pub after: Option<Space>,
    /// Bytes of the file.
    pub taken: u64,
    /// How long it took to reach the goal. None if it never did.
    pub reached_after: Option<Duration>,
    /// Whether bytes had to be written because the file system cannot reserve space.
    pub written: bool,
}

/// A file system that is being filled, or is full. Dropping it gives the space back.
#[derive(Debug)]
#[must_use = "dropped, the space is given back"]
pub struct DiskFill {
    plan: FillPlan,
    before: Space,
    taken: Arc<AtomicU64>,
    pool: WorkerPool<Grown>,
}

/// What the growing thread saw.
#[derive(Debug, Clone, Copy)]
struct Grown {
    fullest: Space,
    least_full: Option<Space>,
    reached_after: Option<Duration>,
    written: bool,
}

impl DiskFill {
    /// Makes the file and starts to grow it.
    ///
    /// # Errors
    /// If no file can be had, or none of that size. Nothing is left of it.
    pub fn start(plan: FillPlan) -> Result<DiskFill, FillError> {
        let folder = plan.folder.clone();
        let file =
            unlinked(&folder).map_err(|source| FillError::NoFile { folder: folder.clone(), source })?;
        let before = Space::of_file(&file).map_err(|source| FillError::NoSpace { folder, source })?;
        check_file_limit(plan.used_goal.saturating_sub(before.used))?;
        let taken = Arc::new(AtomicU64::new(0));
        let mut pool = WorkerPool::new("disk-fill");
        let (goal, size) = (plan.used_goal, Arc::clone(&taken));
        pool.add(move |stop| Growth::new(file, goal, size, before).run(stop)).map_err(FillError::Thread)?;
        Ok(DiskFill { plan, before, taken, pool })
    }

    /// Is ready if the fill broke.
    pub fn broken(&self) -> WaitForCancellationFutureOwned {
        self.pool.one_ended()
    }

    /// Gives the space back and says what it was; or why the goal could not be reached.
    pub fn stop(mut self) -> (FillReport, Option<String>) {
        let ended = self.pool.end().pop();
        let nothing = Grown { fullest: self.before, least_full: None, reached_after: None, written: false };
        let (grown, failure) = match ended {
            Some(Ok(grown)) => (grown, None),
            Some(Err(reason)) => (nothing, Some(reason)),
            None => (nothing, None),
        };
        let report = FillReport {
            before: self.before,
            fullest: grown.fullest,
            least_full: grown.least_full,
            after: Space::of(&self.plan.folder).ok(),
            taken: self.taken.load(Ordering::Relaxed),
            reached_after: grown.reached_after,
            written: grown.written,
        };
        (report, failure)
    }
}

/// A larger file would end the process with SIGXFSZ.
fn check_file_limit(required: u64) -> Result<(), FillError> {
    match getrlimit(Resource::RLIMIT_FSIZE) {
        Ok((limit, _)) if required > limit => Err(FillError::FileLimit { required, limit }),
        _ => Ok(()),
    }
}

/// A file on its way to the goal.
struct Growth {
    file: File,
    goal: u64,
    size: Arc<AtomicU64>,
    started: Instant,
    grown: Grown,
    /// What is written where space cannot be reserved; not zeros, which some file systems do not store.
    filler: Vec<u8>,
}

impl Growth {
    fn new(file: File, goal: u64, size: Arc<AtomicU64>, before: Space) -> Growth {
        let grown = Grown { fullest: before, least_full: None, reached_after: None, written: false };
        Growth { file, goal, size, started: Instant::now(), grown, filler: Vec::new() }
    }

    /// Grows, then observes, until told to end. The file closes when this returns.
    fn run(mut self, stop: &StopSignal) -> Result<Grown, String> {
        while !stop.is_set() {
            let space = self.read_space()?;
            let missing = self.goal.saturating_sub(space.used).min(space.available) / BLOCK * BLOCK;
            if self.grown.reached_after.is_some() || missing == 0 {
                self.reached(space);
                stop.sleep(CHECK_INTERVAL);
                continue;
            }
            match self.grow(missing) {
                Ok(()) => {}
                // Others were quicker, or the last blocks went into the file system's own books.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    let space = self.read_space()?;
                    self.reached(space);
                }
                Err(error) => return Err(format!("could not take {missing} more bytes: {error}")),
            }
        }
        Ok(self.grown)
    }

    fn read_space(&mut self) -> Result<Space, String> {
        let space = Space::of_file(&self.file)
            .map_err(|error| format!("could not read how full the file system is: {error}"))?;
        if space.used > self.grown.fullest.used {
            self.grown.fullest = space;
        }
        Ok(space)
    }

    fn reached(&mut self, space: Space) {
        self.grown.reached_after.get_or_insert(self.started.elapsed());
        if self.grown.least_full.is_none_or(|least| space.used < least.used) {
            self.grown.least_full = Some(space);
        }
    }

    /// Takes up to `missing` more bytes, a step of them at most.
    fn grow(&mut self, missing: u64) -> io::Result<()> {
        let size = self.size.load(Ordering::Relaxed);
        let mut grown = 0;
        if !self.grown.written {
            let step = missing.min(STEP_BYTES);
            match reserve(&self.file, size, step) {
                Ok(()) => grown = step,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => self.grown.written = true,
                // A step may be too large where the next smaller one is not.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    grown = step / 2;
                    reserve(&self.file, size, grown)?;
                }
                Err(error) => return Err(error),
            }
        }
        if grown == 0 {
            grown = self.write(size, missing.min(WRITE_STEP_BYTES))?;
        }
        self.size.store(size + grown, Ordering::Relaxed);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: u64) -> io::Result<u64> {
        if self.filler.is_empty() {
            self.filler = super::io::random_bytes(whole(WRITE_STEP_BYTES));
        }
        let written = self.file.write_at(&self.filler[..whole(bytes)], at)?;
        // Only blocks that were allocated count as used.
        self.file.sync_data()?;
        Ok(written as u64)
    }
}

/// Reserves blocks for the file without writing them.
fn reserve(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    let sizes = (i64::try_from(at), i64::try_from(bytes));
    let (Ok(at), Ok(bytes)) = sizes else { return Err(io::ErrorKind::FileTooLarge.into()) };
    if bytes == 0 {
        return Err(io::ErrorKind::StorageFull.into());
    }
    match fallocate(file, FallocateFlags::empty(), at, bytes) {
        Ok(()) => Ok(()),
        Err(nix::Error::EOPNOTSUPP | nix::Error::ENOSYS) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(error.into()),
    }
}

/// The first of `folders` on the file system of `path` in which a file can be made.
///
/// # Errors
/// Why not in the last of them, in words.
pub fn writable_folder(path: &Path, folders: &[&Path]) -> Result<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    let target = device(path).map_err(|error| format!("{} cannot be looked at: {error}", path.display()))?;
    let mut refusal = format!("no folder on the file system of {} was found", path.display());
    for folder in folders.iter().filter(|folder| device(folder).is_ok_and(|device| device == target)) {
        match unlinked(folder) {
            Ok(_) => return Ok(folder.to_path_buf()),
            Err(error) => refusal = unlinked::explain(folder, &error),
        }
    }
    Err(refusal)
}
