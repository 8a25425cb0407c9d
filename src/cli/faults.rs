//! `taskfault faults`: what there is, with parameters.

use std::fmt::Write;
use std::process::ExitCode;

use faults::{ALL, Parameter, Spec};

/// Options of `taskfault faults`.
#[derive(Debug, clap::Args)]
pub struct FaultsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the registry.
pub fn run(args: &FaultsArgs) -> ExitCode {
    if args.json {
        println!("{:#}", serde_json::json!({ "faults": ALL }));
    } else {
        print!("{}", table(ALL));
    }
    ExitCode::SUCCESS
}

fn table(faults: &[Spec]) -> String {
    let mut text = String::new();
    for fault in faults {
        let when = if fault.available { "" } else { " (not in this version yet)" };
        let _ = writeln!(text, "{:<24}{}{when}", fault.name, fault.summary);
        for parameter in fault.parameters {
            let _ = writeln!(text, "{}", row(parameter));
        }
    }
    text
}

fn row(parameter: &Parameter) -> String {
    let default = parameter.default.map_or("required".to_string(), |value| format!("default {value}"));
    let range = format!("{} {}", parameter.range, parameter.unit);
    format!(
        "    --{:<18}{:<13}{}; {} (FIS: {})",
        parameter.option,
        default,
        range.trim_end(),
        parameter.description,
        parameter.fis
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_fault_and_says_which_are_missing() {
        let text = table(ALL);
        for fault in ALL {
            let line = text.lines().find(|line| line.starts_with(fault.name)).unwrap();
            assert_eq!(line.contains("not in this version yet"), !fault.available, "{line}");
        }
        assert!(text.contains("--percent           default 100"), "{text}");
    }
}
