//! Clusters, services and tasks as data.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::definition::Definition;
use crate::tags::Tags;

/// The cluster of a call that names none.
pub const DEFAULT_CLUSTER: &str = "default";

/// Clusters, services and tasks. Services and tasks started here end with the process, so a state file does
/// not keep them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EcsState {
    /// By name.
    pub clusters: BTreeMap<String, Cluster>,
    /// By family, oldest revision first; revisions count from 1.
    pub definitions: BTreeMap<String, Vec<Definition>>,
    /// By cluster and name.
    #[serde(skip)]
    pub services: BTreeMap<(String, String), Service>,
    /// Tasks that were started here, by ARN; a stopped one is kept for an hour, as ECS does.
    #[serde(skip)]
    pub tasks: BTreeMap<String, Task>,
    /// Tasks that asked for their metadata and were not started here, by ARN.
    #[serde(rename = "guests")]
    pub external: BTreeMap<String, ExternalTask>,
    /// Whether there is a container instance, so that tasks can be started.
    #[serde(skip)]
    pub has_instance: bool,
    /// When the running tasks were last counted for a metric.
    #[serde(skip)]
    pub counted: Option<SystemTime>,
}

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// Unique in the account and region.
    pub name: String,
    /// False once it is deleted.
    pub active: bool,
    /// As TagResource has them.
    pub tags: Tags,
}

/// A service: so many tasks of a definition, replaced when they end.
#[derive(Debug, Clone)]
pub struct Service {
    /// Name of its cluster.
    pub cluster: String,
    /// Unique in its cluster.
    pub name: String,
    /// `family:revision`.
    pub definition: String,
    /// `desiredCount`.
    pub desired: u32,
    /// Whether it is deleted, or about to be.
    pub status: ServiceStatus,
    /// When CreateService came.
    pub created: SystemTime,
    /// When its definition or count last changed.
    pub updated: SystemTime,
    /// As TagResource has them.
    pub tags: Tags,
    /// Copies the service's tags to its tasks (`propagateTags` SERVICE).
    pub propagate_tags: bool,
    /// The latest last; at most a hundred.
    pub events: Vec<ServiceEvent>,
    /// Ids of tasks that have ended against the service's will and are not replaced yet, oldest first.
    pub(super) vacancies: Vec<String>,
    /// Tasks in a row that ended before they were a minute old, and when the next may be started.
    pub(super) failures: u32,
    pub(super) not_before: Option<SystemTime>,
    pub(super) deployment: String,
    /// "has reached a steady state" was said since the last change.
    pub(super) steady: bool,
}

/// `status` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// Takes part in the cluster.
    Active,
    /// Deleted, with tasks that are still stopping.
    Draining,
    /// Deleted.
    Inactive,
}

/// A line of a service's history.
#[derive(Debug, Clone)]
pub struct ServiceEvent {
    /// A UUID.
    pub id: String,
    /// When it happened.
    pub at: SystemTime,
    /// What the service's history says.
    pub message: String,
}

/// `lastStatus` of a task, of those states that tasks here have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LastStatus {
    /// Wanted; the container instance has not taken it yet.
    Provisioning,
    /// Being started.
    Pending,
    /// Its process runs.
    Running,
    /// SIGTERM is out.
    Stopping,
    /// All its processes have ended.
    Stopped,
}

/// A task that was started here.
#[derive(Debug, Clone)]
pub struct Task {
    /// `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
    pub arn: String,
    /// 32 hex digits.
    pub id: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the service that started it; None for RunTask.
    pub service: Option<String>,
    /// `service:NAME`, `family:NAME`, or what RunTask said.
    pub group: String,
    /// Of its definition.
    pub family: String,
    /// Of its definition.
    pub revision: u32,
    /// `lastStatus`.
    pub last: LastStatus,
    /// `desiredStatus` is STOPPED.
    pub ending: bool,
    /// The container instance has been told to stop it.
    pub(super) stop_ordered: bool,
    /// In the order of the definition.
    pub containers: Vec<Container>,
    /// Of its `eth0`, once it runs.
    pub address: Option<Ipv4Addr>,
    /// When it was asked for.
    pub created: SystemTime,
    /// When its containers ran.
    pub started: Option<SystemTime>,
    /// When it was told to stop.
    pub stopping: Option<SystemTime>,
    /// When its last process had ended.
    pub stopped: Option<SystemTime>,
    /// `stopCode`.
    pub stop_code: Option<StopCode>,
    /// Why it ended, in words.
    pub stopped_reason: Option<String>,
    /// What RunTask said (`startedBy`).
    pub started_by: Option<String>,
    /// Its own, and those that were propagated to it.
    pub tags: Tags,
    /// The id of the task that it replaces in its service.
    pub replaces: Option<String>,
}

/// A container of a task.
#[derive(Debug, Clone)]
pub struct Container {
    /// As in the definition.
    pub name: String,
    /// As in the definition.
    pub image: String,
    /// `lastStatus`.
    pub last: LastStatus,
    /// 128 and the signal's number for one that was killed, as Docker has it.
    pub exit_code: Option<i32>,
    /// Why it ended, if not by itself.
    pub reason: Option<String>,
}

/// `stopCode` of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCode {
    /// A container did not start.
    TaskFailedToStart,
    /// An essential container ended.
    EssentialContainerExited,
    /// StopTask.
    UserInitiated,
    /// The service had too many tasks, or a newer definition.
    ServiceSchedulerInitiated,
}

impl LastStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            LastStatus::Provisioning => "PROVISIONING",
            LastStatus::Pending => "PENDING",
            LastStatus::Running => "RUNNING",
            LastStatus::Stopping => "STOPPING",
            LastStatus::Stopped => "STOPPED",
        }
    }
}

impl StopCode {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            StopCode::TaskFailedToStart => "TaskFailedToStart",
            StopCode::EssentialContainerExited => "EssentialContainerExited",
            StopCode::UserInitiated => "UserInitiated",
            StopCode::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
        }
    }
}

impl Service {
    /// Exactly as many tasks run as it wants, and none is starting.
    pub fn is_steady(&self) -> bool {
        self.steady
    }
}

impl Task {
    /// `family:revision`.
    pub fn definition(&self) -> String {
        format!("{}:{}", self.family, self.revision)
    }
}

impl Cluster {
    pub(super) fn new(name: &str) -> Cluster {
        Cluster { name: name.to_owned(), active: true, tags: Tags::new() }
    }
}

impl EcsState {
    /// Makes sure that a cluster is there.
    pub(super) fn ensure_cluster(&mut self, name: &str) {
        self.clusters.entry(name.to_owned()).or_insert_with(|| Cluster::new(name)).active = true;
    }

    /// A definition by `family:revision`.
    pub fn definition(&self, name: &str) -> Option<&Definition> {
        let (family, revision) = name.rsplit_once(':')?;
        let revision: u32 = revision.parse().ok()?;
        self.definitions.get(family)?.iter().find(|definition| definition.revision == revision)
    }

    /// Whether every task that was started here has ended.
    pub fn is_empty(&self) -> bool {
        self.tasks.values().all(|task| task.last == LastStatus::Stopped)
    }

    /// Tasks of a service that are or will be running.
    pub(super) fn live_tasks(&self, cluster: &str, service: &str) -> impl Iterator<Item = &Task> {
        let of_service =
            move |task: &&Task| task.cluster == cluster && task.service.as_deref() == Some(service);
        self.tasks.values().filter(of_service).filter(|task| !task.ending)
    }
}

/// What the metadata address of a task said that was not started here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTask {
    pub cluster: String,
    pub service: String,
    pub seen: SystemTime,
}
