//! Target resolution: which resources a target of a template means now.

use std::collections::BTreeMap;

use super::definition::{EmptyTargets, Target};
use super::experiment::Experiment;
use super::select::{Mode, choose};
use super::services::{Resource, Stage};
use super::step::{Failure, Step};
use super::{advice, arn, catalog, filter, records};

/// Resolves every target of an experiment, once and for all of its run.
///
/// # Errors
/// A target is empty and may not be, an ARN leads to nothing that runs, or an action has more targets than the
/// quota allows.
pub(super) fn resolve(experiment: &mut Experiment, step: &mut Step<'_>) -> Result<(), Failure> {
    let targets: Vec<(String, Target)> =
        experiment.definition.targets.iter().map(|(name, target)| (name.clone(), target.clone())).collect();
    for (name, target) in targets {
        records::resolution_start(experiment, &name, step);
        let resources = step.services.resources(&target.resource_type, step.context);
        let found = match found(&target, &resources) {
            Ok(found) => found,
            Err(reason) => {
                records::resolution_end(experiment, &name, &[], Some(&reason), step);
                return Err(invalid(&name, reason));
            }
        };
        let mode = Mode::parse(&target.selection_mode).unwrap_or(Mode::All);
        let count = mode.of(found.len());
        advice::of_selection(experiment, (&name, &target), mode, (&found, count), &resources, step);
        let chosen = choose(found, count);
        if chosen.is_empty() && experiment.definition.empty_targets == EmptyTargets::Fail {
            let reason = "Target resolution returned empty set.".to_owned();
            records::resolution_end(experiment, &name, &[], Some(&reason), step);
            return Err(invalid(&name, reason));
        }
        records::resolution_end(experiment, &name, &chosen, None, step);
        step.log(
            &experiment.id,
            &format!("target {name}"),
            format!("{} chosen: {}", chosen.len(), short(&chosen)),
        );
        experiment.resolved.insert(name, chosen);
    }
    quota(experiment, step)
}

fn invalid(name: &str, reason: String) -> Failure {
    Failure { code: "InvalidTarget", location: format!("target {name}"), reason }
}

/// The ids of resources, without the rest of their ARNs.
fn short(arns: &[String]) -> String {
    arns.iter().map(|arn| arn::last_name(arn)).collect::<Vec<_>>().join(", ")
}

fn quota(experiment: &mut Experiment, step: &mut Step<'_>) -> Result<(), Failure> {
    let Some(quota) = step.fis.quota() else { return Ok(()) };
    let counts: BTreeMap<String, usize> =
        experiment.actions.keys().map(|name| (name.clone(), experiment.targets_of(name).len())).collect();
    let Some((name, count)) = counts.into_iter().find(|(_, count)| *count > quota) else { return Ok(()) };
    advice::over_quota(experiment, &name, (count, quota), step);
    Err(Failure {
        code: "QuotaExceededFailure",
        reason: format!("Action {name} has {count} targets; the quota is {quota}."),
        location: format!("actions.{name}"),
    })
}

/// The ARNs of the running resources that a target means, before any selection.
pub(super) fn found(target: &Target, resources: &[Resource]) -> Result<Vec<String>, String> {
    if catalog::is_type_elsewhere(&target.resource_type) {
        return Ok(Vec::new());
    }
    if !target.resource_arns.is_empty() {
        let running = |arn: &&String| resources.iter().any(|it| is_running(it) && it.arn == **arn);
        return match target.resource_arns.iter().find(|arn| !running(arn)) {
            // Of EC2 nothing is here but what stands for it.
            Some(_) if target.resource_type == catalog::INSTANCE => {
                Ok(target.resource_arns.iter().filter(running).cloned().collect())
            }
            Some(gone) => Err(format!("There is no running {} {gone}.", target.resource_type)),
            None => Ok(target.resource_arns.clone()),
        };
    }
    let meant = resources.iter().filter(|it| is_running(it) && filter::is_meant(it, target));
    Ok(meant.map(|resource| resource.arn.clone()).collect())
}

/// Only running ones count: neither those on their way up nor those on their way down.
fn is_running(resource: &Resource) -> bool {
    resource.stage == Stage::Running
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::Tags;
    use serde_json::{Value, json};

    fn task(number: u32, change: impl FnOnce(&mut Resource)) -> Resource {
        let mut task = Resource {
            arn: format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{number}"),
            parameters: [("cluster", "demo".to_owned()), ("service", "web".to_owned())].into(),
            stage: Stage::Running,
            tags: tags(&[("Team", "blue"), ("Stage", "")]),
            description: json!({}),
        };
        change(&mut task);
        task
    }

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
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
            task(1, |_| ()),
            task(2, |it| {
                it.parameters.insert("service", "api".to_owned());
                it.tags = tags(&[("Team", "blue")]);
            }),
            task(3, |it| drop(it.parameters.insert("cluster", "other".to_owned()))),
            task(4, |it| it.stage = Stage::OnTheWay),
            task(5, |it| it.stage = Stage::OnTheWay),
            task(6, |it| {
                it.parameters.remove("service");
                it.description = json!({ "availabilityZone": "eu-west-1b" });
            }),
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
        let tasks = [task(1, |_| ()), task(2, |it| it.stage = Stage::Stopped)];
        let arn = |number: u32| format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{number}");
        assert_eq!(found(&target(json!({ "resourceArns": [arn(1)] })), &tasks), Ok(vec![arn(1)]));
        for gone in [2, 3] {
            assert!(found(&target(json!({ "resourceArns": [arn(1), arn(gone)] })), &tasks).is_err());
        }
    }

    #[test]
    fn a_cluster_is_known_by_the_task_alone() {
        let task = task(1, |it| drop(it.parameters.remove("service")));
        let demo = target(json!({ "parameters": { "cluster": "demo" } }));
        assert_eq!(found(&demo, std::slice::from_ref(&task)).unwrap().len(), 1);
        let web = target(json!({ "parameters": { "cluster": "demo", "service": "web" } }));
        assert!(found(&web, &[task]).unwrap().is_empty());
    }
}
