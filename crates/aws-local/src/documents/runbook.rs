//! What an Automation runbook says (schema 0.3): its steps in order, where each leads, what it takes and gives.
//!
//! Actions that are not played here are read all the same: published runbooks go in as they are, and a step says so
//! when its turn comes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::content::{self, ContentError};

/// The one schema of Automation.
const SCHEMA: &str = "0.3";

/// A runbook, checked: every step that another names is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Runbook {
    /// As declared: type, default, pattern, allowed values.
    pub parameters: Map<String, Value>,
    /// By name, with their first values.
    pub variables: BTreeMap<String, Value>,
    /// In the order of the runbook.
    pub steps: Vec<Step>,
    /// What the execution gives: `step.Output`.
    pub outputs: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub name: String,
    /// `aws:runCommand`, …
    pub action: String,
    /// How often its action is tried.
    pub attempts: u32,
    pub timeout: Option<Duration>,
    pub on_failure: Then,
    pub on_cancel: Then,
    /// Whether its failure is one of the whole.
    pub critical: bool,
    /// Whether nothing comes after it.
    pub last: bool,
    /// Where it leads, if not to the one below it.
    pub next: Option<String>,
    /// With references (`{{ name }}`) in them.
    pub inputs: Map<String, Value>,
    pub outputs: Vec<Output>,
}

/// What follows a step that failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    Abort,
    Continue,
    Step(String),
}

/// An output that a step takes out of the answer of its action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    pub name: String,
    /// JSONPath.
    pub selector: String,
    /// `String`, `StringList`, `Integer`, `Boolean`, `StringMap` or `MapList`.
    pub kind: String,
}

/// Reads a runbook.
///
/// # Errors
/// What is missing, or names a step that is not there.
pub(crate) fn read(content: &Value) -> Result<Runbook, ContentError> {
    if content::schema_version(content) != SCHEMA {
        let found = content.get("schemaVersion").map_or_else(|| "missing".to_owned(), Value::to_string);
        return refuse(format!("schemaVersion must be {SCHEMA} for an Automation document; it is {found}."));
    }
    content::check_parameters(content, is_type)?;
    let steps = content["mainSteps"].as_array().filter(|steps| !steps.is_empty());
    let Some(steps) = steps else { return refuse("mainSteps must be a list with at least one step.") };
    let runbook = Runbook {
        parameters: content["parameters"].as_object().cloned().unwrap_or_default(),
        variables: variables(&content["variables"])?,
        steps: steps
            .iter()
            .enumerate()
            .map(|(index, step)| read_step(index, step))
            .collect::<Result<_, _>>()?,
        outputs: texts(&content["outputs"]),
    };
    check_names(&runbook)?;
    Ok(runbook)
}

/// The types that a parameter of a runbook may have: those of Command documents, and AWS's own for the console.
fn is_type(declared: &str) -> bool {
    let item = declared.strip_prefix("List<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(declared);
    super::parameters::TYPES.contains(&declared) || item.starts_with("AWS::")
}

fn variables(declared: &Value) -> Result<BTreeMap<String, Value>, ContentError> {
    let Some(declared) = declared.as_object() else { return Ok(BTreeMap::new()) };
    let mut variables = BTreeMap::new();
    for (name, rules) in declared {
        if !rules["type"].as_str().is_some_and(is_type) {
            return refuse(format!("Variable {name} needs a type."));
        }
        variables.insert(name.clone(), rules["default"].clone());
    }
    Ok(variables)
}

fn read_step(index: usize, step: &Value) -> Result<Step, ContentError> {
    let place = index + 1;
    let name = step["name"].as_str().unwrap_or_default();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return refuse(format!("Step {place} needs a name of letters, digits, hyphens and underscores."));
    }
    let action = step["action"].as_str().unwrap_or_default();
    if !action.strip_prefix("aws:").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphabetic())) {
        return refuse(format!("Step {name} needs an action, aws:runCommand for instance."));
    }
    let inputs = match &step["inputs"] {
        Value::Null => Map::new(),
        Value::Object(inputs) => inputs.clone(),
        _ => return refuse(format!("The inputs of step {name} must be an object.")),
    };
    let read = Step {
        name: name.to_owned(),
        action: action.to_owned(),
        attempts: number(&step["maxAttempts"])
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1)
            .max(1),
        timeout: number(&step["timeoutSeconds"]).map(Duration::from_secs),
        on_failure: then(name, "onFailure", &step["onFailure"])?,
        on_cancel: then(name, "onCancel", &step["onCancel"])?,
        critical: flag(name, "isCritical", &step["isCritical"])?.unwrap_or(true),
        last: flag(name, "isEnd", &step["isEnd"])?.unwrap_or(false),
        next: step["nextStep"].as_str().map(str::to_owned),
        inputs,
        outputs: read_outputs(name, &step["outputs"])?,
    };
    check_inputs(&read)?;
    Ok(read)
}

/// What an action cannot do without. Those that are not played here are not looked at.
fn check_inputs(step: &Step) -> Result<(), ContentError> {
    let needed: &[&str] = match step.action.as_str() {
        "aws:runCommand" => &["DocumentName"],
        "aws:executeAwsApi" => &["Service", "Api"],
        "aws:assertAwsResourceProperty" | "aws:waitForAwsResourceProperty" => {
            &["Service", "Api", "PropertySelector", "DesiredValues"]
        }
        "aws:branch" => &["Choices"],
        "aws:executeScript" => &["Runtime"],
        "aws:updateVariable" => &["Name", "Value"],
        _ => &[],
    };
    match needed.iter().find(|name| !step.inputs.contains_key(**name)) {
        Some(missing) => refuse(format!("Step {} ({}) needs the input {missing}.", step.name, step.action)),
        None => Ok(()),
    }
}

