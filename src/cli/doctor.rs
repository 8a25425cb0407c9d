//! `taskfault doctor`: what will work in this task and what will not, and why.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::builder::PossibleValuesParser;
use http::{Response, StatusCode};
use serde::Serialize;

use super::USAGE;
use super::confine;
use super::status::DEFAULT_STATE_DIR;
use crate::aws::endpoint::{EndpointError, Endpoints};
use crate::config::own_variable;
use crate::policy::{ALLOW_SHELL_VARIABLE, Policy};
use effects::fault::Preflight;
use effects::net::connections::{self, Connection};
use effects::registry::preflights;
use effects::state_folder;
use effects::task::capabilities::{Capabilities, PidNamespace};
use effects::task::ecs_agent::{AGENT_VARIABLE, ALLOW_HOST_NETWORK_VARIABLE, AgentAccess};
use effects::task::limits::CpuLimits;
use effects::task::machine::Machine;
use effects::task::metadata::TaskMetadata;
use effects::task::{ALLOW_HOST_PROCESSES_VARIABLE, Task};
use http_client::{Network, SendError};

mod endpoints;

/// How long the metadata endpoint may take.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of `taskfault doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Faults that must work; all of them if none is named. The exit code says whether they will
    #[arg(value_name = "FAULT", value_parser = PossibleValuesParser::new(faults::ALL.iter().map(|spec| spec.name)),
        hide_possible_values = true)]
    needed: Vec<String>,
    /// State folder of the sidecar
    #[arg(long, default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Address of the task metadata
    #[arg(long, env = "ECS_CONTAINER_METADATA_URI_V4", hide_env_values = true)]
    metadata_uri: Option<String>,
    /// Whether faults on processes are allowed in the host's own PID namespace
    #[arg(long, env = ALLOW_HOST_PROCESSES_VARIABLE)]
    host_processes: bool,
    /// `true` where network faults may hit the whole instance (network mode host)
    #[arg(long, env = ALLOW_HOST_NETWORK_VARIABLE)]
    host_network: Option<String>,
    /// Address of the ECS agent, for its fault endpoints
    #[arg(long, env = AGENT_VARIABLE, hide_env_values = true)]
    agent_uri: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// Something will not work, and the text says what.
    Warning,
    /// cpu-stress will not work.
    Bad,
}

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Warning => "--",
            Verdict::Bad => "!!",
        }
    }
}

/// One thing that was checked. One with a fault's name is what that fault needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    /// `words` in the JSON, where it has had this name from the start.
    #[serde(rename = "words")]
    text: String,
}

impl Finding {
    fn new(name: &'static str, good: bool, text: impl Into<String>) -> Self {
        Finding { name, verdict: if good { Verdict::Good } else { Verdict::Warning }, text: text.into() }
    }

    /// The preflight of a fault.
    fn of_fault(name: &'static str, preflight: Preflight) -> Self {
        Finding::new(name, preflight.works, preflight.text)
    }
}

/// Some of the faults that must work will not.
const SOME_WILL_NOT: u8 = 3;

