//! A small ECS: services of tasks as processes on the [`stage`](super::stage), under the control plane of
//! [`ecs`](super::ecs).
//!
//! A [`Cluster`] is the container instance: it starts what the control plane wants started, stops what it
//! wants stopped, and tells it what became of it. So StopTask, UpdateService and DescribeTasks of the API are
//! true, and a task whose essential process ends is replaced, with a new id and a new address.
//!
//! It is a stage for experiments, not an orchestrator: images are not run (a container's command is a program
//! of this machine, or a sample application of ours), volumes and secrets are left out, and CPU and memory limits
//! are told to the tasks, not enforced.
//!
//! ```no_run
//! # use aws_local::{Options, Server};
//! # use taskfault_local::{stage, up};
//! # async fn example(namespaces: stage::Namespaces) -> Result<(), Box<dyn std::error::Error>> {
//! let stage = stage::Stage::build(namespaces).await?;
//! let server = Server::on(up::agent_listener().await?, Options::default())?;
//! let folder = up::Folder::new()?;
//! let cluster = up::Cluster::start(stage, server.handle(), up::Settings::in_folder(folder.path()));
//! tokio::spawn(server.run(std::future::pending()));
//! let mut events = cluster.events();
//! let definition = std::fs::read_to_string("task-definition.json")?;
//! let spec = up::ServiceSpec { cluster: "demo".into(), name: "web".into(), count: 3 };
//! cluster.serve(&definition, &spec)?;
//! cluster.steady("demo", "web").await;
//! for task in cluster.tasks() {
//!     println!("{} at {}: {:?}", task.id, task.address, task.programs);
//! }
//! println!("{:?}", events.recv().await?);
//! cluster.shutdown().await;
//! # Ok(()) }
//! ```

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use self::awslogs::Logs;
use self::balancer::Balancer;
use super::stage::{AGENT_ADDRESS, Stage};
use aws_local::error::ApiError;
use aws_local::shared::Handle;
use aws_local::{Context, ecs};
use experiment::traffic::Observed;

mod awslogs;
mod balancer;
mod command;
mod containers;
mod folder;
mod forward;
mod instance;
mod life;
mod meter;
mod plan;

pub use command::{UpOptions, run};
pub use folder::Folder;
pub use plan::{IMAGES, PROCESS_NAME_LABEL, SPECIAL_IMAGES, special_image};

/// Where the ECS agent listens in every task: the metadata, credentials and everything else of the local AWS.
pub const AGENT_PORT: u16 = 80;

/// Events that a slow receiver may be behind before it misses some.
const EVENTS_KEPT: usize = 4096;

/// How a cluster runs its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Takes a folder per task, named by its id, with the containers' logs in it (`CONTAINER.log`).
    pub folder: PathBuf,
    /// Command lines in place of those of the definition, by container name.
    pub programs: BTreeMap<String, Vec<String>>,
    /// How long a task stays PENDING before it is started, as pulling an image takes its time. Zero by default.
    pub start_delay: Duration,
}

impl Settings {
    /// Logs and states in this folder, everything else as the definition says.
    pub fn in_folder(folder: &Path) -> Settings {
        Settings { folder: folder.to_owned(), programs: BTreeMap::new(), start_delay: Duration::ZERO }
    }
}

/// A service to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Name of its cluster, which is made if it is not there.
    pub cluster: String,
    /// `serviceName` of CreateService.
    pub name: String,
    /// Desired count of tasks.
    pub count: u32,
}

