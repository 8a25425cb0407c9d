//! The `AWSFIS-Run-*` documents, and `Taskfault-Run-*` of ours, known by name: the values of their parameters in, a fault out. Pure.
//!
//! Their text is never read. What is fixed here and in the faults' own files is what their users count on: the
//! names, defaults, patterns and ranges of the parameters. Must not know how a document is sent nor what its
//! values looked like on the way.

use std::time::Duration;

use crate::duration::DURATION;
use crate::parameter::{Field, Parameter};
use crate::spec::{Document, Lives};
use crate::{ALL, Arguments, Fault, ParameterError};

mod action_state;
mod family;

pub use action_state::ActionState;

/// The names of AWS's own begin so.
const OF_AWS: &str = "AWSFIS-Run-";
/// The names of those begin so that are for what AWS's own cannot ask for.
const OURS: &str = "Taskfault-Run-";

/// True or False, in all documents of AWS. There is nothing to install either way.
pub const INSTALL_DEPENDENCIES: Field =
    Field { name: "InstallDependencies", pattern: "^(True|False)$", default: Some("True") };

/// What a document asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// A fault, for a time.
    Fault {
        /// All of its parameters in range.
        fault: Fault,
        /// At most.
        duration: Duration,
    },
    /// The same, but it ends when FIS sends no heartbeats any more. This is the first call.
    Leased {
        /// All of its parameters in range.
        fault: Fault,
        /// At most.
        duration: Duration,
        /// What FIS says of itself.
        call: ActionState,
    },
    /// A further call of FIS: extends the life of the fault that its first call started.
    Heartbeat(ActionState),
}

impl Document {
    /// All parameters that it takes.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        let state = self.heartbeats.then_some(action_state::FIELD);
        let own = self.parameters.iter().filter_map(Parameter::field);
        let install = self.name.starts_with(OF_AWS).then_some(INSTALL_DEPENDENCIES);
        own.chain(state).chain(install)
    }

    /// What the values of its parameters ask for, each by its name. Every one has the pattern of its field; one
    /// that is not among them has the default of its parameter.
    ///
    /// # Errors
    /// [`ParameterError`]: a value has its pattern, but not its range. The real document would start, and its
    /// script end with code 1.
    pub fn ask(&self, values: &[(&'static str, String)]) -> Result<Asked, ParameterError> {
        let value = |name| values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        let call = self.heartbeats.then(|| ActionState::parse(value(action_state::FIELD.name))).flatten();
        if let Some(beat) = call.as_ref().filter(|call| !call.starts()) {
            return Ok(Asked::Heartbeat(beat.clone()));
        }
        let arguments = self.arguments(value);
        let fault = (self.read)(&arguments)?;
        let duration = match fault.spec().lives {
            Lives::Asked => Duration::from_secs(arguments.number(&DURATION)?),
            Lives::Fixed(duration) => duration,
        };
        Ok(match call {
            Some(call) => Asked::Leased { fault, duration, call },
            None => Asked::Fault { fault, duration },
        })
    }

    fn arguments<'a>(&self, value: impl Fn(&'static str) -> &'a str) -> Arguments {
        let mut arguments = Arguments::default();
        for parameter in self.parameters {
            if let Some(field) = parameter.field() {
                arguments.give(parameter, field.name, value(field.name));
            }
        }
        for (parameter, value) in self.settles {
            arguments.give(parameter, parameter.option, *value);
        }
        arguments
    }
}

/// All documents, fault by fault; those of one fault in alphabetical order.
pub fn all() -> impl Iterator<Item = &'static Document> {
    ALL.iter().flat_map(|spec| spec.documents)
}

/// The document called `name`, or the one that it is taken for, with these parameters `given`. None: taskfault has
/// none, and it is a document like any other.
pub fn find(name: &str, given: &[&str]) -> Option<&'static Document> {
    all().find(|document| document.name == name).or_else(|| family::like(name, given))
}

/// The plain name, if `document_name` is that of a document of faults: by name or by ARN
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
    (name.starts_with(OF_AWS) || name.starts_with(OURS)).then_some(name)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn the_documents_are_sound() {
        let of = |prefix| all().filter(move |document| document.name.starts_with(prefix));
        assert!(of(OF_AWS).is_sorted_by_key(|document| document.name));
        assert!(of(OURS).is_sorted_by_key(|document| document.name));
        assert_eq!(of(OF_AWS).count() + of(OURS).count(), all().count());
        for document in all() {
            assert_eq!(known_name(document.name), Some(document.name));
            let mut names = Vec::new();
            for field in document.fields() {
                let pattern = Regex::new(field.pattern).unwrap();
                assert!(field.default.is_none_or(|default| pattern.is_match(default)), "{}", field.name);
                assert!(!names.contains(&field.name), "{} twice in {}", field.name, document.name);
                names.push(field.name);
            }
        }
    }

    #[test]
    fn a_document_has_parameters_of_its_fault_alone() {
        for spec in ALL {
            let knows = |option| spec.parameters.iter().any(|parameter| parameter.option == option);
            for document in spec.documents {
                let settled = document.settles.iter().map(|(parameter, _)| parameter);
                for parameter in document.parameters.iter().chain(settled) {
                    assert!(knows(parameter.option), "{} {}", document.name, parameter.option);
                }
                assert!(document.parameters.iter().all(|parameter| parameter.document.is_some()));
                let asks = document.parameters.iter().any(|parameter| parameter.option == DURATION.option);
                assert_eq!(asks, spec.lives == Lives::Asked, "{}", document.name);
            }
        }
    }
}
