//! Which instances a command means: by id, or by targets that must all fit.

use std::collections::BTreeSet;

use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::{Instance, SsmState};

/// What the caller asked for.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    Ids(Vec<&'a str>),
    Targets(Vec<Target<'a>>),
}

/// One of the targets: an instance fits if one of the values does.
#[derive(Debug)]
pub(super) struct Target<'a> {
    key: &'a str,
    values: Vec<&'a str>,
}

/// Reads the member `Targets`.
pub(super) fn read_targets(members: Members<'_>) -> Vec<Target<'_>> {
    let targets = members.each("Targets");
    targets
        .map(|target| Target { key: target.text("Key").unwrap_or_default(), values: target.texts("Values") })
        .collect()
}

impl<'a> Asked<'a> {
    /// Exactly one of the two must be given, ids at most once, targets of a kind that exists here.
    pub(super) fn new(ids: Vec<&'a str>, targets: Vec<Target<'a>>) -> Result<Asked<'a>, ApiError> {
        match (ids.is_empty(), targets.is_empty()) {
            (true, true) => Err(ApiError::validation("Give either InstanceIds or Targets.")),
            (false, false) => Err(ApiError::validation("Give either InstanceIds or Targets, not both.")),
            (false, true) => {
                no_duplicates(&ids)?;
                Ok(Asked::Ids(ids))
            }
            (true, false) => {
                targets.iter().try_for_each(Target::check)?;
                Ok(Asked::Targets(targets))
            }
        }
    }
}

impl Target<'_> {
    fn check(&self) -> Result<(), ApiError> {
        let key = self.key;
        let known = key.eq_ignore_ascii_case("InstanceIds") || key == "tag-key";
        if !known && key.strip_prefix("tag:").is_none_or(str::is_empty) {
            let message = format!(
                "Target key '{key}' is none of tag:<key>, tag-key and InstanceIds; resource groups are not kept here."
            );
            return Err(ApiError::validation(message));
        }
        if self.values.is_empty() {
            return Err(ApiError::validation(format!("Target {key} needs at least one value.")));
        }
        Ok(())
    }

    fn fits(&self, instance: &Instance) -> bool {
        match self.key.strip_prefix("tag:") {
            Some(tag) => instance.tags.get(tag).is_some_and(|value| self.values.contains(&value.as_str())),
            None if self.key == "tag-key" => self.values.iter().any(|key| instance.tags.contains_key(*key)),
            None => self.values.contains(&instance.id.as_str()),
        }
    }
}

/// The instances that are meant: in the order of the ids, or in the order of the store. Targets may choose
/// none; an id that is not registered is an error.
pub(super) fn chosen<'s>(
    state: &'s SsmState,
    asked: &Asked<'_>,
    context: &Context,
) -> Result<Vec<&'s Instance>, ApiError> {
    match asked {
        Asked::Targets(targets) => Ok(state
            .instances
            .values()
            .filter(|instance| targets.iter().all(|target| target.fits(instance)))
            .collect()),
        Asked::Ids(ids) => {
            let unknown: Vec<&str> =
                ids.iter().copied().filter(|id| !state.instances.contains_key(*id)).collect();
            if !unknown.is_empty() {
                let message = format!(
                    "Instances [[{}]] not in a valid state for account {}",
                    unknown.join(", "),
                    context.account
                );
                return Err(ApiError::new("InvalidInstanceId", message));
            }
            Ok(ids.iter().filter_map(|id| state.instances.get(*id)).collect())
        }
    }
}

/// Refuses ids that come twice.
pub(super) fn no_duplicates(ids: &[&str]) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(twice) => {
            Err(ApiError::new("DuplicateInstanceId", format!("Instance {twice} is given more than once.")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::{Value, json};

    fn send(targets: Value) -> Value {
        json!({ "Targets": targets, "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] } })
    }

    #[test]
    fn all_targets_must_fit() {
        let mut fixture = Fixture::new();
        let one = fixture.instance(&[("A", "1"), ("B", "x")]);
        let two = fixture.instance(&[("A", "2")]);
        let mut count =
            |targets: Value| fixture.ok("SendCommand", send(targets))["Command"]["TargetCount"].clone();
        assert_eq!(count(json!([{ "Key": "tag:A", "Values": ["1", "2"] }])), 2);
        assert_eq!(
            count(json!([{ "Key": "tag:A", "Values": ["1", "2"] }, { "Key": "tag-key", "Values": ["B"] }])),
            1
        );
        assert_eq!(count(json!([{ "Key": "instanceids", "Values": [one, two, "mi-11111111111111111"] }])), 2);
        assert_eq!(count(json!([{ "Key": "tag:A", "Values": ["3"] }])), 0);
        let targets = fixture.ok("ListCommands", json!({}))["Commands"][0]["Targets"].clone();
        assert_eq!(targets, json!([{ "Key": "tag:A", "Values": ["3"] }]));
    }

    #[test]
    fn a_command_without_targets_says_so() {
        let mut fixture = Fixture::new();
        let sent = fixture.ok("SendCommand", send(json!([{ "Key": "tag:A", "Values": ["3"] }])));
        assert_eq!(sent["Command"]["StatusDetails"], "NoInstancesInTag");
    }

    #[test]
    fn bad_targets_are_refused() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        let mut both = send(json!([{ "Key": "tag:A", "Values": ["1"] }]));
        both["InstanceIds"] = json!([id]);
        let six: Vec<_> = (0..6).map(|_| json!({ "Key": "tag:A", "Values": ["1"] })).collect();
        for body in [
            both,
            send(json!([])),
            send(json!(six)),
            send(json!([{ "Key": "tag:", "Values": ["1"] }])),
            send(json!([{ "Key": "tag:A", "Values": [] }])),
            send(json!([{ "Key": "tag:A" }])),
            send(json!([{ "Values": ["1"] }])),
            send(json!([{ "Key": "color", "Values": ["1"] }])),
            send(json!([{ "Key": "resource-groups:Name", "Values": ["g"] }])),
            send(json!([{ "Key": "tag:#", "Values": ["1"] }])),
        ] {
            assert_eq!(fixture.refused("SendCommand", body.clone()), "ValidationException", "{body}");
        }
    }
}
