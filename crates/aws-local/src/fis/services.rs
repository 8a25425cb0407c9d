//! What experiments reach of the other services: typed calls, and nothing of how those services keep things.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::Context;
use crate::error::ApiError;
use crate::tags::Tags;

/// The other services, as an experiment acts upon them. Commands go where everybody's go, so Run Command's
/// history shows them.
pub(crate) trait Services: std::fmt::Debug {
    /// The managed instance that has registered for a task, the one heard last if there are several.
    fn instance_of(&self, task_arn: &str, now: SystemTime) -> Option<Instance>;

    /// The managed instance with this id.
    fn instance(&self, id: &str, now: SystemTime) -> Option<Instance>;

    /// Whether a managed instance is still registered.
    fn is_registered(&self, instance_id: &str) -> bool;

    /// Sends a document to one instance; returns the id of the command.
    ///
    /// # Errors
    /// As SendCommand.
    fn send_command(&mut self, order: Order<'_>, context: &Context) -> Result<String, ApiError>;

    /// What a command amounts to now; None if there is no such command.
    fn command_status(&self, command_id: &str) -> Option<CommandStatus>;

    /// Cancels a command on all its instances.
    ///
    /// # Errors
    /// As CancelCommand.
    fn cancel_command(&mut self, command_id: &str, now: SystemTime) -> Result<(), ApiError>;

    /// Starts an execution of a runbook; returns its id.
    ///
    /// # Errors
    /// As StartAutomationExecution.
    fn start_automation(&mut self, runbook: Runbook, context: &Context) -> Result<String, ApiError>;

    /// How an execution of a runbook stands; None if there is none.
    fn automation(&self, execution: &str) -> Option<AutomationStatus>;

    /// Cancels an execution of a runbook that has not ended.
    fn stop_automation(&mut self, execution: &str);

    /// Whether a role may be taken by FIS; None if there is no such role.
    fn trusts(&self, role_arn: &str) -> Option<bool>;

    /// The last line that the steps of a command wrote, errors first.
    fn last_line(&self, command_id: &str) -> Option<String>;

    /// Every resource of a type: running, on its way, and stopped a while ago.
    fn resources(&self, resource_type: &str, context: &Context) -> Vec<Resource>;

    /// Asks a task to stop.
    ///
    /// # Errors
    /// As StopTask.
    fn stop_task(&mut self, task_arn: &str, reason: &str, context: &Context) -> Result<(), ApiError>;

    /// The container instances of a cluster by their ARNs, and whether they are DRAINING.
    fn container_instances(&self, cluster_arn: &str, context: &Context) -> Vec<(String, bool)>;

    /// Sets a container instance to DRAINING or back to ACTIVE; false if there is no such instance.
    fn set_draining(&mut self, instance_arn: &str, draining: bool, context: &Context) -> bool;

    /// The address range of an Availability Zone's subnet, by the zone's name or id; None if there is no such zone.
    fn subnet_of_zone(&self, zone: &str, context: &Context) -> Option<String>;

    /// The alarm with this ARN; None if there is none.
    fn alarm(&self, arn: &str, context: &Context) -> Option<Alarm>;

    /// Writes a line into a stream of a log group; false if there is no such group.
    fn write_log(&mut self, group: &str, stream: &str, at: SystemTime, line: String) -> bool;
}

/// A managed instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub id: String,
    /// Heard of lately.
    pub online: bool,
    /// The ARN of the task that it is in, as its tag says.
    pub task: Option<String>,
}

/// A document to be sent to one instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order<'a> {
    /// Name or ARN.
    pub document: &'a str,
    pub version: Option<&'a str>,
    pub instance_id: &'a str,
    pub parameters: BTreeMap<String, Vec<String>>,
    /// How long the command may wait for its agent.
    pub delivery: Duration,
    pub comment: String,
}

/// What a command amounts to: `Status` and `StatusDetails` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandStatus {
    pub status: &'static str,
    pub details: &'static str,
    /// Nothing changes it any more.
    pub is_final: bool,
}

/// A runbook to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runbook {
    /// Name or ARN.
    pub document: String,
    pub version: Option<String>,
    pub parameters: BTreeMap<String, Vec<String>>,
    /// The ARN of the role that starts it.
    pub role: String,
}

/// How an execution of a runbook stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AutomationStatus {
    pub status: &'static str,
    pub is_final: bool,
    /// Why it failed.
    pub failure: Option<String>,
    /// The ids of the commands that its steps have sent.
    pub commands: Vec<String>,
}

/// What an experiment can act upon: a task, an instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resource {
    pub arn: String,
    /// By the names that targets of its type have for them: `cluster`, `service`.
    pub parameters: BTreeMap<&'static str, String>,
    pub stage: Stage,
    pub tags: Tags,
    /// As the service's own API shows it: filters are paths into it.
    pub description: Value,
}

/// Where in its life a resource is, as far as experiments ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Running, and not told to stop.
    Running,
    /// On its way up or down.
    OnTheWay,
    Stopped,
}

/// An alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alarm {
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: &'static str,
    /// The periods that must breach before it goes there, as long as they are here.
    pub needs: Duration,
}
