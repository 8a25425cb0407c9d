//! `taskfault sidecar`: puts the pieces together, in the order of a life. The only file that sees every layer.
//!
//! Start: metadata, activation, registration, credentials, heartbeat, channels. End, on SIGTERM or SIGINT:
//! effects undone, running commands answered, activation and instance removed.

mod drain;
mod footprint;
pub mod liveness;
mod lock;
mod start;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::aws::backoff::jitter;
use crate::aws::endpoint::Endpoints;
use crate::channel::heartbeat::{self, Machine};
use crate::channel::journal::Journal;
use crate::channel::link::Link;
use crate::channel::mds::Poll;
use crate::channel::mgs::{ANNOUNCED_VERSION, Gateway};
use crate::channel::outbox::Outbox;
use crate::channel::sender;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::output::Writer;
use crate::run::invocation::InvocationContext;
use crate::run::queue::Queue;
use crate::shutdown;
use crate::telemetry::Lines;
use effects::net::{self, lifeline};
use effects::shell;
use effects::shell::left_over::{LeftOver, end_left_over};
use effects::state_folder;
use effects::syscall_filter::{self, Refused};
use effects::task::capabilities::Capabilities;
use effects::task::prefixes::{LIST_VARIABLE, Region};
use effects::task::{ALLOW_HOST_PROCESSES_VARIABLE, Task, lifelines};
use ssm_wire::report::reply::Replier;

use liveness::{Liveness, Phase};
pub use start::RETRY_BUDGET as START_RETRY_BUDGET;
use start::{Registered, StartError};

/// Where scripts are, in the state folder.
const ORCHESTRATION: &str = "orchestration";

