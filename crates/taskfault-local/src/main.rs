//! `taskfault-local`: the AWS side of the conversation on one local port.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use aws_local::{Options, Server, ServerError, TaskLimits};
use clap::{CommandFactory, Parser, Subcommand};
use experiment::run::{AFTER_HELP as AFTER_RUN, RunOptions};
use taskfault_local::application::{self, ApplicationOptions};
use taskfault_local::clients::{self, AwsOptions, ClientOptions};
use taskfault_local::demo::{self, DemoOptions};
use taskfault_local::stage::{InitOptions, run_init};
use taskfault_local::task_definition::{self, TaskDefinitionOptions};
use taskfault_local::up::{self, UpOptions};
use taskfault_local::with::{self, WithOptions, speed};
use taskfault_local::{listener, log, page, pause};
use tokio::signal::unix::{SignalKind, signal};

/// A local AWS for fault injection into ECS tasks: Systems Manager, its agent channels, task metadata.
///
/// The first line on standard output is the URL it listens on; what it receives goes to standard error, one
/// line each.
#[derive(Debug, Parser)]
#[command(version = version(), max_term_width = 80, after_long_help = AFTER)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeOptions,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one value in the life of the program")]
enum Command {
    /// Run two experiments on a service of three tasks on this machine, in namespaces of its own
    Demo(DemoOptions),
    /// Run services of tasks from task definitions, as processes in namespaces, with the local AWS
    #[command(after_long_help = AFTER_UP)]
    Up(Box<UpArguments>),
    /// Run one experiment to its end, at a taskfault-local that listens elsewhere or with a service of its own
    #[command(after_long_help = AFTER_RUN)]
    Run(Box<RunArguments>),
    /// Put the sidecar into a task definition, take it out, or say what will not work in it
    TaskDefinition(TaskDefinitionOptions),
    /// Print what leads the AWS clients of a shell to the local AWS: eval "$(taskfault-local env)"
    Env(ClientOptions),
    /// Run the AWS CLI, of any version, against the local AWS: taskfault-local aws ecs list-clusters
    Aws(AwsOptions),
    /// Print a script that completes commands and options in a shell
    Completions(pages::Completions),
    /// Write a manual page for the program and each command
    Man(pages::Man),
    /// Be the pause container of a task: the first process of what its containers share. Ends on SIGTERM
    Pause,
    /// A small web service to try experiments on: every request costs a few milliseconds of CPU
    #[command(hide = true)]
    Application(ApplicationOptions),
    /// The first process of a task on the stage
    #[command(hide = true)]
    TaskInit(InitOptions),
}

/// What runs, and beside which local AWS.
#[derive(Debug, clap::Args)]
struct UpArguments {
    #[command(flatten)]
    up: UpOptions,
    #[command(flatten)]
    serve: ServeOptions,
}

/// One experiment, and the service that it may start for itself.
#[derive(Debug, clap::Args)]
struct RunArguments {
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    with: WithOptions,
}

/// What the local AWS plays, and where.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Local AWS")]
struct ServeOptions {
    /// Address or name and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4566", value_parser = listen_address)]
    listen: SocketAddr,
    /// Region of what is not signed: tasks, their metadata and sidecars. Clients act in the region they sign for
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Account that it plays, twelve digits
    #[arg(long, default_value = "000000000000", value_parser = account)]
    account: String,
    /// Keep instances, activations and commands in this file over a restart; without it they are forgotten
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// CPU limit in the metadata of tasks, in vCPU
    #[arg(long, value_name = "VCPU", value_parser = vcpu)]
    task_cpu: Option<f64>,
    /// Memory limit in the metadata of tasks, in MiB
    #[arg(long, value_name = "MIB")]
    task_memory: Option<u64>,
    /// Whether tasks have the ECS agent's fault endpoints, as with enableFaultInjection in a task definition:
    /// the metadata says so, and the endpoints keep and tell what runs. They touch no packet
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    fault_injection: bool,
    /// Make durations of experiments and periods of alarms so many times shorter, for tests: at 30, PT5M
    /// takes ten seconds
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Write what goes into buckets of S3 below this folder, the logs of experiments: FOLDER/BUCKET/KEY
    #[arg(long, value_name = "FOLDER")]
    s3: Option<PathBuf>,
    /// Answer requests whose Host is this name too, besides localhost, loopback addresses and the address that it
    /// listens on: the name of a Compose service, for instance. Can be given several times
    #[arg(long = "allow-host", value_name = "NAME", value_parser = host_name)]
    allow_hosts: Vec<String>,
}

