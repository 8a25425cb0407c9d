//! The CPU and the memory that tasks use, measured from outside.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Inner, RunningTask};
use crate::stage::{CpuTime, Used, used_in_task};
use aws_local::ecs::reserved;
use aws_local::world::{Usage, World};
use record::clock::epoch_seconds;
use record::{CpuSample, MemorySample};

/// Records what each task uses, every second, and adds it to its metrics.
pub(super) async fn measure(inner: &Inner) {
    let mut meters = Meters::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let tasks = inner.running();
        meters.forget_all_but(&tasks);
        let used: Vec<(&RunningTask, Usage)> =
            tasks.iter().filter_map(|task| Some((task, meters.sample(task)?))).collect();
        record(inner, &used);
    }
}

fn record(inner: &Inner, used: &[(&RunningTask, Usage)]) {
    let at = epoch_seconds(SystemTime::now());
    let mut limits = Vec::new();
    inner.handle.measure(|world, context| {
        for (task, usage) in used {
            limits.push(self::limits(world, &task.arn));
            world.task_uses(&task.arn, *usage, context);
        }
    });
    inner.handle.observe(|recorder| {
        for ((task, usage), (percent, mib)) in used.iter().zip(limits) {
            recorder.cpu(&task.arn, percent, CpuSample { at, percent: usage.cpu_percent });
            let held = usage.memory_bytes as f64 / (1024.0 * 1024.0);
            recorder.memory(&task.arn, mib, MemorySample { at, mib: held });
        }
    });
}

/// What a task may use: percent of one core, and MiB.
fn limits(world: &World, arn: &str) -> (Option<f64>, Option<f64>) {
    let Some(task) = world.ecs.tasks.get(arn) else { return (None, None) };
    let vcpu = world.ecs.definition(&task.definition()).and_then(|definition| definition.vcpu());
    let memory = reserved(&world.ecs, task).memory_limit_mib;
    (vcpu.map(|vcpu| 100.0 * vcpu), memory.map(|mib| mib as f64))
}

/// The last look at each task.
#[derive(Debug, Default)]
struct Meters {
    /// By ARN: by pid in the task.
    seen: BTreeMap<String, (Instant, BTreeMap<i32, CpuTime>)>,
}

impl Meters {
    fn forget_all_but(&mut self, tasks: &[RunningTask]) {
        self.seen.retain(|arn, _| tasks.iter().any(|task| task.arn == *arn));
    }

    /// What a task has used since the last look, all its processes together. None at the first look, and when it is
    /// gone.
    fn sample(&mut self, task: &RunningTask) -> Option<Usage> {
        let used = used_in_task(task.first).ok()?;
        let now = Instant::now();
        let cpu = used.iter().map(|(pid, used)| (*pid, used.cpu)).collect();
        let (before, earlier) = self.seen.insert(task.arn.clone(), (now, cpu))?;
        Some(between(&earlier, &used, now - before))
    }
}

/// A process that was not there before has used all of its time since then; one that is gone is not counted.
fn between(earlier: &BTreeMap<i32, CpuTime>, used: &BTreeMap<i32, Used>, passed: Duration) -> Usage {
    let since = |(pid, used): (&i32, &Used)| {
        // A pid may have been given to another.
        let before = earlier.get(pid).copied().filter(|before| *before <= used.cpu);
        used.cpu.0.saturating_sub(before.map_or(Duration::ZERO, |before| before.0))
    };
    let cpu: Duration = used.iter().map(since).sum();
    Usage { cpu_percent: share(cpu, passed), memory_bytes: used.values().map(|used| used.memory).sum() }
}

fn share(used: Duration, passed: Duration) -> f64 {
    if passed.is_zero() { 0.0 } else { 100.0 * used.as_secs_f64() / passed.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_percent_of_one_core() {
        assert!((share(Duration::from_millis(600), Duration::from_secs(1)) - 60.0).abs() < 1e-9);
        assert!((share(Duration::from_secs(2), Duration::from_secs(1)) - 200.0).abs() < 1e-9);
        assert!(share(Duration::from_secs(1), Duration::ZERO).abs() < 1e-9);
    }

    #[test]
    fn processes_count_from_the_last_look_or_from_their_beginning() {
        let time = |ms| CpuTime(Duration::from_millis(ms));
        let earlier = BTreeMap::from([(2, time(1000)), (3, time(700)), (5, time(900))]);
        let used = |ms, memory| Used { cpu: time(ms), memory };
        // 2 has gone on, 3 has ended, 4 is new, 5 is another process than before.
        let now = BTreeMap::from([(2, used(1300, 10)), (4, used(200, 20)), (5, used(100, 30))]);
        let usage = between(&earlier, &now, Duration::from_secs(1));
        assert!((usage.cpu_percent - 60.0).abs() < 1e-9, "{usage:?}");
        assert_eq!(usage.memory_bytes, 60);
    }
}
