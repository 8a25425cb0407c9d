//! The values that were given for the parameters of one fault. Pure.
//!
//! Knows nothing of where they were given: whoever reads a command line or a document fills them in, and each fault
//! takes from them what it needs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::parameter::{Parameter, Preset, Values};
use crate::share::Share;
use crate::{ParameterError, Range};

/// Texts, by parameter. What was not given is what the parameter's [`Preset`] says.
#[derive(Debug, Clone, Default)]
pub struct Arguments(Vec<Argument>);

#[derive(Debug, Clone)]
struct Argument {
    option: &'static str,
    /// The name that the caller knows the parameter by.
    name: &'static str,
    value: OsString,
}

impl Arguments {
    /// The value of a parameter. `name` is what the caller calls it, for the words of errors.
    pub fn give(&mut self, parameter: &Parameter, name: &'static str, value: impl Into<OsString>) {
        self.0.push(Argument { option: parameter.option, name, value: value.into() });
    }

    /// A whole number in the parameter's range.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name that the caller gave it by.
    pub fn number<T: TryFrom<u64>>(&self, parameter: &Parameter) -> Result<T, ParameterError> {
        let range = match parameter.values {
            Values::Number(range) => range,
            Values::Duration => crate::duration::DURATION_SECONDS,
            _ => Range { low: 0, high: u64::MAX, unit: "" },
        };
        self.number_in(parameter, range)
    }

    /// A whole number in another range than the parameter's.
    ///
    /// # Errors
    /// As [`Arguments::number`].
    pub fn number_in<T: TryFrom<u64>>(
        &self,
        parameter: &Parameter,
        range: Range,
    ) -> Result<T, ParameterError> {
        let name = self.given(parameter).map_or(parameter.option, |argument| argument.name);
        range.parse(name, self.text(parameter))
    }

    /// A share of packets.
    ///
    /// # Errors
    /// As [`Share::parse`], with the name that the caller gave it by.
    pub(crate) fn share(&self, parameter: &Parameter) -> Result<Share, ParameterError> {
        let name = self.given(parameter).map_or(parameter.option, |argument| argument.name);
        Share::parse(name, self.text(parameter))
    }

    /// The same, with these values where none, or an empty text, was given.
    pub(crate) fn or(&self, values: &[(Parameter, &'static str)]) -> Arguments {
        let mut all = self.clone();
        for (parameter, value) in values {
            match all.0.iter_mut().find(|argument| argument.option == parameter.option) {
                Some(argument) if argument.value.is_empty() => argument.value = value.into(),
                Some(_) => {}
                None => all.give(parameter, parameter.option, *value),
            }
        }
        all
    }

    /// The text; empty where there is none.
    pub fn text(&self, parameter: &Parameter) -> &str {
        self.value(parameter).and_then(OsStr::to_str).unwrap_or_default()
    }

    /// The path; None where the place is to decide.
    pub fn path(&self, parameter: &Parameter) -> Option<PathBuf> {
        self.value(parameter).map(PathBuf::from)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, parameter: &Parameter) -> bool {
        self.text(parameter) == Arguments::ON
    }

    /// The value of a switch that is on.
    pub const ON: &'static str = "on";
    /// The value of a switch that is off.
    pub const OFF: &'static str = "off";

    fn value(&self, parameter: &Parameter) -> Option<&OsStr> {
        let preset = || match parameter.default {
            Preset::Value(value) => Some(OsStr::new(value)),
            Preset::Required | Preset::Place(_) => None,
        };
        self.given(parameter).map(|argument| argument.value.as_os_str()).or_else(preset)
    }

    fn given(&self, parameter: &Parameter) -> Option<&Argument> {
        self.0.iter().find(|argument| argument.option == parameter.option)
    }
}