const AFTER_UP: &str = "\
FILE is what `aws ecs register-task-definition --cli-input-json file://FILE`
takes. Each of its containers is a process; all of a task share processes and
network, as with pidMode task and networkMode awsvpc. Images are not run: a
container's command must begin with a program of this machine. The image
taskfault stands for the program `taskfault` beside this one, and
taskfault-local for this one, whatever registry and tag they have.
The docker label taskfault.process-name gives a container's process a name, for
experiments that kill by name.

A service of three tasks, with a small web service (4 ms of CPU for each
request) called python:
  {\"family\": \"web\", \"networkMode\": \"awsvpc\", \"pidMode\": \"task\",
   \"containerDefinitions\": [
    {\"name\": \"app\", \"image\": \"taskfault-local\", \"memory\": 64,
     \"command\": [\"application\", \"--port\", \"80\"],
     \"portMappings\": [{\"containerPort\": 80}],
     \"dockerLabels\": {\"taskfault.process-name\": \"python\"}},
    {\"name\": \"taskfault\", \"image\": \"taskfault\", \"memory\": 64,
     \"environment\": [{\"name\": \"MANAGED_INSTANCE_ROLE_NAME\",
                      \"value\": \"local\"}]}]}
  taskfault-local up web.json --count 3 --publish 8080

In another terminal:
  eval \"$(taskfault-local env)\"
  aws ecs list-tasks --service-name web
  curl http://127.0.0.1:8080/

Exit codes: 0 after SIGTERM or SIGINT, 1 if it could not start or not write its
state, 2 for bad options.";

const AFTER: &str = "\
Use it with the AWS CLI:
  eval \"$(taskfault-local env)\"
  aws sts get-caller-identity
  aws ssm describe-instance-information
  aws ssm send-command --document-name AWS-RunShellScript --instance-ids mi-... \\
      --parameters 'commands=[\"echo hello\"]'

Start a sidecar against it, as a task of a cluster and service that need no
set-up:
  export MANAGED_INSTANCE_ROLE_NAME=local
  export ECS_CONTAINER_METADATA_URI_V4=http://127.0.0.1:4566/v4/CLUSTER/SERVICE/TASKID
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566
  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
  taskfault sidecar
Container credentials, in place of the last two variables:
  export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4566/v2/credentials/TASKID

The ECS agent's fault endpoints, for a sidecar without NET_ADMIN. They check,
limit, conflict and answer as the agent does, and write down what runs; no
packet is touched by them:
  export ECS_AGENT_URI=http://127.0.0.1:4566/api/CLUSTER/SERVICE/TASKID

The stock amazon-ssm-agent, in amazon-ssm-agent.json (its control channel needs
a TLS front; without one it uses the long poll):
  {\"Ssm\": {\"Endpoint\": \"http://127.0.0.1:4566\"}, \"Mds\": {\"Endpoint\": \"http://127.0.0.1:4566\"}}

Switches for tests of agents, all off at the start:
  GET  /_taskfault/health
  GET  /_taskfault/switches
  POST /_taskfault/switches      a JSON object (Content-Type: application/json) with any of:
         channel                 open | denied (403) | error (500) | hangup
         withhold_reply_acks     replies are taken in, not acknowledged
         withhold_delivery_acks  acknowledgements of jobs are overlooked
         duplicate_jobs          every job is sent twice
         token_lifetime_seconds  of role tokens, 3600
         update_key_pair         the next role token asks for a new key pair
         fingerprint_mismatch    role tokens are refused
         throttle_next           so many Systems Manager calls are throttled
         redelivery_seconds      until a job that was not acknowledged is sent
                                 again, 15
         poll_seconds            how long an empty long poll is held, 15
         fault_rate_seconds      between two requests to one fault endpoint, 5;
                                 0 is no limit
         fault_trouble_with      start | stop | status: what the next two are
                                 about; empty is all
         fault_error_next        so many requests to fault endpoints answer 500
                                 and do nothing
         fault_timeout_next      so many do their work, and are hung up on after
                                 5 s
         fault_half_done_next    so many starts fail and leave something in the
                                 way of all later ones of their kind
         fault_agent_version     the agent's version: before 1.94.0 or 1.95.0
                                 without IPv6, before 1.100.0 without shares
         fis_targets_per_action  quota of targets of one FIS action, 5; 0 is no
                                 limit
  GET  /_taskfault/faults        what runs at the fault endpoints, by task
  POST /_taskfault/drop-sockets  cuts every control channel
  POST /_taskfault/send          {\"instance_id\": ..., \"hex\" or \"text\": ...} goes out as it is

Exit codes: 0 after SIGTERM or SIGINT, 1 if it could not start or not write its
state, 2 for bad options.";

/// With the commit it was built from, where `make build` or the Dockerfile have told it.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("TASKFAULT_COMMIT").filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

/// An address, or the first that a name stands for, of IPv4 if it has one: `localhost` is both, and clients try that.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; 127.0.0.1:4566 or localhost:4566, for instance"))?
        .collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "the name has no address".to_owned())
}

fn account(text: &str) -> Result<String, String> {
    match text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err("an account id has twelve digits".to_owned()),
    }
}

fn host_name(text: &str) -> Result<String, String> {
    match !text.is_empty() && !text.contains(['/', ':', '*', '@', ' '])
        || text.parse::<std::net::IpAddr>().is_ok()
    {
        true => Ok(text.to_owned()),
        false => Err("a host is a name or an address, without scheme, port and wildcard".to_owned()),
    }
}

fn vcpu(text: &str) -> Result<f64, String> {
    let cpu: Option<f64> = text.parse().ok().filter(|cpu: &f64| cpu.is_finite() && *cpu > 0.0);
    cpu.ok_or_else(|| "a CPU limit is a number above 0, 0.5 for instance".to_owned())
}

/// The demo and the stage make namespaces, so nothing may start a thread before them.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Demo(options)) => demo::run(&options),
        Some(Command::Up(arguments)) => up::run(&arguments.up, arguments.serve.into()),
        Some(Command::Run(arguments)) => with::perform(&arguments.with, &arguments.run),
        Some(Command::TaskDefinition(options)) => task_definition::run(&options),
        Some(Command::Env(options)) => clients::env(&options),
        Some(Command::Aws(options)) => clients::aws(&options),
        Some(Command::Completions(options)) => options.print(Arguments::command()),
        Some(Command::Man(options)) => options.write(Arguments::command()),
        Some(Command::Pause) => pause::run(),
        Some(Command::Application(options)) => application::run(options),
        Some(Command::TaskInit(options)) => run_init(options),
        None => serve(arguments.serve),
    }
}

