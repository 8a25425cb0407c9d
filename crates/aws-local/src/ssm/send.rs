//! SendCommand: checks everything about a command, then submits it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Answer;
use super::commands::item;
use super::instances::platform;
use super::targets::{Asked, chosen, read_targets};
use crate::Context;
use crate::documents::{content, find, parameters};
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::{Command, Document, DocumentVersion, Invocation, SsmState};

/// TimeoutSeconds where the caller says nothing.
const DEFAULT_TIMEOUT_SECONDS: i64 = 3_600;

/// A checked request, before anything is looked up.
struct Request<'a> {
    document_name: &'a str,
    document_version: Option<&'a str>,
    document_hash: Option<&'a str>,
    parameters: BTreeMap<String, Vec<String>>,
    asked: Asked<'a>,
    /// Everything that is only kept and shown again.
    command: Command,
}

/// SendCommand.
pub(super) fn send(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let command = prepared(read(body, context)?, state, context)?;
    let response = json!({ "Command": item(&command, context) });
    state.submit(command, context.now);
    Ok(response)
}

/// A command to one instance, as another service sends it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order<'a> {
    /// Name or ARN.
    pub document: &'a str,
    pub version: Option<&'a str>,
    pub instance_id: &'a str,
    pub parameters: BTreeMap<String, Vec<String>>,
    /// TimeoutSeconds: how long it may wait for its agent.
    pub delivery: Duration,
    pub comment: String,
}

/// Sends a command on behalf of another service. It stands in the history like any other. Returns its id.
///
/// # Errors
/// As SendCommand.
pub(crate) fn send_order(
    order: Order<'_>,
    state: &mut SsmState,
    context: &Context,
) -> Result<Uuid, ApiError> {
    let Order { document, version, instance_id, parameters, delivery, comment } = order;
    let command = Command {
        comment,
        document_version: version.unwrap_or("$DEFAULT").to_owned(),
        instance_ids: vec![instance_id.to_owned()],
        ..command(document, delivery, context)
    };
    let request = Request {
        document_name: document,
        document_version: version,
        document_hash: None,
        parameters,
        asked: Asked::new(vec![instance_id], Vec::new())?,
        command,
    };
    let command = prepared(request, state, context)?;
    let id = command.id;
    state.submit(command, context.now);
    Ok(id)
}

/// A command of which only this much is known.
fn command(document_name: &str, timeout: Duration, context: &Context) -> Command {
    Command {
        id: Uuid::new_v4(),
        document_name: document_name.to_owned(),
        document_version: "$DEFAULT".to_owned(),
        document: Value::Null,
        parameters: BTreeMap::new(),
        comment: String::new(),
        instance_ids: Vec::new(),
        targets: Vec::new(),
        timeout,
        execution_timeout: Duration::ZERO,
        max_concurrency: "50".to_owned(),
        max_errors: "0".to_owned(),
        requested: context.now,
        output_s3_bucket: String::new(),
        output_s3_prefix: String::new(),
        cloudwatch_log_group: String::new(),
        cloudwatch_enabled: false,
        cancel_requested: false,
        invocations: Vec::new(),
    }
}

/// The command of a request, with its document and its instances.
fn prepared(request: Request<'_>, state: &SsmState, context: &Context) -> Result<Command, ApiError> {
    let (document, version) = document(state, &request, context)?;
    let content = content::parse(&version.text, &version.format)
        .map_err(|error| ApiError::new("InvalidDocument", format!("{}: {error}", document.name)))?;
    parameters::check(&content, &request.parameters)
        .map_err(|error| ApiError::new("InvalidParameters", error.to_string()))?;
    let instances = chosen(state, &request.asked, context)?;
    let platforms = content::platforms(&content);
    if let Some(other) = instances.iter().find(|instance| !platforms.contains(&platform(instance))) {
        let message = format!(
            "Document {} runs on {}; {} is a {} instance.",
            document.name,
            platforms.join(", "),
            other.id,
            platform(other)
        );
        return Err(ApiError::new("UnsupportedPlatformType", message));
    }
    let invocations = instances
        .iter()
        .map(|instance| Invocation::pending(&*instance.id, instance.name.as_deref().unwrap_or_default()))
        .collect();
    Ok(Command {
        execution_timeout: content::execution_timeout(&content, &request.parameters),
        document: content,
        parameters: request.parameters,
        invocations,
        ..request.command
    })
}

