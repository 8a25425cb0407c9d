//! Services: creating, changing, describing, deleting. `schedule` makes them true.

use serde_json::{Value, json};

use super::names::is_name;
use super::request::{Answer, Request, client, invalid, last_segment, missing, tag_list};
use super::state::Deployment;
use super::{
    EcsState, LastStatus, Launch, Propagate, Service, ServiceStatus, Task, arn, clusters, definitions, launch,
};
use crate::Context;
use crate::error::ApiError;
use crate::wire::epoch_seconds;

/// The most tasks of a service: the stage has three subnets of 256 addresses, ECS allows 5,000.
const MOST_TASKS: i64 = 750;

/// What is said where tasks are asked for and there is nothing to run them on.
pub(super) const NO_INSTANCE: &str = "there is nothing here to run tasks on: start them with `taskfault-local \
     up FILE`, or as containers whose sidecar registers here (deploy/compose)";

/// Members of CreateService and UpdateService that nothing here acts upon, told as they were sent.
const KEPT: [&str; 11] = [
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
    "deploymentConfiguration",
    "deploymentController",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "loadBalancers",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "serviceRegistries",
];

/// CreateService.
pub(super) fn create(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let cluster = request.cluster();
    let name = request.required("serviceName")?;
    if !is_name(name) {
        return Err(invalid(
            "Service names have letters, digits, hyphens and underscores only, 255 at most.",
        ));
    }
    clusters::check(state, &cluster)?;
    let definition = definitions::usable(state, request.required("taskDefinition")?)?;
    let replica = request.text("schedulingStrategy").unwrap_or("REPLICA");
    if replica != "REPLICA" {
        return Err(invalid("Only the scheduling strategy REPLICA is played here."));
    }
    let controller = request.members().nested("deploymentController").and_then(|it| it.text("type"));
    if let Some(controller) = controller.filter(|it| *it != "ECS") {
        return Err(invalid(format!("The deployment controller {controller} is not played here; ECS is.")));
    }
    let desired = request.number("desiredCount", 0, MOST_TASKS)?.unwrap_or(0);
    let launch = launch::launch(request, state.clusters.get(&cluster), definition)?;
    let placement = launch::placement(request, definition, &launch, context)?;
    let definition = definition.name();
    let tags = request.tags()?;
    need_instance(state)?;
    let key = (cluster.clone(), name.to_owned());
    if state.services.get(&key).is_some_and(|service| service.status != ServiceStatus::Inactive) {
        return Err(invalid("Creation of service was not idempotent."));
    }
    let service = Service {
        cluster,
        name: name.to_owned(),
        desired,
        status: ServiceStatus::Active,
        created: context.now,
        tags,
        propagate: propagate(request),
        managed_tags: request.flag("enableECSManagedTags"),
        launch,
        placement,
        kept: request.kept(&KEPT),
        events: Vec::new(),
        primary: deployment(definition, context),
        older: Vec::new(),
        vacancies: Vec::new(),
        failures: 0,
        not_before: None,
        steady: false,
    };
    let answer = json!({ "service": item(&service, &[], true, context) });
    state.services.insert(key, service);
    Ok(answer)
}

/// Refuses what needs something to run tasks on where there is nothing.
pub(super) fn need_instance(state: &EcsState) -> Result<(), ApiError> {
    if state.instances_since.is_some() { Ok(()) } else { Err(invalid(format!("{NO_INSTANCE}."))) }
}

/// `propagateTags`.
pub(super) fn propagate(request: &Request<'_>) -> Propagate {
    match request.text("propagateTags") {
        Some("SERVICE") => Propagate::Service,
        Some("TASK_DEFINITION") => Propagate::Definition,
        _ => Propagate::None,
    }
}

/// One that begins now.
fn deployment(definition: String, context: &Context) -> Deployment {
    let digits = uuid::Uuid::new_v4().as_u128() % 10_u128.pow(19);
    let (created, updated) = (context.now, context.now);
    Deployment { id: format!("ecs-svc/{digits:019}"), definition, created, updated, completed: false }
}

