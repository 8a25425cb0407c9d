//! The actions and resource types that there are: listed and described.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::catalog::{self, ACTIONS, Kind, RESOURCE_TYPES};
use super::state::FisState;
use super::{arn, listing, not_found};
use crate::Context;
use crate::error::ApiError;

type Answer = Result<Value, ApiError>;

/// ListActions.
pub(super) fn list(call: &Call, _state: &mut FisState, context: &Context) -> Answer {
    let members = call.members();
    let page = listing::asked(members);
    let items = ACTIONS.iter().map(|kind| summary(kind, context)).collect();
    listing::answer("actions", items, |item| item["id"].to_string(), page)
}

/// GetAction.
pub(super) fn get(call: &Call, _state: &mut FisState, context: &Context) -> Answer {
    let kind = catalog::action(call.id()).ok_or_else(|| {
        not_found(format!("There is no action {} here; list-actions shows those there are.", call.id()))
    })?;
    let mut action = summary(kind, context);
    let parameters: Map<String, Value> = kind
        .parameters
        .iter()
        .map(|parameter| {
            let about = json!({ "description": parameter.description, "required": parameter.required });
            (parameter.name.to_owned(), about)
        })
        .collect();
    action["parameters"] = Value::Object(parameters);
    Ok(json!({ "action": action }))
}

fn summary(kind: &Kind, context: &Context) -> Value {
    let targets: Map<String, Value> = kind
        .slot
        .iter()
        .map(|slot| (slot.name.to_owned(), json!({ "resourceType": slot.resource_type })))
        .collect();
    json!({
        "id": kind.id,
        "arn": arn::of("action", kind.id, context),
        "description": kind.description,
        "targets": targets,
        "tags": {},
    })
}

/// ListTargetResourceTypes.
pub(super) fn list_types(call: &Call, _state: &mut FisState, _context: &Context) -> Answer {
    let members = call.members();
    let page = listing::asked(members);
    let about =
        |kind: &catalog::ResourceType| json!({ "resourceType": kind.id, "description": kind.description });
    let items = RESOURCE_TYPES.iter().map(about).collect();
    listing::answer("targetResourceTypes", items, |item| item["resourceType"].to_string(), page)
}

/// GetTargetResourceType.
pub(super) fn get_type(call: &Call, _state: &mut FisState, _context: &Context) -> Answer {
    let id = call.members().required("resourceType");
    let kind = catalog::resource_type(id).ok_or_else(|| {
        let hint = "list-target-resource-types shows those there are";
        not_found(format!("There is no target resource type {id} here; {hint}."))
    })?;
    let about =
        |(name, text): &(&str, &str)| ((*name).to_owned(), json!({ "description": text, "required": false }));
    let parameters: Map<String, Value> = kind.parameters.iter().map(about).collect();
    let shown = json!({ "resourceType": kind.id, "description": kind.description, "parameters": parameters });
    Ok(json!({ "targetResourceType": shown }))
}
