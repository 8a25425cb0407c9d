//! Jobs to plans: what a Run Command document, with its parameters, asks for.
//!
//! Pure. A document with a name that taskfault knows is never interpreted: its name and its parameters are
//! enough ([`awsfis`]). Any other document becomes the steps that the stock agent would run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::fault::Fault;

/// What the service sent, after the channel has taken it apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// From the job id, not from the payload.
    pub command_id: String,
    /// A plain name or an ARN.
    pub document_name: String,
    /// The document as a JSON object.
    pub document: Value,
    /// Only what the caller supplied; the document's defaults are not in it.
    pub parameters: Map<String, Value>,
}

/// The steps of one document, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// One step, with everything about it decided that can be decided before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The key of the step in a reply: the step's name (schema 2.x) or the plugin's (1.2).
    pub name: String,
    /// The action, `aws:runShellScript` for instance.
    pub action: String,
    pub work: Work,
    pub on_failure: OnFailure,
    pub exit_on_success: bool,
    /// Runs even when an earlier step asked to exit. Only ever set on the last step.
    pub finally: bool,
}

/// What running the step means.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A shell script, as `aws:runShellScript` runs it.
    Script(Script),
    /// A fault that taskfault performs itself, for a time.
    Fault { fault: Fault, duration: Duration },
    /// Nothing to do, and this is the step's standard output (the dependency step of an AWSFIS document).
    Note(String),
    /// The step is skipped, and this is why.
    Skip(String),
    /// The step fails without running, and this is why.
    Fail(String),
}

/// The inputs of `aws:runShellScript`.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The text of the script file.
    pub text: String,
    pub timeout: Duration,
    pub working_directory: Option<String>,
    pub environment: BTreeMap<String, String>,
    /// Sub-directory of the orchestration folder: the step name, or for schema 1.2 plugin and property id.
    pub directory: String,
}

/// What a failed step does to the steps after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They run.
    Continue,
    /// They are skipped.
    Exit,
    /// They are skipped and the failed step counts as a success, code 168.
    SuccessAndExit,
}
