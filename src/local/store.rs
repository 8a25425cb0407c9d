//! Everything the local AWS knows, and the state machines of commands and invocations.
//!
//! Plain data behind one lock; time comes in as a parameter, so every rule can be tested without waiting.
//! Keys and lists are ordered, so that listings and pages are stable.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use uuid::Uuid;

/// Resource tags, in key order.
pub type Tags = BTreeMap<String, String>;

/// What `CreateActivation` made.
#[derive(Debug, Clone)]
pub struct Activation {
    pub id: String,
    pub code: String,
    pub iam_role: String,
    pub description: Option<String>,
    pub default_instance_name: Option<String>,
    pub registration_limit: u32,
    pub registrations: u32,
    pub created: SystemTime,
    pub expires: SystemTime,
    /// Copied to each instance that registers with it.
    pub tags: Tags,
}

/// A managed instance (`mi-` and 17 hex digits).
#[derive(Debug, Clone)]
pub struct Instance {
    pub id: String,
    pub activation_id: String,
    pub iam_role: String,
    pub name: Option<String>,
    pub registered: SystemTime,
    /// PKIX SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub fingerprint: String,
    pub tags: Tags,
    /// The latest members of UpdateInstanceInformation, as sent.
    pub information: Map<String, Value>,
    pub last_ping: Option<SystemTime>,
}

/// Statuses of commands, invocations and plugins: `Status` and the longer `StatusDetails` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Pending,
    InProgress,
    Delayed,
    Success,
    Cancelled,
    Cancelling,
    TimedOut,
    /// Never reached the instance in time: Status TimedOut, StatusDetails DeliveryTimedOut.
    DeliveryTimedOut,
    Failed,
    /// Stopped by MaxErrors: Status Failed or Cancelled by the service's rules, StatusDetails Terminated.
    Terminated,
}

impl Status {
    /// No later report changes it.
    pub fn is_final(self) -> bool {
        !matches!(self, Status::Pending | Status::InProgress | Status::Delayed | Status::Cancelling)
    }
}

/// One `SendCommand`.
#[derive(Debug, Clone)]
pub struct Command {
    pub id: Uuid,
    pub document_name: String,
    pub document_version: String,
    /// The document as sent to agents, a JSON object.
    pub document: Value,
    /// As the caller sent them: name to list of strings.
    pub parameters: BTreeMap<String, Vec<String>>,
    pub comment: String,
    /// What the caller asked for; echoed by ListCommands.
    pub instance_ids: Vec<String>,
    /// `[{"Key": …, "Values": […]}]` as sent.
    pub targets: Vec<Value>,
    pub timeout: Duration,
    /// The longest the document may run: the sum of its steps' time-outs.
    pub execution_timeout: Duration,
    pub max_concurrency: String,
    pub max_errors: String,
    pub requested: SystemTime,
    pub output_s3_bucket: String,
    pub output_s3_prefix: String,
    pub cloudwatch_log_group: String,
    pub cloudwatch_enabled: bool,
    pub cancel_requested: bool,
    /// In the order of the targets.
    pub invocations: Vec<Invocation>,
}

/// One command on one instance.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub instance_id: String,
    pub instance_name: String,
    pub status: Status,
    /// When CancelCommand came, if it did.
    pub cancel_requested: Option<SystemTime>,
    /// In the order of the document's steps, filled from the agent's replies, merged by step name.
    pub plugins: Vec<Plugin>,
    /// `documentTraceOutput` of the agent's reply: why it could not be parsed, for instance.
    pub trace: String,
}

/// One step of an invocation.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The step's name (schema 2.x) or the plugin's (1.2).
    pub name: String,
    /// The action, `aws:runShellScript` for instance.
    pub action: String,
    pub status: Status,
    pub response_code: i32,
    pub started: Option<SystemTime>,
    pub ended: Option<SystemTime>,
    /// At most 2,500 characters.
    pub output: String,
    /// At most 24,000 characters.
    pub stdout: String,
    /// At most 8,000 characters.
    pub stderr: String,
}

/// A message on its way to an instance, kept until it is acknowledged.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// `aws.ssm.<uuid>.<instance>`; the same over every channel and every re-delivery.
    pub job_id: String,
    pub topic: Topic,
    /// JSON text of the send or cancel payload.
    pub content: String,
    pub created: SystemTime,
    /// When it was last put on a wire, and how often.
    pub offered: Option<SystemTime>,
    pub offers: u32,
}

/// What a message asks the agent to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    SendCommand,
    CancelCommand,
}

/// A document in the store.
#[derive(Debug, Clone)]
pub struct Document {
    pub name: String,
    /// `Amazon` for the built-in stand-ins, else the account id.
    pub owner: String,
    pub document_type: String,
    /// Text exactly as given, per version, oldest first; version numbers count from 1.
    pub versions: Vec<DocumentVersion>,
    pub default_version: u32,
    pub tags: Tags,
    pub created: SystemTime,
}

/// One version of a document.
#[derive(Debug, Clone)]
pub struct DocumentVersion {
    pub number: u32,
    pub text: String,
    /// `JSON` or `YAML`: the format of `text`.
    pub format: String,
    pub created: SystemTime,
}

/// The whole state.
#[derive(Debug, Default)]
pub struct State {
    pub activations: BTreeMap<String, Activation>,
    pub instances: BTreeMap<String, Instance>,
    /// In the order of their requests.
    pub commands: Vec<Command>,
    pub documents: BTreeMap<String, Document>,
    /// Per instance id, oldest first.
    pub outgoing: BTreeMap<String, VecDeque<Outgoing>>,
}