/// A task whose programs have all been started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTask {
    /// `taskArn` of DescribeTasks.
    pub arn: String,
    /// 32 hex digits, the end of the ARN.
    pub id: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of its service; none for a task of RunTask.
    pub service: Option<String>,
    /// Of its `eth0`; reached from the process that holds the cluster.
    pub address: Ipv4Addr,
    /// Pid of its first process, which is ours, as the process that holds the cluster sees it.
    pub first: i32,
    /// Container name to pid, as the process that holds the cluster sees it. One that ended at once has none.
    pub programs: BTreeMap<String, i32>,
    /// When its last program was started.
    pub started: SystemTime,
    /// With the containers' logs.
    pub folder: PathBuf,
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// When it was seen.
    pub at: SystemTime,
    /// `taskArn` of DescribeTasks.
    pub arn: String,
    /// 32 hex digits.
    pub task: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of its service; none for a task of RunTask.
    pub service: Option<String>,
    /// Once it has one.
    pub address: Option<Ipv4Addr>,
    /// What happened to it.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It runs.
    Started {
        /// The id of the task whose place it takes in its service.
        replaces: Option<String>,
    },
    /// It could not be started.
    FailedToStart {
        /// `stoppedReason` of DescribeTasks.
        reason: String,
    },
    /// A container has ended.
    ContainerEnded {
        /// Its name in the task definition.
        container: String,
        /// 128 and a signal's number where one killed it.
        exit_code: i32,
    },
    /// A health check has changed what is thought of a container.
    Health {
        /// Its name in the task definition.
        container: String,
        /// Its `healthStatus` now.
        health: ecs::Health,
    },
    /// It does not count any more and is being ended; the service starts another.
    Stopping {
        /// `stoppedReason` of DescribeTasks.
        reason: String,
    },
    /// Nothing of it is left.
    Stopped {
        /// `stoppedReason` of DescribeTasks.
        reason: String,
    },
}

/// What cannot be served, before anything was started.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The definition cannot be read.
    #[error("the task definition is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// What the control plane says.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// Something that can be had in AWS, not as a process here.
    #[error("{0}")]
    CannotRun(String),
}

/// The container instance: tasks on a stage. Dropping it ends them at once; [`Cluster::shutdown`] asks first.
#[derive(Debug)]
#[must_use = "dropping a cluster ends its tasks"]
pub struct Cluster {
    inner: Arc<Inner>,
    keeper: JoinHandle<()>,
    meter: JoinHandle<()>,
    shipper: JoinHandle<()>,
}

/// What the cluster and the lives of its tasks share.
#[derive(Debug)]
struct Inner {
    handle: Handle,
    settings: Settings,
    running: Mutex<BTreeMap<String, RunningTask>>,
    events: broadcast::Sender<TaskEvent>,
    /// Requests to published ports, all together; None before the first.
    observed: Mutex<Option<Observed>>,
    balancers: Mutex<Vec<Weak<Balancer>>>,
    logs: Logs,
    /// The whole cluster is ending: nobody waits for requests under way.
    closing: AtomicBool,
}

/// Port 80 of the ECS agent's address, for [`super::Server`]; the stage must have been built.
///
/// # Errors
/// The address is not there, or the port is taken.
pub async fn agent_listener() -> io::Result<TcpListener> {
    TcpListener::bind((AGENT_ADDRESS, AGENT_PORT)).await
}

impl Cluster {
    /// Makes the stage the container instance of the control plane that `handle` leads to. Its tasks find the
    /// local AWS at [`AGENT_ADDRESS`], [`AGENT_PORT`].
    ///
    /// Must be called inside a tokio runtime, by the process that entered the stage's namespaces.
    pub fn start(stage: Stage, handle: Handle, settings: Settings) -> Cluster {
        handle.state(|state| state.ecs.instances_since = Some(SystemTime::now()));
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let inner = Arc::new(Inner {
            handle,
            settings,
            running: Mutex::default(),
            events,
            observed: Mutex::default(),
            balancers: Mutex::default(),
            logs: Logs::default(),
            closing: AtomicBool::new(false),
        });
        let keeper = tokio::spawn(instance::keep(stage, inner.clone()));
        let measured = inner.clone();
        let meter = tokio::spawn(async move { meter::measure(&measured).await });
        let logging = inner.clone();
        let shipper = tokio::spawn(async move { logging.logs.ship_forever(&logging.handle).await });
        Cluster { inner, keeper, meter, shipper }
    }

    /// Registers a task definition (the JSON of `register-task-definition --cli-input-json`) and creates a
    /// service of it, and its cluster. Returns `family:revision`.
    ///
    /// # Errors
    /// It is no such JSON, the control plane refuses it, or a container's command cannot be run here. Nothing
    /// was changed then, but a revision may have been registered.
    pub fn serve(&self, definition: &str, spec: &ServiceSpec) -> Result<String, UpError> {
        let definition: Map<String, Value> = serde_json::from_str(definition)?;
        plan::check(&definition, &self.inner.settings).map_err(UpError::CannotRun)?;
        let registered = self.call("RegisterTaskDefinition", Value::Object(definition))?;
        let registered = &registered["taskDefinition"];
        let name =
            format!("{}:{}", registered["family"].as_str().unwrap_or_default(), registered["revision"]);
        self.cluster(&spec.cluster)?;
        let compatible = |launch: &str| {
            let all = registered["requiresCompatibilities"].as_array();
            all.is_some_and(|all| all.iter().any(|it| it == launch))
        };
        let on_fargate = compatible("FARGATE") && !compatible("EC2");
        let mut service = json!({
            "cluster": spec.cluster, "serviceName": spec.name, "taskDefinition": name,
            "desiredCount": spec.count, "launchType": if on_fargate { "FARGATE" } else { "EC2" },
            // Published templates choose tasks by either.
            "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true,
        });
        if registered["networkMode"] == "awsvpc" {
            let region = self.inner.context().region;
            let subnets: Vec<String> = ecs::Zone::all().map(|zone| zone.subnet_id(&region)).collect();
            service["networkConfiguration"] = json!({ "awsvpcConfiguration": { "subnets": subnets } });
        }
        self.call("CreateService", service)?;
        Ok(name)
    }

