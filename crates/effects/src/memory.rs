//! Memory load: threads that hold pages, write to all of them again and again, and give way when the memory is
//! needed.
//!
//! Pages of our process and nothing else: the kernel takes them back with it. Knows nothing of cgroups or limits;
//! how much may be taken at a moment is told by who starts the load.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_util::sync::WaitForCancellationFutureOwned;

mod region;

use super::io::random_bytes;
use super::worker_pool::{StopSignal, WorkerPool};
use crate::amount::whole;
use region::Region;

/// Taken in one go, at most. Between two, the room is looked at again and a stop is seen.
const STEP: u64 = 4 * 1024 * 1024;
/// The least that is taken or given back, but for the last of a share.
const GRAIN: usize = 1024 * 1024;
const PAGE: usize = 4096;
/// How often the room is read. No process fills a margin of 16 MiB faster, one thread touching new pages.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// How often every page is written to.
const TOUCH: Duration = Duration::from_secs(1);

/// Bytes that may be taken now without endangering anybody; below 0, so many have to be given back.
pub type Room = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why a load could not be started. Nothing is held.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// No worker was asked for.
    #[error("a load needs at least one worker")]
    NoWorkers,
    /// Less than a page for each worker.
    #[error(
        "{workers} workers cannot share {bytes} bytes: each needs a page at least; ask for fewer workers"
    )]
    TooSmall {
        /// As asked.
        workers: u32,
        /// For all of them.
        bytes: u64,
    },
    /// Address space is refused.
    #[error(
        "could not get address space for {bytes} bytes: {source}; the virtual memory ulimit may be too small"
    )]
    Space {
        /// For all workers.
        bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker thread could not be had; the text says why.
    #[error("{0}")]
    Thread(String),
}

/// What all workers may hold, hold, and held.
#[derive(Debug, Default)]
struct Counters {
    /// Bytes, as the last look at the room says.
    allowed: AtomicU64,
    held: AtomicU64,
    most: AtomicU64,
    /// The least that was held after the goal had been reached.
    least: AtomicU64,
    given_back: AtomicU64,
    touched: AtomicU64,
    /// Milliseconds until everything was held, and 1; 0 if it never was.
    reached: AtomicU64,
}

/// What a load achieved. The memory is back when one of these exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes that were held when it ended.
    pub held: u64,
    /// The most bytes that were held.
    pub most: u64,
    /// How long it took to hold all that was asked; None if there never was room for it.
    pub reached_after: Option<Duration>,
    /// The least after that.
    pub least: Option<u64>,
    /// How often a worker gave memory back because it was needed.
    pub given_back: u64,
    /// Pages written to again while they were held.
    pub touched: u64,
}

/// Memory that is held. Dropping it gives the memory back.
#[derive(Debug)]
#[must_use = "dropped, the memory is given back"]
pub struct MemoryLoad {
    counters: Arc<Counters>,
    pool: WorkerPool<()>,
}

impl MemoryLoad {
    /// Starts `workers` threads, at least 1, that take `bytes` together, as far as there is `room`.
    ///
    /// # Errors
    /// If address space or a thread cannot be had. Nothing is held then.
    pub fn start(workers: u32, bytes: u64, room: &Room) -> Result<MemoryLoad, MemoryError> {
        if workers == 0 {
            return Err(MemoryError::NoWorkers);
        }
        let share = whole(bytes / u64::from(workers)) / PAGE * PAGE;
        if share == 0 {
            return Err(MemoryError::TooSmall { workers, bytes });
        }
        let regions: Result<Vec<_>, _> = (0..workers).map(|_| Region::new(share)).collect();
        let regions = regions.map_err(|source| MemoryError::Space { bytes, source })?;
        let counters = Arc::new(Counters { least: u64::MAX.into(), ..Counters::default() });
        let pattern: Arc<[u8]> = random_bytes(whole(STEP)).into();
        let mut pool = WorkerPool::new("memory-stress");
        let (workers, started) = (u64::from(workers), Instant::now());
        let all = share as u64 * workers;
        for region in regions {
            let (pattern, counters) = (Arc::clone(&pattern), Arc::clone(&counters));
            let worker = Worker { region, share, held: 0, workers, pattern, counters, all, started };
            pool.add(move |stop| worker.run(stop)).map_err(MemoryError::Thread)?;
        }
        let (room, counted) = (Arc::clone(room), Arc::clone(&counters));
        let looking = move |stop: &StopSignal| {
            update_allowed(stop, &room, &counted, all);
            Ok(())
        };
        pool.add(looking).map_err(MemoryError::Thread)?;
        Ok(MemoryLoad { counters, pool })
    }

