//! `taskfault-local run TEMPLATE`: one experiment from its template to its end, as a gate in CI.
//!
//! A client of a `taskfault-local` that runs elsewhere, over the same API that the AWS CLI uses: it makes the
//! template, starts the experiment, tells its progress, writes the report and removes the template again.

pub(in crate::local) mod client;
pub(in crate::local) mod progress;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use client::{CallError, Fis};
use progress::{Progress, is_final};

use super::record::{Record, short};
use super::{report, wire};

/// The arguments of `taskfault-local run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct RunOptions {
    /// A file with what `aws fis create-experiment-template --cli-input-json` takes, or the id (EXT…) of a
    /// template that is there
    #[arg(value_name = "TEMPLATE")]
    pub template: String,
    /// Write report.html and report.json to this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Where taskfault-local listens
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", default_value = "http://127.0.0.1:4566")]
    pub endpoint: String,
    /// How long to go on watching after the experiment, so that the report shows the recovery
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub watch_after: u32,
}

/// What a `run` came to, and its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every action did what it should.
    Completed = 0,
    /// The run itself failed: the template file cannot be read, the report not written. (2 is for bad options.)
    Broken = 1,
    /// By a stop condition, by StopExperiment, by the safety lever.
    Stopped = 3,
    Failed = 4,
    /// The service did not take the template, or did not start the experiment.
    Refused = 5,
    /// There is no taskfault-local at the endpoint, or it went away.
    Unreachable = 6,
    /// Ctrl-C stopped it: 128 and the number of SIGINT.
    Interrupted = 130,
}

/// The table of exit codes, for the help text.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  the experiment completed
    1  the template file could not be read, or the report not written
    2  bad options
    3  stopped: by an alarm, by StopExperiment, by the safety lever
    4  failed
    5  refused: the template, or its start; nothing was done
    6  no taskfault-local at the endpoint, or it went away
  130  stopped by Ctrl-C or SIGTERM";

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

/// Why a run ended before its experiment did.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}")]
    Broken(String),
}

impl RunError {
    fn outcome(&self) -> Outcome {
        match self {
            RunError::Call(CallError::Refused { .. }) => Outcome::Refused,
            RunError::Call(CallError::Unreachable { .. }) => Outcome::Unreachable,
            RunError::Broken(_) => Outcome::Broken,
        }
    }
}

/// Runs one experiment to its end.
pub fn run(options: &RunOptions) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&RunError::Broken(format!("starting the runtime: {error}"))),
    };
    match runtime.block_on(perform(options)) {
        Ok(outcome) => outcome.into(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &RunError) -> ExitCode {
    eprintln!("taskfault-local: {error}");
    error.outcome().into()
}

async fn perform(options: &RunOptions) -> Result<Outcome, RunError> {
    // Read before anything is asked of anybody.
    let source = Source::of(&options.template)?;
    let fis = Fis::at(&options.endpoint)?;
    fis.is_local().await?;
    let template = match &source {
        Source::Id(id) => id.clone(),
        Source::File(body) => {
            let id = fis.create_template(body.clone()).await?;
            say(&format!("template {id} made from {}", options.template));
            id
        }
    };
    let outcome = experiment(options, &fis, &template).await;
    if matches!(source, Source::File(_)) {
        // Whatever the experiment came to: the template is ours to remove.
        match fis.delete_template(&template).await {
            Ok(()) => say(&format!("template {template} removed")),
            Err(error) => eprintln!("taskfault-local: template {template} is left: {error}"),
        }
    }
    outcome
}

/// Where the template comes from.
#[derive(Debug, PartialEq)]
enum Source {
    Id(String),
    File(Map<String, Value>),
}

impl Source {
    fn of(template: &str) -> Result<Source, RunError> {
        let id = template
            .strip_prefix("EXT")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if id && !Path::new(template).exists() {
            return Ok(Source::Id(template.to_owned()));
        }
        let text = fs::read_to_string(template)
            .map_err(|error| RunError::Broken(format!("reading {template}: {error}")))?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(body)) => Ok(Source::File(body)),
            Ok(_) => Err(RunError::Broken(format!("{template} is not a JSON object"))),
            Err(error) => Err(RunError::Broken(format!("{template} is not JSON: {error}"))),
        }
    }
}

/// Between two looks at the experiment.
const LOOK: Duration = Duration::from_millis(250);
/// Traffic of this much before the experiment is in the report too, in seconds.
const BEFORE: f64 = 30.0;