    /// Makes sure that a cluster is there.
    ///
    /// # Errors
    /// Its name is none.
    pub fn cluster(&self, name: &str) -> Result<(), ApiError> {
        self.call("CreateCluster", json!({ "clusterName": name })).map(drop)
    }

    fn call(&self, operation: &str, body: Value) -> Result<Value, ApiError> {
        let context = self.inner.context();
        let body = body.as_object().cloned().unwrap_or_default();
        let unknown = || Err(ApiError::new("UnknownOperationException", operation));
        self.inner.handle.state(|state| state.call_ecs(operation, &body, &context).unwrap_or_else(unknown))
    }

    /// Resolves once a service has exactly as many RUNNING tasks as it wants.
    pub async fn steady(&self, cluster: &str, service: &str) {
        let key = (cluster.to_owned(), service.to_owned());
        let steady = |state: &aws_local::world::World| {
            state.ecs.services.get(&key).is_some_and(|service| service.is_steady())
        };
        self.inner.handle.until(steady).await;
    }

    /// The tasks that run now, oldest first.
    pub fn tasks(&self) -> Vec<RunningTask> {
        self.inner.running()
    }

    /// Everything that happens to tasks from now on. A receiver that is thousands of events behind misses the
    /// oldest and is told so.
    pub fn events(&self) -> broadcast::Receiver<TaskEvent> {
        self.inner.events.subscribe()
    }

    /// Stops every task as ECS does, SIGTERM first, and returns when all have ended. The server must still
    /// serve, so that sidecars can take themselves out of Systems Manager.
    pub async fn shutdown(self) {
        let context = self.inner.context();
        self.inner.closing.store(true, Ordering::Relaxed);
        self.inner.handle.state(|state| ecs::agent::drain(&mut state.ecs, &context));
        self.inner.handle.until(|state| state.ecs.is_empty()).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.keeper.abort();
        self.meter.abort();
        self.shipper.abort();
        self.inner.handle.state(|state| state.ecs.instances_since = None);
    }
}

impl Inner {
    fn context(&self) -> Context {
        self.handle.context()
    }

    fn running(&self) -> Vec<RunningTask> {
        let mut tasks: Vec<_> = self.running.lock().values().cloned().collect();
        tasks.sort_by_key(|task| task.started);
        tasks
    }

    /// Changes the control plane.
    fn update<T>(&self, change: impl FnOnce(&mut ecs::EcsState, &Context) -> T) -> T {
        let context = self.context();
        self.handle.state(|state| change(&mut state.ecs, &context))
    }

    fn emit(&self, task: &ecs::Task, address: Option<Ipv4Addr>, change: Change) {
        // No receiver is no error.
        let _ = self.events.send(TaskEvent {
            at: SystemTime::now(),
            arn: task.arn.clone(),
            task: task.id.clone(),
            cluster: task.cluster.clone(),
            service: task.service.clone(),
            address,
            change,
        });
    }

    /// Takes a task out of the load balancers and waits for the requests that it has, as ECS does before it stops one.
    async fn deregister(&self, arn: &str) {
        let balancers: Vec<_> = self.balancers.lock().iter().filter_map(Weak::upgrade).collect();
        if !self.closing.load(Ordering::Relaxed) {
            join_all(balancers.iter().map(|balancer| balancer.drain(arn))).await;
        }
    }

    /// Why a task ends, as the control plane has it.
    fn reason(&self, arn: &str) -> String {
        self.handle.read(|state| state.ecs.tasks.get(arn)?.stopped_reason.clone()).unwrap_or_default()
    }
}
