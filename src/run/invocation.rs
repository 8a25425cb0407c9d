//! One invocation: the steps of a plan, one after another, each of them reported when it ends.
//!
//! Flow control and exit codes as the stock agent has them (`runpluginutil.go`, `pluginutil_unix.go`). It knows
//! nothing of channels: who listens gets each report as it is made.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::active_faults::ActiveFaults;
use super::heartbeat::{self, Heartbeats, Lease};
use super::run_fault::{Ending, FaultOutcome, run_fault};
use crate::aws::clock::Clock;
use crate::document::{OnFailure, Plan, Script, Step, Work};
use crate::metrics::{FaultMetrics, Metrics};
use crate::output::{Destination, Writer};
use effects::fault::Deadline;
use effects::shell::{self, Job};
use effects::task::Task;
use faults::Fault;
use ssm_wire::report::{StepReport, StepStatus, output};

/// Exit code of a step that was killed: 128 + SIGKILL.
pub const KILLED: i32 = 137;
/// A script that exits with it succeeds, and the steps after it are skipped.
pub const EXIT_WITH_SUCCESS: i32 = 168;
/// A script that exits with it fails, and the steps after it are skipped.
pub const EXIT_WITH_FAILURE: i32 = 169;
/// A script that exits with it wants the host rebooted and to be run again.
pub const REBOOT: i32 = 194;

/// Everything about the place that the steps of one command need. Debug shows nothing of the environment,
/// which holds secrets.
#[derive(Clone)]
pub struct InvocationContext {
    /// The second-to-last part of the job id, a UUID.
    pub command_id: String,
    /// `mi-…`
    pub instance_id: String,
    /// For `AWS_SSM_REGION_NAME`.
    pub region: String,
    /// Scripts are put in a folder of the command's own below it.
    pub orchestration_dir: PathBuf,
    /// For `AWS_SSM_PLATFORM_NAME`, `Amazon Linux` for instance.
    pub platform_name: String,
    /// For `AWS_SSM_PLATFORM_VERSION`.
    pub platform_version: String,
    /// What faults have to know about the task.
    pub task: Task,
    /// What scripts inherit: our own environment as it was at the start.
    pub environment: BTreeMap<OsString, OsString>,
    /// The service's time, which FIS dates its calls with.
    pub clock: Clock,
    /// The FIS actions that need heartbeats.
    pub heartbeats: Rc<Heartbeats>,
    /// Where active faults are listed.
    pub active_faults: Rc<ActiveFaults>,
    /// Where the output of the steps goes besides the reply.
    pub output: Option<(Rc<Writer>, Destination)>,
    /// Writes metrics of faults, if they are wanted.
    pub metrics: Option<Metrics>,
}

impl std::fmt::Debug for InvocationContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InvocationContext")
            .field("command_id", &self.command_id)
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

/// Runs `plan` to its end or until `cancel`, and returns the reports of all its steps, in order. Each report is
/// given to `on_step` as soon as its step has ended.
pub async fn run(
    plan: &Plan,
    context: &InvocationContext,
    cancel: &CancellationToken,
    on_step: &mut dyn FnMut(&StepReport),
) -> Vec<StepReport> {
    let mut reports = Vec::with_capacity(plan.steps.len());
    let mut exited = false;
    for step in &plan.steps {
        let started = SystemTime::now();
        let result = match &step.work {
            _ if exited && !step.finally => Finished::skipped(format!(
                "Plugin with name {} and id {} skipped due to prior step with an exit condition",
                step.action, step.name
            )),
            work @ (Work::Skip(_) | Work::Refuse(_)) => perform(work, context, cancel).await,
            _ if cancel.is_cancelled() => Finished::new(StepStatus::Cancelled, 1),
            work => {
                add_flow_control_remark(catch_panic(perform(work, context, cancel)).await, step.on_failure)
            }
        };
        exited |= exits(step, &result);
        let mut report = result.report(step, started);
        if let Some((writer, destination)) = &context.output {
            writer.write(&mut report, destination).await;
        }
        on_step(&report);
        reports.push(report);
    }
    reports
}

