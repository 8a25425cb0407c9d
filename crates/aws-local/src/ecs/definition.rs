//! A task definition as data. The JSON is kept as it was sent.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::refusal::{client, invalid};
use crate::error::ApiError;
use crate::tags::Tags;
use crate::whole;

/// One revision of a task definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Definition {
    /// Name of its revisions.
    pub family: String,
    /// Counts from 1.
    pub revision: u32,
    /// When it was registered.
    pub registered: SystemTime,
    /// INACTIVE since then: no new task or service may use it.
    pub deregistered: Option<SystemTime>,
    /// The request's members without its tags.
    pub body: Map<String, Value>,
    /// As TagResource has them.
    pub tags: Tags,
}

/// What a container instance needs of a container definition. Members that are not here are not used when a
/// task is started as processes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDefinition {
    /// Unique in the task.
    #[serde(default)]
    pub name: String,
    /// Any image becomes a process of this machine; its name tells what it is.
    #[serde(default)]
    pub image: String,
    /// If it ends, the task does.
    #[serde(default = "yes")]
    pub essential: bool,
    /// `entryPoint`, before `command`.
    #[serde(default)]
    pub entry_point: Vec<String>,
    /// Program and arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Variables of its processes.
    #[serde(default)]
    pub environment: Vec<Variable>,
    /// Ports that it listens on.
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    /// Where its lines go.
    pub log_configuration: Option<LogConfiguration>,
    /// `dockerLabels`.
    #[serde(default)]
    pub docker_labels: BTreeMap<String, String>,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_timeout: Option<u32>,
    /// CPU units, 1,024 for a core.
    #[serde(default)]
    pub cpu: u32,
    /// MiB.
    pub memory: Option<u64>,
    /// MiB, the soft limit.
    pub memory_reservation: Option<u64>,
    /// What must have happened to other containers before it is started.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// How it is asked whether it is well.
    pub health_check: Option<HealthCheck>,
    /// Seconds for which others may wait for it.
    pub start_timeout: Option<u32>,
}

/// An item of `dependsOn`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Another container of the task.
    pub container_name: String,
    /// What it is waited for.
    pub condition: Condition,
}

/// `condition` of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Condition {
    /// It has been started.
    Start,
    /// It has ended.
    Complete,
    /// It has ended with exit code 0.
    Success,
    /// Its health check has succeeded.
    Healthy,
}

/// `healthCheck` of a container, with the service's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `CMD` and a program with its arguments, or `CMD-SHELL` and a line for a shell.
    pub command: Vec<String>,
    /// Seconds between two checks, 5–300.
    #[serde(default = "interval")]
    pub interval: u32,
    /// Seconds that a check may take, 2–60.
    #[serde(default = "timeout")]
    pub timeout: u32,
    /// Failures in a row that make it unhealthy, 1–10.
    #[serde(default = "retries")]
    pub retries: u32,
    /// Seconds from the start in which failures do not count, 0–300.
    #[serde(default)]
    pub start_period: u32,
}

fn interval() -> u32 {
    30
}

fn timeout() -> u32 {
    5
}

fn retries() -> u32 {
    3
}

/// A variable of a container's environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Variable {
    /// Name of the variable.
    pub name: String,
    /// Its value; empty if it is left out.
    #[serde(default)]
    pub value: String,
}

/// `logConfiguration` of a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfiguration {
    /// `awslogs`, …
    pub log_driver: String,
    /// Of the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A port that a container listens on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// 1–65,535.
    pub container_port: Option<u16>,
    /// `tcp` (also if it is left out) or `udp`.
    pub protocol: Option<String>,
}

fn yes() -> bool {
    true
}

impl Definition {
    /// `family:revision`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.family, self.revision)
    }

    /// Its containers, in their order.
    pub fn containers(&self) -> Vec<ContainerDefinition> {
        // It was read at the registration.
        containers(&self.body).unwrap_or_default()
    }

    /// A member of the definition as a text: `cpu`, `networkMode`, …
    pub fn text(&self, member: &str) -> Option<&str> {
        self.body.get(member).and_then(Value::as_str)
    }

    /// `cpu` of the task in vCPU: units (`512`) or a number of vCPU (`.5 vCPU`).
    pub fn vcpu(&self) -> Option<f64> {
        vcpu(self.text("cpu")?)
    }

    /// `memory` of the task in MiB: a number, or a number of GB (`1 GB`).
    pub fn memory_mib(&self) -> Option<u64> {
        memory_mib(self.text("memory")?)
    }

    /// `enableFaultInjection`.
    pub fn fault_injection(&self) -> bool {
        self.body.get("enableFaultInjection").and_then(Value::as_bool).unwrap_or(false)
    }
}

/// The limits of a whole task, from a definition's or a request's members: CPU units (1,024 for a core) and MiB.
pub fn task_size(body: &Map<String, Value>) -> (Option<u64>, Option<u64>) {
    let text = |member: &str| body.get(member).and_then(Value::as_str);
    let units = text("cpu").and_then(vcpu).map(|cpus| whole(cpus * 1024.0));
    (units, text("memory").and_then(memory_mib))
}

/// CPU units (`512`) or a number of vCPU (`.5 vCPU`), in vCPU.
fn vcpu(text: &str) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix("vcpu") {
        Some(number) => number.trim().parse().ok(),
        None => text.parse::<f64>().ok().map(|units| units / 1024.0),
    }
}

/// MiB, or a number of GB (`1 GB`), in MiB.
fn memory_mib(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix("gb") {
        Some(number) => number.trim().parse::<f64>().ok().map(|gb| whole(gb * 1024.0)),
        None => text.parse().ok(),
    }
}

/// The containers of a request or of a definition.
///
/// # Errors
/// `ClientException`: there are none; `InvalidParameterException`: they cannot be read.
pub(super) fn containers(body: &Map<String, Value>) -> Result<Vec<ContainerDefinition>, ApiError> {
    let value = body.get("containerDefinitions").filter(|value| !value.is_null());
    let value = value.ok_or_else(|| client("Container list cannot be empty."))?;
    serde_json::from_value(value.clone())
        .map_err(|error| invalid(format!("containerDefinitions cannot be read: {error}")))
}
