//! The client side of Systems Manager: what operators, scripts and FIS call.
//!
//! Request and response members, their limits and the error codes are those of the service's public API
//! model (version 2014-11-06), against which every request is held first; a refused one changes nothing.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::model::SSM;
use crate::tags::Tags;

mod activations;
pub(crate) mod agent;
pub mod automation;
mod cancel;
mod commands;
mod documents;
mod edit;
mod instances;
mod invocations;
pub(crate) mod page;
mod send;
pub mod state;
mod tags;
mod targets;

pub(crate) use cancel::cancel_command;
pub(crate) use send::{Order, send_order};
pub use state::SsmState;

type Answer = Result<Value, ApiError>;

/// Performs one client operation of Systems Manager; None if it is not one.
pub fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut SsmState,
    context: &Context,
) -> Option<Result<Value, ApiError>> {
    if let Err(error) = SSM.operation(operation)?.check(body) {
        return Some(Err(error));
    }
    Some(match operation {
        "AddTagsToResource" => tags::add(body, state, context),
        "CancelCommand" => cancel::cancel(body, state, context),
        "CreateActivation" => activations::create(body, state, context),
        "CreateDocument" => edit::create(body, state, context),
        "DeleteActivation" => activations::delete(body, state),
        "DeleteDocument" => edit::delete(body, state),
        "DeregisterManagedInstance" => instances::deregister(body, state),
        "DescribeActivations" => activations::describe(body, state, context),
        "DescribeAutomationExecutions" => automation::describe(body, state),
        "DescribeAutomationStepExecutions" => automation::describe_steps(body, state),
        "DescribeDocument" => documents::describe(body, state, context),
        "DescribeInstanceInformation" => instances::describe(body, state, context),
        "GetAutomationExecution" => automation::get(body, state),
        "GetCommandInvocation" => invocations::get(body, state),
        "GetDocument" => documents::get(body, state, context),
        "ListCommandInvocations" => invocations::list(body, state, context),
        "ListCommands" => commands::list(body, state, context),
        "ListDocumentVersions" => documents::versions(body, state, context),
        "ListDocuments" => documents::list(body, state),
        "ListTagsForResource" => tags::list(body, state, context),
        "RemoveTagsFromResource" => tags::remove(body, state, context),
        "SendCommand" => send::send(body, state, context),
        "StartAutomationExecution" => automation::begin(body, state, context),
        "StopAutomationExecution" => automation::end(body, state),
        "UpdateDocument" => edit::update(body, state, context),
        "UpdateDocumentDefaultVersion" => edit::set_default(body, state),
        "UpdateManagedInstanceRole" => instances::update_role(body, state),
        _ => return None,
    })
}

/// A time as JSON 1.1 has it: seconds since the epoch, with milliseconds as a fraction.
fn epoch(time: SystemTime) -> Value {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    // Exact: milliseconds of any date to come fit 53 bits.
    json!(u64::try_from(millis).unwrap_or(u64::MAX) as f64 / 1000.0)
}

/// Tags as the API lists them.
fn tag_list(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

/// A page of a listing as a response: the items under `name`, and the token if there are more.
fn listing(name: &str, items: Vec<Value>, token: Option<String>) -> Value {
    let mut response = json!({ name: items });
    if let Some(token) = token {
        response["NextToken"] = json!(token);
    }
    response
}

/// Removes members without a value: the API leaves out what it does not know.
fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, member| !member.is_null());
    }
    value
}

#[cfg(test)]
mod fixture;