/// UpdateService: desired count, task definition, where tasks run, new deployment.
pub(super) fn update(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let key = key(request, state)?;
    let desired = request.number("desiredCount", 0, MOST_TASKS)?;
    let before = state.services.get(&key).ok_or_else(not_found)?;
    if before.status != ServiceStatus::Active {
        return Err(ApiError::new("ServiceNotActiveException", "Service was not ACTIVE."));
    }
    let wanted = request.text("taskDefinition").unwrap_or(before.definition());
    let definition = match request.has("taskDefinition") {
        true => definitions::usable(state, wanted)?,
        // One that was deregistered meanwhile goes on.
        false => state.definition(wanted).ok_or_else(|| client("TaskDefinition not found."))?,
    };
    let launch = match request.has("capacityProviderStrategy") || request.has("platformVersion") {
        true => launch::relaunch(request, &before.launch, definition)?,
        false => before.launch.clone(),
    };
    let placement = match request.has("networkConfiguration") {
        true => launch::placement(request, definition, &launch, context)?,
        false => before.placement.clone(),
    };
    let definition = definition.name();
    let is_new = request.flag("forceNewDeployment")
        || definition != before.definition()
        || launch != before.launch
        || placement != before.placement;
    let service = state.services.get_mut(&key).ok_or_else(not_found)?;
    service.desired = desired.unwrap_or(service.desired);
    (service.launch, service.placement) = (launch, placement);
    service.kept.extend(request.kept(&KEPT));
    if request.has("propagateTags") {
        service.propagate = propagate(request);
    }
    if request.has("enableECSManagedTags") {
        service.managed_tags = request.flag("enableECSManagedTags");
    }
    service.primary.updated = context.now;
    service.steady = false;
    // A user who asks is not kept waiting for the pause after failures.
    (service.failures, service.not_before) = (0, None);
    if is_new {
        let before = std::mem::replace(&mut service.primary, deployment(definition, context));
        service.older.insert(0, before);
    }
    Ok(json!({ "service": shown(state, &key, context) }))
}

/// DescribeServices, at most ten.
pub(super) fn describe(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let names = request.texts("services");
    if names.is_empty() || names.len() > 10 {
        return Err(invalid("services must have 1 to 10 names."));
    }
    let with_tags = request.includes("TAGS");
    let tasks = state.tasks_by_service();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match state.services.get(&(cluster.clone(), name.to_owned())) {
            Some(service) => {
                let own = tasks.get(&(cluster.as_str(), name)).map_or(&[][..], Vec::as_slice);
                found.push(item(service, own, with_tags, context));
            }
            None => failures.push(missing(arn(context, &format!("service/{cluster}/{name}")))),
        }
    }
    Ok(json!({ "services": found, "failures": failures }))
}

/// ListServices.
pub(super) fn list(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let services = state.services.values();
    let launch = request.text("launchType");
    let there = services
        .filter(|it| it.cluster == cluster && it.status != ServiceStatus::Inactive)
        .filter(|it| launch.is_none_or(|launch| it.launch.as_str() == launch));
    request.page("serviceArns", there.map(|service| arn_of(service, context)).collect(), 100)
}

/// DeleteService: one that is scaled to 0, or any with `force`.
pub(super) fn delete(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let key = key(request, state)?;
    let force = request.flag("force");
    let service = state.services.get_mut(&key).ok_or_else(not_found)?;
    if service.status != ServiceStatus::Active {
        return Err(ApiError::new("ServiceNotActiveException", "Service was not ACTIVE."));
    }
    if service.desired > 0 && !force {
        return Err(invalid("The service cannot be stopped while it is scaled above 0."));
    }
    service.status = ServiceStatus::Draining;
    service.desired = 0;
    Ok(json!({ "service": shown(state, &key, context) }))
}

fn key(request: &Request<'_>, state: &EcsState) -> Result<(String, String), ApiError> {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let name = last_segment(request.required("service")?).to_owned();
    match state.services.contains_key(&(cluster.clone(), name.clone())) {
        true => Ok((cluster, name)),
        false => Err(not_found()),
    }
}

/// `ServiceNotFoundException`.
pub(super) fn not_found() -> ApiError {
    ApiError::new("ServiceNotFoundException", "Service not found.")
}

/// The ARN of a service.
pub(super) fn arn_of(service: &Service, context: &Context) -> String {
    arn(context, &format!("service/{}/{}", service.cluster, service.name))
}

/// As the answer to a change shows it.
fn shown(state: &EcsState, key: &(String, String), context: &Context) -> Value {
    let tasks = state.tasks_by_service();
    let own = tasks.get(&(key.0.as_str(), key.1.as_str())).map_or(&[][..], Vec::as_slice);
    item(&state.services[key], own, true, context)
}