/// Checks and prints. Code 0 if the faults that are needed would work here, 1 if not even cpu-stress would, 3 if some
/// of them would not.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let policy = match Policy::read(std::env::vars_os()) {
        Ok(policy) => policy,
        Err(error) => {
            eprintln!("taskfault doctor: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let network = match Network::read(own_variable) {
        Ok(network) => network,
        Err(error) => {
            eprintln!("taskfault doctor: {error}");
            return ExitCode::from(USAGE);
        }
    };
    // As the sidecar is, so that what it may not do is not done here either.
    let mut confinement = confine::confine(false);
    let limits = CpuLimits::read(&Task::default());
    let machine = Machine::read();
    let metadata_answer = args.metadata_uri.as_deref().and_then(known);
    let resolved = metadata_answer
        .as_ref()
        .map(|task| Endpoints::resolve(&task.arn.region, &task.arn.partition, own_variable));
    let task = task(args, metadata_answer.as_ref(), resolved.as_ref(), &network);
    let mut findings = vec![threads(), Finding::new("machine", true, machine.to_string()), cpu(&limits)];
    findings.extend(allowed(&Capabilities::read(), &policy));
    findings.extend(policy.lines().into_iter().map(|line| Finding::new("policy", true, line)));
    findings.push(self::network());
    findings.push(own_connections());
    match &resolved {
        Some(Ok(all)) => findings.extend(endpoints::findings(all, &network)),
        Some(Err(error)) => findings.push(Finding::new("endpoints", false, error.to_string())),
        None => {}
    }
    findings.extend(proxy(control_addresses(&task)));
    findings.push(metadata(args.metadata_uri.as_deref()));
    findings.push(state_dir(&args.state_dir));
    let works = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
    let faults = faults(&task, works, &policy);
    confinement.tell_refused(|text| eprintln!("taskfault doctor: {text}"));
    if args.json {
        println!("{:#}", json(&findings, &machine, &limits, &faults));
    } else {
        print!("{}", describe(&findings, &faults));
    }
    exit_code(works, &faults, &args.needed)
}

