//! PutLogEvents.

use serde_json::{Map, Value, json};

use super::state::Event;
use super::{Answer, LogsState, invalid, streams};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::wire::epoch_ms;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What one request may hold beside what the model says: bytes with 26 more for each event, and a day between
/// first and last.
const MOST_BYTES: usize = 1_048_576;
const EVENT_BYTES: usize = 26;

/// PutLogEvents. Sequence tokens are not looked at any more, by the service neither.
pub(super) fn put(body: &Map<String, Value>, state: &mut LogsState, context: &Context) -> Answer {
    let members = Members::new(body);
    let group = members.required("logGroupName");
    let stream = members.required("logStreamName");
    let at = |event: Members<'_>| event.number("timestamp").unwrap_or_default().unsigned_abs();
    let events: Vec<(u64, &str)> =
        members.each("logEvents").map(|event| (at(event), event.required("message"))).collect();
    check(&events)?;
    let group = state.group(group)?;
    let days = group.retention_days.map_or(u64::MAX, i64::unsigned_abs);
    let stream = group.streams.get_mut(stream).ok_or_else(streams::no_stream)?;
    let now = epoch_ms(context.now);
    let (rejected, taken) = sort_out(&events, now, days);
    let taken = events[taken].iter();
    stream.extend(taken.map(|(at, message)| Event {
        at: *at,
        ingested: now,
        message: (*message).to_owned(),
    }));
    let mut answer = json!({ "nextSequenceToken": format!("{:056}", stream.events.len()) });
    if let Some(rejected) = rejected {
        answer["rejectedLogEventsInfo"] = rejected;
    }
    Ok(answer)
}

fn check(events: &[(u64, &str)]) -> Result<(), ApiError> {
    let bytes: usize = events.iter().map(|(_, message)| message.len() + EVENT_BYTES).sum();
    if bytes > MOST_BYTES {
        return Err(invalid(format!("Upload too large: {bytes} bytes exceeds limit of {MOST_BYTES}")));
    }
    if !events.is_sorted_by_key(|(at, _)| *at) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let span = events.last().map_or(0, |(at, _)| *at) - events.first().map_or(0, |(at, _)| *at);
    if span > DAY_MS {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    Ok(())
}

/// Which events are taken. The others are too new (over two hours ahead), too old (over two weeks) or past the
/// group's retention, and are told by their places.
fn sort_out(
    events: &[(u64, &str)],
    now: u64,
    retention_days: u64,
) -> (Option<Value>, std::ops::Range<usize>) {
    let before = |limit: u64| events.partition_point(|(at, _)| *at < limit);
    let too_old = before(now.saturating_sub(14 * DAY_MS));
    let expired = before(now.saturating_sub(retention_days.saturating_mul(DAY_MS)));
    let too_new = events.partition_point(|(at, _)| *at <= now + 2 * HOUR_MS);
    let mut rejected = Map::new();
    if too_new < events.len() {
        rejected.insert("tooNewLogEventStartIndex".to_owned(), json!(too_new));
    }
    if too_old > 0 {
        rejected.insert("tooOldLogEventEndIndex".to_owned(), json!(too_old));
    }
    if expired > too_old {
        rejected.insert("expiredLogEventEndIndex".to_owned(), json!(expired));
    }
    let first = too_old.max(expired);
    ((!rejected.is_empty()).then_some(Value::Object(rejected)), first..too_new.max(first))
}
