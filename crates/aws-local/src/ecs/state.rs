//! Clusters, services and tasks as data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definition::Definition;
use super::zone::Zone;
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
    /// Tags of those tasks, by ARN: all that anybody has given them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external_tags: BTreeMap<String, Tags>,
    /// Since when tasks can be started here; every cluster has its container instances then.
    #[serde(skip)]
    pub instances_since: Option<SystemTime>,
    /// Container instances whose status is DRAINING: cluster and zone.
    #[serde(skip)]
    pub(super) draining: BTreeSet<(String, Zone)>,
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
    /// Members of the request that are told again: `settings`, `capacityProviders`, …
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub kept: Map<String, Value>,
}

/// A service: so many tasks of a definition, replaced when they end.
#[derive(Debug, Clone)]
pub struct Service {
    /// Name of its cluster.
    pub cluster: String,
    /// Unique in its cluster.
    pub name: String,
    /// `desiredCount`.
    pub desired: u32,
    /// Whether it is deleted, or about to be.
    pub status: ServiceStatus,
    /// When CreateService came.
    pub created: SystemTime,
    /// As TagResource has them.
    pub tags: Tags,
    /// `propagateTags`: whose tags its tasks get.
    pub propagate: Propagate,
    /// `enableECSManagedTags`: its tasks are tagged with the names of cluster and service.
    pub managed_tags: bool,
    /// Where its tasks run.
    pub launch: Launch,
    /// Zones that its tasks are spread over, with the subnet of each.
    pub placement: Placement,
    /// Members of the request that are told again: `networkConfiguration`, `deploymentConfiguration`, …
    pub kept: Map<String, Value>,
    /// The latest last; at most a hundred.
    pub events: Vec<ServiceEvent>,
    /// What its tasks are to be.
    pub(super) primary: Deployment,
    /// What they were to be before, as long as there are tasks of it, the newest first.
    pub(super) older: Vec<Deployment>,
    /// Ids of tasks that have ended against the service's will and are not replaced yet, oldest first.
    pub(super) vacancies: Vec<String>,
    /// Tasks in a row that ended before they were a minute old, and when the next may be started.
    pub(super) failures: u32,
    pub(super) not_before: Option<SystemTime>,
    /// "has reached a steady state" was said since the last change.
    pub(super) steady: bool,
}

/// What the tasks of a service are to be, since one CreateService or UpdateService.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    /// `ecs-svc/` and nineteen digits: `startedBy` of its tasks.
    pub id: String,
    /// `family:revision`.
    pub definition: String,
    pub created: SystemTime,
    /// When its last change was.
    pub updated: SystemTime,
    /// Every task of the service was of this one.
    pub completed: bool,
}

/// `launchType`, or the capacity provider in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// On a container instance.
    Ec2,
    /// Without one.
    Fargate {
        /// `FARGATE` or `FARGATE_SPOT`, where the request named a strategy and no launch type.
        provider: Option<String>,
        /// As the request has it; `LATEST` if it says nothing.
        platform_version: String,
    },
}

/// `propagateTags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagate {
    /// Tasks have none but their own.
    None,
    /// Those of the service.
    Service,
    /// Those of the task definition.
    Definition,
}

/// Zones that tasks may be in, each with the id of its subnet, in the order of the request.
pub type Placement = Vec<(Zone, String)>;

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
    /// Where it runs.
    pub launch: Launch,
    /// The Availability Zone that it is in; its container instance is the one of this zone.
    pub zone: Zone,
    /// Of its network interface.
    pub subnet_id: String,
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
    /// When its last essential container had ended.
    pub executed: Option<SystemTime>,
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
    /// What its health check says.
    pub health: Health,
    /// Its end is the task's.
    pub(super) essential: bool,
    /// It has a health check.
    pub(super) checked: bool,
}

/// `healthStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// There is no health check, or none has had a result yet.
    #[default]
    Unknown,
    /// The last one succeeded.
    Healthy,
    /// As many as `retries` failed in a row.
    Unhealthy,
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

impl Health {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "UNKNOWN",
            Health::Healthy => "HEALTHY",
            Health::Unhealthy => "UNHEALTHY",
        }
    }
}

impl Launch {
    /// `launchType` of its tasks.
    pub fn as_str(&self) -> &'static str {
        match self {
            Launch::Ec2 => "EC2",
            Launch::Fargate { .. } => "FARGATE",
        }
    }
}

impl Service {
    /// `family:revision` of its newest deployment.
    pub fn definition(&self) -> &str {
        &self.primary.definition
    }

    /// A share of `deploymentConfiguration`, in percent of the desired count.
    fn share(&self, name: &str, default: u64) -> u64 {
        let said = self.kept.get("deploymentConfiguration").and_then(|it| it.get(name)?.as_u64());
        u64::from(self.desired).saturating_mul(said.unwrap_or(default))
    }

    /// The least of its tasks that must be up while others are replaced (`minimumHealthyPercent`).
    pub(super) fn least(&self) -> usize {
        usize::try_from(self.share("minimumHealthyPercent", 100).div_ceil(100)).unwrap_or(usize::MAX)
    }

    /// The most tasks that it may have meanwhile (`maximumPercent`).
    pub(super) fn most(&self) -> usize {
        usize::try_from(self.share("maximumPercent", 200) / 100).unwrap_or(usize::MAX)
    }

    /// Exactly as many tasks run as it wants, and none is starting.
    pub fn is_steady(&self) -> bool {
        self.steady
    }
}

impl Task {
    /// That of its essential containers which have a health check: UNHEALTHY if one is, HEALTHY if all are.
    /// Source: Amazon ECS developer guide, "Determine Amazon ECS task health using container health checks".
    pub fn health(&self) -> Health {
        let mut healths = self.checked().map(|container| container.health);
        if self.checked().any(|container| container.health == Health::Unhealthy) {
            Health::Unhealthy
        } else if self.is_checked() && healths.all(|health| health == Health::Healthy) {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }

    fn checked(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.essential && container.checked)
    }

    fn is_checked(&self) -> bool {
        self.checked().next().is_some()
    }

    /// It does what it is there for: it runs, and its health checks say nothing else.
    pub(super) fn is_up(&self) -> bool {
        self.last == LastStatus::Running && (!self.is_checked() || self.health() == Health::Healthy)
    }

    /// `family:revision`.
    pub fn definition(&self) -> String {
        format!("{}:{}", self.family, self.revision)
    }
}

impl Cluster {
    pub(super) fn new(name: &str) -> Cluster {
        Cluster { name: name.to_owned(), active: true, tags: Tags::new(), kept: Map::new() }
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

    /// The tasks that have not stopped, by cluster and name of their service.
    pub fn tasks_by_service(&self) -> BTreeMap<(&str, &str), Vec<&Task>> {
        let mut services: BTreeMap<_, Vec<&Task>> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| task.last != LastStatus::Stopped) {
            if let Some(service) = &task.service {
                services.entry((task.cluster.as_str(), service.as_str())).or_default().push(task);
            }
        }
        services
    }

    /// Whether a task is on a container instance that is DRAINING.
    pub(super) fn is_draining(&self, task: &Task) -> bool {
        task.launch == Launch::Ec2
            && !self.draining.is_empty()
            && self.draining.contains(&(task.cluster.clone(), task.zone))
    }
}

/// What the metadata address of a task said that was not started here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTask {
    pub cluster: String,
    pub service: String,
    pub seen: SystemTime,
}
