//! The command line of `taskfault`. Knows the options and the exit codes, nothing of how anything is done.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{config, sidecar, telemetry};

mod confine;
pub mod doctor;
pub mod faults;
pub mod inject;
pub mod injected;
pub mod status;

/// Something was wrong with what was asked for; nothing was touched. clap's own code for the same.
pub const USAGE: u8 = 2;

/// In-task fault injection for Amazon ECS.
#[derive(Debug, Parser)]
#[command(name = "taskfault", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
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

/// Options of `taskfault sidecar`. What it registers with comes from the environment that ECS gives it.
#[derive(Debug, clap::Args)]
pub struct SidecarArgs {
    /// Where the registration and the status are kept
    #[arg(long, env = "TASKFAULT_STATE_DIR", default_value = config::DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Log level, or targets with levels: info, debug, taskfault=debug,hyper=info
    #[arg(long, env = "TASKFAULT_LOG", default_value = "info")]
    log: String,
    /// text or json
    #[arg(long, env = "TASKFAULT_LOG_FORMAT", default_value = "text")]
    log_format: telemetry::Format,
}

fn run_sidecar(args: SidecarArgs) -> ExitCode {
    confine::confine();
    // Before there is a second thread, and after all that is needed has been read.
    let environment = std::env::vars_os().collect();
    effects::environment::overwrite_secrets();
    let _log = match telemetry::init(&args.log, args.log_format) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("taskfault: {error}");
            return ExitCode::from(USAGE);
        }
    };
    sidecar::run(args.state_dir, environment)
}

/// Parses the command line and does what it says. Wrong usage ends the process with code 2.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Inject(args) => inject::run(args),
        Command::Sidecar(args) => run_sidecar(args),
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
