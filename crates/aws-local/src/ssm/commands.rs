//! ListCommands, and a command as the API shows it.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::cancel::{command_id, unknown};
use super::page::paged;
use super::{Answer, epoch, listing};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::{Command, SsmState};

/// What both listings of commands can be narrowed by.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) command_id: Option<Uuid>,
    pub(super) instance_id: Option<&'a str>,
    filters: Vec<Filter<'a>>,
}

#[derive(Debug)]
enum Filter<'a> {
    After(SystemTime),
    Before(SystemTime),
    Status(&'a str),
    Document(&'a str),
    /// ExecutionStage: whether it has finished.
    Complete(bool),
}

/// ListCommands: the newest first.
pub(super) fn list(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let query = Query::read(members)?;
    if let Some(id) = query.command_id.filter(|id| !state.commands.iter().any(|command| command.id == *id)) {
        return Err(unknown(id));
    }
    let wanted = |command: &&Command| {
        let summary = SsmState::summary(command);
        query.takes(command, summary.status.as_str(), summary.status.is_final())
            && query
                .instance_id
                .is_none_or(|id| command.invocations.iter().any(|known| known.instance_id == id))
    };
    let found: Vec<&Command> = state.commands.iter().rev().filter(wanted).collect();
    let (found, next) = paged(found, |command| command.id.to_string(), members)?;
    Ok(listing("Commands", found.into_iter().map(|command| item(command, context)).collect(), next))
}

impl<'a> Query<'a> {
    /// Reads the members that ListCommands and ListCommandInvocations share.
    pub(super) fn read(members: Members<'a>) -> Result<Query<'a>, ApiError> {
        let filter = |filter: Members<'a>| Filter::new(filter.required("key"), filter.required("value"));
        let filters = members.each("Filters").map(filter).collect::<Result<_, _>>()?;
        let command_id = members.text("CommandId").map(command_id).transpose()?;
        Ok(Query { command_id, instance_id: members.text("InstanceId"), filters })
    }

    /// Whether a command passes, where `status` and `complete` are its own or those of its invocation.
    pub(super) fn takes(&self, command: &Command, status: &str, complete: bool) -> bool {
        self.command_id.is_none_or(|id| command.id == id)
            && self.filters.iter().all(|filter| match filter {
                Filter::After(time) => command.requested > *time,
                Filter::Before(time) => command.requested < *time,
                Filter::Status(wanted) => status == *wanted,
                Filter::Document(name) => command.document_name == *name,
                Filter::Complete(wanted) => complete == *wanted,
            })
    }
}

impl<'a> Filter<'a> {
    fn new(key: &str, value: &'a str) -> Result<Filter<'a>, ApiError> {
        let date = || {
            OffsetDateTime::parse(value, &Rfc3339).map(SystemTime::from).map_err(|_| {
                ApiError::validation(format!("Filter {key}: {value} is no date like 2026-01-31T12:00:00Z."))
            })
        };
        Ok(match key {
            "InvokedAfter" => Filter::After(date()?),
            "InvokedBefore" => Filter::Before(date()?),
            "Status" => Filter::Status(value),
            "ExecutionStage" => match value {
                "Executing" => Filter::Complete(false),
                "Complete" => Filter::Complete(true),
                _ => {
                    let message =
                        format!("Filter ExecutionStage: {value} is neither Executing nor Complete.");
                    return Err(ApiError::validation(message));
                }
            },
            _ => Filter::Document(value),
        })
    }
}

/// A command as SendCommand and ListCommands show it.
pub(super) fn item(command: &Command, context: &Context) -> Value {
    let summary = SsmState::summary(command);
    // "Understanding command statuses" of the Systems Manager guide; the store has no status for it.
    let details = if summary.target_count == 0 { "NoInstancesInTag" } else { summary.status.details() };
    json!({
        "CommandId": command.id.to_string(),
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "Comment": command.comment,
        "ExpiresAfter": epoch(command.requested + command.timeout + command.execution_timeout),
        "Parameters": command.parameters,
        "InstanceIds": command.instance_ids,
        "Targets": command.targets,
        "RequestedDateTime": epoch(command.requested),
        "Status": summary.status.as_str(),
        "StatusDetails": details,
        "OutputS3Region": context.region,
        "OutputS3BucketName": command.output_s3_bucket,
        "OutputS3KeyPrefix": command.output_s3_prefix,
        "MaxConcurrency": command.max_concurrency,
        "MaxErrors": command.max_errors,
        "TargetCount": summary.target_count,
        "CompletedCount": summary.completed,
        "ErrorCount": summary.errors,
        "DeliveryTimedOutCount": summary.delivery_timed_out,
        "ServiceRole": "",
        "NotificationConfig": no_notification(),
        "CloudWatchOutputConfig": logs(command),
        "TimeoutSeconds": command.timeout.as_secs(),
    })
}

/// The members that a command without notifications has.
pub(super) fn no_notification() -> Value {
    json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" })
}

/// `CloudWatchOutputConfig`.
pub(super) fn logs(command: &Command) -> Value {
    json!({
        "CloudWatchLogGroupName": command.cloudwatch_log_group,
        "CloudWatchOutputEnabled": command.cloudwatch_enabled,
    })
}

/// A span of time as ISO 8601, to the millisecond: `PT0.091S`, `PT1M4.5S`, `PT2H`.
pub(super) fn iso_duration(span: Duration) -> String {
    let (hours, minutes) = (span.as_secs() / 3600, span.as_secs() / 60 % 60);
    let millis = span.as_secs() % 60 * 1000 + u64::from(span.subsec_millis());
    let mut text = String::from("PT");
    if hours > 0 {
        text.push_str(&format!("{hours}H"));
    }
    if minutes > 0 {
        text.push_str(&format!("{minutes}M"));
    }
    if millis > 0 || text == "PT" {
        let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
        let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
        text.push_str(&format!("{seconds}S"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn durations_are_written_as_the_service_writes_them() {
        for (millis, text) in
            [(0, "PT0S"), (91, "PT0.091S"), (20_000, "PT20S"), (64_500, "PT1M4.5S"), (7_200_000, "PT2H")]
        {
            assert_eq!(iso_duration(Duration::from_millis(millis)), text);
        }
    }

    fn script(fixture: &mut Fixture, id: &str) -> String {
        let body = json!({
            "InstanceIds": [id], "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
        });
        let command = fixture.ok("SendCommand", body);
        fixture.pass(1);
        command["Command"]["CommandId"].as_str().unwrap().to_owned()
    }

    fn ids(response: &Value) -> Vec<&str> {
        let commands = response["Commands"].as_array().unwrap();
        commands.iter().map(|command| command["CommandId"].as_str().unwrap()).collect()
    }

    #[test]
    fn commands_are_listed_newest_first_and_filtered() {
        let mut fixture = Fixture::new();
        let one = fixture.instance(&[]);
        let two = fixture.instance(&[]);
        let first = script(&mut fixture, &one);
        let second = script(&mut fixture, &two);
        fixture.ok("CancelCommand", json!({ "CommandId": first }));
        assert_eq!(ids(&fixture.ok("ListCommands", json!({}))), [second.as_str(), first.as_str()]);
        assert_eq!(ids(&fixture.ok("ListCommands", json!({ "InstanceId": one }))), [first.as_str()]);
        let mut filtered = |key: &str, value: &str| {
            let body = json!({ "Filters": [{ "key": key, "value": value }] });
            ids(&fixture.ok("ListCommands", body)).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(filtered("Status", "Cancelled"), [first.as_str()]);
        assert_eq!(filtered("ExecutionStage", "Executing"), [second.as_str()]);
        assert_eq!(filtered("ExecutionStage", "Complete"), [first.as_str()]);
        assert_eq!(filtered("InvokedAfter", "2026-01-01T00:00:00Z"), [second.as_str()]);
        assert_eq!(filtered("InvokedBefore", "2026-01-01T00:00:01Z"), [first.as_str()]);
        assert_eq!(filtered("DocumentName", "AWS-RunShellScript").len(), 2);
        assert_eq!(filtered("DocumentName", "AWSFIS-Run-CPU-Stress").len(), 0);
        let page = fixture.ok("ListCommands", json!({ "MaxResults": 1 }));
        let rest = fixture.ok("ListCommands", json!({ "MaxResults": 1, "NextToken": page["NextToken"] }));
        assert_eq!((ids(&page), ids(&rest)), (vec![second.as_str()], vec![first.as_str()]));
        assert!(rest.get("NextToken").is_none());
    }

    #[test]
    fn bad_queries_are_refused() {
        let mut fixture = Fixture::new();
        for (body, code) in [
            (json!({ "CommandId": "11111111-1111-4111-8111-111111111111" }), "InvalidCommandId"),
            (json!({ "CommandId": "1" }), "ValidationException"),
            (json!({ "InstanceId": "x" }), "ValidationException"),
            (json!({ "MaxResults": 51 }), "ValidationException"),
            (json!({ "Filters": [] }), "ValidationException"),
            (json!({ "Filters": [{ "key": "Colour", "value": "red" }] }), "ValidationException"),
            (json!({ "Filters": [{ "key": "InvokedAfter", "value": "yesterday" }] }), "ValidationException"),
            (json!({ "Filters": [{ "key": "ExecutionStage", "value": "x" }] }), "ValidationException"),
        ] {
            assert_eq!(fixture.refused("ListCommands", body.clone()), code, "{body}");
        }
    }
}
