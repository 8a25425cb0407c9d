//! Task definitions: registering, reading, deregistering.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::definition::{Definition, containers};
use super::names::is_name;
use super::request::{Answer, Request, client, invalid, tag_list};
use super::{EcsState, arn};
use crate::Context;
use crate::error::ApiError;
use crate::wire::epoch_seconds;

/// RegisterTaskDefinition.
pub(super) fn register(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let family = request.required("family")?;
    if !is_name(family) {
        return Err(client("Family contains invalid characters."));
    }
    let tags = request.tags()?;
    check_containers(request)?;
    let mut body = request.body().clone();
    body.remove("tags");
    let revisions = state.definitions.entry(family.to_owned()).or_default();
    let revision = revisions.last().map_or(1, |last| last.revision + 1);
    revisions.push(Definition {
        family: family.to_owned(),
        revision,
        registered: context.now,
        deregistered: None,
        body,
        tags,
    });
    let definition = &revisions[revisions.len() - 1];
    Ok(json!({ "taskDefinition": item(definition, context), "tags": tag_list(&definition.tags) }))
}

/// What ECS refuses in container definitions, in its words where they are known.
fn check_containers(request: &Request<'_>) -> Result<(), ApiError> {
    let containers = containers(request.body())?;
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    let has_memory = request.text("memory").is_some();
    let mut names = BTreeSet::new();
    for container in &containers {
        if !is_name(&container.name) {
            return Err(client(format!("Container.name contains invalid characters: {:?}.", container.name)));
        }
        if !names.insert(&container.name) {
            return Err(client(format!(
                "Container names must be unique: {} is there twice.",
                container.name
            )));
        }
        if container.image.is_empty() {
            return Err(client(format!(
                "Container.image should not be null or empty: container '{}'.",
                container.name
            )));
        }
        if !has_memory && container.memory.is_none() && container.memory_reservation.is_none() {
            let message = format!(
                "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be \
                 specified.",
                container.name
            );
            return Err(client(message));
        }
    }
    match containers.iter().any(|container| container.essential) {
        true => Ok(()),
        false => Err(client("TaskDefinition does not contain any essential containers.")),
    }
}

/// DescribeTaskDefinition.
pub(super) fn describe(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let wanted = request.required("taskDefinition")?;
    let definition = find(state, wanted).ok_or_else(|| client("Unable to describe task definition."))?;
    let mut answer = json!({ "taskDefinition": item(definition, context) });
    if request.includes("TAGS") {
        answer["tags"] = tag_list(&definition.tags);
    }
    Ok(answer)
}

/// ListTaskDefinitions.
pub(super) fn list(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let family = request.text("familyPrefix");
    let status = request.text("status").unwrap_or("ACTIVE");
    let descending = request.text("sort") == Some("DESC");
    let all = state.definitions.values().flatten();
    let wanted = |definition: &&Definition| {
        family.is_none_or(|family| definition.family == family) && status_of(definition) == status
    };
    let mut arns: Vec<String> = all.filter(wanted).map(|definition| arn_of(definition, context)).collect();
    if descending {
        arns.reverse();
    }
    request.page("taskDefinitionArns", arns, 100)
}

/// DeregisterTaskDefinition; it needs the revision.
pub(super) fn deregister(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let wanted = request.required("taskDefinition")?;
    if !short(wanted).contains(':') {
        return Err(invalid(format!("Invalid revision number. Number: {wanted}")));
    }
    let name = find(state, wanted).map(Definition::name);
    let (family, revision) = name
        .as_deref()
        .and_then(|name| name.rsplit_once(':'))
        .ok_or_else(|| client("The specified task definition does not exist."))?;
    let revisions = state.definitions.get_mut(family).into_iter().flatten();
    let found = revisions.filter(|definition| definition.revision.to_string() == revision);
    let mut answer = json!({});
    for definition in found {
        definition.deregistered.get_or_insert(context.now);
        answer = json!({ "taskDefinition": item(definition, context) });
    }
    Ok(answer)
}

/// An active definition by ARN, `family:revision` or `family` (its latest active revision).
///
/// # Errors
/// `ClientException`: there is none, or it is inactive.
pub(super) fn usable<'a>(state: &'a EcsState, wanted: &str) -> Result<&'a Definition, ApiError> {
    let found = find(state, wanted).ok_or_else(|| client("TaskDefinition not found."))?;
    match found.deregistered {
        None => Ok(found),
        Some(_) => Err(client("TaskDefinition is inactive")),
    }
}

fn find<'a>(state: &'a EcsState, wanted: &str) -> Option<&'a Definition> {
    let name = short(wanted);
    match name.contains(':') {
        true => state.definition(name),
        false => state.definitions.get(name)?.iter().rev().find(|it| it.deregistered.is_none()),
    }
}

/// `family` or `family:revision`, of an ARN too.
fn short(wanted: &str) -> &str {
    wanted.rsplit_once("task-definition/").map_or(wanted, |(_, name)| name)
}

/// The ARN of a definition.
pub(super) fn arn_of(definition: &Definition, context: &Context) -> String {
    arn(context, &format!("task-definition/{}", definition.name()))
}

