//! What Systems Manager knows, and the state machines of commands and invocations.
//!
//! Plain data; time comes in as a parameter, so every rule can be tested without waiting.
//! Keys and lists are ordered, so that listings and pages are stable.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::automation::AutomationState;
use crate::tags::Tags;

mod commands;
mod messages;
mod replies;
#[cfg(test)]
mod sample;
mod sweep;
mod uuid_text;

pub use commands::{CommandSummary, job_id};
pub use messages::{Ack, Offer};
pub use replies::{Reply, StepReply};

/// What `CreateActivation` made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Activation {
    /// A UUID, as given to the agent.
    pub id: String,
    /// The secret that the agent registers with.
    pub code: String,
    /// The role whose credentials its instances get.
    pub iam_role: String,
    /// As the caller wrote it.
    pub description: Option<String>,
    /// The `Name` of each instance that registers with it.
    pub default_instance_name: Option<String>,
    /// How many instances may register.
    pub registration_limit: u32,
    /// How many have registered so far.
    pub registrations: u32,
    /// When it was made.
    pub created: SystemTime,
    /// No instance may register after this.
    pub expires: SystemTime,
    /// Copied to each instance that registers with it.
    pub tags: Tags,
}

/// A managed instance (`mi-` and 17 hex digits).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    /// `mi-` and 17 hex digits.
    pub id: String,
    /// The activation that it registered with.
    pub activation_id: String,
    /// The role whose credentials it gets.
    pub iam_role: String,
    /// `Name`, from its activation.
    pub name: Option<String>,
    /// When it registered.
    pub registered: SystemTime,
    /// PKIX SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// The hash of the machine that the agent sent at its registration.
    pub fingerprint: String,
    /// As `AddTagsToResource` has them.
    pub tags: Tags,
    /// The latest members of UpdateInstanceInformation, as sent.
    pub information: Map<String, Value>,
    /// When the agent was last heard; None before its first heartbeat.
    pub last_ping: Option<SystemTime>,
}

/// Statuses of commands, invocations and plugins: `Status` and the longer `StatusDetails` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// Not yet final anywhere, or not sent.
    Pending,
    /// Taken by an agent.
    InProgress,
    /// Waiting for an agent that is away.
    Delayed,
    /// All steps succeeded.
    Success,
    /// Ended on request.
    Cancelled,
    /// CancelCommand came, and the agent has not answered.
    Cancelling,
    /// The agent did not answer in time: StatusDetails ExecutionTimedOut.
    TimedOut,
    /// Never reached the instance in time: Status TimedOut, StatusDetails DeliveryTimedOut.
    DeliveryTimedOut,
    /// A step failed.
    Failed,
    /// Stopped by MaxErrors: Status Cancelled, StatusDetails Terminated.
    Terminated,
    /// Of a whole command only: attempted everywhere, not successful everywhere, but not enough failures for
    /// MaxErrors to call it Failed. Status Failed, StatusDetails Incomplete.
    Incomplete,
}

impl Status {
    /// `Status` of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "Pending",
            Status::InProgress => "InProgress",
            Status::Delayed => "Delayed",
            Status::Success => "Success",
            Status::Cancelled | Status::Terminated => "Cancelled",
            Status::Cancelling => "Cancelling",
            Status::TimedOut | Status::DeliveryTimedOut => "TimedOut",
            Status::Failed | Status::Incomplete => "Failed",
        }
    }

    /// `StatusDetails` of the API: says which time-out it was.
    pub fn details(self) -> &'static str {
        match self {
            Status::TimedOut => "ExecutionTimedOut",
            Status::DeliveryTimedOut => "DeliveryTimedOut",
            Status::Terminated => "Terminated",
            Status::Incomplete => "Incomplete",
            other => other.as_str(),
        }
    }

    /// No later report changes it.
    pub fn is_final(self) -> bool {
        !matches!(self, Status::Pending | Status::InProgress | Status::Delayed | Status::Cancelling)
    }
}

