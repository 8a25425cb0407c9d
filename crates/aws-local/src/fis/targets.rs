//! Target resolution: which tasks a target of a template means now.

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::{EmptyTargets, Target};
use super::engine::{Failure, World};
use super::experiment::Experiment;
use super::select::{Mode, choose};
use super::{advice, arn, filter, records};
use crate::ecs;

/// Resolves every target of an experiment, once and for all of its run.
///
/// # Errors
/// A target is empty and may not be, an ARN leads to no running task, or an action has more targets than the
/// quota allows.
pub(super) fn resolve(experiment: &mut Experiment, world: &mut World<'_>) -> Result<(), Failure> {
    let tasks = ecs::tasks(world.state, world.context);
    let targets: Vec<(String, Target)> =
        experiment.definition.targets.iter().map(|(name, target)| (name.clone(), target.clone())).collect();
    for (name, target) in targets {
        records::resolution_start(experiment, &name, world);
        let found = match found(&target, &tasks) {
            Ok(found) => found,
            Err(reason) => {
                records::resolution_end(experiment, &name, &[], Some(&reason), world);
                return Err(invalid(&name, reason));
            }
        };
        let mode = Mode::parse(&target.selection_mode).unwrap_or(Mode::All);
        let count = mode.of(found.len());
        advice::of_selection(experiment, (&name, &target), mode, (&found, count), &tasks, world);
        let chosen = choose(found, count);
        if chosen.is_empty() && experiment.definition.empty_targets == EmptyTargets::Fail {
            let reason = "Target resolution returned empty set.".to_owned();
            records::resolution_end(experiment, &name, &[], Some(&reason), world);
            return Err(invalid(&name, reason));
        }
        records::resolution_end(experiment, &name, &chosen, None, world);
        world.say(
            &experiment.id,
            &format!("target {name}"),
            format!("{} task(s): {}", chosen.len(), short(&chosen)),
        );
        experiment.resolved.insert(name, chosen);
    }
    quota(experiment, world)
}

fn invalid(name: &str, reason: String) -> Failure {
    Failure { code: "InvalidTarget", location: format!("target {name}"), reason }
}

/// The ids of tasks, without the rest of their ARNs.
fn short(arns: &[String]) -> String {
    arns.iter().map(|arn| arn::last_name(arn)).collect::<Vec<_>>().join(", ")
}

fn quota(experiment: &mut Experiment, world: &mut World<'_>) -> Result<(), Failure> {
    let Some(quota) = world.state.fis.quota() else { return Ok(()) };
    let counts: BTreeMap<String, usize> =
        experiment.actions.keys().map(|name| (name.clone(), experiment.targets_of(name).len())).collect();
    let Some((name, count)) = counts.into_iter().find(|(_, count)| *count > quota) else { return Ok(()) };
    advice::over_quota(experiment, &name, (count, quota), world);
    Err(Failure {
        code: "QuotaExceededFailure",
        reason: format!("Action {name} has {count} targets; the quota is {quota}."),
        location: name,
    })
}

/// The ARNs of the running tasks that a target means, before any selection.
pub(super) fn found(target: &Target, tasks: &[Value]) -> Result<Vec<String>, String> {
    let arn_of = |task: &Value| task["taskArn"].as_str().unwrap_or_default().to_owned();
    if !target.resource_arns.is_empty() {
        let running = |arn: &&String| tasks.iter().any(|task| is_running(task) && arn_of(task) == **arn);
        return match target.resource_arns.iter().find(|arn| !running(arn)) {
            Some(gone) => Err(format!("There is no running task {gone}.")),
            None => Ok(target.resource_arns.clone()),
        };
    }
    Ok(tasks.iter().filter(|task| is_running(task) && is_meant(task, target)).map(arn_of).collect())
}

/// Only running tasks count: neither those on their way up nor those on their way down.
pub(super) fn is_running(task: &Value) -> bool {
    task["lastStatus"] == "RUNNING" && task["desiredStatus"] != "STOPPED"
}

/// Whether a task fits tags, parameters and filters, whatever its status.
pub(super) fn is_meant(task: &Value, target: &Target) -> bool {
    let tag = |key: &str| {
        let tags = task["tags"].as_array();
        tags.and_then(|tags| tags.iter().find(|tag| tag["key"] == *key)).and_then(|tag| tag["value"].as_str())
    };
    target.resource_tags.iter().all(|(key, value)| tag(key) == Some(value))
        && target.parameters.get("cluster").is_none_or(|cluster| cluster_of(task) == arn::last_name(cluster))
        && target
            .parameters
            .get("service")
            .is_none_or(|service| service_of(task) == Some(arn::last_name(service)))
        && filter::passes(task, &target.filters)
}

