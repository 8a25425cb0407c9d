//! The `AWSFIS-Run-*` documents, and `Taskfault-Run-*` of ours, known by name: the values of their parameters read and
//! checked, and the plan of what they ask for. Pure.
//!
//! Which documents there are, and what they take and mean, stands in the faults' tables ([`faults::document`]). Here is
//! what a document is to Run Command: its steps, refusals with the stock agent's texts, exit codes.

use serde_json::{Map, Value};

use super::parameters::{go_text, wrong};
use super::pattern::Pattern;
use super::precondition::RUN_SHELL_SCRIPT;
use super::{OnFailure, ParseError, Plan, Step, Work};
use faults::document::{self, Asked};
use faults::parameter::Field;
use faults::spec::Document;

pub use faults::document::{ActionState, known_name};

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_network;
#[cfg(test)]
mod tests_network_ecs;

/// The document called `name`, or the one that it is taken for, with these parameters. None: taskfault has none,
/// and it is a document like any other.
pub fn find(name: &str, supplied: &Map<String, Value>) -> Option<&'static Document> {
    let given: Vec<&str> = supplied.keys().map(String::as_str).collect();
    document::find(name, &given)
}

/// The steps of the document, which was asked for as `name`.
///
/// # Errors
/// A parameter that is unknown, missing, or breaks its pattern. A value that has its pattern but not its range
/// is no error here: the document starts, its second step fails with code 1, as the real script does.
pub fn plan(document: &Document, name: &str, supplied: &Map<String, Value>) -> Result<Plan, ParseError> {
    let work = work(document, &read(document, supplied)?);
    let fault = step("FaultInjection", work, OnFailure::Continue);
    // Ours have nothing to install, and no step for it.
    if !document.fields().any(|field| field == document::INSTALL_DEPENDENCIES) {
        return Ok(Plan { steps: vec![fault] });
    }
    let mut note = "Nothing to install: taskfault performs this fault itself.\n".to_owned();
    if name != document.name {
        note = format!(
            "{name} is new to taskfault: it is taken for {}, whose parameters it has. {note}",
            document.name
        );
    }
    let install = step("InstallDependencies", Work::Note(note), OnFailure::Exit);
    Ok(Plan { steps: vec![install, fault] })
}

fn work(document: &Document, values: &[(&'static str, String)]) -> Work {
    match document.ask(values) {
        Ok(Asked::Fault { fault, duration }) => Work::Fault { fault, duration },
        Ok(Asked::Leased { fault, duration, call }) => Work::Leased { fault, duration, call },
        Ok(Asked::Heartbeat(call)) => Work::Heartbeat(call),
        Err(reason) => Work::Fail(format!("{}: {reason}. Nothing was started.\n", document.name)),
    }
}

/// The value of each of the document's parameters, by name; every one has its pattern.
fn read(
    document: &Document,
    supplied: &Map<String, Value>,
) -> Result<Vec<(&'static str, String)>, ParseError> {
    let known: Vec<_> = document.fields().map(|field| field.name).collect();
    if let Some(name) = supplied.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(ParseError::UnknownParameter {
            document: document.name.to_owned(),
            name: name.chars().take(200).collect(),
            known: known.join(", "),
        });
    }
    let (mut values, mut findings) = (Vec::new(), Vec::new());
    for field in document.fields() {
        match value_of(&field, supplied.get(field.name)) {
            Ok(value) => values.push((field.name, value)),
            Err(reason) => findings.push(wrong(field.name, &reason)),
        }
    }
    if findings.is_empty() { Ok(values) } else { Err(ParseError::Parameters(findings)) }
}

/// The one text of a parameter: a string, a number, or a list of one of them, as the service may send it.
fn value_of(field: &Field, supplied: Option<&Value>) -> Result<String, String> {
    let single = match supplied {
        Some(Value::Array(items)) if items.len() == 1 => items.first(),
        other => other,
    };
    let text = match (single, field.default) {
        (Some(value @ (Value::String(_) | Value::Number(_))), _) => go_text(value),
        (None, Some(default)) => default.to_owned(),
        (other, _) => {
            let shown =
                other.map_or("<nil>".to_owned(), |value| value.to_string().chars().take(200).collect());
            return Err(format!("invalid parameter type String with parameter value {shown}"));
        }
    };
    let pattern = Pattern::compile(field.pattern)?;
    if pattern.matches(&text) {
        return Ok(text);
    }
    let shown: String = text.chars().take(200).collect();
    Err(format!("parameter value /{shown}/ does not match the allowed pattern /{}/", field.pattern))
}

fn step(name: &str, work: Work, on_failure: OnFailure) -> Step {
    Step {
        name: name.to_owned(),
        action: RUN_SHELL_SCRIPT.to_owned(),
        work,
        on_failure,
        exit_on_success: false,
        finally: false,
    }
}
