//! Services: creating, changing, describing, deleting. `schedule` makes them true.

use serde_json::{Value, json};

use super::names::is_name;
use super::request::{Answer, Request, invalid, last_segment, missing, tag_list};
use super::{EcsState, LastStatus, Service, ServiceStatus, Task, arn, clusters, definitions, schedule};
use crate::Context;
use crate::error::ApiError;
use crate::wire::epoch_seconds;

/// The most tasks of a service: the stage has 1,021 addresses, ECS allows 5,000.
const MOST_TASKS: i64 = 1_000;

/// What is said where tasks are asked for and there is nothing to run them on.
pub(super) const NO_INSTANCE: &str = "there is nothing here to run tasks on: start them with `taskfault-local \
     up FILE`, or as containers whose sidecar registers here (deploy/compose)";

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
    let definition = definitions::usable(state, request.required("taskDefinition")?)?.name();
    let replica = request.text("schedulingStrategy").unwrap_or("REPLICA");
    if replica != "REPLICA" {
        return Err(invalid("Only the scheduling strategy REPLICA is played here."));
    }
    let desired = request.number("desiredCount", 0, MOST_TASKS)?.unwrap_or(0);
    let propagate = request.text("propagateTags");
    let tags = request.tags()?;
    need_instance(state)?;
    let key = (cluster.clone(), name.to_owned());
    if state.services.get(&key).is_some_and(|service| service.status != ServiceStatus::Inactive) {
        return Err(invalid("Creation of service was not idempotent."));
    }
    state.ensure_cluster(&cluster);
    let service = Service {
        cluster,
        name: name.to_owned(),
        definition,
        desired,
        status: ServiceStatus::Active,
        created: context.now,
        updated: context.now,
        tags,
        propagate_tags: propagate == Some("SERVICE"),
        events: Vec::new(),
        vacancies: Vec::new(),
        failures: 0,
        not_before: None,
        deployment: deployment_id(),
        steady: false,
    };
    let answer = json!({ "service": item(state, &service, true, context) });
    state.services.insert(key, service);
    Ok(answer)
}

/// Refuses what needs a container instance where there is none.
pub(super) fn need_instance(state: &EcsState) -> Result<(), ApiError> {
    if state.has_instance { Ok(()) } else { Err(invalid(format!("{NO_INSTANCE}."))) }
}

fn deployment_id() -> String {
    let digits = uuid::Uuid::new_v4().as_u128() % 10_u128.pow(19);
    format!("ecs-svc/{digits:019}")
}

/// UpdateService: desired count, task definition, new deployment.
pub(super) fn update(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let key = key(request, state)?;
    let desired = request.number("desiredCount", 0, MOST_TASKS)?;
    let definition = match request.text("taskDefinition") {
        Some(wanted) => Some(definitions::usable(state, wanted)?.name()),
        None => None,
    };
    let force = request.flag("forceNewDeployment");
    let service = state.services.get_mut(&key).ok_or_else(not_found)?;
    if service.status != ServiceStatus::Active {
        return Err(ApiError::new("ServiceNotActiveException", "Service was not ACTIVE."));
    }
    if let Some(desired) = desired {
        service.desired = desired;
    }
    let redeploy = force || definition.as_ref().is_some_and(|name| *name != service.definition);
    if let Some(definition) = definition {
        service.definition = definition;
    }
    service.updated = context.now;
    service.steady = false;
    // A user who asks is not kept waiting for the pause after failures.
    (service.failures, service.not_before) = (0, None);
    if redeploy {
        service.deployment = deployment_id();
        schedule::replace_all(state, &key, context);
    }
    let service = &state.services[&key];
    Ok(json!({ "service": item(state, service, true, context) }))
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
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match state.services.get(&(cluster.clone(), name.to_owned())) {
            Some(service) => found.push(item(state, service, with_tags, context)),
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
    let there = services.filter(|it| it.cluster == cluster && it.status != ServiceStatus::Inactive);
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
    let service = &state.services[&key];
    Ok(json!({ "service": item(state, service, true, context) }))
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

fn arn_of(service: &Service, context: &Context) -> String {
    arn(context, &format!("service/{}/{}", service.cluster, service.name))
}

/// As DescribeServices shows it.
fn item(state: &EcsState, service: &Service, with_tags: bool, context: &Context) -> Value {
    let of_service = |task: &&Task| {
        task.cluster == service.cluster && task.service.as_deref() == Some(service.name.as_str())
    };
    let own = || state.tasks.values().filter(of_service);
    // ECS counts a task as running until it has stopped, whatever is wanted of it.
    let running =
        own().filter(|task| matches!(task.last, LastStatus::Running | LastStatus::Stopping)).count();
    let pending = own().filter(|task| task.last < LastStatus::Running).count();
    let definition = arn(context, &format!("task-definition/{}", service.definition));
    let status = match service.status {
        ServiceStatus::Active => "ACTIVE",
        ServiceStatus::Draining => "DRAINING",
        ServiceStatus::Inactive => "INACTIVE",
    };
    let event = |event: &super::ServiceEvent| json!({ "id": event.id, "createdAt": epoch_seconds(event.at), "message": event.message });
    let deployment = json!({
        "id": service.deployment,
        "status": "PRIMARY",
        "taskDefinition": definition,
        "desiredCount": service.desired,
        "pendingCount": pending,
        "runningCount": running,
        "failedTasks": service.failures,
        "createdAt": epoch_seconds(service.created),
        "updatedAt": epoch_seconds(service.updated),
        "launchType": "EC2",
        "rolloutState": if service.steady { "COMPLETED" } else { "IN_PROGRESS" },
    });
    json!({
        "serviceArn": arn_of(service, context),
        "serviceName": service.name,
        "clusterArn": arn(context, &format!("cluster/{}", service.cluster)),
        "loadBalancers": [],
        "serviceRegistries": [],
        "status": status,
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "launchType": "EC2",
        "taskDefinition": definition,
        "deploymentConfiguration": { "maximumPercent": 200, "minimumHealthyPercent": 100 },
        "deployments": if service.status == ServiceStatus::Active { json!([deployment]) } else { json!([]) },
        "events": service.events.iter().rev().map(event).collect::<Vec<_>>(),
        "createdAt": epoch_seconds(service.created),
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": "REPLICA",
        "enableECSManagedTags": false,
        "enableExecuteCommand": false,
        "propagateTags": if service.propagate_tags { "SERVICE" } else { "NONE" },
        "tags": if with_tags { tag_list(&service.tags) } else { json!([]) },
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, definition};
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
        fixture.end_all();
        fixture.start_all();
        let definitions: Vec<String> = fixture.running().iter().map(|task| task.definition()).collect();
        assert_eq!(definitions, ["app:2", "app:2"]);
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