/// Pending and running tasks. ECS counts a task as running until it has stopped, whatever is wanted of it.
fn counts<'a>(tasks: impl Iterator<Item = &'a &'a Task> + Clone) -> (usize, usize) {
    let pending = tasks.clone().filter(|task| task.last < LastStatus::Running).count();
    (pending, tasks.count() - pending)
}

/// As DescribeServices shows it; `tasks` are those of it that have not stopped.
fn item(service: &Service, tasks: &[&Task], with_tags: bool, context: &Context) -> Value {
    let (pending, running) = counts(tasks.iter());
    let status = match service.status {
        ServiceStatus::Active => "ACTIVE",
        ServiceStatus::Draining => "DRAINING",
        ServiceStatus::Inactive => "INACTIVE",
    };
    let event = |event: &super::ServiceEvent| json!({ "id": event.id, "createdAt": epoch_seconds(event.at), "message": event.message });
    let deployments: Vec<Value> = match service.status {
        ServiceStatus::Active => std::iter::once((&service.primary, "PRIMARY"))
            .chain(service.older.iter().map(|it| (it, "ACTIVE")))
            .map(|(it, status)| deployment_item(service, it, status, tasks, context))
            .collect(),
        _ => Vec::new(),
    };
    let mut item = json!({
        "serviceArn": arn_of(service, context),
        "serviceName": service.name,
        "clusterArn": arn(context, &format!("cluster/{}", service.cluster)),
        "loadBalancers": [],
        "serviceRegistries": [],
        "status": status,
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "taskDefinition": arn(context, &format!("task-definition/{}", service.definition())),
        "deploymentController": { "type": "ECS" },
        "deployments": deployments,
        "events": service.events.iter().rev().map(event).collect::<Vec<_>>(),
        "createdAt": epoch_seconds(service.created),
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": "REPLICA",
        "enableECSManagedTags": service.managed_tags,
        "enableExecuteCommand": false,
        "propagateTags": match service.propagate {
            Propagate::None => "NONE",
            Propagate::Service => "SERVICE",
            Propagate::Definition => "TASK_DEFINITION",
        },
        "tags": if with_tags { tag_list(&service.tags) } else { json!([]) },
    });
    let mut configuration = json!({
        "deploymentCircuitBreaker": { "enable": false, "rollback": false },
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
    });
    for (name, value) in &service.kept {
        match (name.as_str(), value.as_object()) {
            ("deploymentConfiguration", Some(said)) => {
                said.iter().for_each(|(name, value)| configuration[name] = value.clone());
            }
            _ => item[name] = value.clone(),
        }
    }
    item["deploymentConfiguration"] = configuration;
    tell_launch(&mut item, &service.launch, false);
    item
}

/// `launchType` or the strategy in its place, and the platform; `of_task` where the platform is that of a task.
pub(super) fn tell_launch(item: &mut Value, launch: &Launch, of_task: bool) {
    let Launch::Fargate { provider, platform_version } = launch else {
        item["launchType"] = json!(launch.as_str());
        return;
    };
    let version =
        if of_task && platform_version == "LATEST" { launch::LATEST_PLATFORM } else { platform_version };
    item["platformVersion"] = json!(version);
    item["platformFamily"] = json!("Linux");
    match provider {
        Some(provider) if of_task => {
            item["launchType"] = json!(launch.as_str());
            item["capacityProviderName"] = json!(provider);
        }
        Some(provider) => {
            let strategy = json!([{ "capacityProvider": provider, "weight": 1, "base": 0 }]);
            item.as_object_mut().map(|item| item.entry("capacityProviderStrategy").or_insert(strategy));
        }
        None => item["launchType"] = json!(launch.as_str()),
    }
}

