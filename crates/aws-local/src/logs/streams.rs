//! Log streams.

use serde_json::{Map, Value, json};

use super::state::Stream;
use super::{Answer, LogsState, group_arn, group_of, invalid, listing};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::wire::epoch_ms;

/// CreateLogStream.
pub(super) fn create(body: &Map<String, Value>, state: &mut LogsState, context: &Context) -> Answer {
    let (group, stream) = names(body);
    let group = state.group(group)?;
    if group.streams.contains_key(stream) {
        let message = "The specified log stream already exists";
        return Err(ApiError::new("ResourceAlreadyExistsException", message));
    }
    group.streams.insert(stream.to_owned(), Stream::new(context.now));
    Ok(json!({}))
}

/// DeleteLogStream, with its events.
pub(super) fn delete(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    let (group, stream) = names(body);
    match state.group(group)?.streams.remove(stream) {
        Some(_) => Ok(json!({})),
        None => Err(no_stream()),
    }
}

fn names(body: &Map<String, Value>) -> (&str, &str) {
    let members = Members::new(body);
    (members.required("logGroupName"), members.required("logStreamName"))
}

pub(super) fn no_stream() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log stream does not exist.")
}

/// DescribeLogStreams.
pub(super) fn describe(body: &Map<String, Value>, state: &mut LogsState, context: &Context) -> Answer {
    let members = Members::new(body);
    let group = group_of(members)?;
    let prefix = members.text("logStreamNamePrefix");
    let order = members.text("orderBy");
    let descending = members.flag("descending").unwrap_or(false);
    let size = members.count("limit").unwrap_or(50);
    let token = members.text("nextToken");
    let by_time = order == Some("LastEventTime");
    if by_time && prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let arn = group_arn(group, context);
    let group = state.group(group)?;
    let named = group.streams.iter().filter(|(name, _)| prefix.is_none_or(|prefix| name.starts_with(prefix)));
    let mut streams: Vec<(&String, &Stream)> = named.collect();
    if by_time {
        streams.sort_by_key(|(_, stream)| stream.events.last().map(|event| event.at));
    }
    if descending {
        streams.reverse();
    }
    let item = |(name, stream): &(&String, &Stream)| item(name, stream, &arn);
    listing("logStreams", streams, |(name, _)| (*name).clone(), item, (size, token))
}

fn item(name: &str, stream: &Stream, group_arn: &str) -> Value {
    let mut item = json!({
        "logStreamName": name,
        "creationTime": epoch_ms(stream.created),
        "arn": format!("{group_arn}:log-stream:{name}"),
        // The service has said zero since June 2019.
        "storedBytes": 0,
    });
    if let (Some(first), Some(last)) = (stream.events.first(), stream.events.last()) {
        item["firstEventTimestamp"] = json!(first.at);
        item["lastEventTimestamp"] = json!(last.at);
        item["lastIngestionTime"] = json!(stream.events.iter().map(|event| event.ingested).max());
    }
    item
}
