//! CloudWatch Logs, as far as experiments log: groups, streams, events. Members, limits and error codes are those
//! of the service's API model (version 2014-03-28).

use serde_json::{Map, Value};

use super::Context;
use super::error::ApiError;
use super::members::Members;
use super::model::{LOGS, check};
use super::ssm::page;

mod events;
mod groups;
pub(crate) mod pattern;
mod put;
mod state;
mod streams;
#[cfg(test)]
mod tests;

pub(crate) use state::LogsState;
use state::group_name;

type Answer = Result<Value, ApiError>;

type Operation = fn(&Map<String, Value>, &mut LogsState, &Context) -> Answer;

/// Performs one client operation; None if it is not one.
pub(crate) fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut LogsState,
    context: &Context,
) -> Option<Result<Value, ApiError>> {
    let perform: Operation = match operation {
        "CreateLogGroup" => groups::create,
        "CreateLogStream" => streams::create,
        "DeleteLogGroup" => groups::delete,
        "DeleteLogStream" => streams::delete,
        "DeleteRetentionPolicy" => groups::delete_retention,
        "DescribeLogGroups" => groups::describe,
        "DescribeLogStreams" => streams::describe,
        "FilterLogEvents" => events::filter,
        "GetLogEvents" => events::get,
        "PutLogEvents" => put::put,
        "PutLogGroupDeletionProtection" => groups::put_protection,
        "PutRetentionPolicy" => groups::put_retention,
        _ => return None,
    };
    let broken = LOGS.operation(operation)?.violations(body);
    if let Some(error) = refusal(&broken) {
        return Some(Err(as_logs_error(error)));
    }
    let answer = perform(body, state, context);
    // Of these operations this one alone knows a ValidationException.
    Some(if operation == "DeleteLogGroup" { answer } else { answer.map_err(as_logs_error) })
}

/// Tags that are no texts break the model here as everything else does; other wrong types cannot be read at all.
fn refusal(broken: &[check::Violation]) -> Option<ApiError> {
    let tags = broken.iter().find(|violation| violation.place == "tags");
    tags.cloned().map(ApiError::from).or_else(|| check::refusal(broken))
}

/// This service has a name of its own for requests that break its model.
fn as_logs_error(error: ApiError) -> ApiError {
    match error.code {
        "ValidationException" | "InvalidNextToken" => invalid(error.message),
        _ => error,
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// The group of a request, by `logGroupName` or `logGroupIdentifier`.
fn group_of(members: Members<'_>) -> Result<&str, ApiError> {
    match (members.text("logGroupName"), members.text("logGroupIdentifier")) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => Ok(group_name(identifier)),
        _ => {
            let rule = "Exactly one of logGroupName and logGroupIdentifier must be given";
            Err(check::Violation::other("logGroupName", "null", rule).into())
        }
    }
}

/// The ARN of a group, without the `:*` that means its streams.
fn group_arn(name: &str, context: &Context) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", context.region, context.account)
}

/// A page of a listing: the items under `name`, and the token if there are more.
fn listing<T>(
    name: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    item: impl Fn(&T) -> Value,
    (size, token): (usize, Option<&str>),
) -> Answer {
    let (shown, next) = page::page(items, key, size, token)?;
    let mut answer = Map::new();
    answer.insert(name.to_owned(), shown.iter().map(item).collect());
    if let Some(next) = next {
        answer.insert("nextToken".to_owned(), Value::from(next));
    }
    Ok(Value::Object(answer))
}
