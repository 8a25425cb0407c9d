//! The `AWSFIS-Run-*` documents, known by name: parameters in, a fault out. Pure.
//!
//! Their text is never read. What is fixed here is what their users count on: the names, defaults, patterns
//! and ranges of the parameters, the two steps, the exit codes. To add one: a file beside `cpu_stress` and a
//! line in [`DOCUMENTS`].

mod action_state;
mod cpu_stress;
mod disk_fill;
mod family;
#[cfg(test)]
mod hostile;
mod io_stress;
mod kill_process;
mod memory_stress;
mod network;
mod network_ecs;

use std::time::Duration;

use serde_json::{Map, Value};

use super::parameters::{go_text, wrong};
use super::pattern::Pattern;
use super::precondition::RUN_SHELL_SCRIPT;
use super::{OnFailure, ParseError, Plan, Step, Work};
use faults::{DURATION_SECONDS, Fault, ParameterError, Range};

/// The documents that taskfault performs itself, in alphabetical order.
#[rustfmt::skip] // One line each.
pub const DOCUMENTS: &[&Document] = &[
    &cpu_stress::DOCUMENT,
    &disk_fill::DOCUMENT,
    &io_stress::DOCUMENT,
    &kill_process::DOCUMENT,
    &memory_stress::DOCUMENT,
    &network::BLACKHOLE_PORT,
    &network_ecs::BLACKHOLE_PORT,
    &network::LATENCY,
    &network_ecs::LATENCY,
    &network::LATENCY_SOURCES,
    &network::PACKET_LOSS,
    &network_ecs::PACKET_LOSS,
    &network::PACKET_LOSS_SOURCES,
];

pub use action_state::ActionState;

/// The names of all of them begin so.
const PREFIX: &str = "AWSFIS-Run-";

/// One document.
#[derive(Debug)]
pub struct Document {
    pub name: &'static str,
    life: Life,
    /// Besides `InstallDependencies`, which all have, and `DurationSeconds`.
    pub parameters: &'static [Parameter],
    /// The fault that the parameters ask for, or what is wrong with them.
    fault: fn(&Arguments) -> Result<Fault, ParameterError>,
}

/// How long the fault of a document lives.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// As `DurationSeconds` says.
    Asked,
    /// There is no such parameter.
    Fixed(Duration),
}

/// One parameter; its values are texts.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    /// None: the caller has to give it.
    pub default: Option<&'static str>,
    /// What the document's `allowedPattern` takes. A value that breaks it is refused before anything runs.
    pub pattern: &'static str,
}

const DIGITS: &str = "^[0-9]+$";
/// 0 to 100 without leading zeros.
const PERCENT_FROM_0: &str = "^(100|[1-9]?[0-9])$";
/// 1 to 100 without leading zeros.
const PERCENT_FROM_1: &str = "^(100|[1-9][0-9]?)$";

const DURATION: Parameter = Parameter { name: "DurationSeconds", default: None, pattern: DIGITS };
/// True or False. There is nothing to install either way.
const INSTALL: Parameter =
    Parameter { name: "InstallDependencies", default: Some("True"), pattern: "^(True|False)$" };

impl Document {
    fn all_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let duration = matches!(self.life, Life::Asked).then_some(&DURATION);
        duration.into_iter().chain([&INSTALL]).chain(self.parameters)
    }

    /// The two steps of the document, which was asked for as `name`.
    ///
    /// # Errors
    /// A parameter that is unknown, missing, or breaks its pattern. A value that has its pattern but not its range
    /// is no error here: the document starts, its second step fails with code 1, as the real script does.
    pub fn plan(&self, name: &str, supplied: &Map<String, Value>) -> Result<Plan, ParseError> {
        let work = self.work(&Arguments::read(self, supplied)?);
        let mut note = "Nothing to install: taskfault performs this fault itself.\n".to_owned();
        if name != self.name {
            note = format!(
                "{name} is new to taskfault: it is taken for {}, whose parameters it has. {note}",
                self.name
            );
        }
        let install = step("InstallDependencies", Work::Note(note), OnFailure::Exit);
        Ok(Plan { steps: vec![install, step("FaultInjection", work, OnFailure::Continue)] })
    }

    fn work(&self, arguments: &Arguments) -> Work {
        // Only the -ECS documents have one.
        let call = ActionState::parse(arguments.text(action_state::PARAMETER.name));
        if let Some(beat) = call.as_ref().filter(|call| !call.starts()) {
            return Work::Heartbeat(beat.clone());
        }
        match self.duration(arguments).and_then(|duration| Ok((duration, (self.fault)(arguments)?))) {
            Ok((duration, fault)) => match call {
                Some(call) => Work::Leased { fault, duration, call },
                None => Work::Fault { fault, duration },
            },
            Err(reason) => Work::Fail(format!("{}: {reason}. Nothing was started.\n", self.name)),
        }
    }

    fn duration(&self, arguments: &Arguments) -> Result<Duration, ParameterError> {
        match self.life {
            Life::Asked => arguments.number(DURATION.name, DURATION_SECONDS).map(Duration::from_secs),
            Life::Fixed(duration) => Ok(duration),
        }
    }
}

