//! Templates and experiments as the API shows them.

use serde_json::{Map, Value, json};

use super::definition::{Action, Definition, Template};
use super::experiment::{ActionRun, Experiment};
use super::{advice, arn};
use crate::Context;
use crate::wire::epoch_seconds;

/// A template in full.
pub(super) fn template(template: &Template, context: &Context) -> Value {
    let mut shown = summary(template, context);
    let Definition { targets, actions, role_arn, stop_conditions, .. } = &template.definition;
    shown["targets"] = json!(targets);
    let actions = actions.iter().map(|(name, action)| (name.clone(), self::action(action)));
    shown["actions"] = Value::Object(actions.collect());
    shown["stopConditions"] = json!(stop_conditions);
    shown["roleArn"] = json!(role_arn);
    shown["experimentOptions"] = options(&template.definition);
    shown["targetAccountConfigurationsCount"] = json!(template.accounts.len());
    configurations(&mut shown, &template.definition);
    shown
}

/// A template as ListExperimentTemplates shows it.
pub(super) fn summary(template: &Template, context: &Context) -> Value {
    json!({
        "id": template.id,
        "arn": arn::of("experiment-template", &template.id, context),
        "description": template.definition.description,
        "creationTime": epoch_seconds(template.created),
        "lastUpdateTime": epoch_seconds(template.updated),
        "tags": template.tags,
    })
}

fn options(definition: &Definition) -> Value {
    json!({
        "accountTargeting": definition.account_targeting,
        "emptyTargetResolutionMode": definition.empty_targets,
    })
}

fn configurations(shown: &mut Value, definition: &Definition) {
    if let Some(log) = &definition.log_configuration {
        shown["logConfiguration"] = log.clone();
    }
    if let Some(report) = &definition.report_configuration {
        shown["experimentReportConfiguration"] = report.clone();
    }
}

/// An experiment in full.
pub(super) fn experiment(experiment: &Experiment, context: &Context) -> Value {
    let mut shown = experiment_summary(experiment, context);
    let Definition { targets, actions, role_arn, stop_conditions, .. } = &experiment.definition;
    shown["roleArn"] = json!(role_arn);
    shown["targets"] = json!(targets);
    shown["stopConditions"] = json!(stop_conditions);
    shown["targetAccountConfigurationsCount"] = json!(experiment.accounts.len());
    let actions: Map<String, Value> = actions
        .iter()
        .map(|(name, action)| {
            let mut shown = self::action(action);
            if let Some(run) = experiment.actions.get(name) {
                add_run(&mut shown, run);
            }
            (name.clone(), shown)
        })
        .collect();
    shown["actions"] = Value::Object(actions);
    shown["startTime"] = json!(epoch_seconds(experiment.started.unwrap_or(experiment.created)));
    if let Some(ended) = experiment.ended {
        shown["endTime"] = json!(epoch_seconds(ended));
    }
    configurations(&mut shown, &experiment.definition);
    if experiment.definition.report_configuration.is_some() {
        shown["experimentReport"] = report(experiment);
    }
    shown
}

/// An action as it was sent.
fn action(action: &Action) -> Value {
    let mut shown = json!(Action { sent_empty: Vec::new(), ..action.clone() });
    for name in &action.sent_empty {
        shown[name] = if name == "startAfter" { json!([]) } else { json!({}) };
    }
    shown
}

fn add_run(shown: &mut Value, run: &ActionRun) {
    shown["state"] = json!({ "status": run.status.as_str() });
    if !run.reason.is_empty() {
        shown["state"]["reason"] = json!(clip(&run.reason));
    }
    if let Some(started) = run.started {
        shown["startTime"] = json!(epoch_seconds(started));
    }
    if let Some(ended) = run.ended {
        shown["endTime"] = json!(epoch_seconds(ended));
    }
}

/// The service's own report is a PDF in a bucket; here there is none, and the API says so.
fn report(experiment: &Experiment) -> Value {
    let (status, reason) = match experiment.status.is_final() {
        false => ("pending", "Waits for the end of the experiment.".to_owned()),
        true => ("failed", format!("Report generation failed: {}.", advice::REPORT)),
    };
    json!({ "state": { "status": status, "reason": reason }, "s3Reports": [] })
}

/// An experiment as ListExperiments shows it.
pub(super) fn experiment_summary(experiment: &Experiment, context: &Context) -> Value {
    let mut state = json!({ "status": experiment.status.as_str(), "reason": clip(&experiment.reason) });
    if let Some(error) = &experiment.error {
        state["error"] = json!(error);
    }
    let mut options = options(&experiment.definition);
    options["actionsMode"] = json!(if experiment.rehearsal { "skip-all" } else { "run-all" });
    json!({
        "id": experiment.id,
        "arn": arn::of("experiment", &experiment.id, context),
        "experimentTemplateId": experiment.template_id,
        "state": state,
        "creationTime": epoch_seconds(experiment.created),
        "tags": experiment.tags,
        "experimentOptions": options,
    })
}

/// Reasons have 512 characters at most.
fn clip(text: &str) -> String {
    text.chars().take(512).collect()
}
