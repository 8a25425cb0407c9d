//! Executions of runbooks as data.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::documents::runbook::Runbook;

/// Executions of runbooks, and the scripts that run for them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AutomationState {
    /// In the order of their starts.
    pub(crate) executions: Vec<Execution>,
    /// Whether and how scripts of runbooks are run; a server that everybody can reach runs none.
    #[serde(skip)]
    pub scripts: Scripts,
    /// By the id of their step.
    #[serde(skip)]
    pub(super) jobs: BTreeMap<String, Job>,
    /// Whether the executions in here are of this process: those of an earlier one are over.
    #[serde(skip)]
    pub(super) resumed: bool,
}

/// Whether scripts of runbooks (`aws:executeScript`) are run. They run with the rights of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scripts {
    /// Their steps fail, and say why.
    #[default]
    Refused,
    /// With this URL as the endpoint of their AWS clients, so that none reaches AWS by mistake.
    Run {
        /// `http://127.0.0.1:4566`.
        endpoint: String,
    },
}

/// A script that runs for a step.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) result: Receiver<Result<Value, String>>,
    /// Dropped to end it.
    #[expect(dead_code, reason = "its end is what is heard")]
    pub(super) ends: Sender<()>,
}

/// One execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Execution {
    /// A UUID.
    pub(crate) id: String,
    pub(super) document: String,
    /// A number as text.
    pub(super) version: String,
    pub(super) runbook: Runbook,
    /// As they were sent, and the defaults of the others.
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) variables: BTreeMap<String, Value>,
    /// The ARN of who started it.
    pub(super) executed_by: String,
    pub(super) token: Option<String>,
    pub(super) started: SystemTime,
    pub(super) ended: Option<SystemTime>,
    pub(crate) status: ExecutionStatus,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// As the runbook has them.
    pub(super) steps: Vec<StepRun>,
    /// The step that is its turn; None before the first and after the last.
    pub(super) current: Option<usize>,
    /// The ids of the commands that its steps have sent.
    pub(super) sent: Vec<String>,
    /// How many steps were begun: a runbook may go round in a circle.
    pub(super) begun: u32,
    pub(super) stopping: Option<Stopping>,
    /// The worst end of a critical step.
    pub(super) broken: Option<ExecutionStatus>,
    pub(super) outputs: BTreeMap<String, Value>,
}

/// How far a StopAutomationExecution has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stopping {
    /// `Complete`: after the step that runs.
    AfterStep,
    /// `Cancel`: the step that runs is to be cancelled.
    Asked,
    /// It is being cancelled.
    Cancelling { since: SystemTime },
    /// `onCancel` has led elsewhere.
    CleaningUp { since: SystemTime },
}

/// One step of an execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepRun {
    /// A UUID.
    pub(super) id: String,
    pub(super) status: ExecutionStatus,
    pub(super) started: Option<SystemTime>,
    pub(super) ended: Option<SystemTime>,
    /// With every reference replaced.
    pub(super) inputs: Map<String, Value>,
    pub(super) outputs: BTreeMap<String, Value>,
    pub(super) failure: Option<String>,
    /// How often its action was tried.
    pub(super) tries: u32,
    /// What it waits for.
    pub(super) work: Option<Work>,
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// A command of Run Command, by its id.
    Command(String),
    Until(SystemTime),
    /// A property is asked for again at this time.
    Property {
        again: SystemTime,
    },
    /// A job of [`AutomationState::jobs`].
    Script,
}

/// `AutomationExecutionStatus`, of those that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExecutionStatus {
    Pending,
    InProgress,
    Success,
    TimedOut,
    Cancelling,
    Cancelled,
    Failed,
}

impl ExecutionStatus {
    /// As the API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ExecutionStatus::Pending => "Pending",
            ExecutionStatus::InProgress => "InProgress",
            ExecutionStatus::Success => "Success",
            ExecutionStatus::TimedOut => "TimedOut",
            ExecutionStatus::Cancelling => "Cancelling",
            ExecutionStatus::Cancelled => "Cancelled",
            ExecutionStatus::Failed => "Failed",
        }
    }

    /// Nothing changes it any more.
    pub(crate) fn is_final(self) -> bool {
        use ExecutionStatus::{Cancelled, Failed, Success, TimedOut};
        matches!(self, Success | TimedOut | Cancelled | Failed)
    }
}

impl AutomationState {
    /// Nothing to write into a state file.
    pub(crate) fn is_empty(&self) -> bool {
        self.executions.is_empty()
    }

    /// The execution with this id.
    pub(crate) fn find(&self, id: &str) -> Option<&Execution> {
        self.executions.iter().find(|execution| execution.id == id)
    }

    /// As [`AutomationState::find`], to change it.
    pub(crate) fn find_mut(&mut self, id: &str) -> Option<&mut Execution> {
        self.executions.iter_mut().find(|execution| execution.id == id)
    }
}

impl Execution {
    /// The ids of the commands that its steps have sent.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.sent.clone()
    }
}

impl StepRun {
    pub(super) fn pending() -> StepRun {
        StepRun {
            id: uuid::Uuid::new_v4().to_string(),
            status: ExecutionStatus::Pending,
            started: None,
            ended: None,
            inputs: Map::new(),
            outputs: BTreeMap::new(),
            failure: None,
            tries: 0,
            work: None,
        }
    }
}