/// The values of one document's parameters; every one has its pattern.
#[derive(Debug)]
struct Arguments(Vec<(&'static str, String)>);

impl Arguments {
    fn read(document: &Document, supplied: &Map<String, Value>) -> Result<Arguments, ParseError> {
        let known: Vec<_> = document.all_parameters().map(|parameter| parameter.name).collect();
        if let Some(name) = supplied.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(ParseError::UnknownParameter {
                document: document.name.to_owned(),
                name: name.chars().take(200).collect(),
                known: known.join(", "),
            });
        }
        let (mut values, mut findings) = (Vec::new(), Vec::new());
        for parameter in document.all_parameters() {
            match value_of(parameter, supplied.get(parameter.name)) {
                Ok(value) => values.push((parameter.name, value)),
                Err(reason) => findings.push(wrong(parameter.name, &reason)),
            }
        }
        if findings.is_empty() { Ok(Arguments(values)) } else { Err(ParseError::Parameters(findings)) }
    }

    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A whole number in `range`, or the parameter, its value and the range in words.
    fn number(&self, name: &'static str, range: Range) -> Result<u64, ParameterError> {
        range.parse(name, self.text(name))
    }
}

/// The one text of a parameter: a string, a number, or a list of one of them, as the service may send it.
fn value_of(parameter: &Parameter, supplied: Option<&Value>) -> Result<String, String> {
    let single = match supplied {
        Some(Value::Array(items)) if items.len() == 1 => items.first(),
        other => other,
    };
    let text = match (single, parameter.default) {
        (Some(value @ (Value::String(_) | Value::Number(_))), _) => go_text(value),
        (None, Some(default)) => default.to_owned(),
        (other, _) => {
            let shown =
                other.map_or("<nil>".to_owned(), |value| value.to_string().chars().take(200).collect());
            return Err(format!("invalid parameter type String with parameter value {shown}"));
        }
    };
    let pattern = Pattern::compile(parameter.pattern)?;
    if pattern.matches(&text) {
        return Ok(text);
    }
    let shown: String = text.chars().take(200).collect();
    Err(format!("parameter value /{shown}/ does not match the allowed pattern /{}/", parameter.pattern))
}

/// The plain name, if `document_name` is an AWSFIS document: by name or by ARN
/// (`arn:aws:ssm:REGION:[ACCOUNT]:document/NAME`), with or without a version.
pub fn known_name(document_name: &str) -> Option<&str> {
    let name = match document_name.split_once(":document/") {
        Some((arn, name)) => {
            let mut parts = arn.split(':');
            let arn = parts.next() == Some("arn")
                && parts.next().is_some_and(|partition| partition.starts_with("aws"))
                && parts.next() == Some("ssm");
            arn.then_some(name)?
        }
        None => document_name,
    };
    let name = name.split_once(':').map_or(name, |(name, _version)| name);
    name.starts_with(PREFIX).then_some(name)
}

/// The document called `name`, or the one that it is taken for, with these parameters. None: taskfault has none,
/// and it is a document like any other.
pub fn find(name: &str, supplied: &Map<String, Value>) -> Option<&'static Document> {
    let known = DOCUMENTS.iter().copied().find(|document| document.name == name);
    known.or_else(|| family::like(name, supplied))
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

/// The plan of a document that taskfault has.
#[cfg(test)]
fn plan(name: &str, supplied: &Map<String, Value>) -> Result<Plan, ParseError> {
    find(name, supplied).unwrap_or_else(|| panic!("no document {name}")).plan(name, supplied)
}

#[cfg(test)]
mod tests;