    /// Bytes held at this moment.
    pub fn held(&self) -> u64 {
        self.counters.held.load(Relaxed)
    }

    /// Is ready if a worker broke.
    pub fn broken(&self) -> WaitForCancellationFutureOwned {
        self.pool.one_ended()
    }

    /// Gives everything back and says what was achieved; and the first reason, if a worker broke.
    pub fn stop(mut self) -> (MemoryReport, Option<String>) {
        let held = self.held();
        let failure = self.pool.end().into_iter().find_map(Result::err);
        let counted = &self.counters;
        let reached = counted.reached.load(Relaxed).checked_sub(1);
        let report = MemoryReport {
            held,
            most: counted.most.load(Relaxed),
            reached_after: reached.map(Duration::from_millis),
            least: Some(counted.least.load(Relaxed)).filter(|least| *least < u64::MAX),
            given_back: counted.given_back.load(Relaxed),
            touched: counted.touched.load(Relaxed),
        };
        (report, failure)
    }
}

/// Keeps saying how much may be held.
fn update_allowed(stop: &StopSignal, room: &Room, counters: &Counters, all: u64) {
    while !stop.is_set() {
        // In this order: what is taken in between makes the room smaller, and the sum too small, never too large.
        let held = counters.held.load(Relaxed);
        let allowed = held.saturating_add_signed(room()).min(all);
        counters.allowed.store(allowed, Relaxed);
        stop.sleep(CHECK_INTERVAL);
    }
}

/// One thread with its share.
struct Worker {
    region: Region,
    /// Bytes it may hold, and holds: always the first of the region.
    share: usize,
    held: usize,
    pattern: Arc<[u8]>,
    counters: Arc<Counters>,
    /// How many share, and bytes of all of them together.
    workers: u64,
    all: u64,
    started: Instant,
}

impl Worker {
    fn run(mut self, stop: &StopSignal) -> Result<(), String> {
        let mut touched = Instant::now();
        while !stop.is_set() {
            let allowed = whole(self.counters.allowed.load(Relaxed) / self.workers);
            if allowed < self.held {
                let surplus = self.held - allowed;
                self.give_back(surplus).map_err(|error| format!("could not give memory back: {error}"))?;
            } else if let step @ 1.. = self.step(allowed) {
                self.take(step);
                continue;
            }
            if touched.elapsed() >= TOUCH {
                self.touch(stop);
                touched = Instant::now();
            }
            stop.sleep(CHECK_INTERVAL);
        }
        Ok(())
    }

    /// Bytes to take now. In whole grains but for the last, so that a little that comes free sets nobody off.
    fn step(&self, allowed: usize) -> usize {
        let wanted = (self.share - self.held).min(whole(STEP));
        let free = allowed - self.held;
        if free >= wanted { wanted } else { free / GRAIN * GRAIN }
    }

    fn take(&mut self, step: usize) {
        let pattern = &self.pattern[..step];
        self.region.bytes()[self.held..self.held + step].copy_from_slice(pattern);
        self.held += step;
        let now = self.counters.held.fetch_add(step as u64, Relaxed) + step as u64;
        self.counters.most.fetch_max(now, Relaxed);
        if now == self.all {
            let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
            let first = self.counters.reached.compare_exchange(0, passed, Relaxed, Relaxed);
            if first.is_ok() {
                self.counters.least.fetch_min(now, Relaxed);
            }
        }
    }

