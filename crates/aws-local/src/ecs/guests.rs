//! Tasks that were not started here: containers, or anything else, whose sidecar registers with a metadata
//! address of ours. The address says cluster, service and task; the managed instance says that it lives.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::last_segment;
use super::tasks::{docker_id, task_of};
use super::{EcsState, arn, clusters};
use crate::Context;
use crate::store::{Instance, State};
use crate::wire::epoch_seconds;

/// The containers that the metadata of such a task names.
pub(crate) const CONTAINERS: [&str; 2] = ["app", "taskfault"];

/// What the metadata address said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    pub cluster: String,
    pub service: String,
    pub seen: SystemTime,
}

/// The most that are remembered: addresses cost nothing to make up.
const MOST_GUESTS: usize = 10_000;

/// Remembers what a task that asked for its metadata said about itself. True if that was new.
pub(crate) fn note(
    state: &mut EcsState,
    cluster: &str,
    service: &str,
    task: &str,
    context: &Context,
) -> bool {
    let arn = arn(context, &format!("task/{cluster}/{task}"));
    if state.tasks.contains_key(&arn) || state.guests.contains_key(&arn) || state.guests.len() >= MOST_GUESTS
    {
        return false;
    }
    clusters::ensure(state, cluster);
    let guest = Guest { cluster: cluster.to_owned(), service: service.to_owned(), seen: context.now };
    state.guests.insert(arn, guest);
    true
}

/// Every such task whose instance is registered, as DescribeTasks shows it.
pub(super) fn present(state: &State, context: &Context) -> impl Iterator<Item = Value> {
    let mut seen = std::collections::BTreeSet::new();
    state.instances.values().filter_map(move |instance| {
        let arn = task_of(instance)?;
        // A second instance of the same task is no second task.
        (!state.ecs.tasks.contains_key(arn) && seen.insert(arn.clone()))
            .then(|| item(state, instance, arn, context))
    })
}

fn item(state: &State, instance: &Instance, task_arn: &str, context: &Context) -> Value {
    let id = last_segment(task_arn);
    // A sidecar that asked elsewhere for its metadata has at least the cluster in its ARN.
    let cluster = task_arn.rsplit('/').nth(1).unwrap_or(super::DEFAULT_CLUSTER);
    let service = state.ecs.guests.get(task_arn).map(|guest| guest.service.as_str());
    let family = service.unwrap_or("unknown");
    let started = epoch_seconds(instance.registered);
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
        "availabilityZone": format!("{}a", context.region),
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
        "tags": [],
    })
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    #[test]
    fn a_registered_sidecar_is_a_running_task_of_its_service() {
        let mut scene = Scene::new();
        let id = "0123456789abcdef0123456789abcdef";
        assert!(note(&mut scene.state.ecs, "demo", "web", id, &scene.context));
        assert!(!note(&mut scene.state.ecs, "demo", "web", id, &scene.context), "once");
        let listed = |scene: &mut Scene| {
            scene.ok("ListTasks", json!({ "cluster": "demo" }))["taskArns"].as_array().unwrap().len()
        };
        assert_eq!(listed(&mut scene), 0, "asking for metadata is not yet running");
        let arn = format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{id}");
        scene.instance("mi-1", &arn);
        // Registered twice: still one task.
        scene.instance("mi-2", &arn);
        let found = scene.ok("ListTasks", json!({ "cluster": "demo", "serviceName": "web" }));
        assert_eq!(found["taskArns"], json!([arn]));
        let described = scene.ok("DescribeTasks", json!({ "cluster": "demo", "tasks": [arn] }));
        assert_eq!(described["tasks"][0]["group"], "service:web");
        assert_eq!(described["tasks"][0]["lastStatus"], "RUNNING");
        let clusters = scene.ok("DescribeClusters", json!({ "clusters": ["demo"] }));
        assert_eq!(clusters["clusters"][0]["runningTasksCount"], 1);
        let error = scene.error("StopTask", json!({ "cluster": "demo", "task": id }));
        assert!(error.message.contains("was not started here"), "{error}");
        scene.state.instances.clear();
        assert_eq!(listed(&mut scene), 0);
    }
}
