//! CloudWatch Logs, as far as experiments log: groups, streams, events. Members, limits and error codes are those
//! of the service's API model (version 2014-03-28).

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Context;
use super::error::ApiError;
use super::members::Members;
use super::model::{LOGS, check};
use super::ssm::page;
use super::store::{State, Tags};
use super::wire::epoch_ms;

mod events;
mod groups;
mod pattern;
mod put;
mod streams;
#[cfg(test)]
mod tests;

type Answer = Result<Value, ApiError>;

/// Log groups by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LogsState {
    #[serde(default)]
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    created: SystemTime,
    /// Kept and told; nothing is deleted for its age.
    retention_days: Option<i64>,
    class: String,
    tags: Tags,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stream {
    created: SystemTime,
    /// In the order of their times.
    events: Vec<Event>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Event {
    /// Milliseconds since 1970, both.
    at: u64,
    ingested: u64,
    message: String,
}

/// So many events are kept of a stream; the oldest go first.
const KEPT_EVENTS: usize = 100_000;

impl Stream {
    fn new(created: SystemTime) -> Stream {
        Stream { created, events: Vec::new() }
    }

    fn push(&mut self, event: Event) {
        let place = self.events.partition_point(|earlier| earlier.at <= event.at);
        self.events.insert(place, event);
        let excess = self.events.len().saturating_sub(KEPT_EVENTS);
        self.events.drain(..excess);
    }
}

impl LogsState {
    /// Appends one event to a stream, which is made if it is not there. False if there is no such group.
    ///
    /// `group` is a name or an ARN (`arn:aws:logs:…:log-group:NAME` with or without `:*`).
    pub fn put(&mut self, group: &str, stream: &str, at: SystemTime, message: String) -> bool {
        let Some(group) = self.groups.get_mut(group_name(group)) else { return false };
        let stream = group.streams.entry(stream.to_owned()).or_insert_with(|| Stream::new(at));
        let at = epoch_ms(at);
        stream.push(Event { at, ingested: at, message });
        true
    }

    fn group(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        self.groups.get_mut(name).ok_or_else(|| {
            ApiError::new("ResourceNotFoundException", "The specified log group does not exist.")
        })
    }
}

/// The name in a name or an ARN.
fn group_name(identifier: &str) -> &str {
    match identifier.split_once(":log-group:") {
        Some((_, name)) => name.strip_suffix(":*").unwrap_or(name),
        None => identifier,
    }
}

type Operation = fn(&Map<String, Value>, &mut LogsState, &Context) -> Answer;

/// Performs one client operation; None if it is not one.
pub fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut State,
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
        "PutRetentionPolicy" => groups::put_retention,
        _ => return None,
    };
    let broken = LOGS.operation(operation)?.violations(body);
    let answer = refusal(&broken).map_or_else(|| perform(body, &mut state.logs, context), Err);
    Some(answer.map_err(in_logs_words))
}

/// Tags that are no texts break the model here as everything else does; other wrong types cannot be read at all.
fn refusal(broken: &[check::Violation]) -> Option<ApiError> {
    let tags = broken.iter().find(|violation| violation.place == "tags");
    tags.cloned().map(ApiError::from).or_else(|| check::refusal(broken))
}

/// This service has a name of its own for requests that break its model.
fn in_logs_words(error: ApiError) -> ApiError {
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
