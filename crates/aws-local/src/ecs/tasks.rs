//! Tasks: running, stopping, listing, describing. `agent` makes it true.

use serde_json::{Value, json};

use super::external::Sidecar;
use super::names::docker_id;
use super::request::{Answer, Request, invalid, last_segment, missing, tag_list};
use super::schedule::{Spread, Wish, end_task, managed_tags, open_zones, provision};
use super::{
    Container, EcsState, LastStatus, Launch, Propagate, StopCode, Task, arn, clusters, definitions, external,
    launch, services,
};
use crate::Context;
use crate::error::ApiError;
use crate::tags::Tags;
use crate::wire::{epoch_seconds, sha256_hex};

/// RunTask: up to ten tasks without a service.
pub(super) fn run(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let definition = definitions::usable(state, request.required("taskDefinition")?)?;
    let (name, family) = (definition.name(), definition.family.clone());
    let launch = launch::launch(request, state.clusters.get(&cluster), definition)?;
    let placement = launch::placement(request, definition, &launch, context)?;
    let count = request.number("count", 1, 10)?.unwrap_or(1);
    let group = request.text("group").map_or_else(|| format!("family:{family}"), str::to_owned);
    let started_by = request.text("startedBy").map(str::to_owned);
    let managed = request.flag("enableECSManagedTags");
    let mut tags = if managed { managed_tags(&cluster, None) } else { Tags::new() };
    if services::propagate(request) == Propagate::Definition {
        tags.extend(definition.tags.clone());
    }
    tags.extend(request.tags()?);
    services::need_instance(state)?;
    if request.value("overrides").is_some_and(|overrides| overrides != &json!({})) {
        return Err(invalid(
            "Overrides are not played here: register a revision with what is to be different.",
        ));
    }
    if open_zones(state, &cluster, &launch, &placement).is_empty() {
        return Err(invalid("No Container Instances were found in your cluster."));
    }
    let mut spread = Spread::of(state, &cluster, &group, &launch, &placement);
    let mut arns = Vec::new();
    for _ in 0..count {
        let wish = Wish {
            cluster: cluster.clone(),
            definition: name.clone(),
            service: None,
            group: group.clone(),
            started_by: started_by.clone(),
            tags: tags.clone(),
            launch: launch.clone(),
            replaces: None,
        };
        arns.extend(provision(state, wish, &mut spread, context));
    }
    let items: Vec<Value> = arns.iter().map(|arn| item(state, &state.tasks[arn], context)).collect();
    Ok(json!({ "tasks": items, "failures": [] }))
}

/// StopTask.
pub(super) fn stop(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let reason = request.text("reason").unwrap_or("Task stopped by user");
    let arn = full_arn(request.required("task")?, &cluster, context);
    stop_task(state, sidecars, &arn, reason, context)?;
    Ok(json!({ "task": item(state, &state.tasks[&arn], context) }))
}

/// Asks a task to stop, as StopTask does: SIGTERM, and SIGKILL after `stopTimeout`.
///
/// # Errors
/// `InvalidParameterException`: there is no such task, or it was not started here.
pub fn stop_task(
    state: &mut EcsState,
    sidecars: &[Sidecar],
    arn: &str,
    reason: &str,
    context: &Context,
) -> Result<(), ApiError> {
    if !state.tasks.contains_key(arn) {
        if external::present(state, sidecars).any(|task| task.arn == arn) {
            let message =
                format!("The task {arn} was not started here: stop its containers where they were started.");
            return Err(invalid(message));
        }
        return Err(invalid("The referenced task was not found."));
    }
    end_task(state, arn, StopCode::UserInitiated, reason, context.now);
    Ok(())
}

/// ListTasks.
pub(super) fn list(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let family = request.text("family").map(|family| format!("task-definition/{family}:"));
    let service = request.text("serviceName").map(last_segment);
    let started_by = request.text("startedBy");
    let desired = request.text("desiredStatus").unwrap_or("RUNNING");
    let launch = request.text("launchType");
    let instance = request.text("containerInstance").map(last_segment);
    if [service.is_some(), family.is_some(), started_by.is_some()].iter().filter(|it| **it).count() > 1 {
        return Err(invalid("Give one of serviceName, family and startedBy only."));
    }
    let cluster_arn = arn(context, &format!("cluster/{cluster}"));
    let group = service.map(|name| format!("service:{name}"));
    let all: Vec<Value> =
        described(state, sidecars, context).into_iter().map(|task| task.description).collect();
    if let (Some(name), Some(group)) = (service, &group) {
        let known = state.services.contains_key(&(cluster.clone(), name.to_owned()))
            || all.iter().any(|task| task["clusterArn"] == *cluster_arn && task["group"] == **group);
        if !known {
            return Err(services::not_found());
        }
    }
    let is = |task: &Value, member: &str, wanted: &str| task[member].as_str() == Some(wanted);
    let wanted = |task: &&Value| {
        is(task, "clusterArn", &cluster_arn)
            && is(task, "desiredStatus", desired)
            && group.as_deref().is_none_or(|group| is(task, "group", group))
            && started_by.is_none_or(|by| is(task, "startedBy", by))
            && launch.is_none_or(|launch| is(task, "launchType", launch))
            && instance
                .is_none_or(|wanted| task["containerInstanceArn"].as_str().map(last_segment) == Some(wanted))
            && family
                .as_deref()
                .is_none_or(|part| task["taskDefinitionArn"].as_str().is_some_and(|arn| arn.contains(part)))
    };
    let arns = all.iter().filter(wanted).filter_map(|task| task["taskArn"].as_str().map(str::to_owned));
    request.page("taskArns", arns.collect(), 100)
}

