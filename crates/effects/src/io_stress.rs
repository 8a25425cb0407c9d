//! `io-stress`: what its percentage means here, and its report.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, figures};

use crate::amount::{bytes, from_float, many, share_of, short};
use crate::disk::medium::Medium;
use crate::disk::space::Space;
use crate::disk::unlinked::{explain, unlinked};
use crate::fault::{
    ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone, off_thread,
    start_off_thread,
};
use crate::io::{IoLoad, IoPlan, IoReport, LEAST_BYTES_PER_WORKER};
use crate::task::Task;
use crate::task::limits::CpuLimits;
use crate::task::limits::memory::{MemoryLimits, Room};
use crate::task::memory::TaskMemory;
use faults::Parameters;
use faults::io_stress::IoStress;

/// Where files go when neither the fault nor the task names a folder.
const DEFAULT_FOLDER: &str = "/tmp";

/// More threads keep a disk no busier, and each has a buffer of a mebibyte.
const MOST_WORKERS: u32 = 64;

struct ActiveIoStress {
    asked: IoStress,
    duration: Duration,
    loading: Loading,
    /// Asked for what the other containers use of the memory, where they cannot be seen.
    memory: TaskMemory,
}

/// A load, and what it was started with.
struct Loading {
    plan: IoPlan,
    found: Found,
    load: IoLoad,
}

/// What there was before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Bytes of the file system, and of the memory that its files are kept in.
    free: u64,
    /// The memory limit that files count against.
    limit: Option<Room>,
    /// As asked, 0 replaced.
    workers: u32,
}

impl Perform for IoStress {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(start(self, duration, task))
    }
}

async fn start(stress: &IoStress, duration: Duration, task: &Task) -> Started {
    let memory = TaskMemory::of(task).await;
    let (asked, limits) = (stress.clone(), memory.limits());
    let folder = stress.path.clone().unwrap_or_else(|| folder(task));
    let cpus = CpuLimits::read(task).affinity;
    // A file system may not answer.
    let loading = start_off_thread(move || -> Result<_, StartError> {
        let space = Space::of_writable(&folder)?;
        let workers = if asked.workers == 0 { cpus } else { asked.workers };
        let (plan, found) = plan(&asked, workers, folder, space, &limits)?;
        let room = found.limit.is_some().then(|| limits.follow());
        let load = IoLoad::start(plan.clone(), room)?;
        Ok(Loading { plan, found, load })
    })
    .await?;
    Ok(Box::new(ActiveIoStress { asked: stress.clone(), duration, loading, memory }))
}

fn folder(task: &Task) -> PathBuf {
    task.scratch.clone().unwrap_or(DEFAULT_FOLDER.into())
}

/// What it would find with its default parameters.
fn find(task: &Task) -> Result<String, StartError> {
    let folder = folder(task);
    let space = Space::of_writable(&folder)?;
    let asked = IoStress::with_defaults()?;
    let (plan, found) = plan(&asked, asked.workers, folder, space, &MemoryLimits::read(task))?;
    unlinked(&plan.folder).map_err(|error| explain(&plan.folder, &error))?;
    Ok(format!("{} free in {}", bytes(found.free), plan.folder.display()))
}

/// What stays free whatever is asked: a hundredth of the file system, and at least 16 MiB or on a small one an
/// eighth of it.
fn reserve(space: Space) -> u64 {
    const SMALL: u64 = 16 * 1024 * 1024;
    (space.whole() / 100).max(SMALL.min(space.whole() / 8))
}

/// What to do where the file system has `space`, and why not.
fn plan(
    asked: &IoStress,
    workers: u32,
    folder: PathBuf,
    space: Space,
    limits: &MemoryLimits,
) -> Result<(IoPlan, Found), String> {
    let medium = Medium::of(&folder).map_err(|error| explain(&folder, &error))?;
    let limit = match medium {
        Medium::Memory => limits.least_headroom(),
        Medium::Disk => None,
    };
    let found = Found { free: free(space, limit.as_ref()), limit, workers };
    plan_for(asked, folder, space, &found).map(|plan| (plan, found))
}

/// What is free of the file system, and of the memory that its files are kept in.
fn free(space: Space, limit: Option<&Room>) -> u64 {
    limit.map_or(u64::MAX, Room::free).min(space.room())
}

