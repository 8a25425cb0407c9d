//! The `AWSFIS-Run-*` documents, known by name: parameters in, a fault out. Pure.
//!
//! Their text is never read. What is fixed here is what their users count on: the names, defaults, patterns
//! and ranges of the parameters, the two steps, the exit codes. To add one: a file beside `cpu_stress` and a
//! line in [`DOCUMENTS`].

mod cpu_stress;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::parameters::{go_text, wrong};
use super::pattern::Pattern;
use super::precondition::RUN_SHELL_SCRIPT;
use super::{OnFailure, ParseError, Plan, Step, Work};
use crate::fault::Fault;

/// The documents that taskfault performs itself, in alphabetical order.
pub const DOCUMENTS: &[&Document] = &[&cpu_stress::DOCUMENT];

/// The names of all of them begin so; nothing with such a name is ever run as a script.
const PREFIX: &str = "AWSFIS-Run-";

/// How long a fault may last, in seconds, in every document.
pub const DURATION_SECONDS: RangeInclusive<u64> = 1..=43_200;

/// One document.
#[derive(Debug)]
pub struct Document {
    pub name: &'static str,
    /// Besides `DurationSeconds` and `InstallDependencies`, which all have.
    pub parameters: &'static [Parameter],
    /// The fault that the parameters ask for, or what is wrong with them, in words.
    fault: fn(&Arguments) -> Result<Fault, String>,
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

const DURATION: Parameter = Parameter { name: "DurationSeconds", default: None, pattern: DIGITS };
/// True or False. There is nothing to install either way.
const INSTALL: Parameter =
    Parameter { name: "InstallDependencies", default: Some("True"), pattern: "^(True|False)$" };

impl Document {
    fn all_parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&DURATION, &INSTALL].into_iter().chain(self.parameters)
    }

    fn work(&self, arguments: &Arguments) -> Work {
        let fault = arguments
            .number(DURATION.name, "seconds", DURATION_SECONDS)
            .and_then(|seconds| Ok((Duration::from_secs(seconds), (self.fault)(arguments)?)));
        match fault {
            Ok((duration, fault)) => Work::Fault { fault, duration },
            Err(reason) => Work::Fail(format!("{}: {reason}. Nothing was started.\n", self.name)),
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
    fn number(&self, name: &str, unit: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
        let text = self.text(name);
        // A number too long for the type is out of every range.
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("{name} is {shown}, accepted are {} to {} {unit}", range.start(), range.end())
        })
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

/// The two steps of the document called `name`.
///
/// # Errors
/// A parameter that is unknown, missing, or breaks its pattern. A value that has its pattern but not its range
/// is no error here: the document starts, its second step fails with code 1, as the real script does.
pub fn plan(name: &str, supplied: &Map<String, Value>) -> Result<Plan, ParseError> {
    let document = DOCUMENTS.iter().find(|document| document.name == name);
    let work = match document {
        Some(document) => document.work(&Arguments::read(document, supplied)?),
        None => Work::Fail(not_yet(name)),
    };
    let dependencies = "Nothing to install: taskfault performs this fault itself.\n".to_owned();
    let install = step("InstallDependencies", Work::Note(dependencies), OnFailure::Exit);
    Ok(Plan { steps: vec![install, step("FaultInjection", work, OnFailure::Continue)] })
}

fn not_yet(name: &str) -> String {
    let known: Vec<_> = DOCUMENTS.iter().map(|document| document.name).collect();
    format!(
        "{name}: this version of taskfault ({}) cannot perform this document yet; it performs {}. \
         Nothing was started.\n",
        env!("CARGO_PKG_VERSION"),
        known.join(", ")
    )
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