/// One `SendCommand`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Command {
    /// `CommandId`.
    #[serde(with = "uuid_text")]
    pub id: Uuid,
    /// As the caller named it, without an ARN.
    pub document_name: String,
    /// The version that was sent, a number as text.
    pub document_version: String,
    /// The document as sent to agents, a JSON object.
    pub document: Value,
    /// As the caller sent them: name to list of strings.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// At most 100 characters.
    pub comment: String,
    /// What the caller asked for; echoed by ListCommands.
    pub instance_ids: Vec<String>,
    /// `[{"Key": …, "Values": […]}]` as sent.
    pub targets: Vec<Value>,
    /// How long an agent may take to accept it.
    pub timeout: Duration,
    /// The longest the document may run: the sum of its steps' time-outs.
    pub execution_timeout: Duration,
    /// As sent: a number, or a percentage (`10%`).
    pub max_concurrency: String,
    /// As sent: a number, or a percentage (`10%`).
    pub max_errors: String,
    /// When SendCommand came.
    pub requested: SystemTime,
    /// As sent; nothing is written there.
    pub output_s3_bucket: String,
    /// As sent; nothing is written there.
    pub output_s3_prefix: String,
    /// As sent; nothing is written there.
    pub cloudwatch_log_group: String,
    /// As sent; nothing is written there.
    pub cloudwatch_enabled: bool,
    /// CancelCommand came.
    pub cancel_requested: bool,
    /// In the order of the targets.
    pub invocations: Vec<Invocation>,
}

/// One command on one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invocation {
    /// The instance it runs on.
    pub instance_id: String,
    /// `Name` of the instance when the command was sent.
    pub instance_name: String,
    /// Where it stands.
    pub status: Status,
    /// When its message was queued: later than the request if MaxConcurrency made it wait.
    pub queued: Option<SystemTime>,
    /// When the agent took the job, by acknowledgement or by its first reply.
    pub accepted: Option<SystemTime>,
    /// When CancelCommand came, if it did.
    pub cancel_requested: Option<SystemTime>,
    /// When the agent acknowledged the cancel message; the grace period counts from here.
    pub cancel_accepted: Option<SystemTime>,
    /// When `status` became final.
    pub ended: Option<SystemTime>,
    /// In the order of the document's steps, filled from the agent's replies, merged by step name.
    pub plugins: Vec<Plugin>,
    /// `documentTraceOutput` of the agent's reply: why it could not be parsed, for instance.
    pub trace: String,
}

impl Invocation {
    /// An invocation that has not been sent yet.
    pub fn pending(instance_id: impl Into<String>, instance_name: impl Into<String>) -> Invocation {
        Invocation {
            instance_id: instance_id.into(),
            instance_name: instance_name.into(),
            status: Status::Pending,
            queued: None,
            accepted: None,
            cancel_requested: None,
            cancel_accepted: None,
            ended: None,
            plugins: Vec::new(),
            trace: String::new(),
        }
    }
}

/// One step of an invocation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plugin {
    /// The step's name (schema 2.x) or the plugin's (1.2).
    pub name: String,
    /// The action, `aws:runShellScript` for instance.
    pub action: String,
    /// Where it stands.
    pub status: Status,
    /// The exit code, -1 before there is one.
    pub response_code: i32,
    /// When the agent started it.
    pub started: Option<SystemTime>,
    /// When the agent ended it.
    pub ended: Option<SystemTime>,
    /// At most 2,500 characters.
    pub output: String,
    /// At most 24,000 characters.
    pub stdout: String,
    /// At most 8,000 characters.
    pub stderr: String,
}

/// A message on its way to an instance, kept until it is acknowledged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outgoing {
    /// `aws.ssm.<uuid>.<instance>`; the same over every channel and every re-delivery.
    pub job_id: String,
    /// What the job asks for.
    pub topic: Topic,
    /// JSON text of the send or cancel payload.
    pub content: String,
    /// When it was queued.
    pub created: SystemTime,
    /// When it was last put on a wire, and how often.
    pub offered: Option<SystemTime>,
    /// How often it was put on a wire.
    pub offers: u32,
    /// Not to be put on a wire (again) before this.
    pub due: SystemTime,
    /// The agent said that it has no room (51402) or is going away (51401): it does not hold the job.
    pub refused: bool,
}

