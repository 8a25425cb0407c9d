//! CPU load: threads that keep a share of a core busy, each in a closed loop on its own CPU clock.
//!
//! Threads and nothing else: the kernel ends them with the process, whatever happens to our code. Knows
//! nothing of tasks, limits or documents; how many threads at which share is decided by the caller.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::time::ClockId;
use nix::unistd::gettid;
use thiserror::Error;

pub mod pace;
pub mod record;

use pace::{Pace, Turn, WINDOW};
use record::Record;

/// What to load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadPlan {
    /// Worker threads, at least 1.
    pub threads: u32,
    /// Share of one core per thread, 0–1.
    pub share: f64,
    /// How long it is meant to live. Decides only how finely the record keeps its intervals.
    pub duration: Duration,
}

/// Why a load could not be started, or did not live as it should.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No thread was asked for.
    #[error("a load needs at least one thread")]
    NoThreads,
    /// The kernel has no more threads for this process.
    #[error(
        "could not start worker thread {number} of {threads}: {source}; raise the pids limit or ask for fewer workers"
    )]
    Spawn {
        /// The first that could not be had, from 1.
        number: u32,
        /// How many were asked for.
        threads: u32,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A worker broke off.
    #[error("worker thread {number} ended before it was told to: {reason}")]
    Worker {
        /// Which, from 1.
        number: u32,
        /// Its error or panic.
        reason: String,
    },
    /// The kernel does not tell a thread's CPU time.
    #[error("could not read the CPU clock of a worker thread: {0}")]
    Clock(nix::Error),
}

/// What a load achieved, and what went wrong on the way. The load is gone when one of these exists.
#[derive(Debug)]
pub struct LoadReport {
    /// What was asked and achieved, second by second.
    pub record: Record,
    /// The first worker that failed, if one did.
    pub failure: Option<LoadError>,
}

/// A running load. Dropping it stops it and waits until its threads are gone.
#[derive(Debug)]
#[must_use = "dropped, the load ends"]
pub struct CpuLoad {
    stop: Arc<AtomicBool>,
    started: Instant,
    workers: Vec<JoinHandle<Result<Duration, LoadError>>>,
    sampler: Option<JoinHandle<Record>>,
}

/// Whether a load can be started here: starts one that burns nothing, and stops it.
///
/// # Errors
/// A thread cannot be had, or its CPU clock cannot be read.
pub fn probe() -> Result<(), LoadError> {
    let plan = LoadPlan { threads: 1, share: 0.0, duration: Duration::from_secs(1) };
    CpuLoad::start(plan)?.stop().failure.map_or(Ok(()), Err)
}

/// Small, because a worker needs next to nothing and there may be thousands.
const STACK_BYTES: usize = 64 * 1024;

/// Rounds of arithmetic between two readings of the clock: 10–20 µs, so that reading costs a few per cent of
/// the burning and a burn overshoots by hundredths of a point at most.
const ROUNDS_PER_CHECK: u32 = 4_000;

