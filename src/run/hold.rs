//! Holds one fault for its duration, or until it is cancelled. Used by Run Command and by `taskfault inject`.
//!
//! What a fault is to the rest of the program stands in [`Live`]. To add one: its parameters in `fault`, its
//! effect in `effect`, a file beside `cpu` that brings both together, and a line in [`start`].

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use tokio_util::sync::CancellationToken;

use effects::disk::space::Space;
use effects::task::Task;
use faults::Fault;

mod cpu;
mod cpu_text;
mod disk;
mod ecs_agent;
mod io;
mod kill;
mod memory;
mod network;
mod network_way;

/// A fault that has been started. [`Live::finish`] undoes it and tells; dropping it undoes it as well, at once
/// and without a word.
pub trait Live {
    /// What has been started, in one line without an end: `cpu-stress: 2 threads at 80 % of a core each`.
    fn started(&self) -> String;

    /// Is ready when the fault is over by itself: done, or broken. Polled for as long as the fault is held, so
    /// that a fault which has to do something on the control thread meanwhile can do it here.
    fn over(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Undoes the fault and says what it came to.
    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport>;
}

/// What a fault came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultReport {
    /// What was asked and what was achieved: whole lines. Under 2,100 bytes, see [`FaultOutcome::stdout`].
    pub text: String,
    /// What "undone" means, for the last line: `no thread left`. None where there is nothing to undo.
    pub undone: Option<String>,
    /// Why it was not what was asked, or could not be undone.
    pub failure: Option<String>,
}

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
    fn without_report(ending: Ending, message: String) -> Self {
        FaultOutcome { ending, stdout: String::new(), stderr: message }
    }
}

/// Starts what `fault` asks for. Everything is checked before anything is touched; what fails half-way is
/// undone. The words of an error end without a full stop.
async fn start(fault: &Fault, duration: Duration, task: &Task) -> Result<Box<dyn Live>, String> {
    match fault {
        Fault::CpuStress(stress) => cpu::start(stress, duration, task),
        Fault::DiskFill(fill) => disk::start(fill, duration, task),
        Fault::IoStress(stress) => io::start(stress, duration, task),
        Fault::KillProcess(kill) => kill::start(kill, task),
        Fault::MemoryStress(stress) => memory::start(stress, duration, task).await,
        Fault::NetworkBlackholePort(_) | Fault::NetworkLatency(_) | Fault::NetworkPacketLoss(_) => {
            network_way::start(fault, duration, task).await
        }
    }
}

/// Whether the fault called `name` would work in this place, with its default parameters: what it would find, or
/// why not and what to change. None for faults that need nothing that can be looked at here.
pub fn outlook(name: &str, task: &Task) -> Option<Result<String, String>> {
    match name {
        "disk-fill" => Some(disk::outlook(task)),
        "io-stress" => Some(io::outlook(task)),
        "kill-process" => Some(kill::outlook(task)),
        "memory-stress" => Some(memory::outlook(task)),
        _ => None,
    }
}

/// Starts `fault`, keeps it for `duration`, undoes it and says what was achieved. `on_start` hears what was
/// started, once it lives.
///
/// Dropping the future undoes the fault too, but then nobody hears what was achieved.
pub async fn hold(
    fault: &Fault,
    duration: Duration,
    task: &Task,
    cancel: &CancellationToken,
    on_start: &mut dyn FnMut(&str),
) -> FaultOutcome {
    let name = fault.name();
    let started = tokio::select! {
        // First: what can be started without waiting is started, so that a cancel always finds it and reports.
        biased;
        started = start(fault, duration, task) => started,
        () = cancel.cancelled() => {
            let words = format!("{name}: cancelled before it had started; undone\n");
            return FaultOutcome::without_report(Ending::Cancelled, words);
        }
    };
    let mut live = match started {
        Ok(live) => live,
        Err(reason) => {
            let words = format!("{name} did not start: {reason}\n");
            return FaultOutcome::without_report(Ending::Failed, words);
        }
    };
    let since = Instant::now();
    let words = live.started();
    tracing::info!(fault = name, "{words}");
    on_start(&words);
    let cancelled = tokio::select! {
        biased;
        () = cancel.cancelled() => true,
        () = live.over() => false,
        () = tokio::time::sleep(duration) => false,
    };
    let lived = since.elapsed();
    let report = live.finish().await;
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
    let (ending, how) = match (&report.failure, cancelled) {
        (Some(_), _) => (Ending::Failed, "failed"),
        (None, true) => (Ending::Cancelled, "cancelled"),
        (None, false) => (Ending::Completed, "completed"),
    };
    let mut stdout = report.text;
    if let Some(undone) = report.undone {
        let (lived, asked) = (lived.as_secs_f64(), short(duration.as_secs_f64()));
        stdout.push_str(&format!("{how} after {lived:.1} s of {asked} s; undone: {undone}\n"));
    }
    let stderr = report.failure.map(|failure| format!("{name} failed: {failure}\n")).unwrap_or_default();
    FaultOutcome { ending, stdout, stderr }
}