    /// Gives `bytes` back, in whole grains.
    fn give_back(&mut self, bytes: usize) -> io::Result<()> {
        let rest = self.held.saturating_sub(bytes.div_ceil(GRAIN) * GRAIN) / PAGE * PAGE;
        self.region.give_back(rest..self.held)?;
        let freed = (self.held - rest) as u64;
        self.held = rest;
        let now = self.counters.held.fetch_sub(freed, Relaxed) - freed;
        if self.counters.reached.load(Relaxed) > 0 {
            self.counters.least.fetch_min(now, Relaxed);
        }
        self.counters.given_back.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Writes to every page that is held.
    fn touch(&mut self, stop: &StopSignal) {
        let held = self.held;
        let mut pages = 0;
        for step in self.region.bytes()[..held].chunks_mut(whole(STEP)) {
            if stop.is_set() {
                break;
            }
            for page in step.chunks_mut(PAGE) {
                page[0] = page[0].wrapping_add(1);
                pages += 1;
            }
        }
        self.counters.touched.fetch_add(pages, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A load of `bytes`, and the room that it is told.
    fn load(workers: u32, bytes: u64, room: i64) -> (MemoryLoad, Arc<AtomicI64>) {
        let told = Arc::new(AtomicI64::new(room));
        let seen = Arc::clone(&told);
        let room: Room = Arc::new(move || seen.load(Relaxed));
        (MemoryLoad::start(workers, bytes, &room).unwrap(), told)
    }

    /// Waits until `wanted` is held; an hour's wait would be a hanging test, and says so.
    fn until_held(load: &MemoryLoad, wanted: u64) {
        while load.held() != wanted {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Resident memory of this process. The tests of the crate share it, so only large steps say anything.
    fn resident() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE as u64
    }

    #[test]
    fn what_is_held_is_resident_and_is_given_back() {
        let before = resident();
        let (load, _) = load(2, 512 * MIB, i64::MAX);
        until_held(&load, 512 * MIB);
        assert!(resident() > before + 300 * MIB, "{} after {before}", resident());
        let (report, failure) = load.stop();
        assert_eq!((failure, report.held, report.least), (None, 512 * MIB, Some(512 * MIB)));
        assert!(resident() < before + 212 * MIB, "{} after {before}", resident());
    }

    #[test]
    fn without_room_for_all_nothing_is_taken() {
        let (looks, told) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(4 * GRAIN.cast_signed() as i64 - 1)));
        let (counted, seen) = (Arc::clone(&looks), Arc::clone(&told));
        let room: Room = Arc::new(move || {
            counted.fetch_add(1, Relaxed);
            seen.load(Relaxed)
        });
        let load = MemoryLoad::start(4, 64 * MIB, &room).unwrap();
        while looks.load(Relaxed) < 12 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(load.held(), 0);
        told.store(i64::MAX, Relaxed);
        until_held(&load, 64 * MIB);
        assert!(load.stop().0.reached_after.is_some());
    }

    #[test]
    fn memory_is_given_back_while_it_is_needed() {
        let (load, room) = load(2, 64 * MIB, i64::MAX);
        until_held(&load, 64 * MIB);
        room.store(-(64 * MIB.cast_signed()), Relaxed);
        until_held(&load, 0);
        room.store(i64::MAX, Relaxed);
        until_held(&load, 64 * MIB);
        let (report, _) = load.stop();
        assert_eq!((report.least, report.most), (Some(0), 64 * MIB));
        assert!(report.given_back >= 2, "{report:?}");
    }

    #[test]
    fn shares_below_a_page_are_refused() {
        for (workers, bytes) in [(0, MIB), (4096, MIB), (1, 4095)] {
            let room: Room = Arc::new(|| 0);
            assert!(MemoryLoad::start(workers, bytes, &room).is_err(), "{workers}, {bytes}");
        }
    }
}
