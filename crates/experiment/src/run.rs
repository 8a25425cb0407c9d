//! `taskfault-local run TEMPLATE`: one experiment from its template to its end, as a gate in CI.
//!
//! A client of a `taskfault-local` that runs elsewhere, over the same API that the AWS CLI uses: it makes the
//! template, starts the experiment, prints its progress, writes the report and removes the template again. With
//! `--load` it is also a client of the service under experiment, and the report has what that client saw.

pub mod client;
mod load;
mod load_url;
mod options;
pub mod progress;
mod watch;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::time::Instant;

use client::{CallError, Fis};
use load::{Prepared, failed_since};
pub use load_url::LoadUrl;
pub use options::{EXIT_CODES, Outcome, RunOptions};
use watch::Watch;

use super::interruption::Interruption;
use super::report;
use record::clock;
use record::{Note, Record, short};

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
    // What can be refused is, before anything is asked of FIS.
    let source = Source::of(&options.template)?;
    if let Some(folder) = &options.report {
        report::prepare(folder).map_err(|error| RunError::Broken(error.to_string()))?;
    }
    let fis = Fis::at(&options.endpoint)?;
    fis.is_local().await?;
    let load = match options.load.as_slice() {
        [] => None,
        urls => Some(Prepared::new(urls, options.rate).await?),
    };
    let interruption = Interruption::watch().map_err(|error| RunError::Broken(error.to_string()))?;
    let template = match &source {
        Source::Id(id) => {
            fis.has_template(id).await?;
            id.clone()
        }
        Source::File(body) => {
            let id = fis.create_template(body.clone()).await?;
            print_line(&format!("template {id} made from {}", options.template));
            id
        }
    };
    let watch = Watch { fis: &fis, traffic: None, interruption, began: Instant::now() };
    let outcome = experiment(options, watch, load, &template).await;
    if matches!(source, Source::File(_)) {
        // Whatever the experiment came to: the template is ours to remove.
        match fis.delete_template(&template).await {
            Ok(()) => print_line(&format!("template {template} removed")),
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
    mut watch: Watch<'_>,
    load: Option<Prepared>,
    template: &str,
) -> Result<Outcome, RunError> {
    if let Some(load) = load {
        print_line(&format!(
            "load: {}, {} requests per second; {} s at rest",
            load.description(),
            options.rate,
            REST.as_secs()
        ));
        watch.traffic = Some(load.start()?);
        if watch.pass(REST).await.is_some() {
            print_line("interrupted before the experiment: nothing was done");
            return Ok(Outcome::Interrupted);
        }
    }
    let began = clock::epoch_seconds(SystemTime::now());
    let id = watch.fis.start(template).await?;
    print_line(&format!("experiment {id} started"));
    let (last, interrupted) = watch.experiment(&id).await?;
    let watching = options.report.is_some() || watch.traffic.is_some();
    if watching && !interrupted && options.watch_after > 0 {
        print_line(&format!("watching for {} s; Ctrl-C cuts it short", options.watch_after));
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
    }
    let mut record = only(record.between(from, clock::epoch_seconds(SystemTime::now())), &id, began);
    record.notes.extend(note_on_rest(&record, began));
    print_faults(&record);
    report::effect_lines(&record).iter().for_each(|line| print_line(line));
    if let Some(folder) = &options.report {
        let written = report::write(&record, folder).map_err(|error| RunError::Broken(error.to_string()))?;
        print_line(&format!("report: {}", written.page.display()));
    }
    let status = last["state"]["status"].as_str().unwrap_or_default();
    Ok(match status {
        _ if interrupted => Outcome::Interrupted,
        "completed" if too_many_failed(&record, began, options.max_failed) => Outcome::TooManyFailed,
        "completed" => Outcome::Completed,
        "stopped" => Outcome::Stopped,
        _ => Outcome::Failed,
    })
}

/// Whether more of the requests failed than are allowed; says so, too.
fn too_many_failed(record: &Record, began: f64, allowed: Option<f64>) -> bool {
    let (Some(allowed), Some(load)) = (allowed, &record.load) else { return false };
    let (failed, sent) = failed_since(load, began);
    let percent = if sent == 0 { 0.0 } else { 100.0 * failed as f64 / sent as f64 };
    let too_many = percent > allowed;
    let verdict = if too_many { "more than" } else { "within" };
    print_line(&format!(
        "{failed} of {sent} requests failed from the start of the experiment on: {percent:.2} %, {verdict} the \
         {allowed} % of --max-failed"
    ));
    too_many
}

/// Failures before the experiment: the fault did not cause them.
fn note_on_rest(record: &Record, began: f64) -> Option<Note> {
    let load = record.load.as_ref()?;
    let (all, since) = (failed_since(load, f64::NEG_INFINITY), failed_since(load, began));
    let (failed, sent) = (all.0 - since.0, all.1 - since.1);
    let text = format!(
        "{failed} of {sent} requests failed before the experiment began: the service was not healthy"
    );
    (failed > 0).then(|| Note { at: record.from, text, ..Note::default() })
}

/// The record without other experiments, and without commands that had ended before this one began; those of
/// experiments that ran at the same time stay, as does the traffic: they were part of its conditions.
fn only(mut record: Record, experiment: &str, began: f64) -> Record {
    record.experiments.retain(|it| it.id == experiment);
    record.commands.retain(|it| it.ended.is_none_or(|ended| ended >= began));
    record
}

fn print_faults(record: &Record) {
    for command in &record.commands {
        let task = short(command.task.as_deref().unwrap_or(&command.instance));
        print_line(&format!("{} on task {task}: {}", command.document, command.status));
        for step in &command.steps {
            for (word, text) in [("asked", &step.asked), ("achieved", &step.achieved)] {
                if let Some(text) = text {
                    print_line(&format!("  {word:<8}  {text}"));
                }
            }
            step.remarks.iter().for_each(|remark| print_line(&format!("  {remark}")));
        }
    }
    record.notes.iter().for_each(|note| print_line(&format!("note: {}", note.text)));
}

/// Prints a line and flushes, so that a pipe sees it at once. A closed pipe is no reason to stop.
fn print_line(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
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
    fn a_report_has_no_commands_of_before() {
        let record = sample::record();
        let (id, all) = (record.experiments[1].id.clone(), record.commands.len());
        let began = record.experiments[1].started.unwrap();
        let of_this = only(record.clone(), &id, began);
        assert!(!of_this.commands.is_empty() && of_this.commands.len() < all);
        assert!(of_this.commands.iter().all(|command| command.ended.unwrap() >= began));
        assert_eq!(of_this.experiments.len(), 1);
        assert_eq!(only(record, &id, 0.0).commands.len(), all);
    }

    #[test]
    fn failures_count_from_the_start_of_the_experiment_and_those_before_are_noted() {
        let mut record = sample::record();
        let began = record.experiments[1].started.unwrap();
        assert!(note_on_rest(&record, began).is_none());
        let (failed, sent) = failed_since(record.load.as_ref().unwrap(), began);
        let share = 100.0 * failed as f64 / sent as f64;
        assert!(failed > 0 && too_many_failed(&record, began, Some(share - 0.01)));
        assert!(!too_many_failed(&record, began, Some(share)) && !too_many_failed(&record, began, None));
        record.load.as_mut().unwrap().seconds[0].errors.insert("refused".into(), 3);
        let note = note_on_rest(&record, began).unwrap();
        assert!(note.text.starts_with("3 of "), "{}", note.text);
    }
}