fn read_outputs(step: &str, declared: &Value) -> Result<Vec<Output>, ContentError> {
    let declared = declared.as_array().map_or(&[][..], Vec::as_slice);
    let read = |output: &Value| match (output["Name"].as_str(), output["Selector"].as_str()) {
        (Some(name), Some(selector)) => {
            let kind = output["Type"].as_str().unwrap_or("String").to_owned();
            Ok(Output { name: name.to_owned(), selector: selector.to_owned(), kind })
        }
        _ => refuse(format!("An output of step {step} needs a Name and a Selector.")),
    };
    declared.iter().map(read).collect()
}

fn then(step: &str, member: &str, value: &Value) -> Result<Then, ContentError> {
    match value.as_str() {
        None if value.is_null() => Ok(Then::Abort),
        Some("Abort") => Ok(Then::Abort),
        Some("Continue") if member == "onFailure" => Ok(Then::Continue),
        Some(text) if text.starts_with("step:") => Ok(Then::Step(text["step:".len()..].trim().to_owned())),
        _ => refuse(format!("{member} of step {step} is {value}; it must be Abort, Continue or step:NAME.")),
    }
}

/// Documents write booleans with and without quotes.
fn flag(step: &str, member: &str, value: &Value) -> Result<Option<bool>, ContentError> {
    match (value, value.as_str()) {
        (Value::Null, _) => Ok(None),
        (Value::Bool(flag), _) => Ok(Some(*flag)),
        (_, Some(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        (_, Some(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => refuse(format!("{member} of step {step} must be true or false.")),
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn check_names(runbook: &Runbook) -> Result<(), ContentError> {
    for (index, step) in runbook.steps.iter().enumerate() {
        if runbook.steps[..index].iter().any(|before| before.name == step.name) {
            return refuse(format!("Two steps are named {}; step names must differ.", step.name));
        }
        if let Some(missing) = leads_to(step).into_iter().find(|name| runbook.step(name).is_none()) {
            return refuse(format!(
                "Step {} leads to {missing}, which is no step of this runbook.",
                step.name
            ));
        }
    }
    Ok(())
}

/// The steps that one names.
fn leads_to(step: &Step) -> Vec<&str> {
    let mut names: Vec<&str> = step.next.as_deref().into_iter().collect();
    for then in [&step.on_failure, &step.on_cancel] {
        if let Then::Step(name) = then {
            names.push(name);
        }
    }
    if step.action == "aws:branch" {
        let choices = step.inputs.get("Choices").and_then(Value::as_array).into_iter().flatten();
        names.extend(choices.filter_map(|choice| choice["NextStep"].as_str()));
        names.extend(step.inputs.get("Default").and_then(Value::as_str));
    }
    names
}

impl Runbook {
    /// Where a step stands.
    pub(crate) fn step(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }
}

fn refuse<T>(sentence: impl Into<String>) -> Result<T, ContentError> {
    Err(ContentError::Rule(sentence.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(changes: Value) -> Value {
        let mut step = json!({ "name": "one", "action": "aws:sleep", "inputs": { "Duration": "PT1S" } });
        step.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({ "schemaVersion": "0.3", "mainSteps": [step, { "name": "two", "action": "aws:sleep" }] })
    }

    #[test]
    fn a_step_is_read_with_what_it_leaves_out() {
        let runbook = read(&step(json!({}))).unwrap();
        let one = &runbook.steps[0];
        assert_eq!((one.attempts, one.critical, one.last), (1, true, false));
        assert_eq!((&one.on_failure, &one.on_cancel), (&Then::Abort, &Then::Abort));
        let said = json!({
            "onFailure": "step:two", "onCancel": "step:two", "isCritical": "false", "isEnd": true, "maxAttempts": "3",
            "timeoutSeconds": 60, "nextStep": "two",
        });
        let one = &read(&step(said)).unwrap().steps[0];
        assert_eq!((one.attempts, one.critical, one.last), (3, false, true));
        assert_eq!(one.on_failure, Then::Step("two".into()));
        assert_eq!(one.timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_no_runbook_is_refused_in_words() {
        for (content, word) in [
            (json!({ "schemaVersion": "2.2", "mainSteps": [] }), "schemaVersion must be 0.3"),
            (json!({ "schemaVersion": "0.3" }), "at least one step"),
            (step(json!({ "name": "two" })), "Two steps are named two"),
            (step(json!({ "name": "a b" })), "needs a name"),
            (step(json!({ "action": "runCommand" })), "needs an action"),
            (step(json!({ "action": "aws:executeAwsApi" })), "needs the input Service"),
            (step(json!({ "nextStep": "three" })), "leads to three"),
            (step(json!({ "onCancel": "step:three" })), "leads to three"),
            (step(json!({ "onCancel": "Continue" })), "onCancel of step one"),
            (step(json!({ "isEnd": "maybe" })), "isEnd of step one"),
            (step(json!({ "outputs": [{ "Name": "x" }] })), "Name and a Selector"),
            (
                step(
                    json!({ "action": "aws:branch", "inputs": { "Choices": [{ "NextStep": "three" }], "Default": "two" } }),
                ),
                "leads to three",
            ),
        ] {
            let error = read(&content).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