fn plan_for(asked: &IoStress, folder: PathBuf, space: Space, found: &Found) -> Result<IoPlan, String> {
    let workers = found.workers.min(MOST_WORKERS);
    if asked.bytes == 0 && found.limit.is_none() && space.is_endless() {
        return Err(format!(
            "the file system of {} has no end ({} in all), so {} % of it cannot be reached; ask for a size with --bytes, \
             or name another --path",
            folder.display(),
            bytes(space.whole()),
            asked.percent
        ));
    }
    let reserve = reserve(space);
    let wanted = wanted(asked, found);
    let headroom =
        found.limit.as_ref().map_or(u64::MAX, |limit| u64::try_from(limit.headroom()).unwrap_or(0));
    let bytes_in_all = wanted.min(space.room().saturating_sub(reserve)).min(headroom);
    let least = u64::from(workers) * LEAST_BYTES_PER_WORKER;
    if bytes_in_all < least {
        let (workers, needed) = (many(u64::from(workers), "worker"), bytes(least));
        let folder = folder.display();
        return Err(match &found.limit {
            Some(limit) if headroom < least => format!(
                "files in {folder} are kept in memory, {workers} need at least {needed}, and {}",
                limit.no_headroom()
            ),
            _ => format!(
                "the file system of {folder} is too full: {} are free, {} stay free in any case, and {workers} need at \
                 least {needed}. Make space, or ask for more percent or fewer workers",
                bytes(space.room()),
                bytes(reserve)
            ),
        });
    }
    Ok(IoPlan { folder, workers, bytes: bytes_in_all, reserve })
}

/// Bytes that were asked for.
fn wanted(asked: &IoStress, found: &Found) -> u64 {
    if asked.bytes == 0 { share_of(found.free, asked.percent) } else { asked.bytes }
}

impl ActiveFault for ActiveIoStress {
    fn started(&self) -> String {
        let IoPlan { folder, workers, bytes: most, .. } = &self.loading.plan;
        let workers = many(u64::from(*workers), "worker");
        format!("io-stress: {workers} in {}, files of up to {}", folder.display(), bytes(*most))
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        let broken = self.loading.load.broken();
        Box::pin(self.memory.follow_until(broken))
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        // A worker that waits for a slow disk must not keep the control thread waiting.
        let ActiveIoStress { asked, duration, loading, .. } = *self;
        off_thread(move || {
            let Loading { plan, found, load } = loading;
            let (report, failure) = load.stop();
            let summary = summary(&asked, duration, &plan, &found, &report);
            let undone = Undone::Done("no file and no thread left");
            FaultReport { summary: Some(summary), undone, failure }
        })
    }
}

fn summary(
    asked: &IoStress,
    duration: Duration,
    plan: &IoPlan,
    found: &Found,
    done: &IoReport,
) -> FaultSummary {
    let asked_for = asked_for(asked, duration, plan, found);
    let achieved = achieved(done);
    let text = format!("io-stress: asked {}\nachieved: {}\n", asked_for.text, achieved.text);
    let mut summary = FaultSummary { text, asked: asked_for, achieved, ..FaultSummary::default() };
    let way = match done.direct {
        true => "past the page cache (O_DIRECT)",
        false => "through the page cache, which this file system cannot do without; writes were synced",
    };
    summary.remark(format!("files: grew to {}; large writes and reads went {way}", bytes(done.largest)));
    if let Some(limit) = &found.limit {
        summary.note(format!(
            "files here are kept in memory and count against its limit of {}, of which {} stay free",
            bytes(limit.limit),
            bytes(limit.margin())
        ));
    } else if plan.bytes < wanted(asked, found) {
        summary.note(format!("less than asked, because {} stay free in any case", bytes(plan.reserve)));
    }
    if plan.workers < found.workers {
        summary
            .note(format!("{} workers asked; {} made the load for all of them", found.workers, plan.workers));
    }
    if done.shrunk > 0 || done.refused > 0 {
        summary.note(format!(
            "others needed the space: files gave way {}, {} were put off",
            many(done.shrunk, "time"),
            many(done.refused, "write")
        ));
    }
    let after = done.after.map_or("unknown".to_owned(), |space| bytes(space.available));
    summary.remark(format!("space: {} free before, {after} after", bytes(done.before.available)));
    summary
}

fn asked_for(asked: &IoStress, duration: Duration, plan: &IoPlan, found: &Found) -> Asked {
    let what = match asked.bytes {
        0 => format!("{} % of {} free", asked.percent, bytes(found.free)),
        size => bytes(size),
    };
    let text = format!(
        "{what} in {} for {} s: files of up to {} ({})",
        plan.folder.display(),
        short(duration.as_secs_f64()),
        bytes(plan.bytes),
        many(u64::from(plan.workers), "worker"),
    );
    let figures = figures([
        ("percent", asked.percent.into()),
        ("bytes", plan.bytes.into()),
        ("workers", plan.workers.into()),
    ]);
    Asked { text, seconds: duration.as_secs_f64(), figures }
}

