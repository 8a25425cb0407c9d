//! The command line of `taskfault`. Knows the options and the exit codes, nothing of how anything is done.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use effects::task::capabilities::Capabilities;

use crate::policy::Policy;
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
#[command(name = "taskfault", version, max_term_width = 80, after_long_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands, each with a `run` of its own.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what will work in this task and what will not, and why
    #[command(after_long_help = AFTER_DOCTOR)]
    Doctor(doctor::DoctorArgs),
    /// List the faults with their parameters
    Faults(faults::FaultsArgs),
    /// Perform one fault now, in the foreground; Ctrl-C undoes it
    #[command(after_long_help = AFTER_INJECT)]
    Inject(inject::InjectArgs),
    /// Register this task with Systems Manager and perform the faults that AWS FIS asks for
    #[command(after_long_help = AFTER_SIDECAR)]
    Sidecar(SidecarArgs),
    /// Say what is live
    #[command(after_long_help = AFTER_STATUS)]
    Status(status::StatusArgs),
    /// Print a script that completes commands and options in a shell
    #[command(after_long_help = AFTER_COMPLETIONS)]
    Completions(pages::Completions),
    /// Write a manual page for the program and each command
    Man(pages::Man),
}

const AFTER: &str = "\
Examples:
  taskfault doctor
  taskfault inject cpu-stress --duration 30s --percent 50
  taskfault inject network-latency --help
  taskfault sidecar

The environment variables that a command reads stand in its own --help.";

const AFTER_DOCTOR: &str = "\
Examples:
  taskfault doctor
  taskfault doctor network-latency kill-process && echo both will work
  taskfault doctor --json

Exit codes:
  0  every fault will work here, or every one that was named
  1  none will: not even a thread can be had
  2  bad options
  3  one or more of them will not work; the text says why";

const AFTER_INJECT: &str = "\
Examples:
  taskfault inject cpu-stress --duration 5m --percent 80
  taskfault inject kill-process --process-name python
  taskfault inject network-latency --duration 90s --delay-milliseconds 200

Environment:
  ECS_CONTAINER_METADATA_URI_V4  task metadata: limits, region; set by ECS
  ECS_AGENT_URI                  the way without NET_ADMIN; set by ECS
  TASKFAULT_ALLOW, TASKFAULT_MAX_DURATION, TASKFAULT_MAX_PERCENT,
  TASKFAULT_DENY_TARGETS         what may be done here, as for the sidecar
  TASKFAULT_ALLOW_HOST_NETWORK   true: network faults in network mode host
  TASKFAULT_IP_RANGES_URL        list of prefixes for S3 and DYNAMODB
  TASKFAULT_STATE_DIR            where faults at the ECS agent are noted
  AWS_REGION, AWS_DEFAULT_REGION where there is no metadata
  AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SSM, AWS_ENDPOINT_URL_SSMMESSAGES,
  AWS_ENDPOINT_URL_EC2MESSAGES   hosts that stay reachable
  AWS_CA_BUNDLE                  more certificates to trust

Exit codes:
  0  the fault lived its whole duration and is undone
  1  it failed
  2  bad options, or the policy forbids it; nothing was touched
  128 and the signal's number after a signal; it is undone";

const AFTER_SIDECAR: &str = "\
Environment (an empty variable counts as not set):
  MANAGED_INSTANCE_ROLE_NAME     required: name of the managed-instance role
  ECS_CONTAINER_METADATA_URI_V4  task metadata; set by ECS
  ECS_AGENT_URI                  the ECS agent's fault endpoints; set by ECS
  AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI,
  AWS_CONTAINER_AUTHORIZATION_TOKEN, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
                                 credentials of the task role; set by ECS
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
                                 credentials where ECS gives none
  AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SSM, AWS_ENDPOINT_URL_SSMMESSAGES,
  AWS_ENDPOINT_URL_EC2MESSAGES, AWS_ENDPOINT_URL_CLOUDWATCH_LOGS,
  AWS_ENDPOINT_URL_S3            other endpoints, a local AWS for instance
  AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT
                                 true: endpoints of FIPS 140, with IPv6
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
                                 the proxy, and who is reached without it
  AWS_CA_BUNDLE, SSL_CERT_FILE   more certificates to trust
  TASKFAULT_ALLOW                faults that may be performed: cpu-stress,network-*
  TASKFAULT_MAX_DURATION         how long a fault may be asked for
  TASKFAULT_MAX_PERCENT          how strong a fault may be
  TASKFAULT_ALLOW_SHELL          true: documents with shell scripts
  TASKFAULT_DENY_TARGETS         addresses and names that no fault may hit
  TASKFAULT_ALLOW_HOST_PROCESSES true: kill-process in the host's namespace
  TASKFAULT_ALLOW_HOST_NETWORK   true: network faults in network mode host
  TASKFAULT_IP_RANGES_URL        list of prefixes for S3 and DYNAMODB
  NO_COLOR, TERM=dumb            no colours in the log on a terminal

