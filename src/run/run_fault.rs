//! Runs one fault for its duration, or until it is cancelled. Used by Run Command and by `taskfault inject`. What a
//! fault does, and how it is undone, stands in [`effects::fault`] and the files of the faults.

use std::time::{Duration, Instant};

use outcome::{MOST_BYTES, Outcome, rounded};
use tokio_util::sync::CancellationToken;

use effects::amount::short;
use effects::fault::{Deadline, FaultReport, FaultSummary, Undone};
use effects::given_up;
use effects::registry::performable;
use effects::task::Task;
use faults::Fault;

pub use outcome::Ending;

/// What a fault did: asked, achieved, for how long, and that it was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultOutcome {
    /// How it ended.
    pub ending: Ending,
    /// Lines for people, then one line of figures ([`Outcome`]); empty where nothing was started. Under 2,200 bytes
    /// ([`MOST_BYTES`]), so that it fits the 2,500 characters that ListCommandInvocations gives: what a fault achieved
    /// second by second has at most sixty values, each of more than a second where it lived for longer than a
    /// minute.
    pub stdout: String,
    /// Why it failed or never started; empty otherwise.
    pub stderr: String,
}

impl FaultOutcome {
    fn without_report(ending: Ending, message: String) -> Self {
        FaultOutcome { ending, stdout: String::new(), stderr: message }
    }
}

/// Starts `fault`, keeps it for `duration`, undoes it and reports what was achieved. `on_start` gets what was
/// started, once it is active, and what moves the end that the kernel knows.
///
/// Dropping the future undoes the fault too, without a report.
pub async fn run_fault(
    fault: &Fault,
    duration: Duration,
    task: &Task,
    cancel: &CancellationToken,
    on_start: &mut dyn FnMut(&str, Option<Deadline>),
) -> FaultOutcome {
    let name = fault.name();
    let started = tokio::select! {
        // First: what can be started without waiting is started, so that a cancel always finds it and reports.
        biased;
        started = performable(fault).start(duration, task) => Some(started),
        () = cancel.cancelled() => None,
    };
    let Some(started) = started else {
        given_up::undone().await;
        let message = format!("{name}: cancelled before it had started; nothing of it stays\n");
        return FaultOutcome::without_report(Ending::Cancelled, message);
    };
    let mut active = match started {
        Ok(active) => active,
        Err(reason) => {
            let message = format!("{name} did not start: {reason}\n");
            return FaultOutcome::without_report(Ending::Failed, message);
        }
    };
    let since = Instant::now();
    let description = active.started();
    tracing::info!(fault = name, "{description}");
    on_start(&description, active.deadline());
    let cancelled = tokio::select! {
        biased;
        () = cancel.cancelled() => true,
        () = active.completed() => false,
        () = tokio::time::sleep(duration) => false,
    };
    let lived = since.elapsed();
    let report = active.finish().await;
    tracing::info!(fault = name, cancelled, lived_seconds = lived.as_secs_f64(), "fault undone");
    outcome(name, report, cancelled, lived, duration)
}

fn outcome(
    name: &str,
    report: FaultReport,
    cancelled: bool,
    lived: Duration,
    duration: Duration,
) -> FaultOutcome {
    let ending = match (&report.failure, cancelled) {
        (Some(_), _) => Ending::Failed,
        (None, true) => Ending::Cancelled,
        (None, false) => Ending::Completed,
    };
    let mut stdout = String::new();
    if let Some(summary) = &report.summary {
        stdout.push_str(&summary.text);
    }
    if let Undone::Done(undone) = report.undone {
        let (how, lived, asked) = (ending.as_str(), lived.as_secs_f64(), short(duration.as_secs_f64()));
        stdout.push_str(&format!("{how} after {lived:.1} s of {asked} s; undone: {undone}\n"));
    }
    if let Some(summary) = report.summary {
        let figures = figures(name, summary, &report.undone, ending, lived);
        stdout.push_str(&figures.line(MOST_BYTES.saturating_sub(stdout.len() + 1)));
    }
    let stderr = report.failure.map(|failure| format!("{name} failed: {failure}\n")).unwrap_or_default();
    FaultOutcome { ending, stdout, stderr }
}

