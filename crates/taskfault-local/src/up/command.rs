//! `taskfault-local up FILE…`: the small ECS with the local AWS, until Ctrl-C.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::value_parser;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

use super::balancer::{Balancer, Route};
use super::forward::forward;
use super::{Change, Cluster, Folder, ServiceSpec, Settings, TaskEvent, agent_listener, plan};
use crate::stage::{self, Namespaces, Stage};
use crate::{listener, log, page};
use aws_local::world::LoadBalancer;
use aws_local::{Options, Server};
use experiment::interruption::Interruption;
use experiment::traffic::HealthCheck;

/// The arguments of `taskfault-local up`, beside those of the local AWS itself.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct UpOptions {
    /// Task definitions, as JSON: what `aws ecs register-task-definition --cli-input-json` takes. Each becomes
    /// a service. Without one, services are created with `aws ecs create-service`
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Cluster of the services
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: String,
    /// Name of the service, of one FILE; its family if not given
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Desired count of tasks of each service
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u32,
    /// Command line of a container, in place of the definition's: `app="python3 -m http.server 80"`
    #[arg(long = "program", value_name = "CONTAINER=COMMAND", value_parser = program)]
    pub programs: Vec<(String, Vec<String>)>,
    /// Pass HTTP requests to a port of 127.0.0.1 on to the tasks of the first FILE's service, in turn.
    /// CONTAINER_PORT is that of the first port mapping if not given
    #[arg(long, value_name = "PORT[:CONTAINER_PORT]", value_parser = publication)]
    pub publish: Vec<(u16, Option<u16>)>,
    /// The load balancer behind `publish`
    #[command(flatten)]
    pub balancing: BalancingOptions,
    /// How long a task stays PENDING before it is started, as pulling an image takes its time
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub start_delay: u32,
    /// End as with SIGTERM when standard input does: for a program that starts this one
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
    /// Keep the logs of containers and local AWS in this folder; without it they are removed at the end
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
}

/// How the load balancer behind `--publish` behaves: as an Application Load Balancer, with its defaults. The times are
/// seconds of the application, which `--speed` does not shorten.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Load balancer of --publish")]
pub struct BalancingOptions {
    /// What health checks ask of each task; an answer of 2xx is good
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub health_check_path: String,
    /// Between two health checks of a task
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=300))]
    pub health_check_interval: u64,
    /// A health check that takes longer is a bad one
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = value_parser!(u64).range(1..=120))]
    pub health_check_timeout: u64,
    /// So many good checks in a row bring a task back
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(2..=10))]
    pub healthy_threshold: u32,
    /// So many bad checks in a row take a task out, and ECS replaces it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(2..=10))]
    pub unhealthy_threshold: u32,
    /// How long requests under way may take once their task is to be stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(0..=3600))]
    pub deregistration_delay: u64,
}

impl BalancingOptions {
    fn route(&self, spec: &ServiceSpec, port: u16) -> Route {
        Route {
            cluster: spec.cluster.clone(),
            service: spec.name.clone(),
            port,
            check: HealthCheck {
                path: self.health_check_path.clone(),
                interval: Duration::from_secs(self.health_check_interval),
                timeout: Duration::from_secs(self.health_check_timeout),
                healthy_after: self.healthy_threshold,
                unhealthy_after: self.unhealthy_threshold,
            },
            deregistration_delay: Duration::from_secs(self.deregistration_delay),
        }
    }
}

fn path(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned()).ok_or_else(|| "a path begins with a slash and has no blanks".to_owned())
}

fn program(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, line) = text.split_once('=').ok_or("CONTAINER=COMMAND, app=\"sleep 60\" for instance")?;
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match words.is_empty() {
        true => Err("the command is empty".to_owned()),
        false => Ok((name.to_owned(), words)),
    }
}

fn publication(text: &str) -> Result<(u16, Option<u16>), String> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port"));
    Ok(match text.split_once(':') {
        Some((outside, inside)) => (port(outside)?, Some(port(inside)?)),
        None => (port(text)?, None),
    })
}

/// A service that a FILE asks for.
struct Asked {
    text: String,
    definition: Map<String, Value>,
    spec: ServiceSpec,
    /// The container port of its first port mapping.
    port: Option<u16>,
    notes: Vec<String>,
}

/// The sockets that belong to the machine's network: opened before the namespaces are entered.
struct Outside {
    aws: StdListener,
    published: Vec<(StdListener, u16)>,
}