Exit codes:
  0  it ended cleanly
  1  it could not start, or not remove everything; the last log line says what
  2  bad options; a variable of the policy or a proxy that makes no sense";

const AFTER_STATUS: &str = "\
Examples:
  taskfault status
  taskfault status --json
  taskfault status --healthy    in a container's health check";

const AFTER_COMPLETIONS: &str = "\
Example:
  taskfault completions bash > /etc/bash_completion.d/taskfault";

/// Options of `taskfault sidecar`. What it registers with comes from the environment that ECS gives it.
#[derive(Debug, clap::Args)]
pub struct SidecarArgs {
    /// Where the registration and the status are kept
    #[arg(long, env = "TASKFAULT_STATE_DIR", default_value = config::DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Log level, or targets with levels: info, debug, taskfault=debug,hyper=info
    #[arg(long, env = "TASKFAULT_LOG", default_value = "info")]
    log: String,
    /// text, json, or emf: json with metrics for CloudWatch
    #[arg(long, env = "TASKFAULT_LOG_FORMAT", default_value = "text")]
    log_format: telemetry::Format,
}

fn run_sidecar(args: SidecarArgs) -> ExitCode {
    // A policy that cannot be read ends the sidecar further down.
    let allows = Policy::read(std::env::vars_os()).is_ok_and(|policy| policy.allows_shell());
    let scripts = allows && Capabilities::read().shell.is_some();
    let confinement = confine::confine(scripts);
    // Before there is a second thread, and after all that is needed has been read.
    let environment = std::env::vars_os().collect();
    effects::environment::overwrite_secrets();
    let log = match telemetry::init(&args.log, args.log_format) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("taskfault: {error}");
            return ExitCode::from(USAGE);
        }
    };
    for problem in &confinement.problems {
        tracing::warn!("{problem}");
    }
    if scripts {
        tracing::info!("scripts may run, so no capability is given up and no system call refused");
    }
    sidecar::run(args.state_dir, environment, confinement.refused, log.metrics())
}

/// Parses the command line and does what it says. Wrong usage ends the process with code 2.
///
/// `commit` is what the program was built from, for `--version`; None or empty where that is not known.
pub fn run(commit: Option<&str>) -> ExitCode {
    let program = program(commit);
    let arguments = Cli::from_arg_matches(&program.clone().get_matches());
    match arguments.unwrap_or_else(|error| error.exit()).command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Inject(args) => inject::run(args),
        Command::Sidecar(args) => run_sidecar(args),
        Command::Status(args) => status::run(&args),
        Command::Completions(args) => args.print(program),
        Command::Man(args) => args.write(program),
    }
}

/// The definition, with the commit behind the version.
fn program(commit: Option<&str>) -> clap::Command {
    let program = Cli::command();
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => program.version(format!("{} ({commit})", env!("CARGO_PKG_VERSION"))),
        None => program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_design_is_there() {
        let names: Vec<_> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_string()).collect();
        assert_eq!(names, ["doctor", "faults", "inject", "sidecar", "status", "completions", "man"]);
    }

    /// The help of a command and of all below it.
    fn helps(command: &mut clap::Command) -> Vec<String> {
        let mut all = vec![command.render_long_help().to_string()];
        command.get_subcommands_mut().for_each(|below| all.extend(helps(below)));
        all
    }

    #[test]
    fn help_fits_into_80_columns() {
        let mut program = program(None);
        program.build();
        for help in helps(&mut program) {
            // clap breaks no line of usage.
            for line in help.lines().filter(|line| !line.starts_with("Usage: ")) {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn the_version_has_the_commit_where_it_is_known() {
        let version = |commit| program(commit).render_version();
        assert!(version(Some("abc123")).trim_end().ends_with(" (abc123)"));
        assert_eq!(version(None), version(Some("")));
        assert_eq!(version(None), format!("taskfault {}\n", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_typo_gets_a_suggestion() {
        let error = program(None).try_get_matches_from(["taskfault", "injct"]).unwrap_err().to_string();
        assert!(error.contains("inject"), "{error}");
    }
}