/// Whether the steps after this one are skipped.
fn exits(step: &Step, result: &Finished) -> bool {
    // By code alone, whatever the status: a script that was asked to reboot is the exception of ours, because
    // the steps after it count on a reboot that did not happen.
    [EXIT_WITH_SUCCESS, EXIT_WITH_FAILURE, REBOOT].contains(&result.code)
        || result.status == StepStatus::Failed && step.on_failure == OnFailure::Exit
        || result.status == StepStatus::Success && step.exit_on_success
}

/// What a step came to.
struct Finished {
    status: StepStatus,
    code: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    message: Option<String>,
}

impl Finished {
    fn new(status: StepStatus, code: i32) -> Finished {
        Finished { status, code, stdout: Vec::new(), stderr: Vec::new(), message: None }
    }

    fn skipped(reason: String) -> Finished {
        Finished { message: Some(reason), ..Finished::new(StepStatus::Skipped, 0) }
    }

    fn failed(code: i32, stderr: &str) -> Finished {
        Finished { stderr: stderr.into(), ..Finished::new(StepStatus::Failed, code) }
    }

    fn report(self, step: &Step, started: SystemTime) -> StepReport {
        StepReport {
            name: step.name.clone(),
            action: step.action.clone(),
            status: self.status,
            code: self.code,
            stdout: self.stdout,
            stderr: self.stderr,
            message: self.message,
            stored: None,
            started,
            // A clock that was set back in between must not make the step end before it began.
            ended: SystemTime::now().max(started),
        }
    }
}

/// The result of `step`, or a failure if it panics: a mistake in one fault must not leave the command without
/// an answer. Unwinding has undone the step's effects by then.
async fn catch_panic(step: impl Future<Output = Finished>) -> Finished {
    // Nothing that the step could have left half changed is read afterwards.
    AssertUnwindSafe(step).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        // The stock agent's words for it (`runpluginutil.go`, runPlugin).
        Finished { message: Some(format!("Plugin crashed with message {text}!")), ..Finished::failed(1, "") }
    })
}

async fn perform(work: &Work, context: &InvocationContext, cancel: &CancellationToken) -> Finished {
    match work {
        Work::Scripts(scripts) => run_scripts(scripts, context, cancel).await,
        Work::Fault { fault, duration } => {
            let mut listed = None;
            let metrics = metrics_of(fault, context);
            let mut list = |description: &str, _| {
                metrics.as_ref().inspect(|metrics| metrics.started());
                listed = Some(context.active_faults.add(&context.command_id, description, *duration, None));
            };
            of_outcome(
                followed(&metrics, run_fault(fault, *duration, &context.task, cancel, &mut list)).await,
            )
        }
        Work::Leased { fault, duration, call } => match context.heartbeats.begin(call, context.clock.now()) {
            Ok(lease) => run_leased(fault, *duration, lease, context, cancel).await,
            Err(error) => Finished::failed(1, &format!("{error}\n")),
        },
        Work::Heartbeat(call) => match context.heartbeats.beat(call, context.clock.now()) {
            Ok(left) => {
                let (id, count, left) = (&call.id, call.call_count, left.as_secs_f64());
                let stdout =
                    format!("heartbeat {count} of FIS action {id}: its fault goes on for {left:.0} s\n");
                Finished { stdout: stdout.into(), ..Finished::new(StepStatus::Success, 0) }
            }
            Err(error) => Finished::failed(1, &format!("{error}\n")),
        },
        Work::Note(text) => Finished { stdout: text.clone().into(), ..Finished::new(StepStatus::Success, 0) },
        Work::Fail(reason) => Finished::failed(1, reason),
        Work::Skip(reason) => Finished::skipped(reason.clone()),
        Work::Refuse(reason) => Finished { message: Some(reason.clone()), ..Finished::failed(1, "") },
    }
}

fn metrics_of<'a>(fault: &Fault, context: &'a InvocationContext) -> Option<FaultMetrics<'a>> {
    context.metrics.as_ref().map(|metrics| metrics.of_fault(fault.name(), &context.command_id))
}

/// Waits for a fault, and writes its metrics where they are wanted.
async fn followed(
    metrics: &Option<FaultMetrics<'_>>,
    running: impl Future<Output = FaultOutcome>,
) -> FaultOutcome {
    match metrics {
        Some(metrics) => metrics.follow(running).await,
        None => running.await,
    }
}

