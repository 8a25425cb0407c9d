//! The command line of `taskfault`. Knows the options and the exit codes, nothing of how anything is done.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod doctor;
pub mod duration;
pub mod faults;
pub mod inject;
pub mod status;

/// Something was wrong with what was asked for; nothing was touched. clap's own code for the same.
pub const USAGE: u8 = 2;

/// In-task fault injection for Amazon ECS.
#[derive(Debug, Parser)]
#[command(name = "taskfault", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands, each with a `run` of its own.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what will work in this task and what will not, and why
    Doctor(doctor::DoctorArgs),
    /// List the faults with their parameters
    Faults(faults::FaultsArgs),
    /// Perform one fault now, in the foreground; Ctrl-C undoes it
    Inject(inject::InjectArgs),
    /// Register this task with Systems Manager and perform the faults that AWS FIS asks for
    Sidecar(SidecarArgs),
    /// Say what is live
    Status(status::StatusArgs),
}

/// Options of `taskfault sidecar`.
#[derive(Debug, clap::Args)]
pub struct SidecarArgs {}

/// Parses the command line and does what it says. Wrong usage ends the process with code 2.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Inject(args) => inject::run(args),
        Command::Sidecar(_) => {
            eprintln!("taskfault: sidecar is not in this version yet");
            ExitCode::FAILURE
        }
        Command::Status(args) => status::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_design_is_there() {
        let names: Vec<_> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_string()).collect();
        assert_eq!(names, ["doctor", "faults", "inject", "sidecar", "status"]);
    }
}
