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

pub mod medium;
pub mod space;
pub mod unlinked;

use super::worker_pool::{StopSignal, WorkerPool};
use crate::amount::whole;
use crate::memory::pace::{Look, Next, Pace};
use medium::MemoryRoom;
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
/// How often the memory limit's room is read where files are kept in memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(5);

/// What to fill, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillPlan {
    /// Where the file is made; it stands for its file system.
    pub folder: PathBuf,
    /// How far.
    pub goal: FillGoal,
}

/// How far to fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillGoal {
    /// Until so many bytes are in use on the file system, by us and all others.
    Used(u64),
    /// By a file of so many bytes.
    Taken(u64),
}

impl FillGoal {
    /// Bytes that a file of `size` lacks.
    fn missing(self, space: Space, size: u64) -> u64 {
        match self {
            FillGoal::Used(goal) => goal.saturating_sub(space.used),
            FillGoal::Taken(goal) => goal.saturating_sub(size),
        }
    }

    fn bytes(self) -> u64 {
        let (FillGoal::Used(bytes) | FillGoal::Taken(bytes)) = self;
        bytes
    }
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
    /// Why it could not be reached.
    pub refused: Option<&'static str>,
    /// How often space was given back because the memory that it is in was needed.
    pub given_back: u64,
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
    refused: Option<&'static str>,
    given_back: u64,
    written: bool,
}

impl Grown {
    fn nothing(before: Space) -> Grown {
        Grown {
            fullest: before,
            least_full: None,
            reached_after: None,
            refused: None,
            given_back: 0,
            written: false,
        }
    }
}

impl DiskFill {
    /// Makes the file and starts to grow it, as far as there is room in memory where it is kept there.
    ///
    /// # Errors
    /// If no file can be had, or none of that size. Nothing is left of it.
    pub fn start(plan: FillPlan, memory: MemoryRoom) -> Result<DiskFill, FillError> {
        let folder = plan.folder.clone();
        let file =
            unlinked(&folder).map_err(|source| FillError::NoFile { folder: folder.clone(), source })?;
        let before = Space::of_file(&file).map_err(|source| FillError::NoSpace { folder, source })?;
        check_file_limit(plan.goal.missing(before, 0))?;
        let taken = Arc::new(AtomicU64::new(0));
        let mut pool = WorkerPool::new("disk-fill");
        let growth = Growth::new(file, plan.goal, Arc::clone(&taken), before, memory);
        pool.add(move |stop| growth.run(stop)).map_err(FillError::Thread)?;
        Ok(DiskFill { plan, before, taken, pool })
    }

    /// Is ready if the fill broke.
    pub fn broken(&self) -> WaitForCancellationFutureOwned {
        self.pool.one_ended()
    }

    /// Gives the space back and says what it was; or why the goal could not be reached.
    pub fn stop(mut self) -> (FillReport, Option<String>) {
        let ended = self.pool.end().pop();
        let nothing = Grown::nothing(self.before);
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
            reached_after: grown.reached_after.filter(|_| grown.refused.is_none()),
            refused: grown.refused,
            given_back: grown.given_back,
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
    goal: FillGoal,
    size: Arc<AtomicU64>,
    /// How large it was when it had got as far as it would; it never grows beyond.
    full: Option<u64>,
    started: Instant,
    grown: Grown,
    memory: MemoryRoom,
    pace: Pace,
    /// What is written where space cannot be reserved; not zeros, which some file systems do not store.
    filler: Vec<u8>,
}

impl Growth {
    fn new(file: File, goal: FillGoal, size: Arc<AtomicU64>, before: Space, memory: MemoryRoom) -> Growth {
        Growth {
            file,
            goal,
            size,
            full: None,
            started: Instant::now(),
            grown: Grown::nothing(before),
            memory,
            pace: Pace::default(),
            filler: Vec::new(),
        }
    }

    /// Grows, then observes, until told to end. The file closes when this returns.
    fn run(mut self, stop: &StopSignal) -> Result<Grown, String> {
        while !stop.is_set() {
            let space = self.read_space()?;
            let missing = self.missing(space);
            if missing == 0 {
                self.reached(space);
            }
            let allowed = self.allowed(missing)?;
            if allowed == 0 {
                stop.sleep(if self.memory.is_some() { MEMORY_INTERVAL } else { CHECK_INTERVAL });
                continue;
            }
            match self.grow(allowed) {
                Ok(()) => {}
                // Others were quicker, or the last blocks went into the file system's own books.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    self.refused("the file system takes no more, though it says that it has room")?;
                }
                Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                    self.refused("the quota of this user is used up")?;
                }
                Err(error) => return Err(format!("could not take {missing} more bytes: {error}")),
            }
        }
        Ok(self.grown)
    }

    /// Bytes to grow by: what the file lacks, and once it was full what it has given back since.
    fn missing(&self, space: Space) -> u64 {
        let size = self.size.load(Ordering::Relaxed);
        let missing = self.goal.missing(space, size).min(space.room()) / BLOCK * BLOCK;
        self.full.map_or(missing, |full| full.saturating_sub(size).min(missing))
    }

    /// How many of them may be taken now. Gives some back where the memory that they are in is needed.
    fn allowed(&mut self, missing: u64) -> Result<u64, String> {
        let Some(room) = &self.memory else { return Ok(missing) };
        let held = self.size.load(Ordering::Relaxed);
        let goal = held.saturating_add(missing);
        let look = Look { now: self.started.elapsed(), room: room(), held, settled: true, goal };
        match self.pace.next(look) {
            Next::Keep => Ok(0),
            Next::Take(bytes) => Ok(bytes),
            Next::GiveBack(bytes) => {
                let left = held - bytes;
                self.file.set_len(left).map_err(|error| format!("could not give memory back: {error}"))?;
                self.size.store(left, Ordering::Relaxed);
                self.grown.given_back += 1;
                Ok(0)
            }
        }
    }

    /// It gets no larger. Where more than a hundredth of the goal is missing, that is said.
    fn refused(&mut self, why: &'static str) -> Result<(), String> {
        let space = self.read_space()?;
        let missing = self.goal.missing(space, self.size.load(Ordering::Relaxed));
        if self.full.is_none() && missing > self.goal.bytes() / 100 {
            self.grown.refused = Some(why);
        }
        self.reached(space);
        Ok(())
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
        self.full.get_or_insert(self.size.load(Ordering::Relaxed));
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
                // A step may be too large where a smaller one is not.
                Err(error) if error.kind() == io::ErrorKind::StorageFull && step > BLOCK => {
                    return self.grow(step / 2 / BLOCK * BLOCK);
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