impl CpuLoad {
    /// Starts the threads of `plan`. When it returns every one of them is running.
    ///
    /// # Errors
    /// If a thread cannot be had. Those that had started are gone again.
    pub fn start(plan: LoadPlan) -> Result<CpuLoad, LoadError> {
        if plan.threads == 0 {
            return Err(LoadError::NoThreads);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let mut load = CpuLoad { stop, started, workers: Vec::new(), sampler: None };
        let (announce, announced) = mpsc::channel();
        for number in 1..=plan.threads {
            load.add_worker(number, plan, announce.clone())?;
        }
        drop(announce);
        let clocks: Vec<ClockId> = announced.iter().take(plan.threads as usize).collect();
        load.add_sampler(plan, clocks)?;
        Ok(load)
    }

    fn add_worker(
        &mut self,
        number: u32,
        plan: LoadPlan,
        announce: mpsc::Sender<ClockId>,
    ) -> Result<(), LoadError> {
        let (stop, started) = (Arc::clone(&self.stop), self.started);
        let worker = thread::Builder::new()
            .name(format!("cpu-stress-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || work(plan.share, started, &stop, announce))
            .map_err(|source| LoadError::Spawn { number, threads: plan.threads, source })?;
        self.workers.push(worker);
        Ok(())
    }

    fn add_sampler(&mut self, plan: LoadPlan, clocks: Vec<ClockId>) -> Result<(), LoadError> {
        let (stop, started) = (Arc::clone(&self.stop), self.started);
        let record = Record::new(plan.duration);
        let sampler = thread::Builder::new()
            .name("cpu-stress-look".into())
            .stack_size(STACK_BYTES)
            .spawn(move || sample(record, &clocks, started, &stop))
            .map_err(|source| LoadError::Spawn { number: plan.threads + 1, threads: plan.threads, source })?;
        self.sampler = Some(sampler);
        Ok(())
    }

    /// Stops the load and waits until its threads are gone.
    pub fn stop(mut self) -> LoadReport {
        // Before anybody is told: what the joins take is not time in which the load should have burned.
        let lived = self.started.elapsed();
        let (mut record, used, failure) = self.end();
        record.close(lived, used);
        LoadReport { record, failure }
    }

    /// The record, the CPU time that all workers used together, and the first failure.
    fn end(&mut self) -> (Record, Duration, Option<LoadError>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in
            self.workers.iter().map(JoinHandle::thread).chain(self.sampler.iter().map(JoinHandle::thread))
        {
            thread.unpark();
        }
        let mut used = Duration::ZERO;
        let mut failure = None;
        for (number, worker) in (1..).zip(self.workers.drain(..)) {
            match joined(number, worker) {
                Ok(worked) => used += worked,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let record = self.sampler.take().and_then(|sampler| sampler.join().ok()).unwrap_or_default();
        (record, used, failure)
    }
}

impl Drop for CpuLoad {
    fn drop(&mut self) {
        self.end();
    }
}

/// The CPU time a worker used, once it is gone.
fn joined(number: u32, worker: JoinHandle<Result<Duration, LoadError>>) -> Result<Duration, LoadError> {
    worker.join().unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "it panicked".into());
        Err(LoadError::Worker { number, reason })
    })
}

/// The life of a worker: burns and rests as its pace says, and gives the CPU time it used.
fn work(
    share: f64,
    started: Instant,
    stop: &AtomicBool,
    announce: mpsc::Sender<ClockId>,
) -> Result<Duration, LoadError> {
    // The default slack of 50 µs is added to every rest. Where it cannot be changed the pace makes up for it.
    let _ = prctl::set_timerslack(1);
    // Nobody may be listening any more if a later thread could not be had.
    let _ = announce.send(own_clock());
    drop(announce);
    let mut pace = Pace::new(share);
    loop {
        let used = thread_used(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(used);
        }
        match pace.next(started.elapsed(), used) {
            Turn::Burn { used_until, wall_until } => burn(used_until, started + wall_until, stop)?,
            Turn::Rest { wall_until } => rest(started + wall_until, stop),
        }
    }
}

/// Keeps the core busy until this thread has used `used_until`, or `until` has come, or it is told to stop.
fn burn(used_until: Duration, until: Instant, stop: &AtomicBool) -> Result<(), LoadError> {
    let mut value = 1.000_000_1_f64;
    while !stop.load(Ordering::Relaxed) && Instant::now() < until {
        for _ in 0..ROUNDS_PER_CHECK {
            value = black_box((value * 1.000_1).sqrt());
        }
        if thread_used(ClockId::CLOCK_THREAD_CPUTIME_ID)? >= used_until {
            break;
        }
    }
    Ok(())
}

/// Sleeps until `until`, or until it is told to stop.
fn rest(until: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// The life of the sampler: looks at all clocks once a window.
fn sample(mut record: Record, clocks: &[ClockId], started: Instant, stop: &AtomicBool) -> Record {
    for window in 1.. {
        rest(started + WINDOW * window, stop);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // A clock that cannot be read belongs to a worker that is gone: either all are being stopped, or one
        // failed, which is said at the end.
        let Ok(used) = clocks.iter().map(|clock| thread_used(*clock)).sum() else { break };
        record.push(started.elapsed(), used);
    }
    record
}

/// A clock by which any thread of this process can read the CPU time of the calling one.
///
/// The numbers are kernel ABI (`include/linux/posix-timers.h`, MAKE_THREAD_CPUCLOCK): the thread id, inverted
/// and shifted left by three, the bit "of one thread", and the clock "scheduled time".
fn own_clock() -> ClockId {
    const PER_THREAD: i32 = 4;
    const SCHEDULED: i32 = 2;
    ClockId::from_raw((!gettid().as_raw() << 3) | PER_THREAD | SCHEDULED)
}

fn thread_used(clock: ClockId) -> Result<Duration, LoadError> {
    clock.now().map(Duration::from).map_err(LoadError::Clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_load_burns_and_its_record_says_so() {
        let load = CpuLoad::start(LoadPlan { threads: 2, share: 1.0, duration: LONG }).unwrap();
        let process = ClockId::CLOCK_PROCESS_CPUTIME_ID;
        let before = thread_used(process).unwrap();
        // The process clock counts this test's own spinning too: sleeping keeps it the workers' clock.
        while thread_used(process).unwrap() < before + Duration::from_millis(60) {
            thread::park_timeout(Duration::from_millis(5));
        }
        let report = load.stop();
        assert!(report.failure.is_none());
        assert!(report.record.used() > Duration::from_millis(10), "{:?}", report.record);
        assert!(report.record.used() <= report.record.elapsed() * 2);
    }

    #[test]
    fn stop_returns_with_every_thread_gone() {
        let load = CpuLoad::start(LoadPlan { threads: 3, share: 0.0, duration: LONG }).unwrap();
        let stop = Arc::downgrade(&load.stop);
        load.stop();
        assert_eq!(stop.strong_count(), 0, "a thread still holds the flag");
    }

    #[test]
    fn drop_stops_too() {
        let load = CpuLoad::start(LoadPlan { threads: 2, share: 1.0, duration: LONG }).unwrap();
        let stop = Arc::downgrade(&load.stop);
        drop(load);
        assert_eq!(stop.strong_count(), 0);
    }

    #[test]
    fn zero_per_cent_burns_nothing_but_its_own_bookkeeping() {
        let load = CpuLoad::start(LoadPlan { threads: 1, share: 0.0, duration: LONG }).unwrap();
        // Until the worker had its first hundred rests or so, if it is one that rests.
        thread::park_timeout(Duration::from_millis(200));
        let report = load.stop();
        assert!(report.record.used() * 20 < report.record.elapsed(), "{:?}", report.record);
    }

    #[test]
    fn a_burn_ends_on_the_threads_own_clock() {
        let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
        let goal = thread_used(clock).unwrap() + Duration::from_millis(20);
        burn(goal, Instant::now() + LONG, &AtomicBool::new(false)).unwrap();
        let used = thread_used(clock).unwrap();
        assert!(used >= goal && used < goal + Duration::from_millis(20), "{used:?} for {goal:?}");
    }

    #[test]
    fn a_told_worker_neither_burns_nor_rests() {
        let stop = AtomicBool::new(true);
        burn(LONG, Instant::now() + LONG, &stop).unwrap();
        rest(Instant::now() + LONG, &stop);
    }

    #[test]
    fn the_clock_of_a_thread_can_be_read_from_another() {
        let (announce, announced) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let goal = thread_used(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap() + Duration::from_millis(5);
            burn(goal, Instant::now() + LONG, &AtomicBool::new(false)).unwrap();
            announce.send((own_clock(), thread_used(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())).unwrap();
            released.recv().unwrap();
        });
        let (clock, at_least) = announced.recv().unwrap();
        let seen = thread_used(clock).unwrap();
        release.send(()).unwrap();
        other.join().unwrap();
        assert!(at_least >= Duration::from_millis(5) && seen >= at_least, "{seen:?}, {at_least:?}");
    }

    #[test]
    fn a_worker_that_panics_is_named_with_its_reason() {
        let worker = thread::spawn(|| -> Result<Duration, LoadError> { panic!("out of luck") });
        let said = joined(3, worker).unwrap_err().to_string();
        assert_eq!(said, "worker thread 3 ended before it was told to: out of luck");
    }

    #[test]
    fn no_threads_is_refused() {
        let plan = LoadPlan { threads: 0, share: 1.0, duration: LONG };
        assert!(matches!(CpuLoad::start(plan), Err(LoadError::NoThreads)));
    }
}