/// The outcome of a fault as the result of its step.
fn of_outcome(outcome: FaultOutcome) -> Finished {
    let (status, code) = match outcome.ending {
        Ending::Completed => (StepStatus::Success, 0),
        Ending::Cancelled => (StepStatus::Cancelled, KILLED),
        Ending::Failed => (StepStatus::Failed, 1),
    };
    let (stdout, stderr) = (outcome.stdout.into_bytes(), outcome.stderr.into_bytes());
    Finished { stdout, stderr, ..Finished::new(status, code) }
}

/// Runs a fault until its duration is over, it is cancelled, or its heartbeats stop.
async fn run_leased(
    fault: &Fault,
    duration: Duration,
    mut lease: Lease,
    context: &InvocationContext,
    cancel: &CancellationToken,
) -> Finished {
    let silence = cancel.child_token();
    let (mut listed, action) = (None, lease.id().to_owned());
    // Heartbeats move the end within the duration; a sidecar that is stopped hears none, and the kernel ends it.
    let until = lease.until();
    let moved: OnceCell<(Instant, Option<Deadline>)> = OnceCell::new();
    let move_end = |left: Duration| {
        if let Some((since, Some(deadline))) = moved.get() {
            deadline(left.min(duration.saturating_sub(since.elapsed())));
        }
    };
    let metrics = metrics_of(fault, context);
    let mut list = |description: &str, deadline: Option<Deadline>| {
        metrics.as_ref().inspect(|metrics| metrics.started());
        let entry = context.active_faults.add(&context.command_id, description, duration, Some(&action));
        listed = Some(entry);
        let _ = moved.set((Instant::now(), deadline));
        move_end(until.left());
    };
    let mut running =
        std::pin::pin!(followed(&metrics, run_fault(fault, duration, &context.task, &silence, &mut list)));
    let outcome = tokio::select! {
        biased;
        outcome = &mut running => return of_outcome(outcome),
        () = lease.expired(&move_end) => {
            silence.cancel();
            running.await
        }
    };
    let reason = format!(
        "FIS sent no heartbeat for {} s: the fault was ended before its time\n",
        heartbeat::TIMEOUT.as_secs()
    );
    let stderr = format!("{reason}{}", outcome.stderr).into_bytes();
    Finished { stdout: outcome.stdout.into(), stderr, ..Finished::new(StepStatus::Failed, 1) }
}

async fn run_scripts(
    scripts: &[Script],
    context: &InvocationContext,
    cancel: &CancellationToken,
) -> Finished {
    let mut whole = None;
    for script in scripts {
        let next = if whole.is_some() && cancel.is_cancelled() {
            Finished::new(StepStatus::Cancelled, 1)
        } else {
            run_script(script, context, cancel).await
        };
        whole = Some(match whole {
            None => next,
            Some(whole) => merge(whole, next),
        });
    }
    // An empty list of properties: nothing was asked for, and nothing failed.
    whole.unwrap_or_else(|| Finished::new(StepStatus::Success, 0))
}

/// Two scripts of one step: outputs one below the other, the first code that is not 0, the worst status
/// (`iohandler.go` Merge, `contracts/model.go` MergeResultStatus).
fn merge(first: Finished, second: Finished) -> Finished {
    let join = |mut first: Vec<u8>, second: Vec<u8>| {
        if !first.is_empty() {
            first.push(b'\n');
        }
        first.extend(second);
        first
    };
    let rank = |status| match status {
        StepStatus::Skipped => 0,
        StepStatus::Success => 1,
        StepStatus::Failed => 2,
        StepStatus::Cancelled => 3,
        StepStatus::TimedOut => 4,
    };
    Finished {
        status: if rank(second.status) > rank(first.status) { second.status } else { first.status },
        code: if first.code == 0 { second.code } else { first.code },
        stdout: join(first.stdout, second.stdout),
        stderr: join(first.stderr, second.stderr),
        message: None,
    }
}

async fn run_script(script: &Script, context: &InvocationContext, cancel: &CancellationToken) -> Finished {
    let environment = environment(script, context);
    let folder = context.orchestration_dir.join(file_name(&context.command_id));
    let working_directory = script.working_directory.as_deref().map(Path::new);
    let job = Job {
        text: &script.text,
        timeout: script.timeout,
        // A relative path is looked for among downloads, which we do not make; then it does not count.
        working_directory: working_directory.filter(|path| path.is_absolute()),
        environment: &environment,
        command_folder: &folder,
        directory: &script.directory,
    };
    match shell::run(&job, cancel).await {
        Ok(outcome) => of_script(outcome),
        Err(error) => {
            tracing::warn!(command_id = %context.command_id, %error, "A script could not be run");
            Finished::failed(1, &format!("failed to run commands: {error}"))
        }
    }
}

