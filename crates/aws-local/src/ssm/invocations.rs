//! ListCommandInvocations and GetCommandInvocation: one command on one instance.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::cancel::command_id;
use super::commands::{Query, iso_duration, logs, no_notification};
use super::page::paged;
use super::{Answer, epoch, listing, without_nulls};
use crate::Context;
use crate::documents::content;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::{Command, Invocation, Plugin, SsmState, Status};

/// The most characters of a plugin's output, and of a trace, in ListCommandInvocations.
const LISTED_CHARACTERS: usize = 2_500;
/// The most characters of the contents in GetCommandInvocation.
const STDOUT_CHARACTERS: usize = 24_000;
const STDERR_CHARACTERS: usize = 8_000;

/// ListCommandInvocations: the newest command first. An unknown command has no invocations.
pub(super) fn list(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let query = Query::read(members)?;
    let details = members.flag("Details").unwrap_or_default();
    let all = state.commands.iter().rev();
    let found: Vec<(&Command, &Invocation)> = all
        .flat_map(|command| command.invocations.iter().map(move |invocation| (command, invocation)))
        .filter(|(command, invocation)| {
            query.takes(command, invocation.status.as_str(), invocation.status.is_final())
                && query.instance_id.is_none_or(|id| invocation.instance_id == id)
        })
        .collect();
    let key = |(command, invocation): &(&Command, &Invocation)| {
        format!("{}/{}", command.id, invocation.instance_id)
    };
    let (found, next) = paged(found, key, members)?;
    let items =
        found.into_iter().map(|(command, invocation)| item(command, invocation, details, context)).collect();
    Ok(listing("CommandInvocations", items, next))
}

/// GetCommandInvocation. Of a document with several steps, one must be named.
pub(super) fn get(body: &Map<String, Value>, state: &SsmState) -> Answer {
    let members = Members::new(body);
    let instance = members.required("InstanceId");
    let plugin = members.text("PluginName");
    let id = command_id(members.required("CommandId"))?;
    let command = state.commands.iter().find(|command| command.id == id);
    let found = command.and_then(|command| {
        let invocations = &command.invocations;
        Some((command, invocations.iter().find(|invocation| invocation.instance_id == instance)?))
    });
    let (command, invocation) = found.ok_or_else(|| {
        let message = format!("Command {id} was not sent to instance {instance}.");
        ApiError::new("InvocationDoesNotExist", message)
    })?;
    Ok(match step(command, plugin)? {
        Some(step) => one(command, invocation, &step),
        None => whole(command, invocation),
    })
}

/// The step that is meant: the one that is named, or the only one. None if there are several and none is named.
fn step(command: &Command, asked: Option<&str>) -> Result<Option<String>, ApiError> {
    let names: Vec<String> = content::steps(&command.document).into_iter().map(|step| step.name).collect();
    let fault = match asked {
        Some(name) if names.iter().any(|known| known == name) => return Ok(Some(name.to_owned())),
        Some(name) => format!("Document {} has no step {name}", command.document_name),
        None => return Ok((names.len() == 1).then(|| names[0].clone())),
    };
    Err(ApiError::new("InvalidPluginName", format!("{fault}. Its steps: {}.", names.join(", "))))
}

/// The invocation as a whole: what a client gets that names none of several steps, as waiters do.
fn whole(command: &Command, invocation: &Invocation) -> Value {
    let mut shown = one(command, invocation, "");
    let plugins = &invocation.plugins;
    let started = plugins.iter().filter_map(|plugin| plugin.started).min();
    let ended =
        plugins.iter().filter_map(|plugin| plugin.ended).max().filter(|_| invocation.status.is_final());
    let elapsed = started.zip(ended).and_then(|(from, to)| to.duration_since(from).ok());
    shown["ExecutionStartDateTime"] = json!(started.map(date).unwrap_or_default());
    shown["ExecutionElapsedTime"] = json!(elapsed.map(iso_duration).unwrap_or_default());
    shown["ExecutionEndDateTime"] = json!(ended.map(date).unwrap_or_default());
    shown
}