async fn experiment(options: &RunOptions, fis: &Fis, template: &str) -> Result<Outcome, RunError> {
    let began = SystemTime::now();
    let id = fis.start(template).await?;
    say(&format!("experiment {id} started"));
    let (last, interrupted) = follow(fis, &id).await?;
    if options.report.is_some() && !interrupted {
        sleep(Duration::from_secs(options.watch_after.into())).await;
    }
    let record = fis.record().await?;
    let from = wire::epoch_seconds(began) - BEFORE;
    let record = only(record.between(from, wire::epoch_seconds(SystemTime::now())), &id);
    tell_faults(&record);
    if let Some(folder) = &options.report {
        let written = report::write(&record, folder).map_err(|error| RunError::Broken(error.to_string()))?;
        say(&format!("report: {}", written.page.display()));
    }
    let status = last["state"]["status"].as_str().unwrap_or_default();
    Ok(match status {
        _ if interrupted => Outcome::Interrupted,
        "completed" => Outcome::Completed,
        "stopped" => Outcome::Stopped,
        _ => Outcome::Failed,
    })
}

/// Tells what happens to the experiment until it has ended; its last state, and whether Ctrl-C stopped it.
async fn follow(fis: &Fis, id: &str) -> Result<(Value, bool), RunError> {
    let watching = |error: std::io::Error| RunError::Broken(format!("watching for Ctrl-C: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(watching)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(watching)?;
    let (mut progress, began, mut interrupted) = (Progress::default(), Instant::now(), false);
    loop {
        let experiment = fis.experiment(id).await?;
        for line in progress.news(&experiment) {
            say(&format!("{:>6.1} s  {line}", began.elapsed().as_secs_f64()));
        }
        if is_final(experiment["state"]["status"].as_str().unwrap_or_default()) {
            return Ok((experiment, interrupted));
        }
        let signalled = tokio::select! {
            () = sleep(LOOK) => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        };
        if signalled && interrupted {
            return Err(RunError::Broken(format!("gone without waiting for the end of {id}")));
        }
        if signalled {
            interrupted = true;
            say("stopping the experiment; once more leaves at once");
            fis.stop(id).await?;
        }
    }
}

/// The record without other experiments that ran at the same time; their commands and traffic stay.
fn only(mut record: Record, experiment: &str) -> Record {
    record.experiments.retain(|it| it.id == experiment);
    record
}

fn tell_faults(record: &Record) {
    for command in &record.commands {
        let task = short(command.task.as_deref().unwrap_or(&command.instance));
        say(&format!("{} on task {task}: {}", command.document, command.status));
        for step in &command.steps {
            for (word, text) in [("asked", &step.asked), ("achieved", &step.achieved)] {
                if let Some(text) = text {
                    say(&format!("  {word:<8}  {text}"));
                }
            }
            step.remarks.iter().for_each(|remark| say(&format!("  {remark}")));
        }
    }
    record.notes.iter().for_each(|note| say(&format!("note: {}", note.text)));
}

/// A line at once, so that a pipe sees it live. A reader that went away is no reason to stop.
fn say(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_an_id_or_a_file() {
        assert_eq!(Source::of("EXT123abcDEF").unwrap(), Source::Id("EXT123abcDEF".into()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("template.json");
        fs::write(&file, "{\"description\": \"x\"}").unwrap();
        assert!(matches!(Source::of(file.to_str().unwrap()), Ok(Source::File(_))));
        for (text, words) in [("[]", "not a JSON object"), ("{", "not JSON")] {
            fs::write(&file, text).unwrap();
            let error = Source::of(file.to_str().unwrap()).unwrap_err();
            assert!(error.to_string().contains(words) && error.outcome() == Outcome::Broken, "{error}");
        }
        assert!(Source::of("/nowhere/template.json").unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn every_outcome_has_its_own_documented_code() {
        use Outcome::{Broken, Completed, Failed, Interrupted, Refused, Stopped, Unreachable};
        let mut codes = Vec::new();
        for outcome in [Completed, Broken, Stopped, Failed, Refused, Unreachable, Interrupted] {
            let code = outcome as u8;
            assert!(EXIT_CODES.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))));
            codes.push(code);
        }
        codes.dedup();
        assert_eq!(codes.len(), 7);
    }
}
