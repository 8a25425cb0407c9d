//! Replies of agents: merged by step, in whatever order they come; a final status stays.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Invocation, Plugin, State, Status};

/// Characters that the service keeps: `Output` of ListCommandInvocations, `StandardOutputContent` and
/// `StandardErrorContent` of GetCommandInvocation (botocore's ssm model).
const OUTPUT_CHARS: usize = 2_500;
const STDOUT_CHARS: usize = 24_000;
const STDERR_CHARS: usize = 8_000;

/// The SendReplyPayload (amazon-ssm-agent `agent/runcommand/contracts/model.go`), as far as the service
/// looks at it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reply {
    pub document_status: String,
    pub document_trace_output: String,
    /// By step name. Null in the first reply, empty in the last of a document with several steps.
    pub runtime_status: Option<Map<String, Value>>,
}

/// One entry of `runtimeStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepReply {
    pub status: String,
    pub code: i32,
    /// The action.
    pub name: String,
    pub output: String,
    pub start_date_time: String,
    pub end_date_time: String,
    pub standard_output: String,
    pub standard_error: String,
}

impl State {
    /// Takes a reply of an agent in. False if the job is not a command's (the reply to a cancel message, for
    /// instance): nothing is changed then. Whether a reply also counts as the acknowledgement of its job is
    /// the caller's business.
    pub fn reply(&mut self, job: &str, reply: &Reply, now: SystemTime) -> bool {
        let Some((invocation, document)) = self.invocation_mut(job) else { return false };
        invocation.start(now);
        if !reply.document_trace_output.is_empty() {
            invocation.trace.clone_from(&reply.document_trace_output);
        }
        for (name, step) in reply.runtime_status.iter().flatten() {
            if let Ok(step) = serde_json::from_value::<StepReply>(step.clone()) {
                invocation.merge(name, &step, document);
            }
        }
        if let Some(status) = final_status(&reply.document_status) {
            invocation.finish(status, now);
        }
        true
    }
}

impl Invocation {
    fn merge(&mut self, name: &str, step: &StepReply, document: &Value) {
        let fresh = Plugin {
            name: name.to_owned(),
            action: step.name.clone(),
            status: step_status(&step.status),
            response_code: step.code,
            started: date(&step.start_date_time),
            ended: date(&step.end_date_time),
            output: clip(&step.output, OUTPUT_CHARS),
            stdout: clip(&step.standard_output, STDOUT_CHARS),
            stderr: clip(&step.standard_error, STDERR_CHARS),
        };
        match self.plugins.iter_mut().find(|plugin| plugin.name == name) {
            Some(known) if known.status.is_final() && !fresh.status.is_final() => {}
            Some(known) => *known = fresh,
            None => {
                let place = step_index(document, name);
                let at = self.plugins.partition_point(|plugin| step_index(document, &plugin.name) <= place);
                self.plugins.insert(at, fresh);
            }
        }
    }
}

/// Where a step stands in its document; unknown ones come last. Schema 1.2 has a map of plugins instead.
fn step_index(document: &Value, name: &str) -> usize {
    let steps = document["mainSteps"].as_array();
    steps.and_then(|steps| steps.iter().position(|step| step["name"] == name)).unwrap_or(usize::MAX)
}

/// The status that ends an invocation; None while the document runs.
fn final_status(said: &str) -> Option<Status> {
    Some(match said {
        "Success" | "SuccessAndReboot" | "Skipped" => Status::Success,
        "Failed" => Status::Failed,
        "Cancelled" => Status::Cancelled,
        "TimedOut" => Status::TimedOut,
        _ => return None,
    })
}

/// Plugins know fewer words in the API than in the agent: a skipped step is a success there.
fn step_status(said: &str) -> Status {
    final_status(said).unwrap_or(if said == "NotStarted" { Status::Pending } else { Status::InProgress })
}

fn date(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

fn clip(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