fn exit_code(works: bool, faults: &[Finding], needed: &[String]) -> ExitCode {
    let is_needed = |fault: &&Finding| needed.is_empty() || needed.iter().any(|name| name == fault.name);
    let all_will = faults.iter().filter(is_needed).all(|fault| fault.verdict == Verdict::Good);
    match (works, all_will) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(SOME_WILL_NOT),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// What each fault would find here, from where the sidecar would look; that none will work where not even a thread
/// can be had.
fn faults(task: &Task, works: bool, policy: &Policy) -> Vec<Finding> {
    let forbidden = |name| faults::find(name).and_then(|spec| policy.check_name(spec).err());
    let found = |(name, preflight)| match (works, forbidden(name)) {
        (true, None) => Finding::of_fault(name, preflight),
        (true, Some(forbidden)) => Finding::new(name, false, format!("will be refused: {forbidden}")),
        (false, _) => {
            Finding { name, verdict: Verdict::Bad, text: "will not work here, see above".to_owned() }
        }
    };
    preflights(task).into_iter().map(found).collect()
}

/// The task as its metadata has it.
fn known(uri: &str) -> Option<TaskMetadata> {
    effects::task::metadata::parse(uri, answer(uri).ok()?.body()).ok()
}

/// The task as the sidecar would know it, as far as preflights care.
fn task(
    args: &DoctorArgs,
    known: Option<&TaskMetadata>,
    endpoints: Option<&Result<Endpoints, EndpointError>>,
    network: &Network,
) -> Task {
    // The sidecar makes its folder where it is not there yet.
    let scratch = args.state_dir.ancestors().find(|above| above.is_dir()).map(Path::to_path_buf);
    let endpoints = endpoints.and_then(|endpoints| endpoints.as_ref().ok());
    let hosts = endpoints.map(|endpoints| endpoints.hosts(&network.proxies)).unwrap_or_default();
    let ecs_agent = known.map(|task| {
        AgentAccess::new(args.agent_uri.clone(), task, hosts).allowing(args.host_network.as_deref())
    });
    Task {
        scratch,
        allow_host_processes: args.host_processes,
        ecs_agent: ecs_agent.unwrap_or_default(),
        ..Task::default()
    }
}

fn json(
    findings: &[Finding],
    machine: &Machine,
    limits: &CpuLimits,
    faults: &[Finding],
) -> serde_json::Value {
    let fault = |finding: &Finding| {
        let works = finding.verdict == Verdict::Good;
        serde_json::json!({ "name": finding.name, "works": works, "words": finding.text })
    };
    let all: Vec<_> = faults.iter().map(fault).collect();
    let findings: Vec<_> = findings.iter().chain(faults).collect();
    serde_json::json!({ "findings": findings, "machine": machine, "cpu_limits": limits, "faults": all })
}

fn describe(findings: &[Finding], faults: &[Finding]) -> String {
    let mut text = String::from("This task\n");
    for finding in findings {
        let mark = finding.verdict.mark();
        let _ = writeln!(text, "  {mark} {:<15} {}", finding.name, finding.text);
    }
    text.push_str("Faults\n");
    for fault in faults {
        let _ = writeln!(text, "  {} {:<23} {}", fault.verdict.mark(), fault.name, fault.text);
    }
    text
}

/// Whether a load can be started: by starting one that burns nothing and taking it back.
fn threads() -> Finding {
    match effects::load::probe() {
        Ok(()) => Finding::new("threads", true, "a worker thread starts and reads its CPU clock"),
        Err(error) => Finding { name: "threads", verdict: Verdict::Bad, text: error.to_string() },
    }
}

fn cpu(limits: &CpuLimits) -> Finding {
    let most = limits.all_cores();
    let quota = match &limits.cgroup {
        Some(limit) => format!("cgroup quota {:.2} ({})", limit.cpus, limit.source),
        None => "no cgroup quota".into(),
    };
    let text =
        format!("{} usable, {quota}: 'all cores' means {:.2} ({})", limits.affinity, most.cpus, most.source);
    Finding::new("CPUs", true, text)
}

fn allowed(found: &Capabilities, policy: &Policy) -> Vec<Finding> {
    let without = |has: bool, text: &str| if has { "effective".to_string() } else { text.to_string() };
    let shell = match &found.shell {
        Some(shell) if policy.allows_shell() => {
            format!("{}, for script steps of other documents", shell.display())
        }
        Some(shell) => format!(
            "{}, but script steps of other documents will be refused: {ALLOW_SHELL_VARIABLE} is not true",
            shell.display()
        ),
        None => "none: script steps of other documents will fail, AWSFIS documents do not need one".into(),
    };
    let namespace = match found.pid_namespace {
        Some(PidNamespace::Shared) => "shared: processes of other containers can be seen",
        Some(PidNamespace::Private) => "not shared: faults on processes will need pidMode task",
        None => "could not be told: /proc is not readable",
    };
    vec![
        Finding::new(
            "NET_ADMIN",
            found.net_admin,
            without(
                found.net_admin,
                "missing: network faults will need it, or the ECS agent's fault endpoints",
            ),
        ),
        Finding::new(
            "SYS_PTRACE",
            found.sys_ptrace,
            without(found.sys_ptrace, "missing: only needed for processes of other users"),
        ),
        Finding::new(
            "KILL",
            found.kill,
            without(found.kill, "missing: processes of other users cannot be signalled"),
        ),
        Finding::new("shell", found.shell.is_some(), shell),
        Finding::new("PID namespace", found.pid_namespace == Some(PidNamespace::Shared), namespace),
    ]
}

/// The finding that the network faults stand and fall with.
const NETWORK: &str = "network";

/// Whether our own connections can be told from others. Asked on a thread of its own, which ends marked.
fn own_connections() -> Finding {
    let marked = std::thread::spawn(effects::net::lifeline::mark_this_thread).join();
    let text = match marked {
        Ok(true) => "network faults let the control channel through",
        _ => {
            "CAP_SETGID is missing: network faults cannot tell the control channel from other traffic, so a cancel \
             may not get through; do not drop SETGID from the sidecar's container"
        }
    };
    Finding::new("lifeline", matches!(marked, Ok(true)), text)
}

/// How long DNS may take to give the addresses of the endpoints.
const DNS_PATIENCE: Duration = Duration::from_secs(2);
/// How long one connection to an endpoint may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a transparent proxy of the task takes connections to the endpoints of Systems Manager: by making one, and
/// looking where it ends. Made as the sidecar makes its own, so that rules which let those through do so here.
fn proxy(endpoints: Vec<SocketAddr>) -> Option<Finding> {
    let looking = std::thread::spawn(move || {
        effects::net::lifeline::mark_this_thread();
        endpoints.iter().find_map(|endpoint| {
            let stream = TcpStream::connect_timeout(endpoint, CONNECT_TIMEOUT).ok()?;
            let ours = Connection { local: stream.local_addr().ok()?, peer: stream.peer_addr().ok()? };
            // The other end may need a moment until it is established.
            std::thread::sleep(Duration::from_millis(50));
            Some((*endpoint, connections::proxy_of(&connections::established(), &ours)?))
        })
    });
    let (endpoint, proxy) = looking.join().ok()??;
    let text = format!(
        "connections to Systems Manager ({endpoint}) end in this task, at {proxy}: a transparent proxy carries them. \
         Network faults let its connections to the endpoints through; what else stops the proxy stops a cancel too, so \
         leave the group {} out of its redirection",
        effects::net::lifeline::GROUP
    );
    Some(Finding::new("proxy", false, text))
}

/// An address of the endpoints for each port and family; none where the task is not known.
fn control_addresses(task: &Task) -> Vec<SocketAddr> {
    let hosts = &task.ecs_agent.control_hosts;
    let all = effects::net::endpoints::addresses(hosts, DNS_PATIENCE);
    let mut one_each: Vec<SocketAddr> = Vec::new();
    for address in all {
        if !one_each
            .iter()
            .any(|other| other.port() == address.port() && other.is_ipv4() == address.is_ipv4())
        {
            one_each.push(address);
        }
    }
    one_each
}

/// Whether the kernel has what network faults are made of: by making the table and taking it back, and by
/// asking for the disciplines.
fn network() -> Finding {
    const PARTS: &str = "the kernel has owned tables of nf_tables, prio and netem";
    let loud = match effects::net::probe_silence() {
        Ok(()) => String::new(),
        Err(error) => format!("; a black hole tells the sender of a datagram (EPERM): {error}"),
    };
    match effects::net::probe() {
        Ok(()) => match effects::net::probe_ingress_latency() {
            Ok(()) => Finding::new(NETWORK, true, format!("{PARTS}, and ifb for ingress latency{loud}")),
            Err(error) => {
                Finding::new(NETWORK, true, format!("{PARTS}; ingress latency will not work: {error}{loud}"))
            }
        },
        Err(error) => Finding::new(NETWORK, false, error.to_string()),
    }
}

fn metadata(uri: Option<&str>) -> Finding {
    let name = "task metadata";
    let Some(uri) = uri else {
        let text = "ECS_CONTAINER_METADATA_URI_V4 is not set: not in an ECS task, no task CPU limit known";
        return Finding::new(name, false, text);
    };
    match answer(uri) {
        Ok(answer) if answer.status() == StatusCode::OK => {
            Finding::new(name, true, format!("{uri}/task answers"))
        }
        Ok(answer) => Finding::new(name, false, format!("{uri}/task answers {}", answer.status())),
        Err(error) => Finding::new(name, false, format!("{uri}/task could not be reached: {error}")),
    }
}

/// What `GET {uri}/task` gives.
fn answer(uri: &str) -> Result<Response<Bytes>, SendError> {
    http_client::blocking::get(&format!("{}/task", uri.trim_end_matches('/')), METADATA_TIMEOUT)
}

/// Whether a file can be made in the state folder, or the folder itself: by doing it and taking it back.
fn state_dir(folder: &Path) -> Finding {
    let name = "state folder";
    match probe(folder) {
        Ok(()) => Finding::new(name, true, format!("{} is writable", folder.display())),
        Err(error) => Finding::new(name, false, format!("{} cannot be used: {error}", folder.display())),
    }
}

/// Makes a file in `folder`, or in the nearest folder above that exists, and takes it away again.
fn probe(folder: &Path) -> std::io::Result<()> {
    let nearest = folder.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let file = nearest.join(format!(".taskfault-doctor-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
    std::fs::remove_file(file)?;
    if folder.exists() { state_folder::check(folder) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