/// A step that has not reported yet has the status of its invocation, the code -1 and no times.
fn one(command: &Command, invocation: &Invocation, step: &str) -> Value {
    let plugin = invocation.plugins.iter().find(|plugin| plugin.name == step);
    let times = plugin.map(|plugin| (plugin.started, plugin.ended));
    let (started, ended) = times.unwrap_or_default();
    let elapsed = started.zip(ended).and_then(|(from, to)| to.duration_since(from).ok());
    let status = match plugin {
        Some(plugin) if plugin.status.is_final() || invocation.status == Status::InProgress => plugin.status,
        // Not reported, or overtaken: cancelled, timed out.
        _ => invocation.status,
    };
    json!({
        "CommandId": command.id.to_string(),
        "InstanceId": invocation.instance_id,
        "Comment": command.comment,
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "PluginName": step,
        "ResponseCode": response_code(plugin),
        "ExecutionStartDateTime": started.map(date).unwrap_or_default(),
        "ExecutionElapsedTime": elapsed.map(iso_duration).unwrap_or_default(),
        "ExecutionEndDateTime": ended.map(date).unwrap_or_default(),
        "Status": status.as_str(),
        "StatusDetails": status.details(),
        "StandardOutputContent": plugin.map(|plugin| cut(&plugin.stdout, STDOUT_CHARACTERS)).unwrap_or_default(),
        "StandardOutputUrl": "",
        "StandardErrorContent": plugin.map(|plugin| cut(&plugin.stderr, STDERR_CHARACTERS)).unwrap_or_default(),
        "StandardErrorUrl": "",
        "CloudWatchOutputConfig": logs(command),
    })
}

fn item(command: &Command, invocation: &Invocation, details: bool, context: &Context) -> Value {
    let plugins = match details {
        true => invocation.plugins.iter().map(|plugin| plugin_item(plugin, command, context)).collect(),
        false => json!([]),
    };
    without_nulls(json!({
        "CommandId": command.id.to_string(),
        "InstanceId": invocation.instance_id,
        "InstanceName": invocation.instance_name,
        "Comment": command.comment,
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "RequestedDateTime": epoch(command.requested),
        "Status": invocation.status.as_str(),
        "StatusDetails": invocation.status.details(),
        "TraceOutput": (!invocation.trace.is_empty()).then(|| cut(&invocation.trace, LISTED_CHARACTERS)),
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": plugins,
        "ServiceRole": "",
        "NotificationConfig": no_notification(),
        "CloudWatchOutputConfig": logs(command),
    }))
}

fn plugin_item(plugin: &Plugin, command: &Command, context: &Context) -> Value {
    without_nulls(json!({
        "Name": plugin.name,
        "Status": plugin.status.as_str(),
        "StatusDetails": plugin.status.details(),
        "ResponseCode": response_code(Some(plugin)),
        "ResponseStartDateTime": plugin.started.map(epoch),
        "ResponseFinishDateTime": plugin.ended.map(epoch),
        "Output": cut(&plugin.output, LISTED_CHARACTERS),
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "OutputS3Region": context.region,
        "OutputS3BucketName": command.output_s3_bucket,
        "OutputS3KeyPrefix": command.output_s3_prefix,
    }))
}

/// -1 until the step has ended.
fn response_code(plugin: Option<&Plugin>) -> i32 {
    plugin.filter(|plugin| plugin.status.is_final()).map_or(-1, |plugin| plugin.response_code)
}

