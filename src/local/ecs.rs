//! Elastic Container Service, as far as experiments need it: clusters, task definitions, services and tasks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::store::State;

/// The tag by which FIS finds the managed instance of a task.
pub const TASK_ARN_TAG: &str = "ECS_TASK_ARN";

/// Clusters, services and tasks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EcsState {}

/// Every task, as DescribeTasks shows it (members in camel case): those that were started here, and those
/// whose sidecar has registered from elsewhere.
pub fn tasks(state: &State, _context: &Context) -> Vec<Value> {
    let arns = state.instances.values().filter_map(|instance| instance.tags.get(TASK_ARN_TAG));
    arns.map(|arn| json!({ "taskArn": arn, "lastStatus": "RUNNING", "desiredStatus": "RUNNING" })).collect()
}

/// Asks a task to stop, as StopTask does.
///
/// # Errors
/// There is no such task, or none that can be stopped from here.
pub fn stop_task(
    _state: &mut State,
    arn: &str,
    _reason: &str,
    _context: &Context,
) -> Result<Value, ApiError> {
    Err(ApiError::new(
        "InvalidParameterException",
        format!("there is no task {arn} here that can be stopped"),
    ))
}

/// Performs one client operation; None if it is not one.
pub fn call(
    _operation: &str,
    _body: &Map<String, Value>,
    _state: &mut State,
    _context: &Context,
) -> Option<Result<Value, ApiError>> {
    None
}