/// DescribeTasks, at most a hundred.
pub(super) fn describe_all(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let cluster = request.cluster();
    clusters::check(state, &cluster)?;
    let names = request.texts("tasks");
    if names.is_empty() || names.len() > 100 {
        return Err(invalid("tasks must have 1 to 100 task IDs or ARNs."));
    }
    let with_tags = request.includes("TAGS");
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let arn = full_arn(name, &cluster, context);
        match describe(state, sidecars, &arn, context) {
            Some(mut task) if is_in(&task, &cluster) => {
                if !with_tags {
                    task["tags"] = json!([]);
                }
                found.push(task);
            }
            _ => failures.push(missing(arn)),
        }
    }
    Ok(json!({ "tasks": found, "failures": failures }))
}

fn is_in(task: &Value, cluster: &str) -> bool {
    task["clusterArn"].as_str().map(last_segment) == Some(cluster)
}

/// A task as the other services see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
    pub arn: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of its service, if it has one.
    pub service: Option<String>,
    /// `lastStatus`.
    pub last: LastStatus,
    /// `desiredStatus` is STOPPED.
    pub ending: bool,
    /// As ListTagsForResource has them.
    pub tags: Tags,
    /// As DescribeTasks shows it (members in camel case, tags included).
    pub description: Value,
}

/// Every task: those that were started here, stopped ones too for an hour, and those whose sidecar has
/// registered from elsewhere.
pub fn described(state: &EcsState, sidecars: &[Sidecar], context: &Context) -> Vec<Described> {
    let own = state.tasks.values().map(|task| Described {
        arn: task.arn.clone(),
        cluster: task.cluster.clone(),
        service: task.group.strip_prefix("service:").map(str::to_owned),
        last: task.last,
        ending: task.ending,
        tags: task.tags.clone(),
        description: item(state, task, context),
    });
    let others = external::present(state, sidecars).map(|task| Described {
        arn: task.arn.to_owned(),
        cluster: task.cluster.to_owned(),
        service: task.service.map(str::to_owned),
        last: LastStatus::Running,
        ending: false,
        tags: task.tags(state),
        description: external::item(state, &task, context),
    });
    own.chain(others).collect()
}

/// One task as DescribeTasks shows it, with its tags; None if there is none.
pub fn describe(state: &EcsState, sidecars: &[Sidecar], arn: &str, context: &Context) -> Option<Value> {
    match state.tasks.get(arn) {
        Some(task) => Some(item(state, task, context)),
        None => {
            let task = external::present(state, sidecars).find(|task| task.arn == arn)?;
            Some(external::item(state, &task, context))
        }
    }
}

fn full_arn(name_or_arn: &str, cluster: &str, context: &Context) -> String {
    match name_or_arn.starts_with("arn:") {
        true => name_or_arn.to_owned(),
        false => arn(context, &format!("task/{cluster}/{name_or_arn}")),
    }
}