/// What a message asks the agent to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topic {
    /// Run this document.
    SendCommand,
    /// End this command.
    CancelCommand,
}

/// A document in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// 1–128 characters.
    pub name: String,
    /// `Amazon` for the built-in stand-ins, else the account id.
    pub owner: String,
    /// `Command` for all that can run.
    pub document_type: String,
    /// Text exactly as given, per version, oldest first; version numbers count from 1.
    pub versions: Vec<DocumentVersion>,
    /// The number of the version that a call without one gets.
    pub default_version: u32,
    /// As `AddTagsToResource` has them.
    pub tags: Tags,
    /// When the first version was made.
    pub created: SystemTime,
}

/// One version of a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentVersion {
    /// Counts from 1.
    pub number: u32,
    /// `VersionName`: unique in its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Exactly as given.
    pub text: String,
    /// `JSON` or `YAML`: the format of `text`.
    pub format: String,
    /// When it was made.
    pub created: SystemTime,
}

/// Credentials that `RequestManagedInstanceRoleToken` handed out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoleToken {
    /// `ASIA` and 16 characters.
    pub access_key_id: String,
    /// Whose credentials they are.
    pub instance_id: String,
    /// What its holder signs with.
    pub secret_access_key: String,
    /// What its holder shows with each request.
    pub session_token: String,
    /// Refused from this moment on.
    pub expires: SystemTime,
}

/// Activations, managed instances, commands and documents.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SsmState {
    /// By id.
    pub activations: BTreeMap<String, Activation>,
    /// By id.
    pub instances: BTreeMap<String, Instance>,
    /// In the order of their requests.
    pub commands: Vec<Command>,
    /// By name.
    pub documents: BTreeMap<String, Document>,
    /// Per instance id, oldest first.
    pub outgoing: BTreeMap<String, VecDeque<Outgoing>>,
    /// By access key id. Kept for a while after their end, so that an agent is told *expired*, not *unknown*.
    pub tokens: BTreeMap<String, RoleToken>,
    /// Executions of runbooks.
    #[serde(default, skip_serializing_if = "AutomationState::is_empty")]
    pub automations: AutomationState,
}

/// An instance that has been silent for longer is ConnectionLost: two heartbeats of five minutes. The
/// service's own threshold is not documented.
pub const PING_LOST: Duration = Duration::from_secs(600);

impl Instance {
    /// `PingStatus` of DescribeInstanceInformation.
    pub fn ping_status(&self, now: SystemTime) -> &'static str {
        match self.last_ping {
            None => "Inactive",
            Some(last) if now.duration_since(last).is_ok_and(|silent| silent > PING_LOST) => "ConnectionLost",
            Some(_) => "Online",
        }
    }
}

impl SsmState {
    /// The command with this id.
    pub fn command(&self, id: &str) -> Option<&Command> {
        let id = Uuid::try_parse(id).ok()?;
        self.commands.iter().find(|command| command.id == id)
    }

    /// Forgets an instance, its credentials and what was on its way to it. Its control channel is closed by
    /// the gateway when it next looks. False if there is no such instance.
    pub fn deregister(&mut self, instance_id: &str) -> bool {
        self.outgoing.remove(instance_id);
        self.tokens.retain(|_, token| token.instance_id != instance_id);
        self.instances.remove(instance_id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{at, instance};
    use super::*;

    #[test]
    fn an_instance_is_online_as_long_as_it_says_so() {
        let mut instance = instance("mi-1");
        assert_eq!(instance.ping_status(at(0)), "Inactive");
        instance.last_ping = Some(at(0));
        assert_eq!(instance.ping_status(at(600)), "Online");
        assert_eq!(instance.ping_status(at(601)), "ConnectionLost");
    }

    #[test]
    fn a_deregistered_instance_leaves_nothing_but_its_commands() {
        let mut state = sample::submitted(&["mi-1"]);
        state.instances.insert("mi-1".to_owned(), instance("mi-1"));
        assert!(state.deregister("mi-1"));
        assert!(!state.deregister("mi-1"));
        assert!(state.outgoing.is_empty() && state.instances.is_empty());
        assert_eq!(state.commands.len(), 1);
    }
}