/// What the script finds in its environment; later ones win (`executers.go`, prepareEnvironment).
fn environment(script: &Script, context: &InvocationContext) -> BTreeMap<OsString, OsString> {
    let own = [
        ("SSM_COMMAND_ID", &context.command_id),
        ("AWS_SSM_INSTANCE_ID", &context.instance_id),
        ("AWS_SSM_REGION_NAME", &context.region),
        ("AWS_SSM_PLATFORM_NAME", &context.platform_name),
        ("AWS_SSM_PLATFORM_VERSION", &context.platform_version),
    ];
    let mut environment = context.environment.clone();
    let step = script.environment.iter().map(|(name, value)| (name.as_str(), value));
    environment.extend(step.chain(own).map(|(name, value)| (name.into(), value.into())));
    environment
}

/// The command id as the name of one folder. It is a uuid; anything else must not lead elsewhere.
pub(super) fn file_name(command_id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    command_id.chars().map(safe).take(200).collect()
}

/// The outcome of a script as the result of its step.
fn of_script(outcome: shell::Outcome) -> Finished {
    let (status, code, remark) = match outcome.ending {
        shell::Ending::Cancelled => (StepStatus::Cancelled, KILLED, None),
        shell::Ending::TimedOut => (StepStatus::TimedOut, KILLED, None),
        shell::Ending::Signalled(signal) => {
            (StepStatus::Failed, -1, Some(format!("signal: {}", signal_name(signal))))
        }
        shell::Ending::Exited(0) => (StepStatus::Success, 0, None),
        // The stock agent goes by the number alone, so a script that exits so is taken for one that was killed.
        shell::Ending::Exited(KILLED) => (StepStatus::TimedOut, KILLED, None),
        shell::Ending::Exited(REBOOT) => (StepStatus::Failed, REBOOT, Some(reboot_refused())),
        shell::Ending::Exited(code) => (StepStatus::Failed, code, Some(format!("exit status {code}"))),
    };
    let mut result =
        Finished { stdout: outcome.stdout, stderr: outcome.stderr, ..Finished::new(status, code) };
    if let Some(remark) = remark {
        result.stderr.extend_from_slice(format!("failed to run commands: {remark}").as_bytes());
    }
    result
}

fn reboot_refused() -> String {
    format!(
        "exit status {REBOOT}, which asks for a reboot; a task cannot reboot its host, so the script was not run again \
         and the steps after it are skipped"
    )
}

/// The name of a signal as Go prints it; the number where it has none of the common names.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// The remarks that flow control leaves in the streams. The combined output is taken before they are added, and
/// shows the step as it was.
fn add_flow_control_remark(mut result: Finished, on_failure: OnFailure) -> Finished {
    let before =
        |result: &Finished, stderr: &[u8]| Some(output::text(&output::combined(&result.stdout, stderr)));
    match (result.code, result.status, on_failure) {
        (EXIT_WITH_SUCCESS, ..) => {
            result.message = before(&result, b"");
            result.status = StepStatus::Success;
            result.stderr.clear();
            append(&mut result.stdout, "Step exited with code 168. Therefore, marking step as succeeded.");
        }
        (EXIT_WITH_FAILURE, ..) => {
            result.message = before(&result, &result.stderr);
            for stream in [&mut result.stdout, &mut result.stderr] {
                append(stream, "Step exited with code 169. Therefore, marking step as Failed.");
            }
        }
        (_, StepStatus::Failed, OnFailure::Exit | OnFailure::SuccessAndExit) => {
            result.message = before(&result, &result.stderr);
            for stream in [&mut result.stdout, &mut result.stderr] {
                append(stream, "Step was found to have onFailure property.");
            }
            if on_failure == OnFailure::SuccessAndExit {
                (result.status, result.code) = (StepStatus::Success, EXIT_WITH_SUCCESS);
            }
        }
        _ => {}
    }
    result
}

