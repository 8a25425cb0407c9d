//! Groups, streams and events as data.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::tags::Tags;
use crate::wire::epoch_ms;

/// Log groups by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LogsState {
    #[serde(default)]
    pub(super) groups: BTreeMap<String, Group>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) created: SystemTime,
    /// Kept and told; nothing is deleted for its age.
    pub(super) retention_days: Option<i64>,
    pub(super) class: String,
    /// `deletionProtectionEnabled`: DeleteLogGroup is refused.
    #[serde(default)]
    pub(super) protected: bool,
    pub(super) tags: Tags,
    pub(super) streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stream {
    pub(super) created: SystemTime,
    /// In the order of their times.
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Event {
    /// Milliseconds since 1970, both.
    pub(super) at: u64,
    pub(super) ingested: u64,
    pub(super) message: String,
}

/// So many events are kept of a stream; the oldest go first.
const KEPT_EVENTS: usize = 100_000;

impl Group {
    pub(super) fn new(created: SystemTime) -> Group {
        let class = "STANDARD".to_owned();
        Group {
            created,
            retention_days: None,
            class,
            protected: false,
            tags: Tags::new(),
            streams: BTreeMap::new(),
        }
    }
}

impl Stream {
    pub(super) fn new(created: SystemTime) -> Stream {
        Stream { created, events: Vec::new() }
    }

    /// Adds events, in their places in time.
    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut late = false;
        for event in events {
            late |= self.events.last().is_some_and(|last| last.at > event.at);
            self.events.push(event);
        }
        if late {
            // Once for all of a request: to make room for each takes seconds where there are many. It is stable.
            self.events.sort_by_key(|event| event.at);
        }
        if self.events.len() > KEPT_EVENTS {
            // A tenth more, so that it is rarely done.
            self.events.drain(..self.events.len() - KEPT_EVENTS + KEPT_EVENTS / 10);
        }
    }
}

impl LogsState {
    /// Appends one event to a stream, which is made if it is not there. False if there is no such group.
    ///
    /// `group` is a name or an ARN (`arn:aws:logs:…:log-group:NAME` with or without `:*`).
    pub(crate) fn put(&mut self, group: &str, stream: &str, at: SystemTime, message: String) -> bool {
        let Some(group) = self.groups.get_mut(group_name(group)) else { return false };
        let stream = group.streams.entry(stream.to_owned()).or_insert_with(|| Stream::new(at));
        let at = epoch_ms(at);
        stream.extend([Event { at, ingested: at, message }]);
        true
    }

    /// Makes a group that is not there.
    pub(crate) fn ensure_group(&mut self, name: &str, now: SystemTime) {
        self.groups.entry(name.to_owned()).or_insert_with(|| Group::new(now));
    }

    /// Whether there is such a group.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    pub(super) fn group(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        self.groups.get_mut(name).ok_or_else(|| {
            ApiError::new("ResourceNotFoundException", "The specified log group does not exist.")
        })
    }
}

/// The name in a name or an ARN.
pub(super) fn group_name(identifier: &str) -> &str {
    match identifier.split_once(":log-group:") {
        Some((_, name)) => name.strip_suffix(":*").unwrap_or(name),
        None => identifier,
    }
}