/// UTC to the millisecond: `2020-02-19T18:18:03.419Z`.
fn date(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(time).format(format).unwrap_or_default()
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture::Fixture;
    use super::*;

    fn send(fixture: &mut Fixture, id: &str, document: &str, parameters: Value) -> String {
        let body = json!({ "InstanceIds": [id], "DocumentName": document, "Parameters": parameters });
        fixture.ok("SendCommand", body)["Command"]["CommandId"].as_str().unwrap().to_owned()
    }

    fn ran(fixture: &mut Fixture, name: &str) {
        let started = fixture.context.now;
        let invocation = &mut fixture.state.commands[0].invocations[0];
        invocation.status = Status::Success;
        invocation.plugins = vec![Plugin {
            name: name.into(),
            action: "aws:runShellScript".into(),
            status: Status::Success,
            response_code: 0,
            started: Some(started),
            ended: Some(started + Duration::from_millis(64_500)),
            output: "ö".repeat(3_000),
            stdout: "ö".repeat(25_000),
            stderr: "ö".repeat(9_000),
        }];
    }

    #[test]
    fn a_pending_invocation_has_no_times() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let command = send(&mut fixture, &id, "AWS-RunShellScript", json!({ "commands": ["true"] }));
        let got = fixture.ok("GetCommandInvocation", json!({ "CommandId": command, "InstanceId": id }));
        assert_eq!(got["PluginName"], "aws:runShellScript");
        assert_eq!(got["ResponseCode"], -1);
        assert_eq!(got["Status"], "Pending");
        assert_eq!(got["ExecutionStartDateTime"], "");
        let listed = fixture.ok("ListCommandInvocations", json!({ "CommandId": command, "Details": true }));
        assert_eq!(listed["CommandInvocations"][0]["CommandPlugins"], json!([]));
        assert!(listed["CommandInvocations"][0].get("TraceOutput").is_none());
    }

    #[test]
    fn outputs_are_cut_at_the_limits_of_the_api() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let command = send(&mut fixture, &id, "AWSFIS-Run-CPU-Stress", json!({ "DurationSeconds": ["20"] }));
        ran(&mut fixture, "FaultInjection");
        let body = json!({ "CommandId": command, "InstanceId": id, "PluginName": "FaultInjection" });
        let got = fixture.ok("GetCommandInvocation", body);
        let length = |value: &Value| value.as_str().unwrap().chars().count();
        assert_eq!(length(&got["StandardOutputContent"]), 24_000);
        assert_eq!(length(&got["StandardErrorContent"]), 8_000);
        assert_eq!(got["ExecutionStartDateTime"], "2026-01-01T00:00:00.000Z");
        assert_eq!(got["ExecutionEndDateTime"], "2026-01-01T00:01:04.500Z");
        assert_eq!(got["ExecutionElapsedTime"], "PT1M4.5S");
        assert_eq!(got["ResponseCode"], 0);
        let listed = fixture.ok("ListCommandInvocations", json!({ "CommandId": command, "Details": true }));
        let plugin = &listed["CommandInvocations"][0]["CommandPlugins"][0];
        assert_eq!(length(&plugin["Output"]), 2_500);
        assert_eq!(plugin["ResponseFinishDateTime"], 1_767_225_664.5);
        let short = fixture.ok("ListCommandInvocations", json!({ "CommandId": command }));
        assert_eq!(short["CommandInvocations"][0]["CommandPlugins"], json!([]));
    }

    #[test]
    fn without_a_name_several_steps_are_answered_as_a_whole() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let command = send(&mut fixture, &id, "AWSFIS-Run-CPU-Stress", json!({ "DurationSeconds": ["20"] }));
        let with = |plugin: Value| json!({ "CommandId": command, "InstanceId": id, "PluginName": plugin });
        let waiting = fixture.ok("GetCommandInvocation", with(Value::Null));
        assert_eq!((&waiting["Status"], &waiting["PluginName"]), (&json!("Pending"), &json!("")));
        ran(&mut fixture, "FaultInjection");
        let done = fixture.ok("GetCommandInvocation", with(Value::Null));
        assert_eq!((&done["Status"], &done["StandardOutputContent"]), (&json!("Success"), &json!("")));
        assert_eq!(done["ExecutionElapsedTime"], "PT1M4.5S");
        assert_eq!(
            fixture.refused("GetCommandInvocation", with(json!("ExecuteStressNg"))),
            "InvalidPluginName"
        );
        assert_eq!(fixture.refused("GetCommandInvocation", with(json!("abc"))), "ValidationException");
        for step in ["InstallDependencies", "FaultInjection"] {
            assert_eq!(fixture.ok("GetCommandInvocation", with(json!(step)))["PluginName"], step);
        }
    }

    #[test]
    fn unknown_invocations_do_not_exist() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let unknown = "11111111-1111-4111-8111-111111111111";
        let body = json!({ "CommandId": unknown, "InstanceId": id });
        assert_eq!(fixture.refused("GetCommandInvocation", body), "InvocationDoesNotExist");
        let body = json!({ "CommandId": "x".repeat(36), "InstanceId": id });
        assert_eq!(fixture.refused("GetCommandInvocation", body), "InvalidCommandId");
        let listed = fixture.ok("ListCommandInvocations", json!({ "CommandId": unknown }));
        assert_eq!(listed["CommandInvocations"], json!([]));
    }
}
