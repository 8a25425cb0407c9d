//! What a step does, by its action. Those that AWS has besides fail, and say that they are not played here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::references::as_text;
use super::selector::select;
use super::state::{StepRun, Work};
use super::turn::Turn;
use super::{branch, script};
use crate::documents::runbook::Step;
use crate::ssm::SsmState;
use crate::ssm::state::Command;

/// How often a property is asked for that a step waits for.
const PROPERTY_EVERY: Duration = Duration::from_secs(1);
/// The most characters of a command's output that a step keeps.
const OUTPUT_CHARACTERS: usize = 2_500;

/// What became of a step.
#[derive(Debug)]
pub(super) enum Outcome {
    Waits(Work),
    Done(Done),
    Failed(String),
    TimedOut(String),
}

/// What a step that succeeded leaves.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) outputs: BTreeMap<String, Value>,
    /// The step that a branch has chosen.
    pub(super) next: Option<String>,
    /// The id of a command that it has sent and does not wait for.
    pub(super) sent: Option<String>,
    /// A variable and its new value.
    pub(super) variable: Option<(String, Value)>,
}

/// How long an action takes at most where its step does not say.
pub(super) fn default_timeout(action: &str) -> Option<Duration> {
    match action {
        "aws:executeScript" => Some(script::LONGEST),
        "aws:waitForAwsResourceProperty" => Some(Duration::from_secs(3600)),
        _ => None,
    }
}

/// Begins a step whose inputs are filled in.
pub(super) fn begin(step: &Step, run: &StepRun, turn: &mut Turn<'_>) -> Outcome {
    let inputs = &run.inputs;
    let outcome = match step.action.as_str() {
        "aws:assertAwsResourceProperty" => property(inputs, turn).and_then(|(found, fits)| match fits {
            true => Ok(Outcome::Done(Done::default())),
            false => Err(format!(
                "{} is {found}, which is none of the desired values",
                text(inputs, "PropertySelector")
            )),
        }),
        "aws:branch" => branch::choose(inputs).map(|next| Outcome::Done(Done { next, ..Done::default() })),
        "aws:executeAwsApi" => call(inputs, turn).and_then(|answer| {
            let sent = answer["Command"]["CommandId"].as_str().map(str::to_owned);
            Ok(Outcome::Done(Done { outputs: outputs(step, &answer)?, sent, ..Done::default() }))
        }),
        "aws:executeScript" => script::begin(step, run, turn).map(|()| Outcome::Waits(Work::Script)),
        "aws:runCommand" => send(inputs, turn).map(|id| Outcome::Waits(Work::Command(id))),
        "aws:sleep" => until(inputs, turn.context.now).map(|until| Outcome::Waits(Work::Until(until))),
        "aws:updateVariable" => {
            let name = text(inputs, "Name");
            let name = name.strip_prefix("variable:").unwrap_or(&name).to_owned();
            let variable = Some((name, inputs.get("Value").cloned().unwrap_or_default()));
            Ok(Outcome::Done(Done { variable, ..Done::default() }))
        }
        "aws:waitForAwsResourceProperty" => ask_again(inputs, turn),
        other => Err(format!("{other} is not played here")),
    };
    outcome.unwrap_or_else(Outcome::Failed)
}

/// Looks after a step that waits.
pub(super) fn poll(step: &Step, run: &StepRun, work: &Work, turn: &mut Turn<'_>) -> Outcome {
    let now = turn.context.now;
    let outcome = match work {
        Work::Command(id) => command(step, id, turn),
        Work::Until(until) if now >= *until => Ok(Outcome::Done(Done::default())),
        Work::Property { again } if now >= *again => ask_again(&run.inputs, turn),
        Work::Until(_) | Work::Property { .. } => Ok(Outcome::Waits(work.clone())),
        Work::Script => match script::result(run, turn) {
            None => Ok(Outcome::Waits(Work::Script)),
            Some(payload) => payload.and_then(|payload| {
                let answer = json!({ "Payload": payload });
                let mut found = outputs(step, &answer)?;
                found.insert("Payload".to_owned(), payload);
                Ok(Outcome::Done(Done { outputs: found, ..Done::default() }))
            }),
        },
    };
    outcome.unwrap_or_else(Outcome::Failed)
}

