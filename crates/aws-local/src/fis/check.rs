//! What a template means, checked as a whole: every name leads somewhere, every parameter is one of its action
//! and in range, nothing waits for itself. Each refusal says which part it is about and what to do.

use std::collections::BTreeSet;
use std::time::Duration;

use super::catalog::{self, ACTIONS, Accepts, Kind, Parameter};
use super::definition::{ALARM, Action, Definition, NO_CONDITION, StopCondition, Target};
use super::select::Mode;
use super::{arn, document, not_found, over_quota};
use crate::error::ApiError;

/// Quotas of a template, as the service has them until one asks for more.
const MOST_ACTIONS: usize = 20;
const MOST_STOP_CONDITIONS: usize = 5;
/// The longest that an action or an experiment lasts.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// Checks a whole template.
///
/// # Errors
/// `ValidationException` or `ServiceQuotaExceededException`, about the first thing that is wrong.
pub(super) fn definition(definition: &Definition) -> Result<(), ApiError> {
    if definition.description.trim().is_empty() {
        return refuse("description must not be empty".into());
    }
    if !arn::is_of(&definition.role_arn, "iam", "role/") {
        let role = &definition.role_arn;
        return refuse(format!("roleArn: {role} is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)"));
    }
    stop_conditions(&definition.stop_conditions)?;
    for (name, target) in &definition.targets {
        check_target(name, target).map_err(|why| invalid(format!("Target '{name}': {why}")))?;
    }
    if definition.actions.is_empty() {
        return refuse("actions must hold at least one action".into());
    }
    if definition.actions.len() > MOST_ACTIONS {
        let count = definition.actions.len();
        return Err(over_quota(format!("{count} actions; a template has at most {MOST_ACTIONS}.")));
    }
    for action in definition.actions.values() {
        if let Some(why) = not_an_action(&action.action_id) {
            return Err(not_found(why));
        }
    }
    for (name, action) in &definition.actions {
        check_action(name, action, definition).map_err(|why| invalid(format!("Action '{name}': {why}")))?;
    }
    order(definition)?;
    log(definition)
}

fn invalid(what: String) -> ApiError {
    ApiError::validation(format!("{what}."))
}

fn refuse<T>(what: String) -> Result<T, ApiError> {
    Err(invalid(what))
}

fn stop_conditions(conditions: &[StopCondition]) -> Result<(), ApiError> {
    if conditions.is_empty() {
        return refuse(format!(
            "stopConditions must hold at least one condition; [{{\"source\": \"{NO_CONDITION}\"}}] is none at all"
        ));
    }
    if conditions.len() > MOST_STOP_CONDITIONS {
        let count = conditions.len();
        return Err(over_quota(format!(
            "{count} stop conditions; a template has at most {MOST_STOP_CONDITIONS}."
        )));
    }
    for condition in conditions {
        match (condition.source.as_str(), &condition.value) {
            (NO_CONDITION, None) => {}
            (NO_CONDITION, Some(_)) => {
                return refuse(format!("Stop condition: source {NO_CONDITION} takes no value"));
            }
            (ALARM, Some(value)) if arn::is_of(value, "cloudwatch", "alarm:") => {}
            (ALARM, Some(value)) => {
                return refuse(format!(
                    "Stop condition: {value} is not the ARN of an alarm \
                     (arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME, blanks in the name as they are)"
                ));
            }
            (ALARM, None) => {
                return refuse(format!("Stop condition: source {ALARM} needs an alarm's ARN as value"));
            }
            (other, _) => {
                return refuse(format!(
                    "Stop condition: source '{other}' is neither {NO_CONDITION} nor {ALARM}"
                ));
            }
        }
    }
    Ok(())
}

