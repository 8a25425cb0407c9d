//! `taskfault sidecar`: puts the pieces together, in the order of a life. The only file that sees every layer.
//!
//! Start: metadata, activation, registration, credentials, heartbeat, channels. End, on SIGTERM or SIGINT:
//! effects undone, running commands answered, activation and instance removed.

mod drain;
mod footprint;
mod start;
mod status;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::channel::heartbeat::{self, Machine};
use crate::channel::link::Link;
use crate::channel::mds::Poll;
use crate::channel::mgs::{ANNOUNCED_VERSION, Gateway};
use crate::channel::outbox::Outbox;
use crate::config::Config;
use crate::effect::shell;
use crate::report::reply::Replier;
use crate::run::invocation::InvocationContext;
use crate::run::queue::Queue;
use crate::shutdown;
use crate::task::{Task, lifelines};

use start::{Registered, StartError};

/// Runs the sidecar until a signal ends it.
///
/// Exit codes: 0 after a clean end, 1 when it could not start or left something behind (the last log line
/// says what).
pub fn run(state_dir: PathBuf, environment: BTreeMap<OsString, OsString>) -> ExitCode {
    let config = match Config::read(state_dir, environment) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    // One thread does everything but the faults' own work: idle it waits in epoll, and under a fault that
    // burns every core it still gets its turn, because it nearly never uses its share.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match live(&config).await {
            Ok(code) => code,
            Err(error) => failed(&error),
        }
    })
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{}", crate::aws::http::chain(error));
    ExitCode::FAILURE
}

async fn live(config: &Config) -> Result<ExitCode, StartError> {
    let stop = shutdown::listen().map_err(StartError::Signals)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "taskfault sidecar");
    let sidecar = Sidecar::assemble(config, start::register(config, &stop).await?);
    sidecar.serve(&stop).await;
    Ok(sidecar.drain().await)
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
    fn assemble(config: &Config, registered: Registered) -> Sidecar {
        let identity = Rc::clone(&registered.identity);
        let machine = start::machine(&registered.task);
        let (link, outbox) = (Rc::new(Link::default()), Rc::new(Outbox::default()));
        let context = InvocationContext {
            command_id: String::new(),
            instance_id: identity.instance_id(),
            region: registered.task.arn.region.clone(),
            orchestration_dir: config.state_dir.join("orchestration"),
            platform_name: machine.platform_name.clone(),
            platform_version: machine.platform_version.clone(),
            task: Task {
                cpu_limit: registered.task.cpu_limit,
                state_dir: Some(config.state_dir.clone()),
                lifelines: lifelines::addresses(|name| config.variable(name)),
                ecs_agent: registered.agent.clone(),
            },
            environment: config.environment.clone(),
            heartbeats: Rc::default(),
        };
        let replier = Replier { version: ANNOUNCED_VERSION.to_owned(), able_to_open_control_channel: None };
        let queue = Queue::new(context, replier, Rc::clone(&outbox));
        let gateway = Gateway {
            client: registered.footprint.client.clone(),
            endpoint: registered.footprint.endpoints.ssmmessages.clone(),
            region: registered.task.arn.region.clone(),
            identity: Rc::clone(&identity),
            inbox: Rc::<Queue>::clone(&queue),
            outbox: Rc::clone(&outbox),
            link: Rc::clone(&link),
        };
        let poll = Poll { identity, link: Rc::clone(&link) };
        Sidecar { registered, machine, link, outbox, queue, gateway: Rc::new(gateway), poll: Rc::new(poll) }
    }

    /// Everything that goes on side by side, until `stop`.
    async fn serve(&self, stop: &CancellationToken) {
        let identity = &self.registered.identity;
        tokio::select! {
            () = self.connected() => {}
            () = identity.keep_fresh() => {}
            () = heartbeat::run(identity, &self.machine, &self.link) => {}
            () = status::keep(identity, &self.queue, &self.link) => {}
            () = reap_orphans() => {}
            () = stop.cancelled() => {}
        }
    }

    /// The channels and the way out. Goes on while the sidecar drains, so that last replies get through.
    async fn connected(&self) {
        tokio::join!(
            self.gateway.run(),
            self.poll.run(&*self.queue, &self.outbox),
            self.outbox.deliver(&self.link, &self.poll),
        );
    }
}

/// As the first process of a container, waits for what scripts left behind, for ever.
async fn reap_orphans() {
    let Ok(mut ended) = signal(SignalKind::child()) else { return std::future::pending().await };
    while ended.recv().await.is_some() {
        shell::reap_orphans();
    }
}