/// Ends what a step waits for.
pub(super) fn cancel(run: &StepRun, turn: &mut Turn<'_>) {
    match &run.work {
        Some(Work::Command(id)) => {
            let body = Map::from_iter([("CommandId".to_owned(), json!(id))]);
            // One that has ended or is gone has nothing to cancel.
            let _ = turn.apis.call("ssm", "CancelCommand", &body, turn.context);
        }
        Some(Work::Script) => script::cancel(run, turn),
        _ => {}
    }
}

/// Whether nothing of a cancelled step runs any more.
pub(super) fn is_over(run: &StepRun, turn: &Turn<'_>) -> bool {
    match &run.work {
        Some(Work::Command(id)) => {
            turn.apis.command(id).is_none_or(|command| SsmState::summary(command).status.is_final())
        }
        _ => true,
    }
}

fn text(inputs: &Map<String, Value>, name: &str) -> String {
    inputs.get(name).map(as_text).unwrap_or_default()
}

/// Takes the declared outputs out of an answer.
pub(super) fn outputs(step: &Step, answer: &Value) -> Result<BTreeMap<String, Value>, String> {
    let mut outputs = BTreeMap::new();
    for output in &step.outputs {
        let found = select(answer, &output.selector, &output.kind);
        if let Some(value) = found.map_err(|why| format!("output {}: {why}", output.name))? {
            outputs.insert(output.name.clone(), value);
        }
    }
    Ok(outputs)
}

/// Makes the call that the inputs name; its answer.
fn call(inputs: &Map<String, Value>, turn: &mut Turn<'_>) -> Result<Value, String> {
    const OURS: [&str; 4] = ["Service", "Api", "PropertySelector", "DesiredValues"];
    let (service, operation) = (text(inputs, "Service").to_ascii_lowercase(), pascal(&text(inputs, "Api")));
    let body = inputs.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
    let body: Map<String, Value> = body.map(|(name, value)| (name.clone(), value.clone())).collect();
    match turn.apis.call(&service, &operation, &body, turn.context) {
        None => Err(format!("there is no {operation} of {service} here")),
        Some(Err(error)) => Err(format!("{operation}: {error}")),
        Some(Ok(answer)) => Ok(answer),
    }
}

/// Runbooks write operations as the API does, or as Python clients do: `ListTasks`, `list_tasks`.
fn pascal(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect()
}

/// A property of an answer, and whether it is one of the desired values.
fn property(inputs: &Map<String, Value>, turn: &mut Turn<'_>) -> Result<(String, bool), String> {
    let answer = call(inputs, turn)?;
    let found = select(&answer, &text(inputs, "PropertySelector"), "String")?.map(|value| as_text(&value));
    let desired = inputs.get("DesiredValues").and_then(Value::as_array).into_iter().flatten().map(as_text);
    let fits = found.as_ref().is_some_and(|found| desired.into_iter().any(|wanted| wanted == *found));
    Ok((found.unwrap_or_else(|| "not there".to_owned()), fits))
}

fn ask_again(inputs: &Map<String, Value>, turn: &mut Turn<'_>) -> Result<Outcome, String> {
    Ok(match property(inputs, turn)? {
        (_, true) => Outcome::Done(Done::default()),
        (_, false) => Outcome::Waits(Work::Property { again: turn.context.now + PROPERTY_EVERY }),
    })
}

