//! GetLogEvents and FilterLogEvents.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::pattern::Pattern;
use super::state::Event;
use super::{Answer, LogsState, group_of, invalid, streams};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;

/// The most bytes of an answer's messages.
const MOST_BYTES: usize = 1_048_576;

/// The member `limit`; all there may be if it is not there.
fn limit(members: Members<'_>) -> usize {
    members.count("limit").unwrap_or(10_000)
}

/// The members `startTime` and `endTime`: from, and before.
fn span(members: Members<'_>) -> (u64, u64) {
    let start = members.number("startTime").map_or(0, i64::unsigned_abs);
    let end = members.number("endTime").map_or(u64::MAX, i64::unsigned_abs);
    (start, end)
}

/// A token of GetLogEvents: a direction, and a place between two events.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Forward(usize),
    Backward(usize),
}

impl Token {
    fn parse(text: &str) -> Result<Token, ApiError> {
        let token = text.split_once('/').and_then(|(direction, place)| {
            let place = place.parse().ok()?;
            match direction {
                "f" => Some(Token::Forward(place)),
                "b" => Some(Token::Backward(place)),
                _ => None,
            }
        });
        token.ok_or_else(|| invalid("The specified nextToken is invalid."))
    }

    fn text(self) -> String {
        match self {
            Token::Forward(place) => format!("f/{place:056}"),
            Token::Backward(place) => format!("b/{place:056}"),
        }
    }
}

/// GetLogEvents. At either end of the stream the answer is empty and has the token that was sent.
pub(super) fn get(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    let members = Members::new(body);
    let group = group_of(members)?;
    let stream = members.required("logStreamName");
    let (start, end) = span(members);
    let limit = limit(members);
    let from_head = members.flag("startFromHead").unwrap_or(false);
    let token = members.text("nextToken").map(Token::parse).transpose()?;
    let stream = state.group(group)?.streams.get(stream).ok_or_else(streams::no_stream)?;
    let events: Vec<&Event> =
        stream.events.iter().filter(|event| event.at >= start && event.at < end).collect();
    let token = token.unwrap_or(if from_head { Token::Forward(0) } else { Token::Backward(events.len()) });
    let shown = match token {
        Token::Forward(place) => {
            let place = place.min(events.len());
            place..place + fitting(events[place..].iter(), limit)
        }
        Token::Backward(place) => {
            let place = place.min(events.len());
            place - fitting(events[..place].iter().rev(), limit)..place
        }
    };
    let items: Vec<Value> = events[shown.clone()]
        .iter()
        .map(|event| json!({ "timestamp": event.at, "message": event.message, "ingestionTime": event.ingested }))
        .collect();
    Ok(json!({
        "events": items,
        "nextForwardToken": Token::Forward(shown.end).text(),
        "nextBackwardToken": Token::Backward(shown.start).text(),
    }))
}

/// How many of these events one answer holds; one always fits.
fn fitting<'a>(events: impl Iterator<Item = &'a &'a Event>, limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |(index, event): &(usize, &&Event)| {
        bytes += event.message.len();
        *index == 0 || bytes <= MOST_BYTES
    };
    events.enumerate().take(limit).take_while(fits).count()
}

/// FilterLogEvents: the events of all streams of a group, or of some, in the order of their times.
pub(super) fn filter(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    let members = Members::new(body);
    let group = group_of(members)?;
    let names = members.texts("logStreamNames");
    let prefix = members.text("logStreamNamePrefix");
    let (start, end) = span(members);
    let pattern = members.text("filterPattern").unwrap_or_default();
    let limit = limit(members);
    let token = members.text("nextToken");
    if prefix.is_some() && !names.is_empty() {
        return Err(invalid("logStreamNames and logStreamNamePrefix cannot be given together"));
    }
    let pattern = Pattern::parse(pattern)?;
    let group = state.group(group)?;
    if let Some(missing) = names.iter().find(|name| !group.streams.contains_key(**name)) {
        let message = format!("The specified log stream does not exist: {missing}");
        return Err(ApiError::new("ResourceNotFoundException", message));
    }
    let wanted = |name: &str| {
        prefix.is_none_or(|prefix| name.starts_with(prefix)) && (names.is_empty() || names.contains(&name))
    };
    let mut found: Vec<(&String, usize, &Event)> = group
        .streams
        .iter()
        .filter(|(name, _)| wanted(name))
        .flat_map(|(name, stream)| {
            stream.events.iter().enumerate().map(move |(place, event)| (name, place, event))
        })
        .filter(|(_, _, event)| event.at >= start && event.at < end && pattern.matches(&event.message))
        .collect();
    found.sort_by_key(|(_, _, event)| event.at);
    let first = token
        .map_or(Ok(0), |token| place(token).ok_or_else(|| invalid("The specified nextToken is invalid.")))?;
    let first = first.min(found.len());
    let shown: Vec<&Event> = found[first..].iter().map(|(_, _, event)| *event).collect();
    let last = first + fitting(shown.iter(), limit);
    let items: Vec<Value> = found[first..last]
        .iter()
        .map(|(name, place, event)| {
            json!({
                "logStreamName": name, "timestamp": event.at, "message": event.message,
                "ingestionTime": event.ingested, "eventId": event_id(name, *place, event),
            })
        })
        .collect();
    let mut answer = json!({ "events": items, "searchedLogStreams": [] });
    if last < found.len() {
        answer["nextToken"] = json!(URL_SAFE_NO_PAD.encode(last.to_string()));
    }
    Ok(answer)
}

fn place(token: &str) -> Option<usize> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?.parse().ok()
}

/// An id that stays the same from call to call.
fn event_id(stream: &str, place: usize, event: &Event) -> String {
    let text = format!("{stream}\0{place}\0{}\0{}", event.at, event.message);
    crate::wire::sha256_hex(text.as_bytes())
}
