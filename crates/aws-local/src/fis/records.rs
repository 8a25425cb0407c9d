//! The records of an experiment in its log group: stream `/aws/fis/<experiment id>`, schema version 2 or 1.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::experiment::Experiment;
use super::state::Object;
use super::step::Step;
use crate::Context;
use crate::random;
use crate::wire;

/// Writes one record, if the template has a log group or a bucket. A group that is not there is said once.
fn write(experiment: &mut Experiment, kind: &str, mut details: Value, step: &mut Step<'_>) {
    let group = experiment.definition.log_group().map(str::to_owned);
    let has_bucket = experiment.definition.log_bucket().is_some();
    if group.is_none() && !has_bucket {
        return;
    }
    let version = log_version(experiment);
    if version < 2 && matches!(kind, "action-error" | "target-resolution-detail") {
        return;
    }
    if let Some(details) = details.as_object_mut() {
        details.retain(|_, value| !value.is_null());
    }
    let record = json!({
        "id": experiment.id,
        "log_type": kind,
        "event_timestamp": date(step.context.now),
        "version": version.to_string(),
        "details": details,
    });
    if has_bucket {
        experiment.records.push(record.to_string());
    }
    let Some(group) = group else { return };
    let stream = format!("/aws/fis/{}", experiment.id);
    if !step.services.write_log(&group, &stream, step.context.now, record.to_string()) {
        let text = format!("there is no log group {group}: its records are lost (aws logs create-log-group)");
        experiment.note(step, None, text);
    }
}

fn log_version(experiment: &Experiment) -> u64 {
    let log = experiment.definition.log_configuration.as_ref();
    log.and_then(|log| log["logSchemaVersion"].as_u64()).unwrap_or(2)
}

/// Records have whole seconds.
fn date(when: SystemTime) -> String {
    let text = wire::date_text(when);
    text.split_once('.').map_or_else(|| text.clone(), |(whole, _)| format!("{whole}Z"))
}

fn time(when: Option<SystemTime>) -> Value {
    when.map_or(Value::Null, |when| json!(date(when)))
}

/// `experiment-start`.
pub(super) fn experiment_start(experiment: &mut Experiment, step: &mut Step<'_>) {
    let details = json!({
        "experiment_template_id": experiment.template_id,
        "experiment_start_time": time(experiment.started),
    });
    write(experiment, "experiment-start", details, step);
}

/// `target-resolution-start`.
pub(super) fn resolution_start(experiment: &mut Experiment, target: &str, step: &mut Step<'_>) {
    let details = json!({ "target_resolution_start_time": date(step.context.now), "target_name": target });
    write(experiment, "target-resolution-start", details, step);
}

/// `target-resolution-detail` and `target-resolution-end`.
pub(super) fn resolution_end(
    experiment: &mut Experiment,
    target: &str,
    chosen: &[String],
    error: Option<&str>,
    step: &mut Step<'_>,
) {
    let kind = experiment.definition.targets[target].resource_type.clone();
    let ended = date(step.context.now);
    let detail = json!({
        "target_resolution_end_time": ended,
        "target_name": target,
        "target_type": kind,
        "account_id": step.context.account,
        "resolved_targets_count": chosen.len(),
        "status": if error.is_some() { "failed" } else { "completed" },
        "error_information": error,
    });
    write(experiment, "target-resolution-detail", detail, step);
    let new = log_version(experiment) >= 2;
    let targets: Vec<Value> =
        chosen.iter().map(|arn| if new { json!({ "arn": arn }) } else { json!(arn) }).collect();
    let end = json!({
        "target_resolution_end_time": ended,
        "target_name": target,
        "target_type": new.then_some(kind),
        "resolved_targets": targets,
        "error_information": error,
        "page": 1,
        "total_pages": 1,
    });
    write(experiment, "target-resolution-end", end, step);
}

/// `action-start`.
pub(super) fn action_start(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let action = &experiment.definition.actions[name];
    let details = json!({
        "action_name": name,
        "action_id": action.action_id,
        "action_start_time": time(experiment.actions[name].started),
        "action_targets": action.targets,
        "parameters": (!action.parameters.is_empty()).then_some(&action.parameters),
    });
    write(experiment, "action-start", details, step);
}

/// `action-error`.
pub(super) fn action_error(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let details = json!({
        "action_name": name,
        "action_id": experiment.definition.actions[name].action_id,
        "account_id": step.context.account,
        "action_state": action_state(experiment, name),
    });
    write(experiment, "action-error", details, step);
}

/// `action-end`.
pub(super) fn action_end(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let details = json!({
        "action_name": name,
        "action_id": experiment.definition.actions[name].action_id,
        "action_end_time": time(experiment.actions[name].ended),
        "action_state": action_state(experiment, name),
    });
    write(experiment, "action-end", details, step);
}

fn action_state(experiment: &Experiment, name: &str) -> Value {
    let run = &experiment.actions[name];
    json!({ "status": run.status.as_str(), "reason": run.reason })
}

/// `experiment-end`.
pub(super) fn experiment_end(experiment: &mut Experiment, step: &mut Step<'_>) {
    let details = json!({
        "experiment_end_time": time(experiment.ended),
        "experiment_state": { "status": experiment.status.as_str(), "reason": experiment.reason },
    });
    write(experiment, "experiment-end", details, step);
    to_bucket(experiment, step);
}

/// Puts the records into their bucket, under a key as the service has it.
fn to_bucket(experiment: &mut Experiment, step: &mut Step<'_>) {
    let Some(bucket) = experiment.definition.log_bucket() else { return };
    let Context { account, region, now, .. } = step.context;
    let (id, date) = (&experiment.id, wire::date_text(*now));
    let (day, minute) = (date[..10].replace('-', "/"), date[..16].replace(['-', ':'], ""));
    let prefix = bucket.prefix.map(|prefix| format!("{}/", prefix.trim_matches('/'))).unwrap_or_default();
    let key = format!(
        "{prefix}AWSLogs/{account}/fis/{region}/{id}/{day}/{account}_awsfislogs_{region}_{id}_{minute}Z_{}.log",
        random::letters_and_digits(8)
    );
    let text = experiment.records.drain(..).map(|record| record + "\n").collect();
    let name = bucket.name.to_owned();
    experiment.note(step, None, format!("its records are s3://{name}/{key}, in the folder of --s3"));
    step.fis.objects.push(Object { bucket: name, key, text });
}