/// The name of a task's cluster, which also stands in the task's ARN.
fn cluster_of(task: &Value) -> &str {
    match task["clusterArn"].as_str() {
        Some(cluster) => arn::last_name(cluster),
        None => {
            let mut parts = task["taskArn"].as_str().unwrap_or_default().rsplit('/');
            parts.nth(1).unwrap_or_default()
        }
    }
}

/// The name of a task's service, if it belongs to one.
pub(super) fn service_of(task: &Value) -> Option<&str> {
    task["group"].as_str()?.strip_prefix("service:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(number: u32, more: Value) -> Value {
        let mut task = json!({
            "taskArn": format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{number}"),
            "clusterArn": "arn:aws:ecs:eu-west-1:000000000000:cluster/demo",
            "group": "service:web", "lastStatus": "RUNNING", "desiredStatus": "RUNNING",
            "tags": [{ "key": "Team", "value": "blue" }, { "key": "Stage", "value": "" }],
        });
        for (name, value) in more.as_object().unwrap() {
            task[name] = value.clone();
        }
        task
    }

    fn target(members: Value) -> Target {
        let mut target = json!({ "resourceType": "aws:ecs:task", "selectionMode": "ALL" });
        for (name, value) in members.as_object().unwrap() {
            target[name] = value.clone();
        }
        serde_json::from_value(target).unwrap()
    }

    fn numbers(members: Value) -> Vec<String> {
        let tasks = [
            task(1, json!({})),
            task(2, json!({ "group": "service:api", "tags": [{ "key": "Team", "value": "blue" }] })),
            task(3, json!({ "clusterArn": "arn:aws:ecs:eu-west-1:000000000000:cluster/other" })),
            task(4, json!({ "lastStatus": "PENDING" })),
            task(5, json!({ "desiredStatus": "STOPPED" })),
            task(6, json!({ "group": "family:web", "availabilityZone": "eu-west-1b" })),
        ];
        let found = found(&target(members), &tasks).unwrap();
        found.iter().map(|arn| arn::last_name(arn).to_owned()).collect()
    }

    #[test]
    fn parameters_tags_and_filters_must_all_fit_a_running_task() {
        assert_eq!(numbers(json!({ "parameters": { "cluster": "demo" } })), ["1", "2", "6"]);
        let cluster = "arn:aws:ecs:eu-west-1:000000000000:cluster/demo";
        let service = "arn:aws:ecs:eu-west-1:000000000000:service/demo/web";
        assert_eq!(numbers(json!({ "parameters": { "cluster": cluster, "service": service } })), ["1"]);
        assert_eq!(numbers(json!({ "parameters": { "service": "web" } })), ["1", "3"]);
        assert_eq!(numbers(json!({ "resourceTags": { "Team": "blue" } })), ["1", "2", "3", "6"]);
        assert_eq!(numbers(json!({ "resourceTags": { "Team": "blue", "Stage": "" } })), ["1", "3", "6"]);
        assert_eq!(numbers(json!({ "resourceTags": { "Team": "" } })), [""; 0]);
        let filters = json!([{ "path": "AvailabilityZone", "values": ["eu-west-1b"] }]);
        assert_eq!(numbers(json!({ "filters": filters })), ["6"]);
    }

    #[test]
    fn arns_lead_to_running_tasks_or_nowhere() {
        let tasks = [task(1, json!({})), task(2, json!({ "lastStatus": "STOPPED" }))];
        let arn = |number: u32| format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{number}");
        assert_eq!(found(&target(json!({ "resourceArns": [arn(1)] })), &tasks), Ok(vec![arn(1)]));
        for gone in [2, 3] {
            assert!(found(&target(json!({ "resourceArns": [arn(1), arn(gone)] })), &tasks).is_err());
        }
    }

    #[test]
    fn a_cluster_is_known_by_the_task_alone() {
        let task =
            json!({ "taskArn": "arn:aws:ecs:eu-west-1:000000000000:task/demo/1", "lastStatus": "RUNNING" });
        let demo = target(json!({ "parameters": { "cluster": "demo" } }));
        assert_eq!(found(&demo, std::slice::from_ref(&task)).unwrap().len(), 1);
        let web = target(json!({ "parameters": { "cluster": "demo", "service": "web" } }));
        assert!(found(&web, &[task]).unwrap().is_empty());
    }
}
