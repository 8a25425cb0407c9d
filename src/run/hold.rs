//! Holds one fault for its duration, or until it is cancelled. Used by Run Command and by `taskfault inject`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::effect::load::{CpuLoad, LoadPlan};
use crate::fault::Fault;
use crate::fault::cpu_stress::CpuStress;
use crate::task::Task;
use crate::task::limits::CpuLimits;

mod cpu_text;
mod network;

use cpu_text::CpuMeaning;

/// How a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It lived for its whole duration.
    Completed,
    /// It was cancelled and is undone.
    Cancelled,
    /// It could not be started, or it could not be undone; the text says which.
    Failed,
}

/// What a fault did, in words: asked, achieved, for how long, and that it was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultOutcome {
    pub ending: Ending,
    /// Under 2,200 bytes, so that it fits the 2,500 characters that ListCommandInvocations gives.
    pub stdout: String,
    pub stderr: String,
}

impl FaultOutcome {
    fn failed(message: String) -> Self {
        FaultOutcome { ending: Ending::Failed, stdout: String::new(), stderr: message }
    }
}

/// Starts `fault`, keeps it for `duration`, undoes it and says what was achieved.
///
/// Dropping the future undoes the fault too, but then nobody hears what was achieved.
pub async fn hold(
    fault: &Fault,
    duration: Duration,
    task: &Task,
    cancel: &CancellationToken,
) -> FaultOutcome {
    match fault {
        Fault::CpuStress(stress) => hold_cpu_stress(stress, duration, task, cancel).await,
        Fault::NetworkBlackholePort(hole) => {
            network::hold(fault.name(), network::Asked::blackhole_port(hole), duration, task, cancel).await
        }
        Fault::NetworkLatency(latency) => {
            network::hold(fault.name(), network::Asked::latency(latency), duration, task, cancel).await
        }
        Fault::NetworkPacketLoss(loss) => {
            network::hold(fault.name(), network::Asked::packet_loss(loss), duration, task, cancel).await
        }
    }
}

async fn hold_cpu_stress(
    stress: &CpuStress,
    duration: Duration,
    task: &Task,
    cancel: &CancellationToken,
) -> FaultOutcome {
    let limits = CpuLimits::read(task);
    let meaning = CpuMeaning::of(stress, &limits);
    let throttled_before = limits.throttled();
    let plan = LoadPlan { threads: meaning.threads, share: meaning.share, duration };
    let load = match CpuLoad::start(plan) {
        Ok(load) => load,
        Err(error) => return FaultOutcome::failed(format!("cpu-stress did not start: {error}\n")),
    };
    tracing::info!(threads = plan.threads, share = plan.share, "cpu-stress started");
    let cancelled = tokio::select! {
        biased;
        () = cancel.cancelled() => true,
        () = tokio::time::sleep(duration) => false,
    };
    let report = load.stop();
    tracing::info!(cancelled, achieved_cpus = report.record.mean_cpus(), "cpu-stress undone");
    let throttled =
        limits.throttled().zip(throttled_before).map(|(after, before)| after.saturating_sub(before));
    let ending = match (&report.failure, cancelled) {
        (Some(_), _) => Ending::Failed,
        (None, true) => Ending::Cancelled,
        (None, false) => Ending::Completed,
    };
    FaultOutcome {
        ending,
        stdout: cpu_text::describe(stress, duration, &meaning, &report.record, throttled, ending),
        stderr: report.failure.map(|failure| format!("cpu-stress failed: {failure}\n")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stress(workers: u32, percent: u8) -> Fault {
        Fault::CpuStress(CpuStress { workers, percent })
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn a_fault_lives_its_whole_duration() {
        let duration = Duration::from_secs(1);
        let cancel = CancellationToken::new();
        let outcome = runtime().block_on(hold(&stress(1, 30), duration, &Task::default(), &cancel));
        assert_eq!(outcome.ending, Ending::Completed);
        assert!(outcome.stdout.contains("completed"), "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
    }

    #[test]
    fn a_cancel_ends_it_and_still_reports() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let hour = Duration::from_secs(3600);
        let outcome = runtime().block_on(hold(&stress(2, 100), hour, &Task::default(), &cancel));
        assert_eq!(outcome.ending, Ending::Cancelled);
        assert!(outcome.stdout.contains("undone"), "{}", outcome.stdout);
    }

    #[test]
    fn the_meaning_of_all_cores_under_a_task_limit_is_said() {
        let task = Task { cpu_limit: Some(0.25), ..Task::default() };
        let cancel = CancellationToken::new();
        cancel.cancel();
        let outcome = runtime().block_on(hold(&stress(0, 80), Duration::from_secs(5), &task, &cancel));
        assert!(
            outcome.stdout.contains("80 % of the limit of 0.25 vCPU (task metadata)"),
            "{}",
            outcome.stdout
        );
    }
}
