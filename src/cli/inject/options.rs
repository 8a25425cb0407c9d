//! The options of `taskfault inject`: a subcommand for each fault, made from the fault's table.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};

use faults::parameter::{Preset, Values};
use faults::spec::Lives;
use faults::{ALL, Arguments, Fault, Parameter, ParameterError, Spec, duration, plain_number};

/// A fault and how long it is to live.
pub(super) type Asked = (Fault, Duration);

/// What was asked for, as `taskfault inject` takes it.
#[derive(Debug)]
pub struct InjectArgs {
    pub(super) asked: Result<Asked, Refusal>,
}

/// Why it can be no fault, though the options can be read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is no fault of this name.
    NoSuchFault(String),
    Parameter(ParameterError),
}

impl clap::Args for InjectArgs {
    fn augment_args(command: Command) -> Command {
        command
            .subcommands(ALL.iter().copied().map(subcommand))
            .subcommand_required(true)
            .arg_required_else_help(true)
            // A name that is no subcommand: the refusal says which there are.
            .allow_external_subcommands(true)
            .external_subcommand_value_parser(value_parser!(OsString))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for InjectArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Some((name, matches)) = matches.subcommand() else {
            return Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand));
        };
        let asked = match faults::find(name) {
            Some(spec) => asked(spec, matches).map_err(Refusal::Parameter),
            None => Err(Refusal::NoSuchFault(name.to_owned())),
        };
        Ok(InjectArgs { asked })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn subcommand(spec: &'static Spec) -> Command {
    Command::new(spec.name).about(sentence(spec.summary)).args(spec.parameters.iter().map(option))
}

fn option(parameter: &'static Parameter) -> Arg {
    let option = Arg::new(parameter.option).long(parameter.option).help(help(parameter));
    let option = match parameter.values {
        Values::Switch { variable } => return option.action(ArgAction::SetTrue).env(variable),
        Values::Duration => option.value_parser(duration::parse),
        Values::Number(_) => option.value_parser(number),
        Values::Path { .. } => option.value_parser(value_parser!(PathBuf)),
        Values::OneOf(_) => option,
        Values::Text { hyphen, .. } => option.allow_hyphen_values(hyphen),
    };
    let option = option.value_name(parameter.option.to_uppercase().replace('-', "_"));
    match parameter.default {
        Preset::Required => option.required(true),
        Preset::Value(value) => option.default_value(value),
        Preset::Place(_) => option,
    }
}

/// A number in plain digits, as the documents take it. Whether it is in range is seen with the other parameters.
fn number(text: &str) -> Result<String, String> {
    let number = plain_number(text).ok_or("it takes a whole number in plain digits")?;
    Ok(number.to_string())
}

fn help(parameter: &Parameter) -> String {
    let (range, unit) = (parameter.values.range(), parameter.values.unit());
    let values = match parameter.values {
        Values::Switch { .. } => String::new(),
        Values::Duration => format!(" ({range}; {unit})"),
        _ => format!(" ({})", format!("{range} {unit}").trim_end()),
    };
    let place = match parameter.default {
        Preset::Place(place) => format!(" [default: {place}]"),
        Preset::Required | Preset::Value(_) => String::new(),
    };
    format!("{}{values}{place}", sentence(parameter.description))
}

/// With a capital.
fn sentence(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    first.to_uppercase() + rest
}

fn asked(spec: &Spec, matches: &ArgMatches) -> Result<Asked, ParameterError> {
    let mut arguments = Arguments::default();
    for parameter in spec.parameters {
        if let Some(value) = value(parameter, matches) {
            arguments.give(parameter, parameter.option, value);
        }
    }
    let lives = match spec.lives {
        Lives::Asked => matches.get_one(duration::DURATION.option).copied().unwrap_or_default(),
        Lives::Fixed(duration) => duration,
    };
    Ok(((spec.read)(&arguments)?, lives))
}

fn value(parameter: &Parameter, matches: &ArgMatches) -> Option<OsString> {
    let name = parameter.option;
    match parameter.values {
        Values::Duration => None,
        Values::Switch { .. } => {
            let on = matches.get_flag(name);
            Some(if on { Arguments::ON } else { Arguments::OFF }.into())
        }
        Values::Path { .. } => matches.get_one::<PathBuf>(name).map(Into::into),
        Values::Number(_) | Values::OneOf(_) | Values::Text { .. } => {
            matches.get_one::<String>(name).map(Into::into)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_help_has_meaning_values_and_unit() {
        let of = |fault: &str, option: &str| {
            let spec = faults::find(fault).unwrap();
            help(spec.parameters.iter().find(|parameter| parameter.option == option).unwrap())
        };
        assert_eq!(
            of("cpu-stress", "workers"),
            "Worker threads; 0 means all cores, or the task's CPU limit where it has one (0-4096 workers)"
        );
        assert_eq!(of("kill-process", "signal"), "The signal (SIGTERM or SIGKILL)");
        assert_eq!(
            of("io-stress", "path"),
            "Where the files are made; the sidecar takes its state folder (a folder) [default: /tmp]"
        );
        assert_eq!(
            of("network-latency", "duration"),
            "How long the fault lives (PT1S-PT12H; ISO 8601, or 90s, 5m, 2h)"
        );
    }
}