/// As DescribeTasks shows it. Members that have no value are left out.
pub(super) fn item(state: &EcsState, task: &Task, context: &Context) -> Value {
    let definition = state.definition(&task.definition());
    let size = |member: &str| definition.and_then(|it| it.text(member)).map(str::to_owned);
    let defined = definition.map(super::Definition::containers).unwrap_or_default();
    let of_definition = |name: &str| defined.iter().find(|it| it.name == name);
    let containers: Vec<Value> = task
        .containers
        .iter()
        .map(|container| container_item(task, container, of_definition(&container.name), context))
        .collect();
    let mut item = json!({
        "taskArn": task.arn,
        "clusterArn": arn(context, &format!("cluster/{}", task.cluster)),
        "taskDefinitionArn": arn(context, &format!("task-definition/{}", task.definition())),
        "availabilityZone": task.zone.name(&context.region),
        "group": task.group,
        "lastStatus": task.last.as_str(),
        "desiredStatus": if task.ending { "STOPPED" } else { "RUNNING" },
        "cpu": size("cpu").unwrap_or_else(|| defined.iter().map(|it| it.cpu).sum::<u32>().to_string()),
        "memory": size("memory").unwrap_or_else(|| {
            let mib = |it: &super::ContainerDefinition| it.memory.or(it.memory_reservation).unwrap_or(0);
            defined.iter().map(mib).sum::<u64>().to_string()
        }),
        "containers": containers,
        "attachments": attachments(task),
        "attributes": [{ "name": "ecs.cpu-architecture", "value": std::env::consts::ARCH }],
        "overrides": {
            "containerOverrides": task.containers.iter().map(|it| json!({ "name": it.name })).collect::<Vec<_>>(),
            "inferenceAcceleratorOverrides": [],
        },
        "healthStatus": task.health().as_str(),
        "enableExecuteCommand": false,
        "createdAt": epoch_seconds(task.created),
        "version": 1 + task.last as u32,
        "tags": tag_list(&task.tags),
    });
    services::tell_launch(&mut item, &task.launch, true);
    match task.launch {
        Launch::Ec2 => item["containerInstanceArn"] = json!(task.zone.instance_arn(&task.cluster, context)),
        Launch::Fargate { .. } => item["ephemeralStorage"] = json!({ "sizeInGiB": 20 }),
    }
    let pulled = task.started.map(|_| task.created);
    let times = [
        ("connectivityAt", task.started),
        ("pullStartedAt", pulled),
        ("pullStoppedAt", pulled),
        ("startedAt", task.started),
        ("stoppingAt", task.stopping),
        ("executionStoppedAt", task.executed),
        ("stoppedAt", task.stopped),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            item[name] = json!(epoch_seconds(at));
        }
    }
    if task.started.is_some() {
        item["connectivity"] = json!("CONNECTED");
    }
    let texts = [
        ("startedBy", task.started_by.as_deref()),
        ("stopCode", task.stop_code.map(StopCode::as_str)),
        ("stoppedReason", task.stopped_reason.as_deref()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            item[name] = json!(text);
        }
    }
    item
}

fn container_item(
    task: &Task,
    container: &Container,
    definition: Option<&super::ContainerDefinition>,
    context: &Context,
) -> Value {
    let id = docker_id(&task.arn, &container.name);
    let interfaces: Vec<Value> = task
        .address
        .iter()
        .map(|address| {
            json!({ "attachmentId": attachment_id(task), "privateIpv4Address": address.to_string() })
        })
        .collect();
    let mut item = json!({
        "containerArn": arn(context, &format!("container/{}/{}/{}", task.cluster, task.id, &id[..32])),
        "taskArn": task.arn,
        "name": container.name,
        "image": container.image,
        // A container has no PROVISIONING and no STOPPING.
        "lastStatus": match container.last {
            LastStatus::Provisioning | LastStatus::Pending => "PENDING",
            LastStatus::Running | LastStatus::Stopping => "RUNNING",
            LastStatus::Stopped => "STOPPED",
        },
        "networkBindings": [],
        "networkInterfaces": interfaces,
        "healthStatus": container.health.as_str(),
        "cpu": definition.map_or(0, |it| it.cpu).to_string(),
    });
    let sizes = [
        ("memory", definition.and_then(|it| it.memory)),
        ("memoryReservation", definition.and_then(|it| it.memory_reservation)),
    ];
    for (name, mib) in sizes {
        if let Some(mib) = mib {
            item[name] = json!(mib.to_string());
        }
    }
    if container.last >= LastStatus::Running {
        item["runtimeId"] = json!(id);
    }
    if let Some(code) = container.exit_code {
        item["exitCode"] = json!(code);
    }
    if let Some(reason) = &container.reason {
        item["reason"] = json!(reason);
    }
    item
}

fn attachment_id(task: &Task) -> String {
    // From the task's own id, so that it stays the same.
    uuid::Uuid::parse_str(&task.id).unwrap_or_default().to_string()
}

