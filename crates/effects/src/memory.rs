//! Memory load: children that hold pages and write to all of them again and again, and a thread that lets them give
//! way when the memory is needed.
//!
//! The pages are the children's and nothing else's ([`ballast`]): what the OOM killer takes is one of them, never the
//! sidecar. Knows nothing of cgroups or limits; how much may be taken at a moment is told by who starts the load.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use thiserror::Error;
use tokio_util::sync::WaitForCancellationFutureOwned;

mod ballast;
pub(crate) mod pace;
mod region;

use super::worker_pool::{StopSignal, WorkerPool};
use crate::child::End;
use ballast::Ballast;
use pace::{Look, Next, Pace};

/// How often the room is read, and while more is being taken. No process fills a margin of 16 MiB faster, one thread
/// touching new pages.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
const BUSY_INTERVAL: Duration = Duration::from_millis(2);
/// How long after its end a load that we have not ended ends itself.
const GRACE: Duration = Duration::from_secs(1);
/// How long a child that was killed is not replaced, the first time; twice as long each time after.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a load asks of the task that it is in.
#[derive(Clone)]
pub struct Surroundings {
    /// Bytes that may be taken now without endangering anybody; below 0, so many have to be given back.
    pub room: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// How often the OOM killer has come to where our processes are; None if nobody counts.
    pub oom_kills: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
}

/// Bytes of a page on this machine: 4,096 on most, 16,384 or 65,536 with some kernels for arm64.
fn page_size() -> u64 {
    let told = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    told.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

/// What to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Children that share it, at least 1.
    pub children: u32,
    /// Bytes, for all of them together.
    pub bytes: u64,
    /// For how long. The children end a second later if nobody has ended them.
    pub duration: Duration,
}

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
    /// A child or its address space is refused.
    #[error(
        "could not start a process that holds {bytes} bytes: {source}; the virtual memory ulimit or the pids limit may \
         be too small"
    )]
    Refused {
        /// For one child.
        bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread that watches could not be had; the text says why.
    #[error("{0}")]
    Thread(String),
}

/// What is held and was held.
#[derive(Debug)]
struct Counters {
    held: AtomicU64,
    most: AtomicU64,
    /// The least that was held after the goal had been reached.
    least: AtomicU64,
    given_back: AtomicU64,
    touched: AtomicU64,
    /// Milliseconds until everything was held, and 1; 0 if it never was.
    reached: AtomicU64,
    taken: AtomicU64,
    killed: AtomicU64,
    /// Why the children are not what the OOM killer takes first: the number of an error, or 0.
    not_first: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        let [held, most, given_back, touched, reached, taken, killed, not_first] =
            std::array::from_fn(|_| AtomicU64::new(0));
        let least = u64::MAX.into();
        Counters { held, most, least, given_back, touched, reached, taken, killed, not_first }
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
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
    /// How often memory was given back because it was needed.
    pub given_back: u64,
    /// Pages written to again while they were held.
    pub touched: u64,
    /// How often the OOM killer took a child with what it held.
    pub taken: u64,
    /// How often another's SIGKILL did.
    pub killed: u64,
    /// Why the OOM killer may take another process first, as the number of an error.
    pub not_first: Option<i32>,
}

/// Memory that is held. Dropping it gives the memory back.
#[derive(Debug)]
#[must_use = "dropped, the memory is given back"]
pub struct MemoryLoad {
    counters: Arc<Counters>,
    pool: WorkerPool<()>,
}

impl MemoryLoad {
    /// Starts the children, and the thread that lets them take what is asked as far as there is room. Takes a
    /// millisecond or so for each child.
    ///
    /// # Errors
    /// If address space, a process or a thread cannot be had. Nothing is held then.
    pub fn start(plan: MemoryPlan, surroundings: &Surroundings) -> Result<MemoryLoad, MemoryError> {
        let MemoryPlan { children: workers, bytes, duration } = plan;
        if workers == 0 {
            return Err(MemoryError::NoWorkers);
        }
        let page = page_size();
        let share = bytes / u64::from(workers) / page * page;
        if share == 0 {
            return Err(MemoryError::TooSmall { workers, bytes });
        }
        let counters = Arc::new(Counters::default());
        let keeper = Keeper {
            page,
            share,
            pattern: Ballast::pattern(),
            places: (0..workers).map(|_| Place::default()).collect(),
            counters: Arc::clone(&counters),
            surroundings: surroundings.clone(),
            started: Instant::now(),
            until: Instant::now() + duration + GRACE,
            oom_kills: (surroundings.oom_kills)(),
        };
        let mut pool = WorkerPool::new("memory-stress");
        let (told, started) = mpsc::sync_channel(1);
        // The children end with the thread that starts them.
        pool.add(move |stop| keeper.run(stop, &told)).map_err(MemoryError::Thread)?;
        match started.recv() {
            Ok(Ok(())) => Ok(MemoryLoad { counters, pool }),
            Ok(Err(source)) => Err(MemoryError::Refused { bytes: share, source }),
            Err(mpsc::RecvError) => {
                let why = pool.end().into_iter().find_map(Result::err);
                Err(MemoryError::Thread(why.unwrap_or_default()))
            }
        }
    }

