//! I/O load: threads that write, read, sync and do metadata work on files without a name.
//!
//! Page cache alone is no load on a disk. Reads and nearly all writes therefore go past it (`O_DIRECT`) where the
//! file system can, large ones for the bytes and rows of small ones for the requests; a few small writes go
//! through it and are synced every few; where there is no `O_DIRECT` reads drop what they want from the cache
//! first and writes are synced more often. The kernel takes the files away
//! when their descriptors close, and they close with the process.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_util::sync::WaitForCancellationFutureOwned;

mod buffer;
mod worker;

pub use buffer::random_bytes;

use super::disk::medium::MemoryRoom;
use super::disk::space::Space;
use super::disk::unlinked::{self, unlinked};
use super::memory::pace::{Look, Next, Pace};
use super::worker_pool::{StopSignal, WorkerPool};
use worker::Worker;

/// The least that a worker's file may grow to; less is no load.
pub const LEAST_BYTES_PER_WORKER: u64 = 1024 * 1024;

/// How often the memory limit's room is read where files are kept in memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(5);

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoPlan {
    /// Where the files are made; it stands for its file system.
    pub folder: PathBuf,
    /// Worker threads, at least 1.
    pub workers: u32,
    /// How large the files of all workers may get together.
    pub bytes: u64,
    /// What stays free for others whatever happens: files stop growing before, and shrink when others need it.
    pub reserve: u64,
}

/// Why a load could not be started. No file is left.
#[derive(Debug, Error)]
pub enum IoError {
    /// No worker was asked for.
    #[error("a load needs at least one worker")]
    NoWorkers,
    /// No file without a name can be made in the folder.
    #[error("{}", unlinked::explain(folder, source))]
    NoFile {
        /// Where it was to be.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker thread could not be had; the text says why.
    #[error("{0}")]
    Thread(String),
}

/// What was done so far, by all workers.
#[derive(Debug, Default)]
struct Counters {
    /// Bytes that all files may have together, where the memory that they are in limits them.
    allowed: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
    operations: AtomicU64,
    syncs: AtomicU64,
    metadata: AtomicU64,
    /// Bytes of all files now, and at their largest.
    size: AtomicU64,
    largest: AtomicU64,
    /// How often a file had to give space back because others needed it.
    shrunk: AtomicU64,
    /// How often there was no space for a write.
    refused: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}

/// What a load achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoReport {
    /// How long it lived.
    pub elapsed: Duration,
    /// Bytes written by system calls.
    pub written: u64,
    /// Bytes read by system calls.
    pub read: u64,
    /// Writes, reads, syncs and metadata operations.
    pub operations: u64,
    /// Calls of `fdatasync`.
    pub syncs: u64,
    /// Files made and removed, resized, their times and modes changed.
    pub metadata: u64,
    /// The most that all files held together.
    pub largest: u64,
    /// How often a file gave space back because others needed it.
    pub shrunk: u64,
    /// How often there was no space for a write.
    pub refused: u64,
    /// Whether large writes and reads went past the page cache.
    pub direct: bool,
    /// Before the first file was made.
    pub before: Space,
    /// After the files are gone; None if the kernel does not say.
    pub after: Option<Space>,
}

/// A running load. Dropping it ends it; its files are gone with it.
#[derive(Debug)]
#[must_use = "dropped, the load ends"]
pub struct IoLoad {
    plan: IoPlan,
    before: Space,
    started: Instant,
    direct: bool,
    counters: Arc<Counters>,
    pool: WorkerPool<()>,
}

impl IoLoad {
    /// Makes the files and starts the workers, whose files grow as far as there is room in memory where they are kept
    /// there.
    ///
    /// # Errors
    /// If a file cannot be had or not a single block be written, or a thread not be had.
    pub fn start(plan: IoPlan, memory: MemoryRoom) -> Result<IoLoad, IoError> {
        if plan.workers == 0 {
            return Err(IoError::NoWorkers);
        }
        let no_file = |source| IoError::NoFile { folder: plan.folder.clone(), source };
        let before = Space::of(&plan.folder).map_err(no_file)?;
        let mut files = Vec::new();
        for _ in 0..plan.workers {
            files.push(unlinked(&plan.folder).and_then(writable).map_err(no_file)?);
        }
        let mut pool = WorkerPool::new("io-stress");
        let counters = Arc::new(Counters::default());
        counters.allowed.store(plan.bytes, Relaxed);
        if let Some(room) = memory {
            // Half of it is taken in the first go, as later ([`Pace`]); a worker's least fits in any case.
            let least = LEAST_BYTES_PER_WORKER.saturating_mul(plan.workers.into());
            let half = u64::try_from(room() / 2).unwrap_or(0);
            counters.allowed.store(half.max(least).min(plan.bytes), Relaxed);
            let (counters, goal) = (Arc::clone(&counters), plan.bytes);
            let follow = move |stop: &StopSignal| {
                follow_memory(stop, &*room, &counters, goal);
                Ok(())
            };
            pool.add(follow).map_err(IoError::Thread)?;
        }
        let mut direct = true;
        for (number, file) in (1..).zip(files) {
            let most = (plan.bytes / u64::from(plan.workers)).max(LEAST_BYTES_PER_WORKER);
            let worker = Worker::new(file, &plan, most, number, Arc::clone(&counters)).map_err(no_file)?;
            direct &= worker.is_direct();
            pool.add(move |stop| worker.run(stop)).map_err(IoError::Thread)?;
        }
        Ok(IoLoad { plan, before, started: Instant::now(), direct, counters, pool })
    }

    /// Is ready if a worker broke.
    pub fn broken(&self) -> WaitForCancellationFutureOwned {
        self.pool.one_ended()
    }

    /// Ends the load, waits until its threads and files are gone, and says what it achieved; and the first
    /// reason, if a worker broke.
    pub fn stop(mut self) -> (IoReport, Option<String>) {
        let elapsed = self.started.elapsed();
        let failure = self.pool.end().into_iter().find_map(Result::err);
        let counted = &self.counters;
        let report = IoReport {
            elapsed,
            written: counted.written.load(Relaxed),
            read: counted.read.load(Relaxed),
            operations: counted.operations.load(Relaxed),
            syncs: counted.syncs.load(Relaxed),
            metadata: counted.metadata.load(Relaxed),
            largest: counted.largest.load(Relaxed),
            shrunk: counted.shrunk.load(Relaxed),
            refused: counted.refused.load(Relaxed),
            direct: self.direct,
            before: self.before,
            after: Space::of(&self.plan.folder).ok(),
        };
        (report, failure)
    }
}

/// Keeps saying how much all files may have: they are in memory that others need, too.
fn follow_memory(stop: &StopSignal, room: &dyn Fn() -> i64, counters: &Counters, goal: u64) {
    let (started, mut pace) = (Instant::now(), Pace::default());
    let mut before = None;
    while !stop.is_set() {
        let held = counters.size.load(Relaxed);
        let settled = before.replace(held) == Some(held);
        let look = Look { now: started.elapsed(), room: room(), held, settled, goal };
        match pace.next(look) {
            Next::Keep => {}
            Next::Take(bytes) => counters.allowed.store(held + bytes, Relaxed),
            Next::GiveBack(bytes) => counters.allowed.store(held - bytes, Relaxed),
        }
        stop.sleep(MEMORY_INTERVAL);
    }
}

/// `file`, if a block can be written to it.
fn writable(file: File) -> io::Result<File> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(&random_bytes(4096), 0)?;
    Ok(file)
}