fn figures(name: &str, summary: FaultSummary, undone: &Undone, ending: Ending, lived: Duration) -> Outcome {
    Outcome {
        format: outcome::FORMAT,
        fault: name.to_owned(),
        asked: summary.asked,
        achieved: summary.achieved,
        matched: summary.matched,
        touched: summary.touched,
        ending,
        lived_seconds: rounded(lived.as_secs_f64(), 1),
        undone: match undone {
            Undone::Done(_) => Some(true),
            Undone::Failed => Some(false),
            Undone::Nothing => None,
        },
        notes: summary.notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::cpu_stress::CpuStress;

    fn stress(workers: u32, percent: u8) -> Fault {
        Fault::CpuStress(CpuStress { workers, percent })
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// Runs it for `duration`, or cancels it as soon as it has started.
    fn run_for(fault: &Fault, duration: Duration, task: &Task, cancelled: bool) -> FaultOutcome {
        let mut started = Vec::new();
        let cancel = CancellationToken::new();
        let outcome = runtime().block_on(run_fault(fault, duration, task, &cancel, &mut |text: &str, _| {
            started.push(text.to_owned());
            if cancelled {
                cancel.cancel();
            }
        }));
        assert!(started.len() == 1 && started[0].starts_with(fault.name()), "{started:?}");
        outcome
    }

    /// The longest report fits, and the figures are in it.
    #[test]
    fn the_longest_output_fits_run_command() {
        let figures = outcome::figures([("percent", 100.into())]);
        let summary = FaultSummary {
            text: "x".repeat(effects::fault::MOST_TEXT),
            asked: outcome::Asked { text: "y".repeat(900), seconds: 43_200.0, figures: figures.clone() },
            achieved: outcome::Achieved {
                text: "z".repeat(60),
                per_second: vec![100.0; 61],
                seconds_each: Some(720),
                figures,
            },
            matched: Some(u64::MAX),
            touched: Some(outcome::Touched::Nothing),
            notes: vec!["n".repeat(100); 5],
        };
        let report =
            FaultReport { summary: Some(summary), undone: Undone::Done("no thread left"), failure: None };
        let day = Duration::from_secs(43_200);
        let outcome = outcome("network-blackhole-port", report, false, day, day);
        assert!(outcome.stdout.len() < MOST_BYTES, "{} bytes", outcome.stdout.len());
        assert_eq!(Outcome::read(&outcome.stdout).unwrap().matched, Some(u64::MAX));
    }

    #[test]
    fn what_is_left_behind_is_reported() {
        let reported = |undone, failure: Option<&str>| {
            let summary = Some(FaultSummary::default());
            let report = FaultReport { summary, undone, failure: failure.map(str::to_owned) };
            let outcome = outcome("x", report, false, Duration::ZERO, Duration::ZERO);
            Outcome::read(&outcome.stdout).map(|read| (read.ending, read.undone)).unwrap()
        };
        assert_eq!(reported(Undone::Done("gone"), None), (Ending::Completed, Some(true)));
        assert_eq!(reported(Undone::Failed, Some("no")), (Ending::Failed, Some(false)));
        assert_eq!(reported(Undone::Nothing, None), (Ending::Completed, None));
    }

    #[test]
    fn a_fault_lives_its_whole_duration() {
        let duration = Duration::from_secs(1);
        let outcome = run_for(&stress(1, 30), duration, &Task::default(), false);
        assert_eq!(outcome.ending, Ending::Completed);
        assert!(outcome.stdout.contains("completed"), "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
    }

    #[test]
    fn a_cancel_ends_it_and_still_reports() {
        let hour = Duration::from_secs(3600);
        let outcome = run_for(&stress(2, 100), hour, &Task::default(), true);
        assert_eq!(outcome.ending, Ending::Cancelled);
        assert!(outcome.stdout.contains("undone"), "{}", outcome.stdout);
    }

    #[test]
    fn a_cancel_before_it_has_started_starts_nothing() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let (fault, hour) = (stress(2, 100), Duration::from_secs(3600));
        let outcome = runtime().block_on(async {
            run_fault(&fault, hour, &Task::default(), &cancel, &mut |_: &str, _| panic!("it has started"))
                .await
        });
        assert_eq!(outcome.ending, Ending::Cancelled);
        assert!(outcome.stderr.contains("cancelled before it had started"), "{}", outcome.stderr);
    }

    #[test]
    fn workers_together_are_held_against_the_limit() {
        let task = Task { most_percent: Some(50), ..Task::default() };
        let (fault, hour) = (stress(4096, 50), Duration::from_secs(3600));
        let cancel = CancellationToken::new();
        let outcome = runtime().block_on(async {
            run_fault(&fault, hour, &task, &cancel, &mut |_: &str, _| panic!("it has started")).await
        });
        assert_eq!(outcome.ending, Ending::Failed);
        assert!(outcome.stderr.contains("TASKFAULT_MAX_PERCENT in this task is 50"), "{}", outcome.stderr);
    }

    #[test]
    #[allow(clippy::needless_update, reason = "the task learns more about itself; this test needs one limit")]
    fn the_meaning_of_all_cores_under_a_task_limit_is_reported() {
        let task = Task { cpu_limit: Some(0.25), ..Task::default() };
        let outcome = run_for(&stress(0, 80), Duration::from_secs(5), &task, true);
        assert!(
            outcome.stdout.contains("80 % of the limit of 0.25 vCPU (task metadata)"),
            "{}",
            outcome.stdout
        );
    }
}
