//! CancelCommand.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Answer;
use super::targets::no_duplicates;
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::SsmState;

/// CancelCommand: of a whole command, or on some of its instances. What has finished stays as it is.
pub(super) fn cancel(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let id = members.required("CommandId");
    let ids = members.texts("InstanceIds");
    no_duplicates(&ids)?;
    let id = command_id(id)?;
    let command = state.commands.iter().find(|command| command.id == id).ok_or_else(|| unknown(id))?;
    let foreign = |wanted: &&&str| !command.invocations.iter().any(|known| known.instance_id == **wanted);
    if let Some(foreign) = ids.iter().find(foreign) {
        let message = format!("Command {id} was not sent to instance {foreign}.");
        return Err(ApiError::new("InvalidInstanceId", message));
    }
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    state.cancel(id, &ids, context.now);
    Ok(json!({}))
}

/// Cancels a command on all its instances on behalf of another service.
///
/// # Errors
/// `InvalidCommandId`.
pub(crate) fn cancel_command(id: &str, state: &mut SsmState, now: SystemTime) -> Result<(), ApiError> {
    let id = command_id(id)?;
    if !state.commands.iter().any(|command| command.id == id) {
        return Err(unknown(id));
    }
    state.cancel(id, &[], now);
    Ok(())
}

/// A command's id as a number; a text that is none cannot name a command.
pub(super) fn command_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text)
        .map_err(|_| ApiError::new("InvalidCommandId", format!("{text} is not the id of a command.")))
}

/// The error for an id that no command has.
pub(super) fn unknown(id: Uuid) -> ApiError {
    ApiError::new("InvalidCommandId", format!("There is no command {id}."))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn an_undelivered_command_is_cancelled_at_once() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let command = fixture.ok("SendCommand", json!({
            "InstanceIds": [id], "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
        }))["Command"]["CommandId"].clone();
        fixture.ok("CancelCommand", json!({ "CommandId": command, "InstanceIds": [id] }));
        let listed = fixture.ok("ListCommands", json!({ "CommandId": command }));
        assert_eq!(listed["Commands"][0]["Status"], "Cancelled");
        assert_eq!(listed["Commands"][0]["CompletedCount"], 1);
        assert!(fixture.state.outgoing[&id].is_empty());
        // A second cancel of a finished command is no error.
        fixture.ok("CancelCommand", json!({ "CommandId": command }));
    }

    #[test]
    fn unknown_and_foreign_ones_are_refused() {
        let mut fixture = Fixture::new();
        let one = fixture.instance(&[]);
        let other = fixture.instance(&[]);
        let command = fixture.ok("SendCommand", json!({
            "InstanceIds": [one], "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
        }))["Command"]["CommandId"].clone();
        for (body, code) in [
            (json!({ "CommandId": "11111111-1111-4111-8111-111111111111" }), "InvalidCommandId"),
            (json!({ "CommandId": "x".repeat(36) }), "InvalidCommandId"),
            (json!({ "CommandId": "short" }), "ValidationException"),
            (json!({ "CommandId": command, "InstanceIds": [other] }), "InvalidInstanceId"),
            (json!({ "CommandId": command, "InstanceIds": [one, one] }), "DuplicateInstanceId"),
            (json!({}), "ValidationException"),
        ] {
            assert_eq!(fixture.refused("CancelCommand", body.clone()), code, "{body}");
        }
        assert_eq!(fixture.ok("ListCommands", json!({}))["Commands"][0]["Status"], "Pending");
    }
}