/// Undoes on a thread of its own what may wait for a disk or for the kernel, so that the control side does not.
fn off_thread(undo: impl FnOnce() -> FaultReport + Send + 'static) -> LocalBoxFuture<'static, FaultReport> {
    Box::pin(async move {
        tokio::task::spawn_blocking(undo).await.unwrap_or_else(|error| FaultReport {
            text: String::new(),
            undone: None,
            failure: Some(format!("undoing it broke off: {error}")),
        })
    })
}

/// How full the file system of `path` is, if it can be written at all.
fn look(path: &Path) -> Result<Space, String> {
    let path_shown = path.display();
    let space = Space::of(path)
        .map_err(|error| format!("the file system of {path_shown} cannot be looked at: {error}"))?;
    if space.read_only {
        return Err(format!(
            "the file system of {path_shown} is mounted read-only; name a path on one that can be written, or \
             unset readonlyRootFilesystem"
        ));
    }
    Ok(space)
}

/// `percent` of `amount`, rounded down.
fn share_of(amount: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// Bytes in words: `1.5 GiB`.
fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB"].iter().peekable();
    loop {
        let unit = units.next().copied().unwrap_or("PiB");
        if value < 1024.0 || units.peek().is_none() {
            return if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
}

/// `1 worker`, `2 workers`.
fn many(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// At most two decimals, none where there are none to show.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
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

    fn hold_for(fault: &Fault, duration: Duration, task: &Task, cancel: &CancellationToken) -> FaultOutcome {
        let mut started = Vec::new();
        let outcome = runtime().block_on(hold(fault, duration, task, cancel, &mut |words: &str| {
            started.push(words.to_owned());
        }));
        assert!(started.len() == 1 && started[0].starts_with(fault.name()), "{started:?}");
        outcome
    }

    #[test]
    fn amounts_are_said_in_words() {
        for (count, words) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), words);
        }
        assert_eq!((many(1, "worker"), many(0, "worker")), ("1 worker".into(), "0 workers".into()));
    }

    #[test]
    fn a_fault_lives_its_whole_duration() {
        let duration = Duration::from_secs(1);
        let cancel = CancellationToken::new();
        let outcome = hold_for(&stress(1, 30), duration, &Task::default(), &cancel);
        assert_eq!(outcome.ending, Ending::Completed);
        assert!(outcome.stdout.contains("completed"), "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
    }

    #[test]
    fn a_cancel_ends_it_and_still_reports() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let hour = Duration::from_secs(3600);
        let outcome = hold_for(&stress(2, 100), hour, &Task::default(), &cancel);
        assert_eq!(outcome.ending, Ending::Cancelled);
        assert!(outcome.stdout.contains("undone"), "{}", outcome.stdout);
    }

    #[test]
    #[allow(clippy::needless_update, reason = "the task learns more about itself; this test needs one limit")]
    fn the_meaning_of_all_cores_under_a_task_limit_is_said() {
        let task = Task { cpu_limit: Some(0.25), ..Task::default() };
        let cancel = CancellationToken::new();
        cancel.cancel();
        let outcome = hold_for(&stress(0, 80), Duration::from_secs(5), &task, &cancel);
        assert!(
            outcome.stdout.contains("80 % of the limit of 0.25 vCPU (task metadata)"),
            "{}",
            outcome.stdout
        );
    }
}
