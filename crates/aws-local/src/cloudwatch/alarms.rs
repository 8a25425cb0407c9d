//! What else is done with alarms: telling, deleting, setting their state, switching their actions.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::alarm::{Alarm, Kind, StateChange};
use super::page::page;
use super::{AlarmState, Answer, CloudWatchState};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::CLOUDWATCH;
use crate::wire::epoch_seconds;

/// DescribeAlarms.
pub(super) fn describe(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let members = Members::new(body);
    let names = members.texts("AlarmNames");
    let prefix = members.text("AlarmNamePrefix");
    let types = types(members);
    let wanted = members.text("StateValue");
    let action = members.text("ActionPrefix");
    let size = members.count("MaxRecords").unwrap_or(50);
    let token = members.text("NextToken");
    if prefix.is_some() && !names.is_empty() {
        return Err(ApiError::validation("AlarmNamePrefix and AlarmNames cannot be given together"));
    }
    let relatives = relatives(members, state)?;
    let shown = |alarm: &&Alarm| match &relatives {
        Some(relatives) => relatives.contains(&alarm.name.as_str()),
        None => {
            types.contains(&alarm.settings.kind.name())
                && (names.is_empty() || names.contains(&alarm.name.as_str()))
                && prefix.is_none_or(|prefix| alarm.name.starts_with(prefix))
                && wanted.is_none_or(|wanted| alarm.state.as_str() == wanted)
                && action.is_none_or(|action| alarm.actions().any(|arn| arn.starts_with(action)))
        }
    };
    let found: Vec<&Alarm> = state.alarms.values().filter(shown).collect();
    let (found, next) = page(found, |alarm| alarm.name.clone(), size, token)?;
    let items = |kind: &str| -> Vec<Value> {
        found.iter().filter(|alarm| alarm.settings.kind.name() == kind).map(|alarm| alarm.item()).collect()
    };
    let (metric, composite) = (items("MetricAlarm"), items("CompositeAlarm"));
    Ok(json!({ "MetricAlarms": metric, "CompositeAlarms": composite, "NextToken": next }))
}

/// `AlarmTypes`: metric alarms if it is not there, even where there are others.
fn types(members: Members<'_>) -> Vec<&str> {
    let types = members.texts("AlarmTypes");
    if types.is_empty() { vec!["MetricAlarm"] } else { types }
}

/// The names of the alarms that a rule looks at (`ChildrenOfAlarmName`), or of those whose rules look at an alarm
/// (`ParentsOfAlarmName`); None if neither is asked for.
fn relatives<'a>(members: Members<'_>, state: &'a CloudWatchState) -> Result<Option<Vec<&'a str>>, ApiError> {
    let own = |name: &str| state.alarms.get(name).ok_or_else(|| not_found(name));
    let names = match (members.text("ChildrenOfAlarmName"), members.text("ParentsOfAlarmName")) {
        (None, None) => return Ok(None),
        (Some(name), None) => own(name)?.children(&state.alarms).map(|child| child.name.as_str()).collect(),
        (None, Some(name)) => parents(state, own(name)?).map(|parent| parent.name.as_str()).collect(),
        _ => {
            let message = "ChildrenOfAlarmName and ParentsOfAlarmName cannot be given together";
            return Err(ApiError::validation(message));
        }
    };
    Ok(Some(names))
}

/// The composite alarms whose rules look at an alarm.
fn parents<'a>(state: &'a CloudWatchState, child: &'a Alarm) -> impl Iterator<Item = &'a Alarm> {
    let looks = |alarm: &&Alarm| alarm.children(&state.alarms).any(|other| other.name == child.name);
    state.alarms.values().filter(looks)
}

/// DeleteAlarms. Names that are not there do not keep the others from being deleted; if none is there, the
/// answer says so.
pub(super) fn delete(body: &Map<String, Value>, state: &mut CloudWatchState) -> Answer {
    let names = names(body);
    let there: Vec<&Alarm> = names.iter().filter_map(|name| state.alarms.get(*name)).collect();
    if there.is_empty() && !names.is_empty() {
        return Err(not_found(&names.join(", ")));
    }
    if there.iter().filter(|alarm| alarm.composite().is_some()).count() > 1 {
        return Err(ApiError::validation("DeleteAlarms takes one composite alarm at a time"));
    }
    for alarm in &there {
        if parents(state, alarm).any(|parent| !names.contains(&parent.name.as_str())) {
            let message =
                format!("Cannot delete {} as there are composite alarm(s) depending on it.", alarm.name);
            return Err(ApiError::validation(message));
        }
    }
    for name in names {
        state.alarms.remove(name);
    }
    Ok(Value::Null)
}

/// EnableAlarmActions and DisableAlarmActions. Names that are not there are overlooked.
pub(super) fn switch_actions(
    body: &Map<String, Value>,
    state: &mut CloudWatchState,
    enabled: bool,
) -> Answer {
    for name in names(body) {
        if let Some(alarm) = state.alarms.get_mut(name) {
            alarm.settings.actions_enabled = enabled;
        }
    }
    Ok(Value::Null)
}

fn names(body: &Map<String, Value>) -> Vec<&str> {
    Members::new(body).texts("AlarmNames")
}

/// SetAlarmState.
pub(super) fn set_state(body: &Map<String, Value>, state: &mut CloudWatchState, context: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("AlarmName");
    let value = members.required("StateValue");
    let reason = members.required("StateReason");
    let data = members.text("StateReasonData");
    if data.is_some_and(|data| serde_json::from_str::<Value>(data).is_err()) {
        return Err(ApiError::new("InvalidFormatFault", "StateReasonData is not JSON"));
    }
    let alarm = state.alarms.get_mut(name).ok_or_else(|| not_found(name))?;
    let value = AlarmState::parse(value).ok_or_else(|| ApiError::validation("StateValue is not known"))?;
    alarm.set_state(value, reason, data, context);
    Ok(Value::Null)
}

