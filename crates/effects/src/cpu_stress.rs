//! `cpu-stress`: threads at a share, and what the kernel says of throttling meanwhile.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::fault::{
    ActiveFault, FaultReport, Perform, Preflight, StartError, Started, Undone, off_thread, start_off_thread,
};
use crate::load::{self, CpuLoad, LoadPlan};
use crate::task::Task;
use crate::task::limits::CpuLimits;
use faults::Parameters;
use faults::cpu_stress::CpuStress;

mod description;

use description::CpuMeaning;

struct ActiveCpuStress {
    asked: CpuStress,
    duration: Duration,
    meaning: CpuMeaning,
    limits: CpuLimits,
    throttled_before: Option<u64>,
    load: CpuLoad,
}

impl Perform for CpuStress {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(start(self, duration, task))
    }
}

/// What it would find with its default parameters.
fn find(task: &Task) -> Result<String, StartError> {
    let defaults = CpuStress::with_defaults()?;
    try_thread()?;
    Ok(CpuMeaning::of(&defaults, &CpuLimits::read(task)).describe())
}

/// Whether a worker thread can be had.
fn try_thread() -> Result<(), StartError> {
    Ok(load::probe()?)
}

async fn start(stress: &CpuStress, duration: Duration, task: &Task) -> Started {
    let limits = CpuLimits::read(task);
    let meaning = CpuMeaning::of(stress, &limits);
    if let Some(most) = task.most_percent {
        meaning.check(most, &limits)?;
    }
    let throttled_before = limits.throttled();
    let plan = LoadPlan { threads: meaning.threads, share: meaning.share, duration };
    // With many CPUs there are many threads to start, and each waits for its turn.
    let load = start_off_thread(move || CpuLoad::start(plan)).await?;
    let asked = stress.clone();
    Ok(Box::new(ActiveCpuStress { asked, duration, meaning, limits, throttled_before, load }))
}

impl ActiveFault for ActiveCpuStress {
    fn started(&self) -> String {
        format!("cpu-stress: {}", self.meaning.describe())
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        // The workers end one after the other, and each waits for its turn.
        off_thread(move || {
            let ActiveCpuStress { asked, duration, meaning, limits, throttled_before, load } = *self;
            let report = load.stop();
            let throttled =
                limits.throttled().zip(throttled_before).map(|(after, before)| after.saturating_sub(before));
            let summary = description::summary(&asked, duration, &meaning, &report.record, throttled);
            let failure = report.failure.map(|failure| failure.to_string());
            FaultReport { summary: Some(summary), undone: Undone::Done("no thread left"), failure }
        })
    }
}