impl From<ServeOptions> for Options {
    fn from(options: ServeOptions) -> Options {
        Options {
            listen: options.listen,
            region: options.region,
            account: options.account,
            state_file: options.state,
            limits: TaskLimits { cpu: options.task_cpu, memory_mib: options.task_memory },
            fault_injection: options.fault_injection,
            speed: options.speed,
            s3_folder: options.s3,
            allow_hosts: options.allow_hosts,
        }
    }
}

fn serve(options: ServeOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("taskfault-local: {error}{}", hint(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Who has the port, where that is why it cannot be listened on.
fn hint(error: &(dyn std::error::Error + 'static)) -> String {
    let Some(ServerError::Listen { address, source }) = error.downcast_ref() else { return String::new() };
    let who = match source.kind() {
        io::ErrorKind::AddrInUse => listener::of_port(address.port()).map_or_else(
            || "; a program of another user listens there".to_owned(),
            |who| format!("; {who} listens there"),
        ),
        io::ErrorKind::PermissionDenied => "; ports below 1024 are root's".to_owned(),
        _ => String::new(),
    };
    format!("{who}; give another address with --listen (127.0.0.1:0 takes a free port)")
}

async fn run(options: ServeOptions) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    log::start(std::io::stderr)?;
    let mut server = Server::bind(options.into()).await?;
    let page = page::show(&mut server, None)?;
    // In one piece, and without an end of the program if nobody reads: other programs read the first line.
    let _ = io::stdout().lock().write_all(format!("http://{}\n{page}\n", server.address()).as_bytes());
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(server.run(shutdown).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_will_do_to_listen_on() {
        assert_eq!(listen_address("localhost:4567"), Ok(([127, 0, 0, 1], 4567).into()));
        assert_eq!(listen_address("[::1]:1").unwrap().to_string(), "[::1]:1");
        for wrong in ["4567", "localhost", "no.such.name.invalid:1", "127.0.0.1:70000"] {
            assert!(listen_address(wrong).unwrap_err().contains("localhost:4566"), "{wrong}");
        }
    }

    fn helps(command: &mut clap::Command) -> Vec<String> {
        let mut all = vec![command.render_long_help().to_string()];
        command.get_subcommands_mut().for_each(|below| all.extend(helps(below)));
        all
    }

    #[test]
    fn the_definition_is_sound_and_help_fits_into_80_columns() {
        let mut program = Arguments::command();
        program.clone().debug_assert();
        program.build();
        for help in helps(&mut program) {
            // clap breaks no line of usage.
            for line in help.lines().filter(|line| !line.starts_with("Usage: ")) {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
