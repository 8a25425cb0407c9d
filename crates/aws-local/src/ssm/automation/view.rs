//! Executions and their steps as the API shows them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::references::as_text;
use super::state::Execution;
use crate::documents::runbook::Then;
use crate::ssm::{epoch, without_nulls};

/// `AutomationExecution`.
pub(super) fn execution(execution: &Execution) -> Value {
    let mut shown = metadata(execution);
    let members = [
        ("StepExecutions", (0..execution.steps.len()).map(|index| step(execution, index)).collect()),
        ("StepExecutionsTruncated", json!(false)),
        ("Parameters", json!(execution.parameters)),
        ("Variables", lists(&execution.variables)),
        ("ProgressCounters", counters(execution)),
    ];
    for (name, value) in members {
        shown[name] = value;
    }
    // Of the listing only.
    if let Some(shown) = shown.as_object_mut() {
        shown.remove("AutomationType");
    }
    shown
}

/// `AutomationExecutionMetadata`.
pub(super) fn metadata(execution: &Execution) -> Value {
    let step = execution.current.map(|index| &execution.runbook.steps[index]);
    without_nulls(json!({
        "AutomationExecutionId": execution.id,
        "DocumentName": execution.document,
        "DocumentVersion": execution.version,
        "AutomationExecutionStatus": execution.status.as_str(),
        "ExecutionStartTime": epoch(execution.started),
        "ExecutionEndTime": execution.ended.map(epoch),
        "ExecutedBy": execution.executed_by,
        "Outputs": lists(&execution.outputs),
        "Mode": "Auto",
        "CurrentStepName": step.map(|step| step.name.as_str()),
        "CurrentAction": step.map(|step| step.action.as_str()),
        "FailureMessage": execution.failure,
        "Targets": [],
        "ResolvedTargets": { "ParameterValues": [], "Truncated": false },
        "AutomationType": "Local",
    }))
}

/// `StepExecution`.
pub(super) fn step(execution: &Execution, index: usize) -> Value {
    let (step, run) = (&execution.runbook.steps[index], &execution.steps[index]);
    let inputs: Map<String, Value> =
        run.inputs.iter().map(|(name, value)| (name.clone(), json!(input_text(value)))).collect();
    let failure = run.failure.as_ref().map(|why| {
        json!({ "FailureStage": "Invocation", "FailureType": "Error", "Details": { "Message": [why] } })
    });
    without_nulls(json!({
        "StepName": step.name,
        "Action": step.action,
        "TimeoutSeconds": step.timeout.map(|timeout| timeout.as_secs()),
        "OnFailure": match &step.on_failure {
            Then::Abort => "Abort".to_owned(),
            Then::Continue => "Continue".to_owned(),
            Then::Step(name) => format!("step:{name}"),
        },
        "MaxAttempts": step.attempts,
        "ExecutionStartTime": run.started.map(epoch),
        "ExecutionEndTime": run.ended.map(epoch),
        "StepStatus": run.status.as_str(),
        "ResponseCode": run.outputs.get("ResponseCode").map(as_text),
        "Inputs": inputs,
        "Outputs": lists(&run.outputs),
        "FailureMessage": run.failure,
        "FailureDetails": failure,
        "StepExecutionId": run.id,
        "OverriddenParameters": {},
        "IsEnd": step.last,
        "NextStep": step.next,
        "IsCritical": step.critical,
    }))
}

/// Inputs are shown as JSON, texts in quotes.
fn input_text(value: &Value) -> String {
    value.to_string()
}

/// Values as the API has them, lists of texts.
fn lists(values: &BTreeMap<String, Value>) -> Value {
    let list = |value: &Value| match value {
        Value::Array(items) => items.iter().map(as_text).collect(),
        Value::Null => Vec::new(),
        other => vec![as_text(other)],
    };
    values.iter().map(|(name, value)| (name.clone(), json!(list(value)))).collect::<Map<_, _>>().into()
}

fn counters(execution: &Execution) -> Value {
    let count = |status: &str| execution.steps.iter().filter(|run| run.status.as_str() == status).count();
    json!({
        "TotalSteps": execution.steps.len(),
        "SuccessSteps": count("Success"),
        "FailedSteps": count("Failed"),
        "CancelledSteps": count("Cancelled"),
        "TimedOutSteps": count("TimedOut"),
    })
}
