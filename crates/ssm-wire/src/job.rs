//! A job as the service sends it, and our verdict on it. Pure.
//!
//! Source: amazon-ssm-agent `agent/session/contracts/model.go`, `agent/runcommand/contracts/model.go`,
//! `agent/messageservice/interactor/mgs/mgsinteractor.go`.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The largest job that is looked at, in bytes of its content. A document is at most 64 KB, the parameters
/// of a command hardly more; anything near this size is not a command.
pub const MAX_CONTENT_BYTES: usize = 1024 * 1024;

/// What is shown of a text that is refused, in characters.
const SHOWN_CHARS: usize = 300;

/// `aws.ssm.<command>.<instance>`: names a job over every channel and every delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobId(String);

impl JobId {
    /// The command's id: the second-to-last of the dot-separated parts.
    pub fn command_id(&self) -> &str {
        self.0.rsplit('.').nth(1).unwrap_or_default()
    }

    /// The whole id, as replies and acknowledgements repeat it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for JobId {
    type Error = JobError;

    fn try_from(text: String) -> Result<JobId, JobError> {
        // The command id names a folder below the state directory: it must never be a path.
        let safe = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let id = JobId(text);
        let well_formed = id.0.starts_with("aws.ssm.") && id.0.split('.').count() >= 4 && id.0.len() <= 256;
        match well_formed && !id.command_id().is_empty() && safe(id.command_id()) {
            true => Ok(id),
            false => Err(JobError::Id(clipped(&id.0))),
        }
    }
}

/// A text of the service's as far as a log line shows it: it may be as long as a frame.
fn clipped(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// What a job asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Run a document.
    Send(SendCommand),
    /// Stop the job with this id.
    Cancel {
        /// As the service sent it, not yet checked to be a [`JobId`].
        target: String,
    },
}

/// A job as it came over a wire, not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The job it delivers; the same for every delivery of it.
    pub id: JobId,
    /// As the service sent it; [`Topic::of`] reads it.
    pub topic: String,
    /// JSON text.
    pub content: String,
}

/// One job, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Of the delivery that it came by.
    pub id: JobId,
    /// What its content asks for.
    pub order: Order,
}

/// The content of a send job.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendCommand {
    /// By the names of the document; a value is a text, a list or a map. None where the service sent none.
    #[serde(default)]
    pub parameters: Option<Map<String, Value>>,
    /// The document: an object, or its JSON once more as a text.
    pub document_content: Value,
    /// `AWSFIS-Run-CPU-Stress`, or the ARN of a shared document; empty if the service left it out.
    #[serde(default)]
    pub document_name: String,
    /// The bucket that the sender wants the output in; empty for none.
    #[serde(default, rename = "OutputS3BucketName")]
    pub output_s3_bucket: String,
    /// What the keys of the output begin with there; may be empty.
    #[serde(default, rename = "OutputS3KeyPrefix")]
    pub output_s3_prefix: String,
    /// The log group for the output; empty where the service leaves the name to us.
    #[serde(default)]
    pub cloud_watch_log_group_name: String,
    /// `"true"` or `"false"`, a string.
    #[serde(default)]
    pub cloud_watch_output_enabled: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CancelCommand {
    cancel_message_id: String,
}

/// Why bytes are no job. `Id` means that no answer can name the job; every other error is answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The id, which is the value as far as it is shown, does not name a command.
    #[error("job id {0:?} is not of the form aws.ssm.COMMAND.INSTANCE")]
    Id(String),
    /// The topic, which is the value as far as it is shown, is none of [`Topic`].
    #[error("job topic {0:?} is neither aws.ssm.sendCommand nor aws.ssm.cancelCommand")]
    Topic(String),
    /// The content has so many bytes.
    #[error("job content of {0} bytes is over the limit of {MAX_CONTENT_BYTES}")]
    TooLarge(usize),
    /// The content is no JSON, or lacks a member. The value says where.
    #[error("job content is not what its topic says: {0}")]
    Content(String),
}

impl Job {
    /// Takes apart a job. The topic is matched by its beginning, because the long poll sends longer ones
    /// (`aws.ssm.sendCommand.us.east.1.1`).
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn parse(delivery: &Delivery) -> Result<Job, JobError> {
        let Delivery { id, topic, content } = delivery;
        if content.len() > MAX_CONTENT_BYTES {
            return Err(JobError::TooLarge(content.len()));
        }
        let unreadable = |error: serde_json::Error| JobError::Content(error.to_string());
        let order = match Topic::of(topic) {
            Some(Topic::Send) => Order::Send(serde_json::from_str(content).map_err(unreadable)?),
            Some(Topic::Cancel) => {
                let cancel: CancelCommand = serde_json::from_str(content).map_err(unreadable)?;
                Order::Cancel { target: cancel.cancel_message_id }
            }
            None => return Err(JobError::Topic(clipped(topic))),
        };
        Ok(Job { id: id.clone(), order })
    }

    /// Which kind of job this is; a reply names it too.
    pub fn topic(&self) -> Topic {
        match self.order {
            Order::Send(_) => Topic::Send,
            Order::Cancel { .. } => Topic::Cancel,
        }
    }
}

/// The two topics of Run Command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Runs a document on this instance.
    Send,
    /// Stops a job that was sent before.
    Cancel,
}