fn append(stream: &mut Vec<u8>, remark: &str) {
    stream.extend_from_slice(format!("\n{remark} Further document steps will be skipped.").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::awsfis::ActionState;

    fn ended(ending: shell::Ending) -> Finished {
        of_script(shell::Outcome { ending, stdout: Vec::new(), stderr: b"err\n".to_vec() })
    }

    /// Protocol sheet §6.5. The rows that a real shell shows are tested with one in `tests/shell_steps.rs`.
    #[test]
    fn endings_that_a_shell_seldom_has() {
        for (ending, status, code, stderr) in [
            (
                shell::Ending::Signalled(9),
                StepStatus::Failed,
                -1,
                "err\nfailed to run commands: signal: killed",
            ),
            (
                shell::Ending::Signalled(34),
                StepStatus::Failed,
                -1,
                "err\nfailed to run commands: signal: signal 34",
            ),
            (shell::Ending::Cancelled, StepStatus::Cancelled, 137, "err\n"),
            (shell::Ending::TimedOut, StepStatus::TimedOut, 137, "err\n"),
        ] {
            let result = ended(ending);
            assert_eq!((result.status, result.code), (status, code), "{ending:?}");
            assert_eq!(String::from_utf8_lossy(&result.stderr), stderr, "{ending:?}");
        }
    }

    #[test]
    fn merging_keeps_the_first_code_and_the_worst_status() {
        let merged = merge(Finished::failed(3, "a"), Finished::new(StepStatus::TimedOut, KILLED));
        assert_eq!((merged.status, merged.code), (StepStatus::TimedOut, 3));
        let merged = merge(Finished::new(StepStatus::Success, 0), Finished::failed(4, "b"));
        assert_eq!((merged.status, merged.code, merged.stderr), (StepStatus::Failed, 4, b"b".to_vec()));
    }

    #[test]
    fn a_command_id_names_one_folder() {
        assert_eq!(file_name("da11fb41-9572"), "da11fb41-9572");
        assert_eq!(file_name("../../x"), "______x");
    }

    fn context() -> InvocationContext {
        InvocationContext {
            command_id: String::new(),
            instance_id: String::new(),
            region: String::new(),
            orchestration_dir: PathBuf::new(),
            platform_name: String::new(),
            platform_version: String::new(),
            task: Task::default(),
            environment: BTreeMap::new(),
            clock: Clock::default(),
            heartbeats: Rc::default(),
            active_faults: Rc::default(),
            output: None,
            metrics: None,
        }
    }

    /// A fault that does nothing for an hour, called into life now.
    fn leased() -> Work {
        let fault = Fault::CpuStress(faults::cpu_stress::CpuStress { workers: 1, percent: 0 });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let call = ActionState { id: "a".into(), call_time: since.as_secs(), call_count: 1 };
        Work::Leased { fault, duration: Duration::from_secs(3600), call }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_whose_heartbeats_stop_is_ended_and_has_failed() {
        let (context, cancel, since) = (context(), CancellationToken::new(), tokio::time::Instant::now());
        let result = perform(&leased(), &context, &cancel).await;
        assert_eq!((result.status, result.code), (StepStatus::Failed, 1));
        let stderr = String::from_utf8(result.stderr).unwrap();
        assert_eq!(stderr, "FIS sent no heartbeat for 60 s: the fault was ended before its time\n");
        assert!(String::from_utf8(result.stdout).unwrap().contains("undone: no thread left"));
        // callTime has whole seconds, so up to one of the sixty had passed already.
        assert!((59..=60).contains(&since.elapsed().as_secs()));
        let beat = ActionState { id: "a".into(), call_time: 9_999_999_999, call_count: 2 };
        let late = perform(&Work::Heartbeat(beat), &context, &cancel).await;
        assert_eq!((late.status, late.code), (StepStatus::Failed, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_of_a_leased_fault_is_a_cancel() {
        let (context, cancel) = (context(), CancellationToken::new());
        cancel.cancel();
        let result = perform(&leased(), &context, &cancel).await;
        assert_eq!((result.status, result.code), (StepStatus::Cancelled, KILLED));
    }

    #[test]
    fn a_step_that_panics_is_a_failed_step() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(catch_panic(async { panic!("on purpose: {}", 1) }));
        assert_eq!((result.status, result.code), (StepStatus::Failed, 1));
        assert_eq!(result.message.as_deref(), Some("Plugin crashed with message on purpose: 1!"));
    }
}
