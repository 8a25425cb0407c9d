//! Replies of agents: merged by step, in whatever order they come; a final status stays.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Invocation, Plugin, SsmState, Status};

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
    /// The status of the whole job, as the agent writes it.
    pub document_status: String,
    /// Why the document could not be run, if it could not.
    pub document_trace_output: String,
    /// By step name. Null in the first reply, empty in the last of a document with several steps.
    pub runtime_status: Option<Map<String, Value>>,
}

/// One entry of `runtimeStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepReply {
    /// The status of the step, as the agent writes it.
    pub status: String,
    /// The exit code.
    pub code: i32,
    /// The action.
    pub name: String,
    /// Standard output and error in one text.
    pub output: String,
    /// RFC 3339; empty before the step starts.
    pub start_date_time: String,
    /// RFC 3339; empty before the step ends.
    pub end_date_time: String,
    /// What the step wrote to standard output.
    pub standard_output: String,
    /// What the step wrote to standard error.
    pub standard_error: String,
}

impl SsmState {
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
            self.advance_job(job, now);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample::{at, job, reply, submitted};
    use super::*;

    fn step(status: &str, code: i32, stdout: &str) -> Value {
        json!({ "status": status, "code": code, "name": "aws:runShellScript", "output": stdout,
            "startDateTime": "2026-11-23T02:59:54.893Z", "endDateTime": "", "standardOutput": stdout })
    }

    fn play(replies: &[(&str, Value)]) -> Invocation {
        let mut state = submitted(&["mi-1"]);
        for (status, steps) in replies {
            assert!(state.reply(&job("mi-1"), &reply(status, steps.clone()), at(1)));
        }
        state.commands[0].invocations[0].clone()
    }

    #[test]
    fn steps_are_merged_in_the_order_of_the_document() {
        let invocation = play(&[
            ("InProgress", Value::Null),
            ("InProgress", json!({ "c": step("Skipped", 0, "") })),
            ("InProgress", json!({ "a": step("Success", 0, "A") })),
            ("InProgress", json!({ "b": step("Failed", 3, "B") })),
            ("Failed", json!({})),
        ]);
        let names: Vec<_> = invocation.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(invocation.status, Status::Failed);
        assert_eq!((invocation.plugins[1].status, invocation.plugins[1].response_code), (Status::Failed, 3));
        assert_eq!(invocation.plugins[2].status, Status::Success);
        assert!(invocation.plugins[0].started.is_some() && invocation.plugins[0].ended.is_none());
    }

    #[test]
    fn a_final_status_stays_and_late_steps_are_still_taken() {
        let invocation = play(&[
            ("Success", json!({})),
            ("InProgress", json!({ "a": step("Success", 0, "A") })),
            ("Failed", json!({})),
        ]);
        assert_eq!(invocation.status, Status::Success);
        assert_eq!(invocation.plugins[0].stdout, "A");
    }

    #[test]
    fn a_finished_step_does_not_start_again() {
        let invocation = play(&[
            ("InProgress", json!({ "a": step("Success", 0, "A") })),
            ("InProgress", json!({ "a": step("InProgress", 0, "") })),
        ]);
        assert_eq!((invocation.plugins[0].status, &*invocation.plugins[0].stdout), (Status::Success, "A"));
    }

    #[test]
    fn statuses_of_documents_become_those_of_the_api() {
        for (said, status) in [
            ("Success", Status::Success),
            ("SuccessAndReboot", Status::Success),
            ("TimedOut", Status::TimedOut),
            ("Cancelled", Status::Cancelled),
            ("InProgress", Status::InProgress),
            ("Gibberish", Status::InProgress),
        ] {
            assert_eq!(play(&[(said, json!({}))]).status, status, "{said}");
        }
    }

    #[test]
    fn output_is_cut_to_what_the_service_keeps_and_a_bad_step_hurts_nobody() {
        let long = "ü".repeat(30_000);
        let mut big = step("Success", 0, &long);
        big["standardError"] = json!(long);
        let invocation = play(&[("Success", json!({ "a": big, "b": "not a step" }))]);
        let plugin = &invocation.plugins[0];
        let lengths = [&plugin.output, &plugin.stdout, &plugin.stderr].map(|text| text.chars().count());
        assert_eq!(lengths, [2_500, 24_000, 8_000]);
        assert_eq!(invocation.plugins.len(), 1);
    }

    #[test]
    fn the_trace_says_why_a_document_could_not_be_read() {
        let mut state = submitted(&["mi-1"]);
        let mut failed = reply("Failed", Value::Null);
        failed.document_trace_output = "no such schema".to_owned();
        state.reply(&job("mi-1"), &failed, at(1));
        assert_eq!(state.commands[0].invocations[0].trace, "no such schema");
        assert!(!state.reply(&job("mi-2"), &failed, at(1)));
    }
}