fn deployment_item(
    service: &Service,
    deployment: &Deployment,
    status: &str,
    tasks: &[&Task],
    context: &Context,
) -> Value {
    let own = tasks.iter().filter(|task| task.started_by.as_ref() == Some(&deployment.id));
    let (pending, running) = counts(own);
    let is_primary = deployment.id == service.primary.id;
    let (state, reached) =
        if deployment.completed { ("COMPLETED", "completed") } else { ("IN_PROGRESS", "in progress") };
    let mut item = json!({
        "id": deployment.id,
        "status": status,
        "taskDefinition": arn(context, &format!("task-definition/{}", deployment.definition)),
        "desiredCount": if is_primary { service.desired } else { 0 },
        "pendingCount": pending,
        "runningCount": running,
        "failedTasks": if is_primary { service.failures } else { 0 },
        "createdAt": epoch_seconds(deployment.created),
        "updatedAt": epoch_seconds(deployment.updated),
        "rolloutState": state,
        "rolloutStateReason": format!("ECS deployment {} {reached}.", deployment.id),
    });
    if let Some(network) = service.kept.get("networkConfiguration") {
        item["networkConfiguration"] = network.clone();
    }
    tell_launch(&mut item, &service.launch, false);
    item
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, definition};
    use super::LastStatus;
    use serde_json::{Value, json};

    fn described(fixture: &mut Fixture) -> Value {
        fixture.ok("DescribeServices", json!({ "services": ["app"] }))["services"][0].clone()
    }

    #[test]
    fn without_an_instance_a_service_is_refused_in_words() {
        let mut fixture = Fixture::new();
        fixture.ok("RegisterTaskDefinition", definition("app"));
        let body = json!({ "serviceName": "app", "taskDefinition": "app", "desiredCount": 1 });
        let error = fixture.error("CreateService", body);
        assert_eq!(error.code, "InvalidParameterException");
        assert!(error.message.contains("taskfault-local up"), "{error}");
        assert!(fixture.state.services.is_empty());
    }

    #[test]
    fn a_service_becomes_stable_and_follows_its_desired_count() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 3);
        assert_eq!(described(&mut fixture)["pendingCount"], 3);
        fixture.start_all();
        let stable = described(&mut fixture);
        assert_eq!((&stable["runningCount"], &stable["desiredCount"]), (&json!(3), &json!(3)));
        assert_eq!(stable["deployments"].as_array().unwrap().len(), 1);
        assert_eq!(stable["deployments"][0]["rolloutState"], "COMPLETED");
        let last = stable["events"][0]["message"].as_str().unwrap();
        assert_eq!(last, "(service app) has reached a steady state.");
        fixture.ok("UpdateService", json!({ "service": "app", "desiredCount": 1 }));
        fixture.end_all();
        assert_eq!(described(&mut fixture)["runningCount"], 1);
        fixture.ok("UpdateService", json!({ "service": "app", "desiredCount": 2 }));
        fixture.start_all();
        assert_eq!(described(&mut fixture)["runningCount"], 2);
    }

    #[test]
    fn a_new_definition_replaces_every_task() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 2);
        fixture.start_all();
        fixture.ok("RegisterTaskDefinition", definition("app"));
        fixture.ok("UpdateService", json!({ "service": "app", "taskDefinition": "app" }));
        let rolling = described(&mut fixture);
        assert_eq!(
            (&rolling["runningCount"], &rolling["pendingCount"]),
            (&json!(2), &json!(2)),
            "new ones first"
        );
        let counts =
            |it: &Value| (it["status"].clone(), it["runningCount"].clone(), it["pendingCount"].clone());
        let deployments: Vec<_> = rolling["deployments"].as_array().unwrap().iter().map(counts).collect();
        assert_eq!(
            deployments,
            [(json!("PRIMARY"), json!(0), json!(2)), (json!("ACTIVE"), json!(2), json!(0))]
        );
        fixture.start_all();
        fixture.end_all();
        let definitions: Vec<String> = fixture.running().iter().map(|task| task.definition()).collect();
        assert_eq!(definitions, ["app:2", "app:2"]);
        let done = described(&mut fixture);
        assert_eq!(done["deployments"].as_array().unwrap().len(), 1);
        assert_eq!(done["deployments"][0]["rolloutState"], "COMPLETED");
    }

    #[test]
    fn a_deployment_keeps_to_its_limits() {
        let mut fixture = Fixture::new().with_instance();
        fixture.ok("RegisterTaskDefinition", definition("app"));
        let configuration = json!({ "maximumPercent": 100, "minimumHealthyPercent": 50 });
        let body = json!({
            "serviceName": "app", "taskDefinition": "app", "desiredCount": 4, "deploymentConfiguration": configuration,
        });
        fixture.ok("CreateService", body);
        fixture.start_all();
        fixture.ok("UpdateService", json!({ "service": "app", "forceNewDeployment": true }));
        for _ in 0..3 {
            let now = described(&mut fixture);
            let live = fixture.state.tasks.values().filter(|task| !task.ending);
            let (running, all) = live.fold((0, 0), |(running, all), task| {
                (running + usize::from(task.last == LastStatus::Running), all + 1)
            });
            assert!(running >= 2 && all <= 4, "{running} of {all}: {now}");
            fixture.end_all();
            fixture.start_all();
        }
        assert_eq!(described(&mut fixture)["deployments"].as_array().unwrap().len(), 1);
        assert_eq!(described(&mut fixture)["runningCount"], 4);
    }

    #[test]
    fn an_unhealthy_task_goes_when_its_replacement_is_up() {
        use super::super::{Health, agent};
        let mut fixture = Fixture::new().with_instance();
        let mut checked = definition("app");
        checked["containerDefinitions"][0]["healthCheck"] = json!({ "command": ["CMD", "true"] });
        fixture.ok("RegisterTaskDefinition", checked);
        let network = json!({ "serviceName": "app", "taskDefinition": "app", "desiredCount": 1 });
        fixture.ok("CreateService", network);
        fixture.start_all();
        let health = |fixture: &mut Fixture, arn: &str, health: Health| {
            agent::health_checked(&mut fixture.state, arn, "app", health, &fixture.context);
        };
        let first = fixture.running()[0].arn.clone();
        assert_eq!(
            described(&mut fixture)["deployments"][0]["rolloutState"],
            "IN_PROGRESS",
            "nobody knows yet"
        );
        health(&mut fixture, &first, Health::Healthy);
        assert_eq!(described(&mut fixture)["deployments"][0]["rolloutState"], "COMPLETED");
        health(&mut fixture, &first, Health::Unhealthy);
        fixture.start_all();
        assert_eq!(fixture.running().len(), 2);
        let second = fixture.running().iter().find(|task| task.arn != first).unwrap().arn.clone();
        health(&mut fixture, &second, Health::Healthy);
        fixture.end_all();
        let gone = &fixture.state.tasks[&first];
        assert_eq!(gone.last, LastStatus::Stopped);
        assert_eq!(gone.stopped_reason.as_deref(), Some("Task failed container health checks"));
        assert_eq!(fixture.state.tasks[&second].replaces.as_ref(), Some(&gone.id));
    }

    #[test]
    fn a_deleted_service_drains_and_is_inactive() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        fixture.start_all();
        let body = json!({ "service": "app" });
        assert_eq!(fixture.refused("DeleteService", body), "InvalidParameterException");
        fixture.ok("DeleteService", json!({ "service": "app", "force": true }));
        assert_eq!(described(&mut fixture)["status"], "DRAINING");
        fixture.end_all();
        assert_eq!(described(&mut fixture)["status"], "INACTIVE");
        let update = json!({ "service": "app", "desiredCount": 1 });
        assert_eq!(fixture.refused("UpdateService", update), "ServiceNotActiveException");
        assert_eq!(fixture.ok("ListServices", json!({}))["serviceArns"], json!([]));
        fixture.ok("CreateService", json!({ "serviceName": "app", "taskDefinition": "app" }));
    }

    #[test]
    fn what_is_wrong_with_a_service_is_said_with_its_code() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 0);
        for (operation, body, code) in [
            (
                "CreateService",
                json!({ "serviceName": "app", "taskDefinition": "app" }),
                "InvalidParameterException",
            ),
            ("CreateService", json!({ "serviceName": "b", "taskDefinition": "none" }), "ClientException"),
            ("CreateService", json!({ "serviceName": "b" }), "InvalidParameterException"),
            (
                "CreateService",
                json!({ "serviceName": "b", "taskDefinition": "app", "desiredCount": -1 }),
                "InvalidParameterException",
            ),
            (
                "CreateService",
                json!({ "serviceName": "b", "taskDefinition": "app", "cluster": "none" }),
                "ClusterNotFoundException",
            ),
            ("UpdateService", json!({ "service": "none" }), "ServiceNotFoundException"),
            ("DeleteService", json!({ "service": "none" }), "ServiceNotFoundException"),
            ("DescribeServices", json!({ "services": [] }), "InvalidParameterException"),
        ] {
            assert_eq!(fixture.refused(operation, body.clone()), code, "{operation} {body}");
        }
        let missing = fixture.ok("DescribeServices", json!({ "services": ["none"] }));
        assert_eq!(missing["failures"][0]["reason"], "MISSING");
    }
}