fn read<'a>(body: &'a Map<String, Value>, context: &Context) -> Result<Request<'a>, ApiError> {
    let members = Members::new(body);
    let instance_ids = members.texts("InstanceIds");
    let targets = read_targets(members);
    let document_name = members.required("DocumentName");
    let document_version = members.text("DocumentVersion");
    let document_hash = members.text("DocumentHash");
    let hash_type = members.text("DocumentHashType");
    let timeout = members.number("TimeoutSeconds").unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    let comment = members.text("Comment").unwrap_or_default();
    let parameters = members.lists_by_name("Parameters");
    let bucket = members.text("OutputS3BucketName").unwrap_or_default();
    let prefix = members.text("OutputS3KeyPrefix").unwrap_or_default();
    let concurrency = members.text("MaxConcurrency").unwrap_or("50");
    let errors = members.text("MaxErrors").unwrap_or("0");
    let logs = members
        .nested("CloudWatchOutputConfig")
        .map(|logs| {
            let group = logs.text("CloudWatchLogGroupName").unwrap_or_default();
            (group.to_owned(), logs.flag("CloudWatchOutputEnabled").unwrap_or_default())
        })
        .unwrap_or_default();
    let notified = members.nested("NotificationConfig").is_some_and(|config| config.has("NotificationArn"));
    let alarms = members.has("AlarmConfiguration");
    refuse_what_is_not_here(notified, alarms, hash_type)?;
    if serde_json::to_string(&parameters).map_or(0, |text| text.len()) > content::MAX_BYTES {
        let message = format!("Parameters are larger than {} bytes.", content::MAX_BYTES);
        return Err(ApiError::new("MaxDocumentSizeExceeded", message));
    }
    let timeout = Duration::from_secs(u64::try_from(timeout).unwrap_or_default());
    let command = Command {
        document_version: document_version.unwrap_or("$DEFAULT").to_owned(),
        comment: comment.to_owned(),
        instance_ids: instance_ids.iter().map(|id| (*id).to_owned()).collect(),
        targets: body.get("Targets").and_then(Value::as_array).cloned().unwrap_or_default(),
        max_concurrency: concurrency.to_owned(),
        max_errors: errors.to_owned(),
        output_s3_bucket: bucket.to_owned(),
        output_s3_prefix: prefix.to_owned(),
        cloudwatch_log_group: logs.0,
        cloudwatch_enabled: logs.1,
        ..command(document_name, timeout, context)
    };
    let asked = Asked::new(instance_ids, targets)?;
    Ok(Request { document_name, document_version, document_hash, parameters, asked, command })
}

/// What the real service would do and this one cannot must not look as if it had been done.
fn refuse_what_is_not_here(notified: bool, alarms: bool, hash_type: Option<&str>) -> Result<(), ApiError> {
    if notified {
        let message = "This local service sends no notifications: leave NotificationConfig out.";
        return Err(ApiError::new("InvalidNotificationConfig", message));
    }
    if alarms {
        return Err(ApiError::validation(
            "This local service watches no alarms of a command: leave AlarmConfiguration out.",
        ));
    }
    match hash_type {
        Some("Sha1") => Err(ApiError::validation("Sha1 hashes are deprecated: use DocumentHashType Sha256.")),
        _ => Ok(()),
    }
}