fn achieved(done: &IoReport) -> Achieved {
    let seconds = done.elapsed.as_secs_f64().max(0.001);
    let rate = |amount: u64| bytes(from_float(amount as f64 / seconds));
    let text = format!(
        "{} written ({}/s), {} read ({}/s), {}, {} ({}/s), {}",
        bytes(done.written),
        rate(done.written),
        bytes(done.read),
        rate(done.read),
        many(done.operations, "operation"),
        many(done.syncs, "sync"),
        short(done.syncs as f64 / seconds),
        many(done.metadata, "metadata operation"),
    );
    let figures = figures([
        ("written_bytes", done.written.into()),
        ("read_bytes", done.read.into()),
        ("operations", done.operations.into()),
        ("syncs", done.syncs.into()),
        ("metadata_operations", done.metadata.into()),
    ]);
    Achieved { text, figures, ..Achieved::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::limits::memory::MemorySource;

    const MIB: u64 = 1024 * 1024;

    fn space(used: u64, available: u64) -> Space {
        Space { used, available, read_only: false }
    }

    fn found(space: Space, workers: u32, limit: Option<Room>) -> Found {
        Found { free: free(space, limit.as_ref()), limit, workers }
    }

    fn planned(percent: u8, workers: u32, space: Space, limit: Option<Room>) -> Result<IoPlan, String> {
        let asked = IoStress { percent, bytes: 0, workers, path: None };
        plan_for(&asked, "/data".into(), space, &found(space, workers, limit))
    }

    #[test]
    fn the_share_is_of_what_is_free() {
        let found = planned(80, 2, space(500 * MIB, 500 * MIB), None).unwrap();
        assert_eq!((found.bytes, found.reserve), (400 * MIB, 16 * MIB));
        // A file system of a terabyte keeps a hundredth.
        assert_eq!(reserve(space(0, 1024 * 1024 * MIB)), 1024 * 1024 * MIB / 100);
        assert_eq!(reserve(space(0, 64 * MIB)), 8 * MIB);
    }

    #[test]
    fn all_that_is_free_is_never_taken() {
        let found = planned(100, 1, space(0, 64 * MIB), None).unwrap();
        assert_eq!(found.bytes, 56 * MIB);
    }

    #[test]
    fn files_in_memory_have_the_room_of_the_memory() {
        let limit = Room { limit: 128 * MIB, used: 28 * MIB, source: MemorySource::Machine };
        let on_tmpfs = |percent, workers, limit: &Room| {
            planned(percent, workers, space(0, 400 * MIB), Some(limit.clone()))
        };
        assert_eq!(on_tmpfs(80, 1, &limit).unwrap().bytes, 80 * MIB);
        assert_eq!(on_tmpfs(100, 1, &limit).unwrap().bytes, 84 * MIB, "the margin stays free");
        // A tmpfs without a limit has that of the memory alone.
        let endless = planned(50, 1, space(0, 0), Some(limit.clone())).unwrap();
        assert_eq!(endless.bytes, 50 * MIB);
        let tight = Room { used: 110 * MIB, ..limit };
        let refused = on_tmpfs(80, 4, &tight).unwrap_err();
        assert!(
            refused.contains("are kept in memory, 4 workers need at least 4.0 MiB, and only 18.0 MiB"),
            "{refused}"
        );
    }

    #[test]
    fn a_file_system_without_an_end_needs_a_size() {
        let endless = space(0, 9_223_372_036_853_727_232);
        let refused = planned(80, 1, endless, None).unwrap_err();
        assert!(refused.contains("has no end") && refused.contains("--bytes"), "{refused}");
        let asked = IoStress { percent: 80, bytes: 5 * MIB, workers: 1, path: None };
        let plan = plan_for(&asked, "/data".into(), endless, &found(endless, 1, None)).unwrap();
        assert_eq!(plan.bytes, 5 * MIB);
    }

    #[test]
    fn very_many_workers_are_few_threads() {
        let plan = planned(80, 4096, space(0, 1024 * MIB), None).unwrap();
        assert_eq!(plan.workers, MOST_WORKERS);
    }

    #[test]
    fn a_full_file_system_is_refused_with_figures() {
        for (percent, workers, used, available) in
            [(80, 1, 992 * MIB, 8 * MIB), (80, 1, MIB, 0), (1, 4, 0, 100 * MIB)]
        {
            let refused = planned(percent, workers, space(used, available), None).unwrap_err();
            assert!(refused.contains("/data") && refused.contains("stay free in any case"), "{refused}");
        }
    }
}