fn not_found(name: &str) -> ApiError {
    CLOUDWATCH.refuse("ResourceNotFound", format!("there is no alarm {name}"))
}

/// ListTagsForResource.
pub(super) fn tags(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let members = Members::new(body);
    let arn = members.required("ResourceARN");
    let alarm =
        state.alarms.values().find(|alarm| alarm.arn == arn).ok_or_else(|| {
            CLOUDWATCH.refuse("ResourceNotFoundException", format!("there is no alarm {arn}"))
        })?;
    let pairs: Vec<Value> =
        alarm.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": pairs }))
}

/// One entry of an alarm's history, before it is told.
struct Event<'a> {
    at: SystemTime,
    alarm: &'a Alarm,
    what: What<'a>,
    /// Its place among the events of its kind and alarm: tells two of the same moment apart.
    number: usize,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Configured { first: bool },
    Changed(&'a StateChange),
}

/// DescribeAlarmHistory.
pub(super) fn history(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let members = Members::new(body);
    let name = members.text("AlarmName");
    let types = types(members);
    let kind = members.text("HistoryItemType");
    let start = members.time("StartDate");
    let end = members.time("EndDate");
    let order = members.text("ScanBy");
    let size = members.count("MaxRecords").unwrap_or(100);
    let token = members.text("NextToken");
    let shown = |alarm: &&Alarm| {
        types.contains(&alarm.settings.kind.name()) && name.is_none_or(|name| alarm.name == name)
    };
    let alarms = state.alarms.values().filter(shown);
    let mut events: Vec<Event<'_>> = alarms
        .flat_map(events)
        .filter(|event| kind.is_none_or(|kind| event.kind() == kind))
        .filter(|event| start.is_none_or(|start| event.at >= start) && end.is_none_or(|end| event.at <= end))
        .collect();
    events.sort_by_key(|event| event.at);
    if order != Some("TimestampAscending") {
        events.reverse();
    }
    let key = |event: &Event<'_>| format!("{}/{}/{}", event.alarm.name, event.kind(), event.number);
    let (events, next) = page(events, key, size, token)?;
    let items: Vec<Value> = events.iter().map(Event::item).collect();
    Ok(json!({ "AlarmHistoryItems": items, "NextToken": next }))
}

fn events(alarm: &Alarm) -> impl Iterator<Item = Event<'_>> {
    let configured = alarm.configurations.iter().enumerate().map(move |(number, at)| Event {
        at: *at,
        alarm,
        what: What::Configured { first: number == 0 },
        number,
    });
    let changed = alarm.history.iter().enumerate().map(move |(number, change)| Event {
        at: change.at,
        alarm,
        what: What::Changed(change),
        number,
    });
    configured.chain(changed)
}

impl Event<'_> {
    fn kind(&self) -> &'static str {
        match self.what {
            What::Configured { .. } => "ConfigurationUpdate",
            What::Changed(_) => "StateUpdate",
        }
    }

    fn item(&self) -> Value {
        let (summary, data) = match self.what {
            What::Configured { first } => {
                let (verb, kind) = if first { ("created", "Create") } else { ("updated", "Update") };
                let data = json!({ "version": "1.0", "type": kind });
                (format!("Alarm \"{}\" {verb}", self.alarm.name), data)
            }
            What::Changed(change) => {
                let (from, to) = (change.from.as_str(), change.to.as_str());
                let data = json!({
                    "version": "1.0",
                    "oldState": { "stateValue": from },
                    "newState": { "stateValue": to, "stateReason": change.reason },
                });
                (format!("Alarm updated from {from} to {to}"), data)
            }
        };
        // Names of 255 characters make summaries that are too long for the model.
        let summary: String = summary.chars().take(255).collect();
        json!({
            "AlarmName": self.alarm.name,
            "AlarmType": self.alarm.settings.kind.name(),
            "Timestamp": epoch_seconds(self.at),
            "HistoryItemType": self.kind(),
            "HistorySummary": summary,
            "HistoryData": data.to_string(),
        })
    }
}

impl Alarm {
    fn actions(&self) -> impl Iterator<Item = &String> {
        let settings = &self.settings;
        settings.ok_actions.iter().chain(&settings.alarm_actions).chain(&settings.insufficient_data_actions)
    }

    /// Its entry in DescribeAlarms.
    fn item(&self) -> Value {
        let settings = &self.settings;
        let mut item = json!({
            "AlarmName": self.name,
            "AlarmArn": self.arn,
            "AlarmDescription": settings.description,
            "AlarmConfigurationUpdatedTimestamp": epoch_seconds(self.configured),
            "ActionsEnabled": settings.actions_enabled,
            "OKActions": settings.ok_actions,
            "AlarmActions": settings.alarm_actions,
            "InsufficientDataActions": settings.insufficient_data_actions,
            "StateValue": self.state.as_str(),
            "StateReason": self.reason,
            "StateReasonData": self.reason_data,
            "StateUpdatedTimestamp": epoch_seconds(self.updated),
            "StateTransitionedTimestamp": epoch_seconds(self.transitioned),
        });
        let of_kind = match &settings.kind {
            Kind::Metric(threshold) => threshold.members(),
            Kind::Composite(composite) => composite.members(),
        };
        if let (Some(members), Value::Object(of_kind)) = (item.as_object_mut(), of_kind) {
            members.extend(of_kind);
            members.retain(|_, member| !member.is_null());
        }
        item
    }
}
