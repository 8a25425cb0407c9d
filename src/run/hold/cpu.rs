//! A CPU stress as something to hold: threads at a share, and what the kernel says of throttling meanwhile.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::cpu_text::{self, CpuMeaning};
use super::{FaultReport, Live};
use effects::load::{CpuLoad, LoadPlan};
use effects::task::Task;
use effects::task::limits::CpuLimits;
use faults::cpu_stress::CpuStress;

struct LiveCpu {
    asked: CpuStress,
    duration: Duration,
    meaning: CpuMeaning,
    limits: CpuLimits,
    throttled_before: Option<u64>,
    load: CpuLoad,
}

pub(super) fn start(stress: &CpuStress, duration: Duration, task: &Task) -> Result<Box<dyn Live>, String> {
    let limits = CpuLimits::read(task);
    let meaning = CpuMeaning::of(stress, &limits);
    let throttled_before = limits.throttled();
    let plan = LoadPlan { threads: meaning.threads, share: meaning.share, duration };
    let load = CpuLoad::start(plan).map_err(|error| error.to_string())?;
    Ok(Box::new(LiveCpu { asked: stress.clone(), duration, meaning, limits, throttled_before, load }))
}

impl Live for LiveCpu {
    fn started(&self) -> String {
        let (threads, percent) = (self.meaning.threads, 100.0 * self.meaning.share);
        let noun = if threads == 1 { "thread" } else { "threads" };
        format!("cpu-stress: {threads} {noun} at {percent:.1} % of a core each")
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let LiveCpu { asked, duration, meaning, limits, throttled_before, load } = *self;
        let report = load.stop();
        let throttled =
            limits.throttled().zip(throttled_before).map(|(after, before)| after.saturating_sub(before));
        let text = cpu_text::describe(&asked, duration, &meaning, &report.record, throttled);
        let failure = report.failure.map(|failure| failure.to_string());
        Box::pin(std::future::ready(FaultReport { text, undone: Some("no thread left".into()), failure }))
    }
}