/// Runs the cluster until SIGINT or SIGTERM. The exit code is 0 after a clean end, 1 if it could not start.
///
/// Must be called before the process has a second thread, so before any async runtime.
pub fn run(options: &UpOptions, aws: Options) -> ExitCode {
    match start(options, aws) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("taskfault-local: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &UpOptions, aws: Options) -> Result<(), String> {
    let settings = |folder: &Path| Settings {
        folder: folder.to_owned(),
        programs: options.programs.iter().cloned().collect::<BTreeMap<_, _>>(),
        start_delay: Duration::from_secs(options.start_delay.into()),
    };
    // Everything that can be refused is, before anything is made.
    let nowhere = settings(Path::new(""));
    let asked =
        options.files.iter().map(|file| read(file, options, &nowhere)).collect::<Result<Vec<_>, _>>()?;
    if options.service.is_some() && asked.len() != 1 {
        return Err("--service names the service of one FILE".to_owned());
    }
    for (number, (file, service)) in options.files.iter().zip(&asked).enumerate() {
        let in_file = |why: String| format!("{}: {why}", file.display());
        let name = &service.spec.name;
        if asked[..number].iter().any(|other| other.spec.name == *name) {
            return Err(in_file(format!(
                "another FILE has the family {name} too, and with it the service's name"
            )));
        }
        plan::check(&service.definition, &nowhere).map_err(in_file)?;
    }
    let containers: Vec<&str> = asked.iter().flat_map(|service| plan::names(&service.definition)).collect();
    // Without a FILE, definitions come later.
    let unknown = options.programs.iter().find(|(name, _)| !containers.contains(&name.as_str()));
    if let Some((name, _)) = unknown.filter(|_| !asked.is_empty()) {
        return Err(format!(
            "--program {name}: no FILE has such a container; there are {}",
            containers.join(", ")
        ));
    }
    let outside = open(options, &aws, &asked)?;
    let folder = match &options.logs {
        Some(folder) => Logs::kept(folder)?,
        None => Logs::Removed(Folder::new().map_err(|error| error.to_string())?),
    };
    let namespaces = stage::enter().map_err(|refusal| refusal.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("starting the runtime: {error}"))?;
    let settings = settings(folder.path());
    runtime.block_on(serve(outside, namespaces, aws, settings, (&asked, options)))
}

fn read(file: &Path, options: &UpOptions, settings: &Settings) -> Result<Asked, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let definition: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| format!("{}: not a task definition in JSON: {error}", file.display()))?;
    if definition.get("taskDefinition").is_some_and(Value::is_object) {
        let hint = "this is what describe-task-definition prints; give what stands in its taskDefinition";
        return Err(format!("{}: {hint}", file.display()));
    }
    let family = definition.get("family").and_then(Value::as_str).filter(|family| !family.is_empty());
    let family = family.ok_or_else(|| format!("{}: the task definition has no family", file.display()))?;
    let name = options.service.clone().unwrap_or_else(|| family.to_owned());
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    let mut mappings =
        containers.into_iter().flatten().filter_map(|it| it["portMappings"].as_array()).flatten();
    let port = mappings.find_map(|mapping| u16::try_from(mapping["containerPort"].as_u64()?).ok());
    let notes = plan::notes(&definition, settings);
    let spec = ServiceSpec { cluster: options.cluster.clone(), name, count: options.count };
    Ok(Asked { text, definition, spec, port, notes })
}