/// Longer than any task. A thread that looks up names stays for the next: in a task that is out of threads, tokio
/// could not start one, and panics where there is none at all.
const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// When nothing of a start, or of commands, is left but what stays.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// Runs the sidecar until a signal ends it. Metrics of faults are written to `metrics`, if they are wanted.
///
/// `refused` tells the system calls that this process is refused. Exit codes: 0 after a clean end, 1 when it could not
/// start or left something behind (the last log line says what), 2 when a variable of the policy or a proxy makes no
/// sense.
pub fn run(
    state_dir: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    refused: Option<Refused>,
    metrics: Option<Lines>,
) -> ExitCode {
    let config = match Config::read(state_dir, environment) {
        Ok(config) => config,
        Err(error) => {
            failed(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let _kept_roots = protect(&config);
    effects::heap::keep_small();
    // One thread does everything but the faults' own work: idle it waits in epoll, and under a fault that
    // burns every core it still gets its turn, because it nearly never uses its share.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().thread_keep_alive(FOR_GOOD).build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = tokio::task::LocalSet::new().block_on(&runtime, async {
        if let Some(refused) = refused {
            drop(tokio::task::spawn_local(tell(refused)));
        }
        let code = match serve_until_stopped(&config, metrics.as_ref()).await {
            Ok(code) => code,
            Err(error) => failed(&error),
        };
        // What was given up by its end is removed.
        state_folder::settled().await;
        code
    });
    // Not waited for: the thread of a name look-up whose call was given up may hang for longer than ECS waits.
    runtime.shutdown_background();
    code
}

/// Tells the system calls that the filter refuses, for ever.
async fn tell(refused: Refused) {
    let told = refused.tell_all(|number| tracing::error!("{}", syscall_filter::describe(number)));
    if let Err(error) = told.await {
        tracing::warn!(%error, "system calls that are refused will not be told");
    }
}

/// Before any socket is made: says whether network faults can tell ours from others. And puts back what an earlier life
/// left. What is given keeps the roots of shaped faults until the end.
fn protect(config: &Config) -> Option<net::KeptRoots> {
    if !Capabilities::read().net_admin {
        return None;
    }
    if !lifeline::is_marked() && !control_is_exempt(config) {
        tracing::warn!(
            "CAP_SETGID is missing: network faults cannot tell the control channel from other traffic"
        );
    }
    let environment = net::Environment { state_dir: config.state_dir.clone(), ..net::Environment::default() };
    match net::tidy_up(&environment) {
        Ok(links) if links.is_empty() => {}
        Ok(links) => tracing::info!(interfaces = links.join(","), "put back what an earlier life left"),
        Err(error) => tracing::warn!(%error, "cannot tidy up after an earlier life"),
    }
    Some(net::KeptRoots::keep())
}

/// Whether all that a cancel needs is at addresses which every fault lets through: so it is beside a local AWS at the
/// address of task metadata.
fn control_is_exempt(config: &Config) -> bool {
    // Without an override the host is a name, whatever the region.
    let endpoints = Endpoints::resolve("us-east-1", "aws", |name| config.variable(name));
    let is_exempt = |host: &str| host.parse().is_ok_and(|address| lifeline::ALWAYS.contains(&address));
    endpoints.is_ok_and(|endpoints| {
        endpoints.hosts(&config.network.proxies).iter().all(|(host, _)| is_exempt(host))
    })
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{}", http_client::chain(error));
    ExitCode::FAILURE
}

async fn serve_until_stopped(config: &Config, metrics: Option<&Lines>) -> Result<ExitCode, StartError> {
    let stop = shutdown::listen().map_err(StartError::Signals)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "taskfault sidecar");
    for line in config.policy.lines() {
        tracing::info!("policy: {line}");
    }
    state_folder::start().map_err(StartError::Thread)?;
    let _lock = start::locked(&stop, &config.state_dir).await?;
    let liveness = Rc::new(Liveness::default());
    let (listener, _socket) = liveness::listen(&config.state_dir)
        .map_err(|reason| StartError::Socket { folder: config.state_dir.clone(), reason })?;
    drop(tokio::task::spawn_local(liveness::answer(listener, Rc::clone(&liveness))));
    match liveness::listen_apart(&config.state_dir) {
        Ok(apart) => drop(tokio::task::spawn_local(liveness::answer(apart, Rc::clone(&liveness)))),
        Err(error) => tracing::warn!(%error, "the health check cannot ask while the state folder hangs"),
    }
    // The first of the threads that look up names, while there are threads to be had.
    drop(tokio::task::spawn_blocking(|| ()));
    // So that the status of an earlier life is not taken for ours.
    let _ = std::fs::remove_file(config.state_dir.join(status::FILE));
    let scripts = end_left_over(&config.state_dir.join(ORCHESTRATION));
    let mut registrations = Registrations::default();
    loop {
        let registered = match start::register(config, &stop, &liveness).await {
            Ok(registered) => registered,
            Err(error) if registrations.is_first() => return Err(error),
            Err(_) if stop.is_cancelled() => return Ok(ExitCode::SUCCESS),
            Err(error) => {
                tracing::error!("cannot register anew: {}", http_client::chain(&error));
                registrations.pause(&stop).await;
                continue;
            }
        };
        liveness.set(Phase::Serving);
        let sidecar = Sidecar::assemble(config, registered, &scripts, &stop, metrics).await;
        // One future for both: an open channel and a call that is under way are not cut off when the drain begins.
        let mut channels = pin!(sidecar.connected());
        if sidecar.serve(channels.as_mut(), &stop).await == Ended::Stopped {
            return Ok(sidecar.drain(channels).await);
        }
        liveness.set(Phase::Unknown);
        tracing::error!(
            instance = sidecar.registered.identity.instance_id(),
            "Systems Manager does not know this instance any more: it was deregistered, or a local AWS was restarted \
             without its state; undoing what runs, and registering anew"
        );
        // As at the end: what runs could not be cancelled any more.
        sidecar.drain(channels).await;
        registrations.pause(&stop).await;
        if stop.is_cancelled() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Why a sidecar does not serve any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It is to stop.
    Stopped,
    /// The service does not know its instance any more.
    Unknown,
}

/// How often this process has registered: an instance that is deregistered again and again is not ours to bring back
/// again and again.
#[derive(Debug, Default)]
struct Registrations {
    anew: VecDeque<Instant>,
}

impl Registrations {
    /// As many in [`Self::WITHIN`] at most.
    const MOST: usize = 4;
    const WITHIN: Duration = Duration::from_secs(3600);
    /// Spreads the sidecars of a service that has forgotten all of them.
    const FIRST_SPREAD: Duration = Duration::from_secs(4);

    fn is_first(&self) -> bool {
        self.anew.is_empty()
    }

    /// Waits until the next may begin, or until `stop`.
    async fn pause(&mut self, stop: &CancellationToken) {
        let full = self.anew.len() == Self::MOST;
        let oldest = if full { self.anew.pop_front() } else { None };
        let free = oldest.map(|at| (at + Self::WITHIN).saturating_duration_since(Instant::now()));
        let pause = free.unwrap_or_default() + jitter(Self::FIRST_SPREAD);
        if pause > Self::FIRST_SPREAD {
            tracing::warn!(next_s = pause.as_secs(), "registered anew too often, waiting");
        }
        let _ = tokio::time::timeout(pause, stop.cancelled()).await;
        self.anew.push_back(Instant::now());
    }
}

/// A registered sidecar with its channels.
#[derive(Debug)]
struct Sidecar {
    registered: Registered,
    machine: Machine,
    link: Rc<Link>,
    outbox: Rc<Outbox>,
    queue: Rc<Queue>,
    gateway: Rc<Gateway>,
    poll: Rc<Poll>,
}

impl Sidecar {
    async fn assemble(
        config: &Config,
        registered: Registered,
        scripts: &BTreeMap<String, LeftOver>,
        stop: &CancellationToken,
        metrics: Option<&Lines>,
    ) -> Sidecar {
        let identity = Rc::clone(&registered.identity);
        let machine = start::machine(&registered.task);
        let (journal, left_over) =
            Journal::open(&config.state_dir, &identity.instance_id(), stop.cancelled()).await;
        let (link, outbox) = (Rc::new(Link::default()), Rc::new(Outbox::kept_in(journal)));
        let context = InvocationContext {
            command_id: String::new(),
            instance_id: identity.instance_id(),
            region: registered.task.arn.region.clone(),
            orchestration_dir: config.state_dir.join(ORCHESTRATION),
            platform_name: machine.platform_name.clone(),
            platform_version: machine.platform_version.clone(),
            task: place(config, &registered),
            environment: config.environment.clone(),
            clock: registered.footprint.clock.clone(),
            heartbeats: Rc::default(),
            active_faults: Rc::default(),
            output: None,
            metrics: metrics.map(|lines| Metrics::of(&registered.task, lines.clone())),
        };
        let output = Writer {
            client: registered.footprint.client.clone(),
            identity: Rc::clone(&identity),
            region: registered.task.arn.region.clone(),
            partition: registered.task.arn.partition.clone(),
            environment: config.environment.clone(),
        };
        let replier = Replier { version: ANNOUNCED_VERSION.to_owned(), able_to_open_control_channel: None };
        let queue =
            Queue::new(context, config.policy.clone(), Some(Rc::new(output)), replier, Rc::clone(&outbox));
        let gateway = Gateway {
            client: registered.footprint.client.clone(),
            endpoint: registered.footprint.endpoints.ssmmessages.clone(),
            region: registered.task.arn.region.clone(),
            identity: Rc::clone(&identity),
            inbox: Rc::<Queue>::clone(&queue),
            outbox: Rc::clone(&outbox),
            link: Rc::clone(&link),
        };
        let poll = Rc::new(Poll::new(identity, Rc::clone(&link)));
        queue.go_on(left_over, scripts);
        Sidecar { registered, machine, link, outbox, queue, gateway: Rc::new(gateway), poll }
    }

    /// Everything that goes on side by side, until `stop` or until the service does not know us any more.
    async fn serve(&self, channels: Pin<&mut impl Future<Output = ()>>, stop: &CancellationToken) -> Ended {
        let identity = &self.registered.identity;
        tokio::select! {
            () = channels => {}
            () = identity.keep_fresh() => return Ended::Unknown,
            () = heartbeat::run(identity, &self.machine, &self.link) => {}
            () = status::keep(identity, &self.queue, &self.link) => {}
            () = reap_orphans() => {}
            () = self.give_memory_back() => {}
            () = self.tidy_up(stop) => {}
            () = stop.cancelled() => {}
        }
        Ended::Stopped
    }

    /// Gives memory back after the start, and whenever the last command has ended: not before, so that no undo waits
    /// for text that the disk has to be asked for.
    async fn give_memory_back(&self) {
        loop {
            // From the start on that is after the slower of the threads that have raced for the key, too.
            while tokio::time::timeout(SETTLED_AFTER, self.queue.changed()).await.is_ok() {}
            if self.queue.active().is_empty() {
                effects::heap::give_back();
                effects::heap::unmap_program();
            }
            self.queue.changed().await;
        }
    }

    /// Removes what a throttled start left over, then does nothing for ever.
    async fn tidy_up(&self, stop: &CancellationToken) {
        self.registered.footprint.remove_expired(stop, START_RETRY_BUDGET).await;
        std::future::pending().await
    }

    /// The channels and the way out. Goes on while the sidecar drains, so that last replies get through.
    async fn connected(&self) {
        tokio::join!(
            self.gateway.run(),
            self.poll.run(&*self.queue, &self.outbox),
            sender::deliver(&self.outbox, &self.link, &self.poll),
        );
    }
}

/// What faults have to know about where they are.
fn place(config: &Config, registered: &Registered) -> Task {
    let allowed = config.environment.get(std::ffi::OsStr::new(ALLOW_HOST_PROCESSES_VARIABLE));
    config.policy.limit(Task {
        cpu_limit: registered.task.cpu_limit,
        memory_limit: registered.task.memory_limit,
        metadata_uri: Some(config.metadata_uri.clone()),
        scratch: Some(config.state_dir.clone()),
        allow_host_processes: allowed.is_some_and(|value| value == "true"),
        state_dir: Some(config.state_dir.clone()),
        lifelines: lifelines::addresses(|name| config.variable(name)),
        ecs_agent: registered.agent.clone(),
        region: Region {
            name: registered.task.arn.region.clone(),
            partition: registered.task.arn.partition.clone(),
            list_url: config.variable(LIST_VARIABLE),
            network: config.network.clone(),
        },
        ..Task::default()
    })
}

/// As the first process of a container, waits for what scripts left behind, for ever.
async fn reap_orphans() {
    let Ok(mut ended) = signal(SignalKind::child()) else { return std::future::pending().await };
    while ended.recv().await.is_some() {
        shell::reap_orphans();
    }
}
