//! Experiments as data: what was asked, what was chosen, what was sent, and what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::definition::{Accounts, Definition};
use crate::tags::Tags;

/// One run of a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Experiment {
    /// `EXP` and 15 letters and digits.
    pub id: String,
    pub template_id: String,
    /// The template as it was at the start.
    pub definition: Definition,
    pub tags: Tags,
    pub accounts: Accounts,
    /// `skip-all`: targets are resolved, actions are not run.
    pub rehearsal: bool,
    pub created: SystemTime,
    pub started: Option<SystemTime>,
    pub ended: Option<SystemTime>,
    pub status: ExperimentStatus,
    /// Why it has that status, in the service's words.
    pub reason: String,
    /// Why it failed.
    pub error: Option<ExperimentError>,
    /// The resources chosen at the start, by target name; no action changes them any more.
    pub resolved: BTreeMap<String, Vec<String>>,
    /// By name, as in the definition.
    pub actions: BTreeMap<String, ActionRun>,
    /// What is worth knowing about it, in plain words, in the order of their times.
    pub notes: Vec<Note>,
    /// How many times shorter than asked its durations are.
    pub speed: f64,
    /// Its records, until its end puts them into a bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) records: Vec<String>,
    /// How it will end, once everything that runs has been stopped.
    pub(super) ending: Option<Ending>,
}

/// `ExperimentStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExperimentStatus {
    Pending,
    Initiating,
    Running,
    Completed,
    Stopping,
    Stopped,
    Failed,
    Cancelled,
}

impl ExperimentStatus {
    /// As the API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ExperimentStatus::Pending => "pending",
            ExperimentStatus::Initiating => "initiating",
            ExperimentStatus::Running => "running",
            ExperimentStatus::Completed => "completed",
            ExperimentStatus::Stopping => "stopping",
            ExperimentStatus::Stopped => "stopped",
            ExperimentStatus::Failed => "failed",
            ExperimentStatus::Cancelled => "cancelled",
        }
    }

    /// Nothing changes it any more.
    pub(crate) fn is_final(self) -> bool {
        use ExperimentStatus::{Cancelled, Completed, Failed, Stopped};
        matches!(self, Completed | Stopped | Failed | Cancelled)
    }
}

/// `ExperimentError`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExperimentError {
    pub account_id: String,
    /// `InvalidTarget`, `QuotaExceededFailure`, `DependentServiceFailure`, `ConfigurationFailure`,
    /// `InternalFailure`.
    pub code: String,
    /// The target or action of the template.
    pub location: String,
}

/// How an experiment will end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ending {
    /// Stopped or failed.
    pub(super) status: ExperimentStatus,
    pub(super) reason: String,
    pub(super) error: Option<ExperimentError>,
}

/// One action of an experiment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ActionRun {
    pub status: ActionStatus,
    /// Why it has that status.
    pub reason: String,
    pub started: Option<SystemTime>,
    pub ended: Option<SystemTime>,
    /// How long it runs here, after [`Experiment::speed`]; None without a duration.
    pub duration: Option<Duration>,
    /// What was sent for it, in the order of sending.
    pub commands: Vec<SentCommand>,
    /// The runbook that it executes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automation: Option<Automation>,
    /// The container instances that it has set to DRAINING.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) drained: Vec<String>,
    /// When CancelCommand was called.
    pub(super) cancelled: Option<SystemTime>,
}

/// An execution of a runbook that an action has started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Automation {
    /// Its id.
    pub execution: String,
    /// `AutomationExecutionStatus` when it was last asked.
    pub status: String,
    /// The ids of the commands that its steps have sent.
    pub commands: Vec<String>,
}

impl ActionRun {
    /// The ids of all commands that were sent for it.
    pub(crate) fn command_ids(&self) -> impl Iterator<Item = &String> {
        let sent = self.commands.iter().map(|command| &command.command_id);
        sent.chain(self.automation.iter().flat_map(|automation| &automation.commands))
    }
}

/// `ExperimentActionStatus`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionStatus {
    #[default]
    Pending,
    Initiating,
    Running,
    Completed,
    Cancelled,
    Stopping,
    Stopped,
    Failed,
    Skipped,
}

impl ActionStatus {
    /// As the API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ActionStatus::Pending => "pending",
            ActionStatus::Initiating => "initiating",
            ActionStatus::Running => "running",
            ActionStatus::Completed => "completed",
            ActionStatus::Cancelled => "cancelled",
            ActionStatus::Stopping => "stopping",
            ActionStatus::Stopped => "stopped",
            ActionStatus::Failed => "failed",
            ActionStatus::Skipped => "skipped",
        }
    }

    /// Nothing changes it any more.
    pub(crate) fn is_final(self) -> bool {
        !matches!(
            self,
            ActionStatus::Pending | ActionStatus::Initiating | ActionStatus::Running | ActionStatus::Stopping
        )
    }
}

/// A command that an action has sent to one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SentCommand {
    pub task_arn: String,
    pub instance_id: String,
    pub command_id: String,
    pub document: String,
    pub role: CommandRole,
    pub sent: SystemTime,
    /// `Status` and `StatusDetails` of ListCommands when it was last asked.
    pub status: String,
    pub details: String,
    /// When it was first seen in a final status.
    pub ended: Option<SystemTime>,
    /// What the `FISActionState` of this task is called, for documents that live on heartbeats.
    pub(super) state_id: String,
    /// The number of its call, 1 for the first.
    pub(super) count: u32,
}

/// What a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CommandRole {
    /// It performs the fault.
    Fault,
    /// It tells a fault that it may go on.
    Heartbeat,
}

/// Something worth knowing, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub at: SystemTime,
    /// The action it is about; None if it is about the experiment.
    pub action: Option<String>,
    pub text: String,
}

impl Experiment {
    /// The tasks that an action was or will be run on.
    pub(crate) fn targets_of(&self, action: &str) -> &[String] {
        let target = self.definition.actions.get(action).and_then(|action| action.targets.values().next());
        target.and_then(|name| self.resolved.get(name)).map_or(&[], Vec::as_slice)
    }
}