fn status_of(definition: &Definition) -> &'static str {
    if definition.deregistered.is_some() { "INACTIVE" } else { "ACTIVE" }
}

/// As DescribeTaskDefinition shows it: what was sent, and the defaults of what was not.
fn item(definition: &Definition, context: &Context) -> Value {
    let mut item = definition.body.clone();
    let mut add = |name: &str, value: Value| {
        item.entry(name).or_insert(value);
    };
    add("volumes", json!([]));
    add("placementConstraints", json!([]));
    add("compatibilities", json!(["EXTERNAL", "EC2"]));
    add("taskDefinitionArn", json!(arn_of(definition, context)));
    add("revision", json!(definition.revision));
    add("status", json!(status_of(definition)));
    add("registeredAt", json!(epoch_seconds(definition.registered)));
    add("registeredBy", json!(format!("arn:aws:iam::{}:root", context.account)));
    if let Some(at) = definition.deregistered {
        add("deregisteredAt", json!(epoch_seconds(at)));
    }
    let containers = item.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (name, value) in [("cpu", json!(0)), ("essential", json!(true))] {
            container.entry(name).or_insert(value);
        }
        for name in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
            container.entry(name).or_insert_with(|| json!([]));
        }
    }
    Value::Object(item)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, definition};
    use serde_json::json;

    #[test]
    fn revisions_count_up_and_the_latest_active_one_is_found_by_its_family() {
        let mut fixture = Fixture::new();
        for _ in 0..3 {
            fixture.ok("RegisterTaskDefinition", definition("app"));
        }
        fixture.ok("DeregisterTaskDefinition", json!({ "taskDefinition": "app:3" }));
        let found = fixture.ok("DescribeTaskDefinition", json!({ "taskDefinition": "app" }));
        assert_eq!(found["taskDefinition"]["revision"], 2);
        let arn = "arn:aws:ecs:eu-west-1:000000000000:task-definition/app:3";
        let gone = fixture.ok("DescribeTaskDefinition", json!({ "taskDefinition": arn }));
        assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
        let active = fixture.ok("ListTaskDefinitions", json!({ "familyPrefix": "app", "sort": "DESC" }));
        let first = active["taskDefinitionArns"][0].as_str().unwrap();
        assert!(first.ends_with("app:2"), "{active}");
        let inactive = fixture.ok("ListTaskDefinitions", json!({ "status": "INACTIVE" }));
        assert_eq!(inactive["taskDefinitionArns"], json!([arn]));
        assert_eq!(
            fixture.refused("DescribeTaskDefinition", json!({ "taskDefinition": "none" })),
            "ClientException"
        );
    }

    #[test]
    fn what_was_sent_comes_back_with_defaults() {
        let mut fixture = Fixture::new();
        let mut body = definition("app");
        body["tags"] = json!([{ "key": "team", "value": "a" }]);
        let answer = fixture.ok("RegisterTaskDefinition", body);
        assert_eq!(answer["tags"], json!([{ "key": "team", "value": "a" }]));
        let container = &answer["taskDefinition"]["containerDefinitions"][0];
        assert_eq!((&container["essential"], &container["cpu"]), (&json!(true), &json!(0)));
        assert!(answer["taskDefinition"].get("tags").is_none());
    }

    #[test]
    fn what_ecs_refuses_is_refused_and_leaves_no_revision() {
        let mut fixture = Fixture::new();
        let whole = definition("app");
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut body = whole.clone();
            change(&mut body);
            body
        };
        for (body, code) in [
            (changed(&|it| it["family"] = json!("")), "InvalidParameterException"),
            (changed(&|it| it["family"] = json!("a b")), "ClientException"),
            (changed(&|it| it["containerDefinitions"] = json!([])), "ClientException"),
            (changed(&|it| it["containerDefinitions"][0]["image"] = json!("")), "ClientException"),
            (changed(&|it| it["containerDefinitions"][0]["memory"] = json!(null)), "ClientException"),
            (changed(&|it| it["containerDefinitions"][0]["essential"] = json!(false)), "ClientException"),
            (
                changed(&|it| {
                    let twice = it["containerDefinitions"][0].clone();
                    it["containerDefinitions"].as_array_mut().unwrap().push(twice);
                }),
                "ClientException",
            ),
            (changed(&|it| it["pidMode"] = json!("shared")), "InvalidParameterException"),
            (changed(&|it| it["containerDefinitions"] = json!("x")), "InvalidParameterException"),
        ] {
            assert_eq!(fixture.refused("RegisterTaskDefinition", body.clone()), code, "{body}");
        }
        assert!(fixture.state.definitions.is_empty());
    }

    #[test]
    fn sizes_are_read_in_both_forms() {
        let mut fixture = Fixture::new();
        for (cpu, memory, vcpu, mib) in [("512", "1024", 0.5, 1024), (".25 vCPU", "0.5GB", 0.25, 512)] {
            let mut body = definition("app");
            (body["cpu"], body["memory"]) = (json!(cpu), json!(memory));
            fixture.ok("RegisterTaskDefinition", body);
            let last = fixture.state.definitions["app"].last().unwrap();
            assert_eq!((last.vcpu(), last.memory_mib()), (Some(vcpu), Some(mib)));
        }
    }
}