    /// Bytes held at this moment.
    pub fn held(&self) -> u64 {
        self.counters.held.load(Relaxed)
    }

    /// Is ready if the load broke.
    pub fn broken(&self) -> WaitForCancellationFutureOwned {
        self.pool.one_ended()
    }

    /// Gives everything back and says what was achieved; and the reason, if it broke.
    pub fn stop(mut self) -> (MemoryReport, Option<String>) {
        let held = self.held();
        let failure = self.pool.end().into_iter().find_map(Result::err);
        let counted = &self.counters;
        let reached = counted.reached.load(Relaxed).checked_sub(1);
        let not_first = i32::try_from(counted.not_first.load(Relaxed)).ok();
        let report = MemoryReport {
            held,
            most: counted.most.load(Relaxed),
            reached_after: reached.map(Duration::from_millis),
            least: Some(counted.least.load(Relaxed)).filter(|least| *least < u64::MAX),
            given_back: counted.given_back.load(Relaxed),
            touched: counted.touched.load(Relaxed),
            taken: counted.taken.load(Relaxed),
            killed: counted.killed.load(Relaxed),
            not_first: not_first.filter(|code| *code != 0),
        };
        (report, failure)
    }
}

/// Where a child is, or was until it was killed.
#[derive(Debug, Default)]
struct Place {
    child: Option<Ballast>,
    /// No other is started before.
    again: Option<Instant>,
    losses: u32,
}

/// Starts the children, and tells them how much to hold.
struct Keeper {
    /// Bytes of a page.
    page: u64,
    /// Bytes of each child.
    share: u64,
    pattern: Vec<u8>,
    places: Vec<Place>,
    counters: Arc<Counters>,
    surroundings: Surroundings,
    started: Instant,
    /// When the children end by themselves.
    until: Instant,
    /// Times that the OOM killer had come when that was last looked at.
    oom_kills: Option<u64>,
}

impl Keeper {
    fn run(mut self, stop: &StopSignal, told: &mpsc::SyncSender<io::Result<()>>) -> Result<(), String> {
        let started = self.start_missing();
        let broken = started.is_err();
        // Nobody listens where the start was given up.
        let _ = told.send(started);
        let mut pace = Pace::default();
        while !broken && !stop.is_set() && Instant::now() < self.until {
            if self.bury_dead() {
                pace.calm(self.started.elapsed());
            }
            self.start_missing().map_err(|error| {
                format!("could not start another process for what the OOM killer took: {error}")
            })?;
            let settled = self.steer(&mut pace);
            stop.sleep(if settled { CHECK_INTERVAL } else { BUSY_INTERVAL });
        }
        self.count(self.held());
        let touched = self.children().map(Ballast::touched).sum();
        self.counters.touched.fetch_add(touched, Relaxed);
        Ok(())
    }

    fn children(&self) -> impl Iterator<Item = &Ballast> {
        self.places.iter().filter_map(|place| place.child.as_ref())
    }

    fn held(&self) -> u64 {
        self.children().map(Ballast::held).sum()
    }

    /// Starts a child where there is none and it is time.
    fn start_missing(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for place in &mut self.places {
            if place.child.is_none() && place.again.is_none_or(|again| again <= now) {
                let left = self.until.saturating_duration_since(now);
                place.child = Some(Ballast::start(self.share, &self.pattern, left)?);
            }
        }
        Ok(())
    }

    /// Whether a child has been killed since the last look.
    fn bury_dead(&mut self) -> bool {
        let mut any = false;
        for place in &mut self.places {
            let Some(end) = place.child.as_mut().and_then(Ballast::ended) else { continue };
            let touched = place.child.take().map_or(0, |child| child.touched());
            self.counters.touched.fetch_add(touched, Relaxed);
            if end == End::Exited(0) {
                // Its time was over before ours, by a hair.
                continue;
            }
            any = true;
            let now = (self.surroundings.oom_kills)();
            // Where nobody counts, who else would?
            let oom = now.is_none_or(|now| self.oom_kills.is_none_or(|before| now > before));
            let by_oom = oom && matches!(end, End::Signalled(Signal::SIGKILL) | End::Unknown);
            let counter = if by_oom { &self.counters.taken } else { &self.counters.killed };
            counter.fetch_add(1, Relaxed);
            if by_oom {
                self.oom_kills = self.oom_kills.map(|before| before + 1);
            }
            let pause = FIRST_PAUSE.saturating_mul(1 << place.losses.min(6)).min(LONGEST_PAUSE);
            place.losses += 1;
            place.again = Some(Instant::now() + pause);
            tracing::warn!(by_oom, ?end, "a process that held memory was killed; another follows");
        }
        any
    }