fn attachments(task: &Task) -> Value {
    let Some(address) = task.address else { return json!([]) };
    let details = [
        ("subnetId", task.subnet_id.clone()),
        ("networkInterfaceId", format!("eni-0{}", &sha256_hex(task.arn.as_bytes())[..16])),
        ("privateDnsName", format!("ip-{}.internal", address.to_string().replace('.', "-"))),
        ("privateIPv4Address", address.to_string()),
    ];
    let detail = |(name, value): (&str, String)| json!({ "name": name, "value": value });
    json!([{
        "id": attachment_id(task),
        "type": "ElasticNetworkInterface",
        "status": if task.last == LastStatus::Stopped { "DELETED" } else { "ATTACHED" },
        "details": details.map(detail),
    }])
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, definition};
    use serde_json::{Value, json};

    fn count(fixture: &mut Fixture, body: Value) -> usize {
        fixture.ok("ListTasks", body)["taskArns"].as_array().unwrap().len()
    }

    #[test]
    fn run_task_needs_an_instance_and_runs_without_a_service() {
        let mut fixture = Fixture::new();
        fixture.ok("RegisterTaskDefinition", definition("job"));
        let body = json!({ "taskDefinition": "job", "count": 2, "startedBy": "me" });
        assert!(fixture.error("RunTask", body.clone()).message.contains("taskfault-local up"));
        let mut fixture = fixture.with_instance();
        let started = fixture.ok("RunTask", body);
        assert_eq!(started["tasks"][0]["lastStatus"], "PROVISIONING");
        assert_eq!(started["tasks"][1]["group"], "family:job");
        fixture.start_all();
        assert_eq!(count(&mut fixture, json!({ "startedBy": "me" })), 2);
        assert_eq!(count(&mut fixture, json!({ "family": "job" })), 2);
        assert_eq!(count(&mut fixture, json!({ "family": "jo" })), 0);
        let id = fixture.running()[0].id.clone();
        fixture.crash(&id, 0);
        fixture.settle();
        assert_eq!(count(&mut fixture, json!({})), 1, "nobody replaces it");
        assert_eq!(count(&mut fixture, json!({ "desiredStatus": "STOPPED" })), 1);
    }

    #[test]
    fn a_task_is_described_from_its_wish_to_its_end() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        let arn = fixture.ok("ListTasks", json!({ "serviceName": "app" }))["taskArns"][0].clone();
        let described = |fixture: &mut Fixture| {
            fixture.ok("DescribeTasks", json!({ "tasks": [arn], "include": ["TAGS"] }))["tasks"][0].clone()
        };
        assert_eq!(described(&mut fixture)["lastStatus"], "PROVISIONING");
        fixture.start_all();
        let running = described(&mut fixture);
        assert_eq!(running["group"], "service:app");
        assert_eq!(running["containers"][0]["lastStatus"], "RUNNING");
        assert_eq!(running["containers"][0]["networkInterfaces"][0]["privateIpv4Address"], "169.254.173.0");
        let id = fixture.running()[0].id.clone();
        fixture.crash(&id, 137);
        let stopped = described(&mut fixture);
        assert_eq!(
            (&stopped["lastStatus"], &stopped["stopCode"], &stopped["stoppedReason"]),
            (
                &json!("STOPPED"),
                &json!("EssentialContainerExited"),
                &json!("Essential container in task exited")
            )
        );
        assert_eq!(stopped["containers"][0]["exitCode"], 137);
    }

    #[test]
    fn stop_task_takes_an_id_or_an_arn_and_gives_its_reason() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 2);
        fixture.start_all();
        let ids: Vec<String> = fixture.running().iter().map(|task| task.id.clone()).collect();
        let stopped = fixture.ok("StopTask", json!({ "task": ids[0], "reason": "enough" }));
        assert_eq!(
            (&stopped["task"]["desiredStatus"], &stopped["task"]["stopCode"]),
            (&json!("STOPPED"), &json!("UserInitiated"))
        );
        assert_eq!(stopped["task"]["stoppedReason"], "enough");
        assert_eq!(stopped["task"]["lastStatus"], "RUNNING", "until its containers have ended");
        assert_eq!(fixture.refused("StopTask", json!({ "task": "0" })), "InvalidParameterException");
        assert_eq!(fixture.refused("StopTask", json!({})), "InvalidParameterException");
    }

    #[test]
    fn lists_are_filtered_and_paged() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 3);
        fixture.service("other", 1);
        fixture.start_all();
        assert_eq!(count(&mut fixture, json!({})), 4);
        assert_eq!(count(&mut fixture, json!({ "serviceName": "app", "launchType": "EC2" })), 3);
        assert_eq!(count(&mut fixture, json!({ "launchType": "FARGATE" })), 0);
        let first = fixture.ok("ListTasks", json!({ "maxResults": 3 }));
        assert_eq!(count(&mut fixture, json!({ "nextToken": first["nextToken"] })), 1);
        for (body, code) in [
            (json!({ "serviceName": "none" }), "ServiceNotFoundException"),
            (json!({ "desiredStatus": "GONE" }), "InvalidParameterException"),
            (json!({ "serviceName": "app", "family": "app" }), "InvalidParameterException"),
            (json!({ "cluster": 5 }), "InvalidParameterException"),
        ] {
            assert_eq!(fixture.refused("ListTasks", body.clone()), code, "{body}");
        }
        let missing = fixture.ok("DescribeTasks", json!({ "tasks": ["0"] }));
        assert_eq!(missing["failures"][0]["reason"], "MISSING");
        assert_eq!(fixture.refused("DescribeTasks", json!({ "tasks": [] })), "InvalidParameterException");
    }
}
