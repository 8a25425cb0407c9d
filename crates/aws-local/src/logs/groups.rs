//! Log groups.

use serde_json::{Map, Value, json};

use super::state::{Group, group_name};
use super::{Answer, LogsState, group_arn, invalid, listing};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::wire::epoch_ms;

/// The days that PutRetentionPolicy takes.
const RETENTIONS: &[i64] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

/// CreateLogGroup.
pub(super) fn create(body: &Map<String, Value>, state: &mut LogsState, context: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("logGroupName");
    let class = members.text("logGroupClass").unwrap_or("STANDARD");
    if state.groups.contains_key(name) {
        let message = "The specified log group already exists";
        return Err(ApiError::new("ResourceAlreadyExistsException", message));
    }
    let group = Group {
        class: class.to_owned(),
        protected: members.flag("deletionProtectionEnabled").unwrap_or(false),
        tags: members.texts_by_name("tags"),
        ..Group::new(context.now)
    };
    state.groups.insert(name.to_owned(), group);
    Ok(json!({}))
}

/// DeleteLogGroup, with all its streams.
pub(super) fn delete(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    let name = name(body);
    if state.group(name)?.protected {
        let message = format!(
            "The log group {name} has deletion protection; turn it off first (put-log-group-deletion-protection)"
        );
        return Err(ApiError::new("ValidationException", message));
    }
    state.groups.remove(name);
    Ok(json!({}))
}

/// PutLogGroupDeletionProtection.
pub(super) fn put_protection(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    let members = Members::new(body);
    let group = state.group(group_name(members.required("logGroupIdentifier")))?;
    group.protected = members.flag("deletionProtectionEnabled").unwrap_or(false);
    Ok(json!({}))
}

fn name(body: &Map<String, Value>) -> &str {
    Members::new(body).required("logGroupName")
}

/// PutRetentionPolicy.
pub(super) fn put_retention(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("logGroupName");
    let days = members.number("retentionInDays").unwrap_or_default();
    if !RETENTIONS.contains(&days) {
        let known: Vec<String> = RETENTIONS.iter().map(i64::to_string).collect();
        return Err(invalid(format!("retentionInDays is {days}: it must be one of {}", known.join(", "))));
    }
    state.group(name)?.retention_days = Some(days);
    Ok(json!({}))
}

/// DeleteRetentionPolicy.
pub(super) fn delete_retention(body: &Map<String, Value>, state: &mut LogsState, _: &Context) -> Answer {
    state.group(name(body))?.retention_days = None;
    Ok(json!({}))
}

/// DescribeLogGroups.
pub(super) fn describe(body: &Map<String, Value>, state: &mut LogsState, context: &Context) -> Answer {
    let members = Members::new(body);
    let prefix = members.text("logGroupNamePrefix");
    let part = members.text("logGroupNamePattern");
    let class = members.text("logGroupClass");
    let identifiers = members.texts("logGroupIdentifiers");
    let size = members.count("limit").unwrap_or(50);
    let token = members.text("nextToken");
    if prefix.is_some() && part.is_some() {
        return Err(invalid("logGroupNamePrefix and logGroupNamePattern cannot be given together"));
    }
    let part = part.map(str::to_lowercase);
    let wanted: Vec<&str> = identifiers.into_iter().map(group_name).collect();
    let shown = |(name, group): &(&String, &Group)| {
        prefix.is_none_or(|prefix| name.starts_with(prefix))
            && part.as_ref().is_none_or(|part| name.to_lowercase().contains(part))
            && class.is_none_or(|class| group.class == class)
            && (wanted.is_empty() || wanted.contains(&name.as_str()))
    };
    let groups: Vec<(&String, &Group)> = state.groups.iter().filter(shown).collect();
    let item = |(name, group): &(&String, &Group)| item(name, group, context);
    listing("logGroups", groups, |(name, _)| (*name).clone(), item, (size, token))
}

fn item(name: &str, group: &Group, context: &Context) -> Value {
    let arn = group_arn(name, context);
    let bytes: usize =
        group.streams.values().flat_map(|stream| &stream.events).map(|event| event.message.len()).sum();
    let mut item = json!({
        "logGroupName": name,
        "creationTime": epoch_ms(group.created),
        "metricFilterCount": 0,
        "arn": format!("{arn}:*"),
        "logGroupArn": arn,
        "storedBytes": bytes,
        "logGroupClass": group.class,
        "deletionProtectionEnabled": group.protected,
    });
    if let Some(days) = group.retention_days {
        item["retentionInDays"] = json!(days);
    }
    item
}