fn until(inputs: &Map<String, Value>, now: SystemTime) -> Result<SystemTime, String> {
    let (duration, timestamp) = (text(inputs, "Duration"), text(inputs, "Timestamp"));
    if timestamp.is_empty() {
        let length = duration.starts_with('P').then(|| durations::parse(&duration).ok()).flatten();
        return length.map(|length| now + length).ok_or(format!("Duration {duration:?} is none in ISO 8601"));
    }
    OffsetDateTime::parse(&timestamp, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| format!("Timestamp {timestamp} is no date like 2026-01-31T12:00:00Z"))
}

/// Sends a command; its id.
fn send(inputs: &Map<String, Value>, turn: &mut Turn<'_>) -> Result<String, String> {
    let mut body = inputs.clone();
    if let Some(parameters) = body.get_mut("Parameters").and_then(Value::as_object_mut) {
        // Runbooks give one value without a list around it.
        for value in parameters.values_mut() {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            *value = values.iter().map(as_text).collect();
        }
    }
    let answer = turn.apis.call("ssm", "SendCommand", &body, turn.context);
    let answer =
        answer.ok_or("there is no SendCommand here")?.map_err(|error| format!("SendCommand: {error}"))?;
    let command = &answer["Command"];
    match command["TargetCount"].as_u64() {
        Some(0) => Err("the targets of the command choose no managed instance".to_owned()),
        _ => Ok(command["CommandId"].as_str().unwrap_or_default().to_owned()),
    }
}

/// A command that was sent: Success of all its invocations is that of the step.
fn command(step: &Step, id: &str, turn: &mut Turn<'_>) -> Result<Outcome, String> {
    let command = turn.apis.command(id).ok_or_else(|| format!("command {id} is gone"))?;
    let status = SsmState::summary(command).status;
    if !status.is_final() {
        return Ok(Outcome::Waits(Work::Command(id.to_owned())));
    }
    let answer = answered(command);
    if status.as_str() != "Success" {
        let said = answer["Output"].as_str().and_then(|output| output.lines().last()).unwrap_or_default();
        return Err(format!("command {id} ended as {} {said}", status.details()).trim_end().to_owned());
    }
    let mut found = outputs(step, &answer)?;
    for (name, value) in answer.as_object().into_iter().flatten() {
        found.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(Outcome::Done(Done { outputs: found, ..Done::default() }))
}

/// What `aws:runCommand` gives.
fn answered(command: &Command) -> Value {
    let plugins = || command.invocations.iter().flat_map(|invocation| &invocation.plugins);
    let worst = plugins().map(|plugin| plugin.response_code).max_by_key(|code| code.unsigned_abs());
    let output: Vec<&str> = plugins()
        .flat_map(|plugin| [plugin.stdout.trim_end(), plugin.stderr.trim_end()])
        .filter(|text| !text.is_empty())
        .collect();
    let output: String = output.join("\n").chars().take(OUTPUT_CHARACTERS).collect();
    json!({
        "CommandId": command.id.to_string(),
        "Status": SsmState::summary(command).status.as_str(),
        "ResponseCode": worst.unwrap_or(-1),
        "Output": output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_by_both_names() {
        for name in ["ListTasks", "list_tasks", "listTasks"] {
            assert_eq!(pascal(name), "ListTasks");
        }
        assert_eq!(pascal("describe_instance_information"), "DescribeInstanceInformation");
    }

    #[test]
    fn a_sleep_ends_after_a_duration_or_at_a_date() {
        let inputs = |name: &str, text: &str| Map::from_iter([(name.to_owned(), json!(text))]);
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(until(&inputs("Duration", "PT1M"), now), Ok(now + Duration::from_secs(60)));
        assert_eq!(
            until(&inputs("Timestamp", "1970-01-01T01:00:00Z"), now),
            Ok(now + Duration::from_secs(3600))
        );
        for (name, text) in [("Duration", "1m"), ("Timestamp", "soon"), ("Other", "")] {
            assert!(until(&inputs(name, text), now).is_err(), "{name} {text}");
        }
    }
}
