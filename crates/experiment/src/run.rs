//! `taskfault-local run TEMPLATE`: one experiment from its template to its end, as a gate in CI.
//!
//! A client of a `taskfault-local` that runs elsewhere, over the same API that the AWS CLI uses: it makes the
//! template, starts the experiment, prints its progress, writes the report and removes the template again. With
//! `--load` it is also a client of the service under experiment, and the report has what that client saw.

pub mod client;
mod gate;
mod lines;
mod load;
mod load_url;
mod options;
pub mod progress;
mod results;
mod watch;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::time::Instant;

use client::{CallError, Fis};
use gate::Gate;
pub use lines::above_status;
use lines::{Lines, Patience};
use load::Prepared;
pub use load_url::LoadUrl;
pub use options::{AFTER_HELP, LOADED, Outcome, RunOptions};
use results::Results;
use watch::Watch;

use super::interruption::Interruption;
use super::{effect, report};
use record::clock;
use record::{Experiment, Note, Record, Second, short};

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
            RunError::Call(CallError::Unreachable { .. } | CallError::NotLocal { .. }) => {
                Outcome::Unreachable
            }
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
    let lines = if options.json || options.prints_summary() { Lines::Stderr } else { Lines::Stdout };
    // What can be refused is, before anything is asked of FIS.
    let source = Source::of(&options.template)?;
    let gate = Gate::of(options)?;
    if let Some(folder) = &options.report {
        report::prepare(folder).map_err(|error| RunError::Broken(error.to_string()))?;
    }
    if let Some(folder) = options.junit.as_deref().and_then(Path::parent).filter(|it| *it != Path::new("")) {
        report::prepare(folder).map_err(|error| RunError::Broken(error.to_string()))?;
    }
    let fis = Fis::at(&options.endpoint)?;
    let mut patience = Patience::of(Duration::from_secs(options.wait.into()), lines);
    while let Err(error) = fis.is_local().await {
        if !matches!(error, CallError::Unreachable { .. }) || !patience.waits_for(&error.to_string()).await {
            return Err(error.into());
        }
    }
    let load = match options.load.as_slice() {
        [] => None,
        urls => Some(Prepared::new(urls, options.rate, &mut patience).await?),
    };
    let interruption = Interruption::watch().map_err(|error| RunError::Broken(error.to_string()))?;
    let template = match &source {
        Source::Id(id) => {
            fis.has_template(id).await?;
            id.clone()
        }
        Source::File(body) => {
            let id = fis.create_template(body.clone()).await?;
            lines.print(&format!("template {id} made from {}", options.template));
            id
        }
    };
    let watch = Watch { fis: &fis, traffic: None, interruption, began: Instant::now(), lines };
    let outcome = experiment(options, &gate, watch, load, &template).await;
    if matches!(source, Source::File(_)) {
        // Whatever the experiment came to: the template is ours to remove.
        match fis.delete_template(&template).await {
            Ok(()) => lines.print(&format!("template {template} removed")),
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

/// How long the load runs before the experiment: what the service is like at rest.
const REST: Duration = Duration::from_secs(5);
/// Without a load of its own, a report begins so many seconds before the experiment.
const BEFORE: f64 = 30.0;

async fn experiment(
    options: &RunOptions,
    gate: &Gate,
    mut watch: Watch<'_>,
    load: Option<Prepared>,
    template: &str,
) -> Result<Outcome, RunError> {
    let lines = watch.lines;
    if let Some(load) = load {
        lines.print(&format!(
            "load: {}, {} requests per second; {} s at rest",
            load.description(),
            options.rate,
            REST.as_secs()
        ));
        watch.traffic = Some(load.start()?);
        if watch.pass(REST).await.is_some() {
            lines.print("interrupted before the experiment: nothing was done");
            return Ok(Outcome::Interrupted);
        }
    }
    let began = clock::epoch_seconds(SystemTime::now());
    let id = watch.fis.start(template).await?;
    lines.print(&format!("experiment {id} started"));
    let (_, interrupted) = watch.experiment(&id).await?;
    let watching = options.report.is_some() || options.recover_within.is_some() || watch.traffic.is_some();
    if watching && !interrupted && options.watch_after > 0 {
        lines.print(&format!("watching for {} s; Ctrl-C cuts it short", options.watch_after));
        // The experiment is over, so what it came to stays.
        let _ = watch.pass(Duration::from_secs(options.watch_after.into())).await;
    }
    let load = match watch.traffic.take() {
        Some(traffic) => Some(traffic.stop().await),
        None => None,
    };
    let mut record = watch.fis.record().await?;
    let mut from = began - BEFORE;
    if let Some(load) = load {
        from = load.seconds.first().map_or(began, |second| second.at);
        record.load = Some(load);
    } else {
        // That of `up` or of another run.
        record.load = None;
    }
    let record = only(record.between(from, clock::epoch_seconds(SystemTime::now())), &id);
    conclude(options, gate, record, interrupted, lines)
}

/// Checks the thresholds, prints, and writes every result that was asked for.
fn conclude(
    options: &RunOptions,
    gate: &Gate,
    mut record: Record,
    interrupted: bool,
    lines: Lines,
) -> Result<Outcome, RunError> {
    let Some(experiment) = record.experiments.first().cloned() else {
        return Err(RunError::Broken(
            "the experiment is missing in the record of taskfault-local".to_owned(),
        ));
    };
    let effect = effect::effect(&record, &experiment);
    record.checks = gate.checks(&effect);
    record.notes.extend(note_on_rest(&record, experiment.started.unwrap_or(record.from)));
    print_faults(&record, lines);
    report::effect_lines(&record).iter().for_each(|line| lines.print(line));
    for check in &record.checks {
        let verdict = if check.passed { "kept" } else { "MISSED" };
        lines.print(&format!("{verdict}: {}: {} (--{})", check.asked, check.found, check.name));
    }
    let outcome = outcome(&experiment, &record, interrupted);
    let mut page = None;
    if let Some(folder) = &options.report {
        let written = report::write(&record, folder).map_err(|error| RunError::Broken(error.to_string()))?;
        lines.print(&format!("report: {}", written.page.display()));
        page = Some(written.page);
    }
    let results =
        Results { record: &record, experiment: &experiment, effect: &effect, outcome, page: page.as_deref() };
    if let Some(file) = &options.junit {
        results::write(file, &results.junit()).map_err(RunError::Broken)?;
    }
    match &options.summary {
        Some(_) if options.prints_summary() => Lines::Stdout.print(results.summary().trim_end()),
        Some(file) => results::append(file, &results.summary()).map_err(RunError::Broken)?,
        None => {}
    }
    if options.json {
        Lines::Stdout.print(&format!("{:#}", results.json()));
    }
    Ok(outcome)
}

fn outcome(experiment: &Experiment, record: &Record, interrupted: bool) -> Outcome {
    match experiment.status.as_str() {
        _ if interrupted => Outcome::Interrupted,
        "completed" if record.checks.iter().any(|check| !check.passed) => Outcome::ThresholdMissed,
        "completed" => Outcome::Completed,
        "stopped" => Outcome::Stopped,
        _ => Outcome::Failed,
    }
}

/// Failures before the experiment: the fault did not cause them.
fn note_on_rest(record: &Record, began: f64) -> Option<Note> {
    let load = record.load.as_ref()?;
    let (failed, sent) = Second::failed_of_sent(load.seconds.iter().filter(|second| second.end() <= began));
    let text = format!(
        "{failed} of {sent} requests failed before the experiment began: the service was not healthy"
    );
    (failed > 0).then(|| Note { at: record.from, text, ..Note::default() })
}

/// The record without what belongs to others: experiments, their commands, notes and alarms. Traffic and tasks stay:
/// they were the experiment's conditions. So does an alarm that is no other experiment's.
fn only(mut record: Record, experiment: &str) -> Record {
    let is_it = |id: &Option<String>| id.as_deref() == Some(experiment);
    let (its, others): (Vec<Experiment>, Vec<Experiment>) =
        record.experiments.drain(..).partition(|it| it.id == experiment);
    let names = |all: &[Experiment]| -> Vec<String> {
        all.iter().flat_map(|it| &it.alarms).map(|arn| short(arn).to_owned()).collect()
    };
    let (own, foreign) = (names(&its), names(&others));
    record.alarms.retain(|change| own.contains(&change.alarm) || !foreign.contains(&change.alarm));
    record.commands.retain(|command| is_it(&command.experiment));
    record.notes.retain(|note| note.experiment.is_none() || is_it(&note.experiment));
    record.experiments = its;
    record
}

fn print_faults(record: &Record, lines: Lines) {
    for command in &record.commands {
        let task = short(command.task.as_deref().unwrap_or(&command.instance));
        lines.print(&format!("{} on task {task}: {}", command.document, command.status));
        for step in &command.steps {
            for (word, text) in [("asked", &step.asked), ("achieved", &step.achieved)] {
                if let Some(text) = text {
                    lines.print(&format!("  {word:<8}  {text}"));
                }
            }
            step.remarks.iter().for_each(|remark| lines.print(&format!("  {remark}")));
        }
    }
    record.notes.iter().for_each(|note| lines.print(&format!("note: {}", note.text)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

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
    fn a_report_has_nothing_of_other_experiments() {
        let mut record = sample::record();
        record.experiments[0].alarms = vec!["arn:aws:cloudwatch:us-east-1:0:alarm:theirs".into()];
        let theirs = record::AlarmChange { alarm: "theirs".into(), ..Default::default() };
        record.alarms.push(theirs);
        let of_this = only(record, "EXP2");
        assert_eq!(of_this.experiments.len(), 1);
        assert_eq!(of_this.commands.len(), 1);
        assert_eq!(of_this.commands[0].document, "AWSFIS-Run-Kill-Process");
        assert!(of_this.notes.iter().all(|note| note.experiment.is_none()) && !of_this.notes.is_empty());
        assert!(of_this.alarms.iter().all(|change| change.alarm != "theirs") && of_this.alarms.len() == 2);
        assert_eq!(of_this.tasks.len(), 4, "tasks are its conditions");
    }

    #[test]
    fn failures_before_the_experiment_are_noted() {
        let mut record = sample::record();
        let began = record.experiments[1].started.unwrap();
        assert!(note_on_rest(&record, began).is_none());
        record.load.as_mut().unwrap().seconds[0].errors.insert("refused".into(), 3);
        let note = note_on_rest(&record, began).unwrap();
        assert!(note.text.starts_with("3 of "), "{}", note.text);
    }

    #[test]
    fn a_missed_threshold_has_its_code_and_a_stop_comes_first() {
        let mut record = sample::record();
        let mut experiment = record.experiments[0].clone();
        assert_eq!(outcome(&experiment, &record, false), Outcome::Completed);
        record.checks = vec![record::Check::default()];
        assert_eq!(outcome(&experiment, &record, false), Outcome::ThresholdMissed);
        assert_eq!(outcome(&experiment, &record, true), Outcome::Interrupted);
        experiment.status = "stopped".into();
        assert_eq!(outcome(&experiment, &record, false), Outcome::Stopped);
    }
}