impl Topic {
    /// The topic in its short form, as replies have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Send => "aws.ssm.sendCommand",
            Topic::Cancel => "aws.ssm.cancelCommand",
        }
    }

    /// The topic that `text` begins with.
    pub fn of(text: &str) -> Option<Topic> {
        [Topic::Send, Topic::Cancel].into_iter().find(|topic| text.starts_with(topic.as_str()))
    }
}

/// What becomes of a job that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Taken: acknowledge it, send `first` (the InProgress reply), then start it.
    Accepted {
        /// JSON text of the reply.
        first: String,
    },
    /// Seen within the last 30 minutes; it is not run again.
    Duplicate,
    /// Five run and five wait.
    Full,
    /// The sidecar is stopping.
    Closing,
    /// The document cannot be understood; `reply` says why and is final.
    Unreadable {
        /// JSON text of the reply.
        reply: String,
    },
}

/// The status code of an acknowledgement, and the name that goes with it.
/// Source: amazon-ssm-agent `mgsinteractor.go` lines 166–177.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckCode {
    /// The job was taken.
    Successful,
    /// The agent is stopping and takes no job.
    ClosedProcessor,
    /// As many jobs run and wait as may: five of each.
    ProcessorBufferFull,
    /// The job was taken before.
    DuplicateCommand,
    /// The document or its parameters cannot be understood.
    AgentJobMessageParseError,
}

impl AckCode {
    /// The number, which the acknowledgement has as a text.
    pub fn code(self) -> &'static str {
        match self {
            AckCode::Successful => "200",
            AckCode::ClosedProcessor => "51401",
            AckCode::ProcessorBufferFull => "51402",
            AckCode::DuplicateCommand => "51405",
            AckCode::AgentJobMessageParseError => "51408",
        }
    }

    /// The name, which the acknowledgement has beside the number.
    pub fn name(self) -> &'static str {
        match self {
            AckCode::Successful => "Successful",
            AckCode::ClosedProcessor => "ClosedProcessor",
            AckCode::ProcessorBufferFull => "ProcessorBufferFull",
            AckCode::DuplicateCommand => "DuplicateCommand",
            AckCode::AgentJobMessageParseError => "AgentJobMessageParseError",
        }
    }
}

impl From<&Verdict> for AckCode {
    fn from(verdict: &Verdict) -> AckCode {
        match verdict {
            Verdict::Accepted { .. } => AckCode::Successful,
            Verdict::Duplicate => AckCode::DuplicateCommand,
            Verdict::Full => AckCode::ProcessorBufferFull,
            Verdict::Closing => AckCode::ClosedProcessor,
            Verdict::Unreadable { .. } => AckCode::AgentJobMessageParseError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aws.ssm.da11fb41-9572-47f6-9aae-6f3494230478.mi-0123456789abcdef0";

    fn id() -> JobId {
        JobId::try_from(ID.to_owned()).unwrap()
    }

    fn delivery(topic: &str, content: &str) -> Delivery {
        Delivery { id: id(), topic: topic.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn the_command_is_the_second_to_last_part() {
        assert_eq!(id().command_id(), "da11fb41-9572-47f6-9aae-6f3494230478");
    }

    #[test]
    fn an_id_that_could_be_a_path_is_refused() {
        for bad in ["", "aws.ssm.x", "aws.ssm..mi-1", "aws.ssm.a/b.mi-1", "x.y.z.w", "aws.ssm.a b.mi-1"] {
            assert_eq!(JobId::try_from(bad.to_owned()), Err(JobError::Id(bad.to_owned())));
        }
    }

    #[test]
    fn what_is_refused_does_not_fill_the_log() {
        let Err(JobError::Id(shown)) = JobId::try_from("x".repeat(1_000_000)) else { panic!("it is no id") };
        assert_eq!(shown.len(), SHOWN_CHARS);
    }

    /// The payload of the fact sheet (amazon-ssm-agent `agent/runcommand/contracts/model.go`).
    #[test]
    fn a_send_job_is_read_with_short_and_long_topics() {
        let content = r#"{"Parameters":{"commands":["echo hi"]},"DocumentContent":{"schemaVersion":"2.2"},
            "CommandId":"x","DocumentName":"AWS-RunShellScript","OutputS3BucketName":"","OutputS3KeyPrefix":"",
            "CloudWatchLogGroupName":"","CloudWatchOutputEnabled":"false","Unknown":1}"#;
        for topic in ["aws.ssm.sendCommand", "aws.ssm.sendCommand.us.east.1.1"] {
            let job = Job::parse(&delivery(topic, content)).unwrap();
            let Order::Send(send) = job.order else { panic!("not a send") };
            assert_eq!(send.document_name, "AWS-RunShellScript");
        }
    }

    #[test]
    fn what_is_no_job_says_why() {
        let parse = |topic: &str, content: &str| Job::parse(&delivery(topic, content)).unwrap_err();
        assert!(matches!(parse("aws.ssm.sendCommand", ""), JobError::Content(_)));
        assert!(matches!(parse("aws.ssm.sendCommand", "{}"), JobError::Content(_)));
        assert!(matches!(parse("aws.ssm.cancelCommand", "{}"), JobError::Content(_)));
        assert!(matches!(parse("aws.ssm.other", "{}"), JobError::Topic(_)));
        let big = " ".repeat(MAX_CONTENT_BYTES + 1);
        assert_eq!(parse("aws.ssm.sendCommand", &big), JobError::TooLarge(big.len()));
    }
}