fn open(options: &UpOptions, aws: &Options, asked: &[Asked]) -> Result<Outside, String> {
    let bind = |address: SocketAddr, option: &str| {
        let listen = || {
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        listen().map_err(|error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    let who = listener::of_port(address.port());
                    format!(
                        "; {} listens there",
                        who.unwrap_or_else(|| "a program of another user".to_owned())
                    )
                }
                io::ErrorKind::PermissionDenied => "; ports below 1024 are root's".to_owned(),
                _ => String::new(),
            };
            format!("could not listen on {address}: {error}{hint}; give another port with {option}")
        })
    };
    let mut published = Vec::new();
    for (port, inside) in &options.publish {
        let first = asked.first().ok_or("--publish needs a FILE")?;
        let inside = inside.or(first.port).ok_or_else(|| {
            format!("--publish {port}: the definition has no port mapping; give {port}:CONTAINER_PORT")
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        published.push((bind(address, &format!("--publish PORT:{inside}"))?, inside));
    }
    Ok(Outside { aws: bind(aws.listen, "--listen")?, published })
}

/// Where the logs go.
enum Logs {
    Removed(Folder),
    Kept(PathBuf),
}

impl Logs {
    fn kept(folder: &Path) -> Result<Logs, String> {
        let failed = |error: io::Error| format!("making {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(failed)?;
        Ok(Logs::Kept(folder.canonicalize().map_err(failed)?))
    }

    fn path(&self) -> &Path {
        match self {
            Logs::Removed(folder) => folder.path(),
            Logs::Kept(path) => path,
        }
    }
}

async fn serve(
    outside: Outside,
    namespaces: Namespaces,
    aws: Options,
    settings: Settings,
    (asked, options): (&[Asked], &UpOptions),
) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut interruption = Interruption::watch().map_err(|error| error.to_string())?;
    let file = File::create(settings.folder.join("local-aws.log")).map_err(failed("making the log"))?;
    log::start(Arc::new(file))?;
    let stage = Stage::build(namespaces).await.map_err(|error| error.to_string())?;
    let listener = TcpListener::from_std(outside.aws).map_err(failed("taking over the port"))?;
    let mut server = Server::on(listener, aws).map_err(|error| error.to_string())?;
    server.listen_also(agent_listener().await.map_err(failed("listening on the ECS agent's address"))?);
    let page = page::show(&mut server, Some(settings.folder.clone()))?;
    let (address, handle) = (server.address(), server.handle());
    let (end_server, server_ends) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async {
        let _ = server_ends.await;
    }));
    let folder = settings.folder.clone();
    let cluster = Cluster::start(stage, handle, settings);
    let events = cluster.events();
    // Other programs read the first line.
    print_line(&format!("http://{address}"));
    print_line(&page);
    print_line(&format!("logs of containers and local AWS are in {}", folder.display()));
    cluster.cluster(&options.cluster).map_err(|error| error.to_string())?;
    for service in asked {
        let made = make_log_groups(&cluster, &service.definition);
        cluster.serve(&service.text, &service.spec).map_err(|error| error.to_string())?;
        let ServiceSpec { cluster, name, count } = &service.spec;
        print_line(&format!("service {name} in cluster {cluster}: {count} task(s) desired"));
        service.notes.iter().chain(&made).for_each(|note| print_line(&format!("  note: {note}")));
    }
    for (listener, port) in outside.published {
        let spec = &asked[0].spec;
        let balancer = Balancer::new(options.balancing.route(spec, port), cluster.inner.clone());
        if let Ok(outside) = listener.local_addr() {
            print_line(&format!("http://{outside} leads to port {port} of service {}", spec.name));
        }
        let LoadBalancer { name, target_group } = balancer.name();
        print_line(&format!("  its metrics: LoadBalancer {name}, TargetGroup {target_group}"));
        let listener = TcpListener::from_std(listener).map_err(failed("taking over a published port"))?;
        tokio::spawn(forward(listener, balancer));
    }
    let printer = tokio::spawn(print_events(events));
    let abandoned = async {
        match options.end_with_stdin {
            true => input_ends().await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interruption.received() => {}
        () = abandoned => {}
    }
    print_line("stopping the tasks; once more ends them at once");
    tokio::select! {
        () = cluster.shutdown() => {}
        _ = interruption.received() => {}
    }
    // Lets the printer show the last events.
    tokio::task::yield_now().await;
    printer.abort();
    let _ = end_server.send(());
    let served = server.await.map_err(|error| error.to_string())?;
    served.map_err(|error| error.to_string())
}

/// Makes the log groups of a FILE's containers: nobody could do it before. Says which on AWS would have to be there.
fn make_log_groups(cluster: &Cluster, definition: &Map<String, Value>) -> Vec<String> {
    let handle = &cluster.inner.handle;
    let mut notes = Vec::new();
    for ((region, group), create) in plan::log_groups(definition, &handle.context().region) {
        if !create && !handle.log_group(&region, &group, false) {
            handle.log_group(&region, &group, true);
            notes.push(format!(
                "log group {group} in {region}: made here; on AWS it has to be there, or the task does not start"
            ));
        }
    }
    notes
}

/// Resolves when nobody holds the other end of standard input any more.
async fn input_ends() {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    // It ends with the process, if not before.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(end);
    });
    let _ = ended.await;
}

/// A line for the user. A terminal that is gone is no reason to end.
fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

async fn print_events(mut events: tokio::sync::broadcast::Receiver<TaskEvent>) {
    loop {
        match events.recv().await {
            Ok(event) => print_line(&line(&event)),
            Err(RecvError::Lagged(missed)) => print_line(&format!("({missed} events were too many to show)")),
            Err(RecvError::Closed) => return,
        }
    }
}

fn line(event: &TaskEvent) -> String {
    let at = record::clock::date_text(event.at);
    // Hours, minutes and seconds: the date is known.
    let time = at.get(11..19).unwrap_or_default();
    let whose = event.service.as_deref().unwrap_or("-");
    let what = match &event.change {
        Change::Started { replaces } => {
            let address = event.address.map(|it| it.to_string()).unwrap_or_default();
            let replaced = replaces.as_ref().map(|it| format!(", in place of {it}")).unwrap_or_default();
            format!("RUNNING at {address}{replaced}")
        }
        Change::FailedToStart { reason } => format!("not started: {reason}"),
        Change::ContainerEnded { container, exit_code } => {
            format!("container {container} ended: exit code {exit_code}")
        }
        Change::Health { container, health } => format!("container {container} is {}", health.as_str()),
        Change::Stopping { reason } => format!("stopping: {reason}"),
        Change::Stopped { .. } => "STOPPED".to_owned(),
    };
    format!("{time}  {whose}  {}  {what}", event.task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_with_a_reason() {
        assert_eq!(program("app=sleep 60"), Ok(("app".into(), vec!["sleep".into(), "60".into()])));
        assert!(program("app").is_err() && program("app= ").is_err());
        assert_eq!(publication("8080:80"), Ok((8080, Some(80))));
        assert_eq!(publication("8080"), Ok((8080, None)));
        assert!(publication("http").is_err() && publication("1:70000").is_err());
    }
}