fn document<'s>(
    state: &'s SsmState,
    request: &Request<'_>,
    context: &Context,
) -> Result<(&'s Document, &'s DocumentVersion), ApiError> {
    let name = request.document_name;
    let document = find(state, name, context).ok_or_else(|| {
        ApiError::new("InvalidDocument", format!("Document with name {name} does not exist."))
    })?;
    let version = document.version(request.document_version).ok_or_else(|| {
        let asked = request.document_version.unwrap_or_default();
        ApiError::new("InvalidDocumentVersion", format!("Document {name} has no version {asked}."))
    })?;
    if request.document_hash.is_some_and(|hash| !hash.eq_ignore_ascii_case(&version.hash())) {
        let message = format!("The hash of document {name} is not the one that DocumentHash gives.");
        return Err(ApiError::new("InvalidDocument", message));
    }
    Ok((document, version))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::{Value, json};

    fn stress(id: &str, parameters: Value) -> Value {
        json!({ "InstanceIds": [id], "DocumentName": "AWSFIS-Run-CPU-Stress", "Parameters": parameters })
    }

    #[test]
    fn a_command_is_answered_queued_and_kept() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let mut body = stress(&id, json!({ "DurationSeconds": ["20"], "LoadPercent": ["60"] }));
        body["Comment"] = json!("a comment");
        let response = fixture.ok("SendCommand", body);
        let command = &response["Command"];
        assert_eq!(command["CommandId"].as_str().unwrap().len(), 36);
        assert_eq!(command["DocumentName"], "AWSFIS-Run-CPU-Stress");
        assert_eq!(command["DocumentVersion"], "$DEFAULT");
        assert_eq!(command["Comment"], "a comment");
        assert_eq!(command["Parameters"], json!({ "DurationSeconds": ["20"], "LoadPercent": ["60"] }));
        assert_eq!(command["InstanceIds"], json!([id]));
        assert_eq!(command["Status"], "Pending");
        assert_eq!(command["TargetCount"], 1);
        assert_eq!(command["MaxConcurrency"], "50");
        assert_eq!(command["MaxErrors"], "0");
        assert_eq!(command["TimeoutSeconds"], 3600);
        // Both time-outs: 3,600 s to deliver, 3,600 s and 43,200 s for the two steps.
        let expires =
            command["ExpiresAfter"].as_f64().unwrap() - command["RequestedDateTime"].as_f64().unwrap();
        assert_eq!(expires, 3600.0 + 3600.0 + 43_200.0);
        assert_eq!(fixture.state.outgoing[&id].len(), 1);
        assert_eq!(fixture.state.commands[0].document["schemaVersion"], "2.2");
    }

    #[test]
    fn an_arn_and_a_version_lead_to_the_document() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        for (name, version) in [
            ("arn:aws:ssm:eu-west-1::document/AWS-RunShellScript", "1"),
            ("AWS-RunShellScript", "$LATEST"),
            ("AWS-RunShellScript", "$DEFAULT"),
        ] {
            let body = json!({
                "InstanceIds": [id], "DocumentName": name, "DocumentVersion": version,
                "Parameters": { "commands": ["true"] },
            });
            assert_eq!(fixture.ok("SendCommand", body)["Command"]["DocumentVersion"], version);
        }
    }

    #[test]
    fn a_refused_command_changes_nothing() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let windows = fixture.instance(&[]);
        fixture.state.instances.get_mut(&windows).unwrap().information["PlatformType"] = json!("Windows");
        let good = json!({ "DurationSeconds": ["20"] });
        let with = |name: &str, value: Value| {
            let mut body = stress(&id, good.clone());
            body[name] = value;
            body
        };
        let cases = [
            (stress(&id, json!({ "DurationSeconds": ["20"], "LoadPercent": ["101"] })), "InvalidParameters"),
            (stress(&id, json!({ "DurationSeconds": ["5m"] })), "InvalidParameters"),
            (stress(&id, json!({ "DurationSeconds": ["20"], "Unknown": ["1"] })), "InvalidParameters"),
            (stress(&id, json!({})), "InvalidParameters"),
            (stress(&id, json!({ "DurationSeconds": "20" })), "SerializationException"),
            (stress(&id, json!({ "DurationSeconds": ["1".repeat(70_000)] })), "MaxDocumentSizeExceeded"),
            (stress("mi-11111111111111111", good.clone()), "InvalidInstanceId"),
            (stress("nonsense", good.clone()), "ValidationException"),
            (stress(&windows, good.clone()), "UnsupportedPlatformType"),
            (with("InstanceIds", json!([id, id])), "DuplicateInstanceId"),
            (with("InstanceIds", json!(vec![id.as_str(); 51])), "ValidationException"),
            (with("DocumentName", json!("No-Such-Document")), "InvalidDocument"),
            (with("DocumentName", json!("a b")), "ValidationException"),
            (with("DocumentVersion", json!("7")), "InvalidDocumentVersion"),
            (with("DocumentVersion", json!("0")), "ValidationException"),
            (with("DocumentHash", json!("00")), "InvalidDocument"),
            (with("TimeoutSeconds", json!(29)), "ValidationException"),
            (with("TimeoutSeconds", json!(2_592_001)), "ValidationException"),
            (with("Comment", json!("c".repeat(101))), "ValidationException"),
            (with("MaxConcurrency", json!("0")), "ValidationException"),
            (with("MaxErrors", json!("101%")), "ValidationException"),
            (with("OutputS3BucketName", json!("b")), "ValidationException"),
            (
                with("NotificationConfig", json!({ "NotificationArn": "arn:aws:sns:x" })),
                "InvalidNotificationConfig",
            ),
            (with("AlarmConfiguration", json!({ "Alarms": [{ "Name": "a" }] })), "ValidationException"),
            (json!({ "DocumentName": "AWSFIS-Run-CPU-Stress", "Parameters": good }), "ValidationException"),
        ];
        for (body, code) in cases {
            assert_eq!(fixture.refused("SendCommand", body.clone()), code, "{body}");
        }
        assert!(fixture.state.commands.is_empty());
        assert!(fixture.state.outgoing.is_empty());
    }
}