fn check_target(name: &str, target: &Target) -> Result<(), String> {
    if !target.resource_arns.is_empty() && !target.resource_tags.is_empty() {
        return Err(format!("You cannot specify both resource ARNs and resource tags for target {name}"));
    }
    if catalog::is_type_elsewhere(&target.resource_type) {
        return check_mode(target);
    }
    let kind = catalog::resource_type(&target.resource_type).ok_or_else(|| {
        let here: Vec<&str> = catalog::RESOURCE_TYPES.iter().map(|kind| kind.id).collect();
        format!("there is no resource type {} here; there is {}", target.resource_type, here.join(", "))
    })?;
    if let Some(unknown) =
        target.parameters.keys().find(|name| !kind.parameters.iter().any(|(known, _)| known == name))
    {
        let known: Vec<&str> = kind.parameters.iter().map(|(name, _)| *name).collect();
        return Err(format!("{} has no parameter '{unknown}'; it has {}", kind.id, known.join(", ")));
    }
    let found =
        !target.resource_tags.is_empty() || !target.filters.is_empty() || !target.parameters.is_empty();
    if !target.resource_arns.is_empty() && found {
        return Err(
            "resourceArns go with neither resourceTags nor filters nor parameters; use one way".into()
        );
    }
    if target.resource_arns.is_empty() && !found {
        return Err("it needs resourceArns, resourceTags, filters or parameters to be found by".into());
    }
    let (service, resource) = kind.arn;
    if let Some(other) = target.resource_arns.iter().find(|text| !arn::is_of(text, service, resource)) {
        return Err(format!(
            "{other} is not the ARN of an {}: one like arn:aws:{service}:REGION:ACCOUNT:{resource}…",
            kind.id
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = target.resource_arns.iter().find(|arn| !seen.insert(*arn)) {
        return Err(format!("{twice} is given twice"));
    }
    for filter in &target.filters {
        if filter.values.is_empty() {
            return Err(format!("filter {} needs at least one value", filter.path));
        }
        if let Some(part) =
            filter.path.split('.').find(|part| !part.starts_with(|c: char| c.is_ascii_uppercase()))
        {
            return Err(format!(
                "filter {}: '{part}' must be written in Pascal case (LastStatus, not lastStatus)",
                filter.path
            ));
        }
    }
    check_mode(target)
}

fn check_mode(target: &Target) -> Result<(), String> {
    if Mode::parse(&target.selection_mode).is_none() {
        let mode = &target.selection_mode;
        return Err(format!(
            "selectionMode {mode} is none of ALL, COUNT(n) with n from 1, PERCENT(n) with n from 1 to 100"
        ));
    }
    Ok(())
}

fn check_action(name: &str, action: &Action, whole: &Definition) -> Result<(), String> {
    check_order(name, action, whole)?;
    let Some(kind) = catalog::action(&action.action_id) else {
        // One that is played elsewhere: what it takes is not known here.
        return action.targets.values().try_for_each(|target| check_target_name(target, whole));
    };
    match kind.slot {
        None if !action.targets.is_empty() => return Err(format!("{} takes no targets", kind.id)),
        None => {}
        Some(slot) => {
            if let Some(unknown) = action.targets.keys().find(|name| *name != slot.name) {
                return Err(format!(
                    "Unexpected target {unknown} found in action {}; its slot is '{}'",
                    kind.id, slot.name
                ));
            }
            let Some(target) = action.targets.get(slot.name) else {
                return Err(format!(
                    "{} needs targets: {{\"{}\": \"NAME OF A TARGET\"}}",
                    kind.id, slot.name
                ));
            };
            check_target_name(target, whole)?;
            if let Some(found) = whole.targets.get(target)
                && found.resource_type != slot.resource_type
            {
                return Err(format!(
                    "target '{target}' is of type {}; slot '{}' takes {}",
                    found.resource_type, slot.name, slot.resource_type
                ));
            }
        }
    }
    if let Some(unknown) = action.parameters.keys().find(|name| kind.parameter(name).is_none()) {
        let known: Vec<&str> = kind.parameters.iter().map(|parameter| parameter.name).collect();
        return Err(format!("{} has no parameter '{unknown}'; it has: {}", kind.id, list(&known)));
    }
    for parameter in kind.parameters {
        match action.parameters.get(parameter.name) {
            Some(value) => check_value(parameter, value)?,
            None if parameter.required => {
                return Err(format!("{} needs the parameter '{}'", kind.id, parameter.name));
            }
            None => {}
        }
    }
    Ok(())
}

fn check_target_name(target: &str, whole: &Definition) -> Result<(), String> {
    if whole.targets.contains_key(target) {
        return Ok(());
    }
    let known: Vec<&str> = whole.targets.keys().map(String::as_str).collect();
    Err(format!("there is no target '{target}' in this template; it has: {}", list(&known)))
}

fn check_order(name: &str, action: &Action, whole: &Definition) -> Result<(), String> {
    for before in &action.start_after {
        if before == name {
            return Err("startAfter names the action itself".into());
        }
        if !whole.actions.contains_key(before) {
            let known: Vec<&str> = whole.actions.keys().map(String::as_str).collect();
            return Err(format!(
                "startAfter names '{before}', which is none of the actions: {}",
                list(&known)
            ));
        }
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What to say to an action id that AWS does not have: perhaps it was only misspelt.
fn not_an_action(id: &str) -> Option<String> {
    if catalog::action(id).is_some() || catalog::is_elsewhere(id) {
        return None;
    }
    let alike =
        |kind: &&Kind| distance(id, kind.id) <= 3 || kind.id.rsplit(':').next() == id.rsplit(':').next();
    let hint = ACTIONS.iter().filter(alike).min_by_key(|kind| distance(id, kind.id));
    let hint = hint.map(|kind| format!(" Did you mean {}?", kind.id)).unwrap_or_default();
    Some(format!("Action with ID {id} not found.{hint}"))
}

/// How many letters must be put in, taken out or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, known) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *known);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

fn check_value(parameter: &Parameter, value: &str) -> Result<(), String> {
    let wrong =
        |wanted: &str| Err(format!("parameter '{}' is '{value}'; it must be {wanted}", parameter.name));
    let letters = |more: &[u8]| {
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    match parameter.accepts {
        Accepts::Duration { least } => {
            let iso = value.starts_with('P').then(|| durations::parse(value).ok()).flatten();
            match iso.map(|time| time.as_secs()) {
                Some(0) | Some(43_201..) => wrong("12 hours at most (PT12H), and not nothing"),
                Some(seconds) if seconds >= least => Ok(()),
                Some(_) => wrong("one minute at least (PT1M)"),
                _ => wrong("a duration in ISO 8601: PT5M is five minutes, PT1H30M an hour and a half"),
            }
        }
        Accepts::Range(least, most) => match value.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) && !value.starts_with('+') => Ok(()),
            _ => wrong(&format!("a whole number from {least} to {most}")),
        },
        Accepts::OneOf(values) if values.contains(&value) => Ok(()),
        Accepts::OneOf(values) => wrong(&values.join(" or ")),
        Accepts::Flag if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => Ok(()),
        Accepts::Flag => wrong("true or false"),
        Accepts::ProcessName if letters(b".-=_") && value.len() <= 128 => Ok(()),
        Accepts::ProcessName => {
            wrong("1 to 128 letters, digits and .-=_ (a process name, not a path or a command)")
        }
        Accepts::Sources if letters(b"./,-") && !value.split(',').any(str::is_empty) => Ok(()),
        Accepts::Sources => wrong("addresses, ranges and names with commas between and no blanks; IPv4 only"),
        Accepts::DocumentArn if arn::is_of(value, "ssm", "document/") => Ok(()),
        Accepts::DocumentArn => wrong("the ARN of a document (arn:aws:ssm:REGION:ACCOUNT:document/NAME)"),
        Accepts::DocumentVersion => match value {
            "$DEFAULT" | "$LATEST" => Ok(()),
            number if number.parse::<u32>().is_ok_and(|number| number > 0) => Ok(()),
            _ => wrong("$DEFAULT, $LATEST or the number of a version"),
        },
        Accepts::DocumentParameters if document::parameters(value).is_some() => Ok(()),
        Accepts::DocumentParameters => wrong("a JSON object whose values are texts or lists of texts"),
        Accepts::Alarms { most } => {
            let alarms = document::listed(value);
            match alarms.len() <= most && alarms.iter().all(|it| arn::is_of(it, "cloudwatch", "alarm:")) {
                true => Ok(()),
                false => wrong(&format!("at most {most} ARNs of alarms with commas between")),
            }
        }
        Accepts::AlarmStates => {
            let states = ["OK", "ALARM", "INSUFFICIENT_DATA"];
            match document::listed(value).iter().all(|state| states.contains(state)) {
                true => Ok(()),
                false => wrong(&format!("{} with commas between", states.join(", "))),
            }
        }
    }
}

/// No action may wait for itself through others, and the whole must not last longer than an experiment may.
fn order(definition: &Definition) -> Result<(), ApiError> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let mut waiting: Vec<&String> = definition.actions.keys().collect();
    while !waiting.is_empty() {
        let ends = |name: &String| done.iter().find(|(known, _)| known == name).map(|(_, end)| *end);
        let ready = |name: &&String| {
            definition.actions[*name].start_after.iter().all(|before| ends(before).is_some())
        };
        let (next, rest): (Vec<&String>, Vec<&String>) = waiting.iter().partition(|name| ready(name));
        if next.is_empty() {
            let names: Vec<&str> = rest.iter().map(|name| name.as_str()).collect();
            let names = names.join(", ");
            return refuse(format!(
                "startAfter goes round in a circle among the actions {names}: none can ever start"
            ));
        }
        let ended: Vec<(&str, Duration)> = next
            .iter()
            .map(|name| {
                let action = &definition.actions[*name];
                let start = action.start_after.iter().filter_map(ends).max().unwrap_or_default();
                (name.as_str(), start + document::asked_duration(action).unwrap_or_default())
            })
            .collect();
        if let Some((name, _)) = ended.iter().find(|(_, end)| *end > LONGEST) {
            return refuse(format!(
                "Action '{name}' would end more than 12 hours after the start; an experiment lasts 12 hours at most"
            ));
        }
        done.extend(ended);
        waiting = rest;
    }
    Ok(())
}

fn log(definition: &Definition) -> Result<(), ApiError> {
    let Some(group) = definition.log_group() else { return Ok(()) };
    if arn::is_of(group, "logs", "log-group:") {
        return Ok(());
    }
    refuse(format!(
        "logGroupArn: {group} is not the ARN of a log group (arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*)"
    ))
}
