//! Task definitions: registering, reading, deregistering.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::definition::{Condition, ContainerDefinition, Definition, containers};
use super::names::is_name;
use super::request::{Answer, Request, client, invalid, tag_list};
use super::{EcsState, arn, fargate};
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
        check_container(container, has_memory)?;
        if !names.insert(&container.name) {
            return Err(client(format!(
                "Container names must be unique: {} is there twice.",
                container.name
            )));
        }
    }
    check_dependencies(&containers)?;
    if !containers.iter().any(|container| container.essential) {
        return Err(client("TaskDefinition does not contain any essential containers."));
    }
    match request.texts("requiresCompatibilities").contains(&"FARGATE") {
        true => fargate::problem(request.body()).map_or(Ok(()), |problem| Err(client(problem))),
        false => Ok(()),
    }
}

fn check_container(container: &ContainerDefinition, has_memory: bool) -> Result<(), ApiError> {
    let name = &container.name;
    if name.is_empty() {
        return Err(client("Container.name should not be null or empty."));
    }
    if !is_name(name) {
        return Err(client(format!("Container.name contains invalid characters: {name:?}.")));
    }
    if container.image.is_empty() {
        return Err(client(format!("Container.image should not be null or empty: container '{name}'.")));
    }
    if !has_memory && container.memory.is_none() && container.memory_reservation.is_none() {
        return Err(client(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        )));
    }
    let Some(check) = &container.health_check else { return Ok(()) };
    let shell_only = check.command.first().is_some_and(|kind| kind == "CMD-SHELL");
    let has_program = check.command.first().is_some_and(|kind| kind == "CMD") || shell_only;
    if !has_program || check.command.len() < 2 || (shell_only && check.command.len() > 2) {
        return Err(client(format!(
            "The health check of container '{name}' needs a command: CMD and a program with its arguments, or CMD-SHELL \
             and one line."
        )));
    }
    for (member, value, range) in [
        ("interval", check.interval, 5..=300),
        ("timeout", check.timeout, 2..=60),
        ("retries", check.retries, 1..=10),
        ("startPeriod", check.start_period, 0..=300),
    ] {
        if !range.contains(&value) {
            return Err(client(format!(
                "The health check of container '{name}': {member} must be from {} to {}.",
                range.start(),
                range.end()
            )));
        }
    }
    Ok(())
}

fn check_dependencies(containers: &[ContainerDefinition]) -> Result<(), ApiError> {
    let find = |name: &str| containers.iter().find(|container| container.name == name);
    for dependency in containers.iter().flat_map(|container| &container.depends_on) {
        let name = &dependency.container_name;
        let Some(other) = find(name) else {
            return Err(client(format!("Cannot depend on container + '{name}' because it does not exist")));
        };
        let ends = matches!(dependency.condition, Condition::Success | Condition::Complete);
        if ends && other.essential {
            return Err(client(
                "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
            ));
        }
        if dependency.condition == Condition::Healthy && other.health_check.is_none() {
            return Err(client(
                "A dependency container with HEALTHY condition must have health check configured",
            ));
        }
    }
    // What depends on nothing that is left goes first; where nothing goes, there is a circle.
    let mut left: Vec<&ContainerDefinition> = containers.iter().collect();
    loop {
        let before = left.len();
        let names: BTreeSet<&str> = left.iter().map(|container| container.name.as_str()).collect();
        left.retain(|container| {
            container.depends_on.iter().any(|it| names.contains(it.container_name.as_str()))
        });
        match left.first() {
            None => return Ok(()),
            Some(one) if left.len() == before => {
                return Err(client(format!(
                    "Container '{}' depends on itself through the others; dependsOn must not have a cycle.",
                    one.name
                )));
            }
            Some(_) => {}
        }
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
    add("compatibilities", json!(definition.compatibilities()));
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
        if let Some(check) = container.get_mut("healthCheck").and_then(Value::as_object_mut) {
            for (name, value) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
                check.entry(name).or_insert_with(|| json!(value));
            }
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
            (changed(&|it| it["containerDefinitions"][0]["name"] = json!(null)), "InvalidParameterException"),
            (
                changed(&|it| drop(it["containerDefinitions"][0].as_object_mut().unwrap().remove("name"))),
                "ClientException",
            ),
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
    fn what_containers_wait_for_must_be_possible() {
        let mut fixture = Fixture::new();
        let mut said = |one: serde_json::Value, other: serde_json::Value| {
            let mut body = definition("app");
            let mut second = body["containerDefinitions"][0].clone();
            (second["name"], second["essential"]) = (json!("second"), json!(false));
            let both = [body["containerDefinitions"][0].clone(), second];
            body["containerDefinitions"] = both
                .into_iter()
                .zip([one, other])
                .map(|(mut container, more)| {
                    let more = more.as_object().unwrap().clone();
                    container.as_object_mut().unwrap().extend(more);
                    container
                })
                .collect();
            let error = fixture.error("RegisterTaskDefinition", body);
            assert_eq!(error.code, "ClientException");
            error.message
        };
        let on = |name: &str, condition: &str| json!({ "dependsOn": [{ "containerName": name, "condition": condition }] });
        assert_eq!(
            said(on("none", "START"), json!({})),
            "Cannot depend on container + 'none' because it does not exist"
        );
        assert!(said(json!({}), on("app", "COMPLETE")).ends_with("cannot be an essential container"));
        assert!(said(on("second", "HEALTHY"), json!({})).ends_with("must have health check configured"));
        assert!(said(on("second", "START"), on("app", "START")).contains("must not have a cycle"));
        for (check, words) in [
            (json!({ "command": ["true"] }), "needs a command"),
            (json!({ "command": ["CMD-SHELL", "exit 0"], "interval": 4 }), "interval must be from 5 to 300"),
            (json!({ "command": ["CMD", "true"], "retries": 11 }), "retries must be from 1 to 10"),
        ] {
            let found = said(json!({ "healthCheck": check }), json!({}));
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn what_fargate_refuses_is_refused_where_it_is_required() {
        let mut fixture = Fixture::new();
        let mut body = definition("app");
        let compatibilities =
            fixture.ok("RegisterTaskDefinition", body.clone())["taskDefinition"]["compatibilities"].clone();
        assert_eq!(compatibilities, json!(["EXTERNAL", "EC2"]));
        body["requiresCompatibilities"] = json!(["FARGATE"]);
        let error = fixture.error("RegisterTaskDefinition", body.clone());
        assert_eq!(
            (error.code, error.message.as_str()),
            ("ClientException", "Fargate only supports network mode ‘awsvpc’.")
        );
        (body["networkMode"], body["cpu"], body["memory"]) = (json!("awsvpc"), json!("256"), json!("512"));
        let fits = fixture.ok("RegisterTaskDefinition", body);
        assert_eq!(fits["taskDefinition"]["compatibilities"], json!(["EC2", "FARGATE"]));
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
