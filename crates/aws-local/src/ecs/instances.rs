//! Container instances: every cluster has one in each zone as long as tasks can be started here. A service leaves one
//! that is DRAINING (`schedule`); tasks of Fargate and tasks without a service stay.

use serde_json::{Value, json};

use super::request::{Answer, Request, invalid, last_segment, missing};
use super::zone::Zone;
use super::{EcsState, LastStatus, Launch, clusters};
use crate::Context;
use crate::error::ApiError;
use crate::wire::{epoch_seconds, sha256_hex};

/// The container instance of a zone in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInstance {
    /// `arn:aws:ecs:REGION:ACCOUNT:container-instance/CLUSTER/ID`.
    pub arn: String,
    /// Its zone.
    pub zone: Zone,
    /// `status` is DRAINING.
    pub draining: bool,
}

/// The container instances of a cluster; none where no tasks can be started, or if there is no such cluster.
pub fn container_instances(state: &EcsState, cluster: &str, context: &Context) -> Vec<ContainerInstance> {
    if state.instances_since.is_none() || clusters::check(state, cluster).is_err() {
        return Vec::new();
    }
    let instance = |zone: Zone| ContainerInstance {
        arn: zone.instance_arn(cluster, context),
        zone,
        draining: state.draining.contains(&(cluster.to_owned(), zone)),
    };
    Zone::all().map(instance).collect()
}

/// Sets `status` of a container instance to DRAINING, or back to ACTIVE, as UpdateContainerInstancesState does. False
/// if there is no such instance.
pub fn set_draining(state: &mut EcsState, instance_arn: &str, draining: bool, context: &Context) -> bool {
    let Some(cluster) = instance_arn.rsplit('/').nth(1).map(str::to_owned) else { return false };
    let found = container_instances(state, &cluster, context).into_iter().find(|it| it.arn == instance_arn);
    let Some(instance) = found else { return false };
    let key = (cluster, instance.zone);
    if draining {
        state.draining.insert(key)
    } else {
        state.draining.remove(&key)
    };
    super::schedule::settle(state, context);
    true
}

/// UpdateContainerInstancesState, at most ten.
pub(super) fn update(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let (cluster, asked) = asked(request, state, 10)?;
    let draining = match request.required("status")? {
        "ACTIVE" => false,
        "DRAINING" => true,
        _ => return Err(invalid("status must be one of ACTIVE, DRAINING.")),
    };
    let (mut changed, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        match find(state, &cluster, name, context) {
            Some(instance) => {
                set_draining(state, &instance.arn, draining, context);
                changed.extend(find(state, &cluster, name, context));
            }
            None => failures.push(missing(full_arn(name, &cluster, context))),
        }
    }
    let items: Vec<Value> = changed.iter().map(|it| item(state, &cluster, it, context)).collect();
    Ok(json!({ "containerInstances": items, "failures": failures }))
}

/// DescribeContainerInstances, at most a hundred.
pub(super) fn describe(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let (cluster, asked) = asked(request, state, 100)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        match find(state, &cluster, name, context) {
            Some(instance) => found.push(item(state, &cluster, &instance, context)),
            None => failures.push(missing(full_arn(name, &cluster, context))),
        }
    }
    Ok(json!({ "containerInstances": found, "failures": failures }))
}

/// ListContainerInstances.
pub(super) fn list(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    if request.text("filter").is_some() {
        return Err(invalid("The cluster query language is not played here; leave out filter."));
    }
    let wanted = request.text("status");
    let all = container_instances(state, &cluster, context).into_iter();
    let arns = all.filter(|it| wanted.is_none_or(|wanted| status(it) == wanted)).map(|it| it.arn);
    request.page("containerInstanceArns", arns.collect(), 100)
}

fn asked<'a>(
    request: &Request<'a>,
    state: &EcsState,
    most: usize,
) -> Result<(String, Vec<&'a str>), ApiError> {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let asked = request.texts("containerInstances");
    match (1..=most).contains(&asked.len()) {
        true => Ok((cluster, asked)),
        false => Err(invalid(format!("containerInstances must have 1 to {most} IDs or ARNs."))),
    }
}

fn find(state: &EcsState, cluster: &str, name: &str, context: &Context) -> Option<ContainerInstance> {
    let arn = full_arn(name, cluster, context);
    container_instances(state, cluster, context).into_iter().find(|it| it.arn == arn)
}

fn full_arn(name: &str, cluster: &str, context: &Context) -> String {
    super::arn(context, &format!("container-instance/{cluster}/{}", last_segment(name)))
}

fn status(instance: &ContainerInstance) -> &'static str {
    if instance.draining { "DRAINING" } else { "ACTIVE" }
}

