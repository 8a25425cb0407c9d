//! `io-stress`: what its percentage means here, and its report.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, figures};

use crate::amount::{bytes, from_float, many, share_of, short};
use crate::disk::space::Space;
use crate::disk::unlinked::{explain, unlinked};
use crate::fault::{
    ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone, off_thread,
};
use crate::io::{IoLoad, IoPlan, IoReport, LEAST_BYTES_PER_WORKER};
use crate::task::Task;
use crate::task::limits::CpuLimits;
use faults::Parameters;
use faults::io_stress::IoStress;

/// Where files go when neither the fault nor the task names a folder.
const DEFAULT_FOLDER: &str = "/tmp";

struct ActiveIoStress {
    asked: IoStress,
    duration: Duration,
    plan: IoPlan,
    free: u64,
    load: IoLoad,
}

impl Perform for IoStress {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(std::future::ready(start(self, duration, task)))
    }
}

fn start(stress: &IoStress, duration: Duration, task: &Task) -> Started {
    let folder = stress.path.clone().unwrap_or_else(|| folder(task));
    let space = Space::of_writable(&folder)?;
    let workers = match stress.workers {
        0 => CpuLimits::read(task).affinity,
        workers => workers,
    };
    let plan = plan(stress.percent, workers, folder, space)?;
    let load = IoLoad::start(plan.clone())?;
    Ok(Box::new(ActiveIoStress { asked: stress.clone(), duration, plan, free: space.available, load }))
}

fn folder(task: &Task) -> PathBuf {
    task.scratch.clone().unwrap_or(DEFAULT_FOLDER.into())
}

/// What it would find with its default parameters.
fn find(task: &Task) -> Result<String, StartError> {
    let folder = folder(task);
    let space = Space::of_writable(&folder)?;
    let IoStress { percent, workers, .. } = IoStress::with_defaults()?;
    let plan = plan(percent, workers, folder, space)?;
    unlinked(&plan.folder).map_err(|error| explain(&plan.folder, &error))?;
    Ok(format!("{} free in {}", bytes(space.available), plan.folder.display()))
}

/// What stays free whatever is asked: a hundredth of the file system, and at least 16 MiB or on a small one an
/// eighth of it.
fn reserve(space: Space) -> u64 {
    const SMALL: u64 = 16 * 1024 * 1024;
    (space.whole() / 100).max(SMALL.min(space.whole() / 8))
}

fn plan(percent: u8, workers: u32, folder: PathBuf, space: Space) -> Result<IoPlan, String> {
    let reserve = reserve(space);
    let asked = share_of(space.available, percent);
    let bytes_in_all = asked.min(space.available.saturating_sub(reserve));
    let least = u64::from(workers) * LEAST_BYTES_PER_WORKER;
    if bytes_in_all < least {
        return Err(format!(
            "the file system of {} is too full: {} are free, {} stay free in any case, and {} need at least {}. Make space, \
             or ask for more percent or fewer workers",
            folder.display(),
            bytes(space.available),
            bytes(reserve),
            many(u64::from(workers), "worker"),
            bytes(least)
        ));
    }
    Ok(IoPlan { folder, workers, bytes: bytes_in_all, reserve })
}

impl ActiveFault for ActiveIoStress {
    fn started(&self) -> String {
        let IoPlan { folder, workers, bytes: most, .. } = &self.plan;
        let workers = many(u64::from(*workers), "worker");
        format!("io-stress: {workers} in {}, files of up to {}", folder.display(), bytes(*most))
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.load.broken())
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        // A worker that waits for a slow disk must not keep the control thread waiting.
        let ActiveIoStress { asked, duration, plan, free, load } = *self;
        off_thread(move || {
            let (report, failure) = load.stop();
            let summary = summary(&asked, duration, &plan, free, &report);
            let undone = Undone::Done("no file and no thread left");
            FaultReport { summary: Some(summary), undone, failure }
        })
    }
}

fn summary(asked: &IoStress, duration: Duration, plan: &IoPlan, free: u64, done: &IoReport) -> FaultSummary {
    let asked_for = asked_for(asked, duration, plan, free);
    let achieved = achieved(done);
    let text = format!("io-stress: asked {}\nachieved: {}\n", asked_for.text, achieved.text);
    let mut summary = FaultSummary { text, asked: asked_for, achieved, ..FaultSummary::default() };
    let way = match done.direct {
        true => "past the page cache (O_DIRECT)",
        false => "through the page cache, which this file system cannot do without; writes were synced",
    };
    summary.remark(format!("files: grew to {}; large writes and reads went {way}", bytes(done.largest)));
    if plan.bytes < share_of(free, asked.percent) {
        summary.note(format!("less than asked, because {} stay free in any case", bytes(plan.reserve)));
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

fn asked_for(asked: &IoStress, duration: Duration, plan: &IoPlan, free: u64) -> Asked {
    let text = format!(
        "{} % of {} free in {} for {} s: files of up to {} ({})",
        asked.percent,
        bytes(free),
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

    const MIB: u64 = 1024 * 1024;

    fn space(used: u64, available: u64) -> Space {
        Space { used, available, read_only: false }
    }

    #[test]
    fn the_share_is_of_what_is_free() {
        let found = plan(80, 2, "/x".into(), space(500 * MIB, 500 * MIB)).unwrap();
        assert_eq!((found.bytes, found.reserve), (400 * MIB, 16 * MIB));
        // A file system of a terabyte keeps a hundredth.
        assert_eq!(reserve(space(0, 1024 * 1024 * MIB)), 1024 * 1024 * MIB / 100);
        assert_eq!(reserve(space(0, 64 * MIB)), 8 * MIB);
    }

    #[test]
    fn all_that_is_free_is_never_taken() {
        let found = plan(100, 1, "/x".into(), space(0, 64 * MIB)).unwrap();
        assert_eq!(found.bytes, 56 * MIB);
    }

    #[test]
    fn a_full_file_system_is_refused_with_figures() {
        for (percent, workers, used, available) in
            [(80, 1, 992 * MIB, 8 * MIB), (80, 1, MIB, 0), (1, 4, 0, 100 * MIB)]
        {
            let refused = plan(percent, workers, "/data".into(), space(used, available)).unwrap_err();
            assert!(refused.contains("/data") && refused.contains("stay free in any case"), "{refused}");
        }
    }
}