    /// Looks at the room and tells the children how much to hold. Whether they hold that already.
    fn steer(&self, pace: &mut Pace) -> bool {
        let alive = self.children().count() as u64;
        // Settled first, and both before the room: what is taken in between makes the room smaller, never larger.
        let settled = self.children().all(Ballast::settled);
        let held = self.held();
        self.count(held);
        for error in self.children().filter_map(Ballast::refused) {
            let code = error.raw_os_error().map_or(0, i32::unsigned_abs);
            self.counters.not_first.store(code.into(), Relaxed);
        }
        let room = (self.surroundings.room)();
        let look = Look { now: self.started.elapsed(), room, held, settled, goal: self.share * alive };
        let target = match pace.next(look) {
            Next::Keep => return settled,
            Next::Take(bytes) => held + bytes,
            Next::GiveBack(bytes) => {
                self.counters.given_back.fetch_add(1, Relaxed);
                held - bytes
            }
        };
        let each = (target / alive.max(1) / self.page * self.page).min(self.share);
        self.children().for_each(|child| child.set_target(each));
        false
    }

    fn count(&self, held: u64) {
        let counters = &self.counters;
        counters.held.store(held, Relaxed);
        counters.most.fetch_max(held, Relaxed);
        if held == self.share * self.places.len() as u64 {
            let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
            // Only the first time.
            let _ = counters.reached.compare_exchange(0, passed, Relaxed, Relaxed);
        }
        if counters.reached.load(Relaxed) > 0 {
            counters.least.fetch_min(held, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    const HOUR: Duration = Duration::from_secs(3600);

    /// A load of `bytes`, and what it is told: the room that there is without it, and the OOM killer's count.
    fn load(children: u32, bytes: u64, room: i64) -> (MemoryLoad, Arc<AtomicI64>, Arc<AtomicU64>) {
        let (told, kills) = (Arc::new(AtomicI64::new(room)), Arc::new(AtomicU64::new(0)));
        let (seen, counted) = (Arc::clone(&told), Arc::clone(&kills));
        let surroundings = Surroundings {
            room: Arc::new(move || seen.load(Relaxed)),
            oom_kills: Arc::new(move || Some(counted.load(Relaxed))),
        };
        let plan = MemoryPlan { children, bytes, duration: HOUR };
        (MemoryLoad::start(plan, &surroundings).unwrap(), told, kills)
    }

    /// Waits until `wanted` is held; an hour's wait would be a hanging test, and says so.
    fn until_held(load: &MemoryLoad, wanted: u64) {
        while load.held() != wanted {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_asked_is_held_and_written_to_again() {
        let (load, ..) = load(2, 128 * MIB, i64::MAX);
        until_held(&load, 128 * MIB);
        std::thread::sleep(Duration::from_millis(1500));
        let (report, failure) = load.stop();
        assert_eq!((failure, report.held, report.least), (None, 128 * MIB, Some(128 * MIB)));
        assert!(report.touched >= 128 * MIB / page_size(), "{report:?}");
        assert_eq!((report.taken, report.killed, report.not_first), (0, 0, None));
    }

    #[test]
    fn memory_is_given_back_while_it_is_needed() {
        let (load, room, _) = load(2, 64 * MIB, i64::MAX);
        until_held(&load, 64 * MIB);
        room.store(-(64 * MIB.cast_signed()), Relaxed);
        until_held(&load, 0);
        room.store(i64::MAX, Relaxed);
        until_held(&load, 64 * MIB);
        let (report, _) = load.stop();
        assert_eq!((report.least, report.most), (Some(0), 64 * MIB));
        assert!(report.given_back >= 1, "{report:?}");
    }

    #[test]
    fn shares_below_a_page_are_refused() {
        for (children, bytes) in [(0, MIB), (4096, MIB), (1, 4095)] {
            let surroundings = Surroundings { room: Arc::new(|| 0), oom_kills: Arc::new(|| None) };
            let plan = MemoryPlan { children, bytes, duration: HOUR };
            assert!(MemoryLoad::start(plan, &surroundings).is_err(), "{children}, {bytes}");
        }
    }
}
