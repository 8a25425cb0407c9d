//! `taskfault-local task-definition add`: puts the sidecar into a task definition, takes it out again, or says what
//! will not work in it. Standard output has the definition, or nothing; standard error what there is to say.

use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

mod change;
mod check;
mod example;
mod members;
mod request;
mod source;

use change::Wanted;
use source::Source;

/// What is said below the help of `add`.
pub const AFTER_ADD: &str = "\
  aws ecs describe-task-definition --task-definition web > web.json
  taskfault-local task-definition add web.json --image REGISTRY/taskfault:0.1.0 \\
      > with-taskfault.json
  aws ecs register-task-definition --cli-input-json file://with-taskfault.json

What is there stays, in its order, also members that are not known here. What
only describe-task-definition has (revision, status, …) goes. Comments in YAML
are lost. Doing it twice changes nothing more; --remove takes out what was put
in, and members of the task go back to what they were.

Exit codes: 0; 1 if the definition is refused (nothing is written), or, with
--check, if something in it will not work; 2 for bad options.";

/// The arguments of `taskfault-local task-definition`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct TaskDefinitionOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
enum Command {
    /// Put the sidecar into a task definition, JSON or YAML, and print it
    #[command(after_long_help = AFTER_ADD)]
    Add(AddOptions),
}

/// The arguments of `add`.
#[derive(Debug, Clone, PartialEq, Args)]
struct AddOptions {
    /// What describe-task-definition prints or register-task-definition takes; - is standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// Where your registry has the sidecar's image; a sidecar that is there already keeps its own
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The tasks run on Fargate: no NET_ADMIN, network faults go through the ECS agent. It goes without saying
    /// where requiresCompatibilities has FARGATE
    #[arg(long)]
    fargate: bool,
    /// Name of the role that the sidecar registers with
    #[arg(long, value_name = "NAME")]
    managed_instance_role: Option<String>,
    /// taskRoleArn of a definition that has none
    #[arg(long, value_name = "ARN")]
    task_role: Option<String>,
    /// Take the sidecar out again
    #[arg(long, conflicts_with_all = ["image", "fargate", "managed_instance_role", "task_role", "check"])]
    remove: bool,
    /// Change nothing, print nothing; say what will not work
    #[arg(long, conflicts_with_all = ["image", "fargate", "managed_instance_role", "task_role"])]
    check: bool,
}

/// Runs the command.
pub fn run(options: &TaskDefinitionOptions) -> ExitCode {
    let Command::Add(options) = &options.command;
    match add(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("taskfault-local: {}: {error}", named(&options.file));
            ExitCode::FAILURE
        }
    }
}

fn add(options: &AddOptions) -> Result<ExitCode, String> {
    let mut source = Source::read(&text(&options.file)?)?;
    if options.check {
        return Ok(judge(source.definition()));
    }
    let notes = match options.remove {
        true => change::remove(source.definition_mut())?,
        false => change::add(source.definition_mut(), &options.into())?,
    };
    request::registers(source.definition())?;
    let written = source.write()?;
    for note in notes {
        eprintln!("{note}");
    }
    if !options.remove {
        for finding in check::findings(source.definition()) {
            eprintln!("warning: {}", finding.text());
        }
    }
    io::stdout().write_all(written.as_bytes()).map_err(|error| format!("writing it: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// What `--check` says, and whether all will work.
fn judge(definition: &serde_norway::Mapping) -> ExitCode {
    let mut works = true;
    let place = change::refusal(definition).err().into_iter().chain(request::registers(definition).err());
    for trouble in place {
        works = false;
        eprintln!("will not work: {trouble}");
    }
    for finding in check::findings(definition) {
        works &= finding.is_warning();
        let what = if finding.is_warning() { "warning" } else { "will not work" };
        eprintln!("{what}: {}", finding.text());
    }
    match works {
        true => {
            eprintln!("faults will work in tasks of this definition");
            ExitCode::SUCCESS
        }
        false => ExitCode::FAILURE,
    }
}

impl From<&AddOptions> for Wanted {
    fn from(options: &AddOptions) -> Wanted {
        Wanted {
            image: options.image.clone(),
            fargate: options.fargate,
            managed_instance_role: options.managed_instance_role.clone(),
            task_role: options.task_role.clone(),
        }
    }
}

fn named(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}

fn text(file: &str) -> Result<String, String> {
    let read = match file {
        "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
        file => fs::read_to_string(file),
    };
    read.map_err(|error| format!("reading it: {error}"))
}