/// As DescribeContainerInstances shows it. Resources are the machine's; nothing is set aside for tasks.
fn item(state: &EcsState, cluster: &str, instance: &ContainerInstance, context: &Context) -> Value {
    let region = context.region.as_str();
    let here = |launch: &Launch| *launch == Launch::Ec2;
    let tasks = || {
        let of_cluster = state.tasks.values().filter(|task| task.cluster == cluster && here(&task.launch));
        of_cluster.filter(|task| task.zone == instance.zone)
    };
    let running =
        tasks().filter(|task| matches!(task.last, LastStatus::Running | LastStatus::Stopping)).count();
    let pending = tasks().filter(|task| task.last < LastStatus::Running).count();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let resources = json!([{ "name": "CPU", "type": "INTEGER", "integerValue": cpus * 1024 }]);
    let attributes = [
        ("ecs.availability-zone", Some(instance.zone.name(region))),
        ("ecs.subnet-id", Some(instance.zone.subnet_id(region))),
        ("ecs.os-type", Some("linux".to_owned())),
        ("ecs.cpu-architecture", Some(std::env::consts::ARCH.to_owned())),
        ("ecs.capability.task-eni", None),
        ("ecs.capability.container-health-check", None),
        ("ecs.capability.container-ordering", None),
        ("ecs.capability.fault-injection", None),
    ];
    let attribute = |(name, value): (&str, Option<String>)| match value {
        Some(value) => json!({ "name": name, "value": value }),
        None => json!({ "name": name }),
    };
    json!({
        "containerInstanceArn": instance.arn,
        "ec2InstanceId": format!("i-0{}", &sha256_hex(instance.arn.as_bytes())[..16]),
        "status": status(instance),
        "agentConnected": true,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "registeredAt": state.instances_since.map(epoch_seconds),
        "registeredResources": resources,
        "remainingResources": resources,
        "attributes": attributes.map(attribute),
        "attachments": [],
        "tags": [],
        "version": 1,
        "versionInfo": {},
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, definition};
    use super::*;

    fn instances(fixture: &mut Fixture, body: Value) -> Vec<Value> {
        fixture.ok("ListContainerInstances", body)["containerInstanceArns"].as_array().unwrap().clone()
    }

    fn zones(fixture: &Fixture) -> Vec<Zone> {
        fixture.running().iter().map(|task| task.zone).collect()
    }

    #[test]
    fn each_cluster_has_one_in_each_zone_while_tasks_can_be_started() {
        let mut fixture = Fixture::new();
        assert!(instances(&mut fixture, json!({})).is_empty());
        let mut fixture = fixture.with_instance();
        fixture.service("app", 4);
        fixture.start_all();
        let arns = instances(&mut fixture, json!({}));
        let body = json!({ "containerInstances": arns });
        let found = fixture.ok("DescribeContainerInstances", body)["containerInstances"].clone();
        let counts: Vec<i64> =
            found.as_array().unwrap().iter().map(|it| it["runningTasksCount"].as_i64().unwrap()).collect();
        assert_eq!(counts, [2, 1, 1], "tasks are spread");
        assert_eq!(
            found[1]["attributes"][0],
            json!({ "name": "ecs.availability-zone", "value": "eu-west-1b" })
        );
        let missing = fixture.ok("DescribeContainerInstances", json!({ "containerInstances": ["0"] }));
        assert_eq!(missing["failures"][0]["reason"], "MISSING");
        for body in [json!({ "containerInstances": [] }), json!({ "filter": "x" })] {
            let operation = if body.get("filter").is_some() {
                "ListContainerInstances"
            } else {
                "DescribeContainerInstances"
            };
            assert_eq!(fixture.refused(operation, body), "InvalidParameterException");
        }
    }

    #[test]
    fn a_service_leaves_an_instance_that_drains_with_no_task_less_than_it_wants() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 3);
        fixture.start_all();
        let first = instances(&mut fixture, json!({}))[0].clone();
        let drain = json!({ "containerInstances": [first], "status": "DRAINING" });
        let drained = fixture.ok("UpdateContainerInstancesState", drain);
        assert_eq!(drained["containerInstances"][0]["status"], "DRAINING");
        assert_eq!(instances(&mut fixture, json!({ "status": "DRAINING" })), std::slice::from_ref(&first));
        let leaving =
            fixture.state.tasks.values().find(|task| task.last == LastStatus::Running && task.ending);
        assert!(leaving.is_none(), "its replacement is not up yet");
        fixture.start_all();
        fixture.end_all();
        let draining = Zone::all().next().unwrap();
        assert_eq!(zones(&fixture).len(), 3);
        assert!(!zones(&fixture).contains(&draining), "{:?}", zones(&fixture));
        let gone = fixture.state.tasks.values().find(|task| task.last == LastStatus::Stopped).unwrap();
        assert_eq!(gone.zone, draining);
        assert!(gone.stopped_reason.as_ref().unwrap().contains("container instance is in DRAINING state"));
        let fresh = fixture.state.tasks.values().find(|task| task.replaces.is_some()).unwrap();
        assert_eq!(fresh.replaces.as_ref(), Some(&gone.id));
        // Back again: nobody moves, but the next one goes where there is room.
        let back = json!({ "containerInstances": [first], "status": "ACTIVE" });
        fixture.ok("UpdateContainerInstancesState", back);
        fixture.ok("UpdateService", json!({ "service": "app", "desiredCount": 4 }));
        fixture.start_all();
        assert!(zones(&fixture).contains(&draining));
    }

    #[test]
    fn tasks_without_a_service_stay_and_nothing_starts_where_everything_drains() {
        let mut fixture = Fixture::new().with_instance();
        fixture.ok("RegisterTaskDefinition", definition("job"));
        fixture.ok("RunTask", json!({ "taskDefinition": "job" }));
        fixture.start_all();
        let all = instances(&mut fixture, json!({}));
        fixture
            .ok("UpdateContainerInstancesState", json!({ "containerInstances": all, "status": "DRAINING" }));
        fixture.end_all();
        assert_eq!(fixture.running().len(), 1);
        let error = fixture.error("RunTask", json!({ "taskDefinition": "job" }));
        assert_eq!(error.message, "No Container Instances were found in your cluster.");
        fixture.service("app", 2);
        assert!(!super::super::is_behind(&fixture.state, fixture.context.now), "it waits");
        let described = fixture.ok("DescribeServices", json!({ "services": ["app"] }));
        let said = described["services"][0]["events"][0]["message"].as_str().unwrap();
        assert!(said.contains("unable to place a task"), "{said}");
        assert_eq!(described["services"][0]["events"].as_array().unwrap().len(), 1);
        let wrong = json!({ "containerInstances": [all[0]], "status": "REGISTERING" });
        assert_eq!(fixture.refused("UpdateContainerInstancesState", wrong), "InvalidParameterException");
    }
}
