//! Tests: hostile values on every option of every fault. A value is refused, or it arrives in the fault as the
//! very text or number that it was.

use std::sync::LazyLock;

use clap::{CommandFactory, Parser};
use proptest::prelude::*;

use super::options::Asked;
use super::*;
use crate::cli::{Cli, Command};
use faults::{duration, read_back};

/// A value that is accepted.
fn good(fault: &str, option: &str) -> String {
    let parameters = faults::find(fault).unwrap().parameters;
    let parameter = parameters.iter().find(|parameter| parameter.option == option).unwrap();
    parameter.values.example().into_owned()
}

/// Every fault with each of its options that takes a value, and those that have to be given. Made once.
static PLACES: LazyLock<Vec<(String, String, Vec<String>)>> = LazyLock::new(|| {
    let cli = Cli::command();
    let faults = cli.find_subcommand("inject").unwrap().get_subcommands();
    let of = |fault: &clap::Command| {
        let takes = |option: &&clap::Arg| option.get_action().takes_values();
        let options: Vec<_> = fault.get_arguments().filter(takes).collect();
        let name = |option: &&clap::Arg| option.get_long().unwrap().to_owned();
        let required: Vec<String> =
            options.iter().filter(|option| option.is_required_set()).map(name).collect();
        let fault = fault.get_name().to_owned();
        options.iter().map(move |option| (fault.clone(), name(option), required.clone())).collect::<Vec<_>>()
    };
    faults.flat_map(of).collect()
});

/// What came of the command line: the fault, or why it was refused.
fn asked(fault: &str, hit: &str, required: &[String], value: &str) -> Result<Asked, String> {
    let mut arguments =
        vec!["taskfault".to_owned(), "inject".into(), fault.into(), format!("--{hit}={value}")];
    arguments.extend(
        required
            .iter()
            .filter(|option| *option != hit)
            .map(|option| format!("--{option}={}", good(fault, option))),
    );
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let Command::Inject(args) = cli.command else { panic!("another command: {:?}", cli.command) };
    match args.asked {
        Err(Refusal::Parameter(error)) => Err(error.to_string()),
        asked => Ok(asked.expect("a fault by its name")),
    }
}

fn misread(fault: &str, hit: &str, required: &[String], value: &str) -> Result<bool, String> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "");
    match asked(fault, hit, required, value) {
        Err(why) if plain(&why).contains(&plain(hit)) => Ok(false),
        Err(why) => Err(format!("refused without naming it: {why}")),
        Ok((_, lives)) if hit == "duration" && duration::parse(value) == Ok(lives) => Ok(true),
        // An empty text is what such a parameter is where it is not given.
        Ok((fault, _)) if value.is_empty() && empty_is_not_given(&fault, hit) => Ok(true),
        Ok((fault, _)) => match fault.text(hit) {
            Some(told) if hit != "path" && read_back::same(value, &told) || told == value => Ok(true),
            told => Err(format!("became {told:?} in {fault:?}")),
        },
    }
}

fn empty_is_not_given(fault: &faults::Fault, hit: &str) -> bool {
    let parameter = fault.spec().parameters.iter().find(|parameter| parameter.option == hit);
    parameter.and_then(|it| it.field()).is_some_and(|field| field.default == Some(""))
}

#[test]
fn every_nasty_value_is_refused_or_taken_literally() {
    let (mut taken, mut count) = (0, 0);
    for value in read_back::HOSTILE {
        for (fault, hit, required) in PLACES.iter() {
            let outcome = misread(fault, hit, required, value);
            assert!(outcome.is_ok(), "{fault} --{hit}={value:?}: {outcome:?}");
            (taken, count) = (taken + u32::from(outcome == Ok(true)), count + 1);
        }
    }
    assert!(count > 2_000 && taken > 50 && taken < count / 2, "{taken} of {count} taken");
}

#[test]
fn every_option_has_a_good_value() {
    for (fault, hit, required) in PLACES.iter() {
        let outcome = misread(fault, hit, required, &good(fault, hit));
        assert_eq!(outcome, Ok(true), "{fault} --{hit}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_taken_literally(
        place in any::<proptest::sample::Index>(),
        value in prop_oneof![any::<String>(), "[0-9]{1,24}", "[+-]?[0-9]{1,3}", "[a-zA-Z0-9.,:/-]{1,40}"],
    ) {
        let (fault, hit, required) = place.get(&PLACES);
        let outcome = misread(fault, hit, required, &value);
        prop_assert!(outcome.is_ok(), "{} --{}={:?}: {:?}", fault, hit, value, outcome);
    }
}
