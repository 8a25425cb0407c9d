//! Tasks that were not started here: containers, or anything else, whose sidecar registers with a metadata
//! address of ours. The address says cluster, service and task; the managed instance says that it lives.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::names::{arn, docker_id};
use super::request::{last_segment, tag_list};
use super::schedule::managed_tags;
use super::state::{DEFAULT_CLUSTER, EcsState, ExternalTask};
use super::zone::Zone;
use crate::Context;
use crate::tags::Tags;
use crate::wire::epoch_seconds;

/// The containers that the metadata of such a task names.
pub(crate) const CONTAINERS: [&str; 2] = ["app", "taskfault"];

/// The most that are remembered: addresses cost nothing to make up.
const MOST_TASKS: usize = 10_000;

/// Remembers what a task that asked for its metadata said about itself. True if that was new.
pub(crate) fn note(
    state: &mut EcsState,
    cluster: &str,
    service: &str,
    task: &str,
    context: &Context,
) -> bool {
    let arn = arn(context, &format!("task/{cluster}/{task}"));
    if state.tasks.contains_key(&arn)
        || state.external.contains_key(&arn)
        || state.external.len() >= MOST_TASKS
    {
        return false;
    }
    state.ensure_cluster(cluster);
    let task = ExternalTask { cluster: cluster.to_owned(), service: service.to_owned(), seen: context.now };
    state.external.insert(arn, task);
    true
}

/// What is known of a managed instance here: that the sidecar of a task has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// The ARN of its task.
    pub task_arn: String,
    /// When the sidecar registered.
    pub registered: SystemTime,
}

/// A task that was not started here and whose sidecar has registered.
#[derive(Debug)]
pub(super) struct Present<'a> {
    pub(super) arn: &'a str,
    /// A sidecar that asked elsewhere for its metadata has at least the cluster in its ARN.
    pub(super) cluster: &'a str,
    pub(super) service: Option<&'a str>,
    registered: SystemTime,
}

/// Every such task.
pub(super) fn present<'a>(state: &'a EcsState, sidecars: &'a [Sidecar]) -> impl Iterator<Item = Present<'a>> {
    let mut seen = std::collections::BTreeSet::new();
    sidecars.iter().filter_map(move |sidecar| {
        let arn = sidecar.task_arn.as_str();
        // A second instance of the same task is no second task.
        (!state.tasks.contains_key(arn) && seen.insert(arn)).then(|| Present {
            arn,
            cluster: arn.rsplit('/').nth(1).unwrap_or(DEFAULT_CLUSTER),
            service: state.external.get(arn).map(|task| task.service.as_str()),
            registered: sidecar.registered,
        })
    })
}

impl Present<'_> {
    /// The zone that it counts as being in.
    pub(super) fn zone(&self) -> Zone {
        zone(self.arn)
    }

    /// Those that it has been given, and those of ECS: no service of ours says whether it is to have them.
    pub(super) fn tags(&self, state: &EcsState) -> Tags {
        tags(state, self.arn, self.cluster, self.service)
    }
}

/// The same of a task that may not have registered yet.
pub(crate) fn tags(state: &EcsState, task_arn: &str, cluster: &str, service: Option<&str>) -> Tags {
    let mut tags = managed_tags(cluster, service);
    tags.extend(state.external_tags.get(task_arn).cloned().unwrap_or_default());
    tags
}

/// The zone that such a task counts as being in: the same for as long as it lives.
pub(crate) fn zone(task_arn: &str) -> Zone {
    Zone::of_text(last_segment(task_arn))
}

/// As DescribeTasks shows it.
pub(super) fn item(state: &EcsState, task: &Present<'_>, context: &Context) -> Value {
    let Present { arn: task_arn, cluster, service, registered } = *task;
    let id = last_segment(task_arn);
    let family = service.unwrap_or("unknown");
    let started = epoch_seconds(registered);
    let container = |name: &&str| {
        let docker = docker_id(task_arn, name);
        json!({
            "containerArn": arn(context, &format!("container/{cluster}/{id}/{}", &docker[..32])),
            "taskArn": task_arn,
            "name": name,
            "image": format!("{name}:latest"),
            "runtimeId": docker,
            "lastStatus": "RUNNING",
            "networkBindings": [],
            "networkInterfaces": [],
            "healthStatus": "UNKNOWN",
        })
    };
    json!({
        "taskArn": task_arn,
        "clusterArn": arn(context, &format!("cluster/{cluster}")),
        "taskDefinitionArn": arn(context, &format!("task-definition/{family}:1")),
        "availabilityZone": task.zone().name(&context.region),
        "group": service.map_or_else(|| format!("family:{family}"), |name| format!("service:{name}")),
        "launchType": "EC2",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "connectivity": "CONNECTED",
        "containers": CONTAINERS.iter().map(container).collect::<Vec<_>>(),
        "attachments": [],
        "attributes": [],
        "overrides": { "containerOverrides": [], "inferenceAcceleratorOverrides": [] },
        "healthStatus": "UNKNOWN",
        "enableExecuteCommand": false,
        "createdAt": started,
        "startedAt": started,
        "version": 1,
        "tags": tag_list(&task.tags(state)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_registered_sidecar_is_a_running_task_of_its_service() {
        let mut fixture = Fixture::new();
        let id = "0123456789abcdef0123456789abcdef";
        assert!(note(&mut fixture.state, "demo", "web", id, &fixture.context));
        assert!(!note(&mut fixture.state, "demo", "web", id, &fixture.context), "once");
        let listed = |fixture: &mut Fixture| {
            fixture.ok("ListTasks", json!({ "cluster": "demo" }))["taskArns"].as_array().unwrap().len()
        };
        assert_eq!(listed(&mut fixture), 0, "asking for metadata is not yet running");
        let arn = format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{id}");
        fixture.instance(&arn);
        // Registered twice: still one task.
        fixture.instance(&arn);
        let found = fixture.ok("ListTasks", json!({ "cluster": "demo", "serviceName": "web" }));
        assert_eq!(found["taskArns"], json!([arn]));
        let described = fixture.ok("DescribeTasks", json!({ "cluster": "demo", "tasks": [arn] }));
        assert_eq!(described["tasks"][0]["group"], "service:web");
        assert_eq!(described["tasks"][0]["lastStatus"], "RUNNING");
        let clusters = fixture.ok("DescribeClusters", json!({ "clusters": ["demo"] }));
        assert_eq!(clusters["clusters"][0]["runningTasksCount"], 1);
        let error = fixture.error("StopTask", json!({ "cluster": "demo", "task": id }));
        assert!(error.message.contains("was not started here"), "{error}");
        fixture.sidecars.clear();
        assert_eq!(listed(&mut fixture), 0);
    }
}
