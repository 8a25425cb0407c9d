//! Task metadata, version 4, and container credentials. Any `/v4/{cluster}/{service}/{task}` describes a
//! running task of that service: there is nothing to set up. A task that was started here is described as it
//! is; `…/container/{name}` below it says which of its containers asks.
//!
//! Member names and forms as the ECS agent has them (`ecs-agent/tmds/handlers/v4/state/response.go`).

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::ecs::{self, Zone, docker_id, external, is_name};
use super::random;
use super::shared::Shared;
use super::wire::{self, Answer, date_text, sha256_hex};
use crate::tags::Tags;
use crate::world::World;

/// How long container credentials last.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(6 * 3600);

/// Answers a GET, if its path is one of ours.
pub(super) fn answer(shared: &Shared, path: &str) -> Option<Answer> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let found = match segments.as_slice() {
        ["v2", "credentials", task] => is_name(task).then(|| credentials(shared)),
        ["v4", cluster, service, task, rest @ ..] => {
            let named = [*cluster, *service, *task].into_iter().all(is_name);
            if named { Task::find(shared, cluster, service, task).describe(rest) } else { None }
        }
        ["v4" | "v2", ..] => None,
        _ => return None,
    };
    Some(match found {
        Some(value) => wire::plain_json(200, &value),
        None => wire::plain_json(404, &json!(format!("there is no task metadata at {path}"))),
    })
}

/// Credentials of the task role. Clients may do anything here, so they only have to look right.
fn credentials(shared: &Shared) -> Value {
    json!({
        "RoleArn": format!("arn:aws:iam::{}:role/taskfault-local-task-role", shared.account),
        "AccessKeyId": random::access_key_id(),
        "SecretAccessKey": random::secret(),
        "Token": random::token(),
        "Expiration": date_text(SystemTime::now() + CREDENTIALS_LIFE),
    })
}

/// What is known of a task that asks.
struct Task<'a> {
    shared: &'a Shared,
    cluster: &'a str,
    task: &'a str,
    arn: String,
    service: Option<String>,
    family: String,
    revision: u32,
    started: SystemTime,
    address: String,
    zone: Zone,
    launch: &'static str,
    cpu: Option<f64>,
    memory_mib: Option<u64>,
    fault_injection: bool,
    tags: Tags,
    containers: Vec<Container>,
}

struct Container {
    name: String,
    image: String,
    status: &'static str,
    /// CPU shares.
    cpu: u32,
    memory_mib: Option<u64>,
}

impl<'a> Task<'a> {
    fn find(shared: &'a Shared, cluster: &'a str, service: &str, task: &'a str) -> Task<'a> {
        let context = shared.context();
        let arn = ecs::arn(&context, &format!("task/{cluster}/{task}"));
        let mut found = Task {
            shared,
            cluster,
            task,
            arn,
            service: Some(service.to_owned()),
            family: service.to_owned(),
            revision: 1,
            started: shared.started,
            address: "127.0.0.1".to_owned(),
            zone: external::zone(task),
            launch: "EC2",
            cpu: shared.limits.cpu,
            memory_mib: shared.limits.memory_mib,
            fault_injection: shared.fault_injection,
            tags: Tags::new(),
            containers: external::CONTAINERS.map(Container::of_an_external_task).into(),
        };
        let known = shared.read(|state| found.fill(state));
        if !known {
            let note = |state: &mut World| external::note(&mut state.ecs, cluster, service, task, &context);
            if shared.read(note) {
                shared.update(|_| ());
            }
        }
        found
    }

    /// Puts in what the control plane knows; false if it did not start this task.
    fn fill(&mut self, state: &World) -> bool {
        let Some(task) = state.ecs.tasks.get(&self.arn) else {
            self.tags = external::tags(&state.ecs, &self.arn, self.cluster, self.service.as_deref());
            return false;
        };
        self.service.clone_from(&task.service);
        self.family.clone_from(&task.family);
        self.revision = task.revision;
        self.started = task.started.unwrap_or(task.created);
        self.address = task.address.map_or_else(|| self.address.clone(), |address| address.to_string());
        self.tags.clone_from(&task.tags);
        (self.zone, self.launch) = (task.zone, task.launch.as_str());
        let Some(definition) = state.ecs.definition(&task.definition()) else { return true };
        self.cpu = definition.vcpu().or(self.cpu);
        self.memory_mib = definition.memory_mib().or(self.memory_mib);
        self.fault_injection &= definition.fault_injection();
        let status = |name: &str| {
            task.containers.iter().find(|it| it.name == name).map_or("NONE", |it| it.last.as_str())
        };
        let container = |it: ecs::ContainerDefinition| Container {
            status: status(&it.name),
            name: it.name,
            image: it.image,
            // Fewer than two shares are two.
            cpu: it.cpu.max(2),
            memory_mib: it.memory,
        };
        self.containers = definition.containers().into_iter().map(container).collect();
        true
    }

    fn describe(&self, rest: &[&str]) -> Option<Value> {
        let (asking, rest) = match rest {
            ["container", name, rest @ ..] => (*name, rest),
            _ => ("taskfault", rest),
        };
        match rest {
            [] | [""] => {
                let own = self.containers.iter().find(|it| it.name == asking);
                Some(self.container(own.or_else(|| self.containers.last())?))
            }
            ["task"] => Some(self.object()),
            ["taskWithTags"] => {
                let mut task = self.object();
                task["TaskTags"] = json!(self.tags);
                task["ContainerInstanceTags"] = json!({});
                Some(task)
            }
            _ => None,
        }
    }

    fn object(&self) -> Value {
        let mut task = json!({
            "Cluster": self.resource(&format!("cluster/{}", self.cluster)),
            "TaskARN": self.arn,
            "Family": self.family,
            "Revision": self.revision.to_string(),
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "PullStartedAt": self.started(),
            "PullStoppedAt": self.started(),
            "AvailabilityZone": self.zone.name(&self.shared.region),
            "AvailabilityZoneID": self.zone.id(&self.shared.region),
            "LaunchType": self.launch,
            "Containers": self.containers.iter().map(|it| self.container(it)).collect::<Vec<_>>(),
            "FaultInjectionEnabled": self.fault_injection,
        });
        if let Some(service) = &self.service {
            task["ServiceName"] = json!(service);
        }
        let limits = self.limits();
        if !limits.is_empty() {
            task["Limits"] = Value::Object(limits);
        }
        task
    }

    fn container(&self, container: &Container) -> Value {
        let Container { name, image, status, .. } = container;
        let id = docker_id(&self.arn, name);
        let revision = self.revision.to_string();
        let mut limits = json!({ "CPU": container.cpu });
        if let Some(mib) = container.memory_mib {
            limits["Memory"] = json!(mib);
        }
        json!({
            "DockerId": id,
            "Name": name,
            "DockerName": format!("ecs-{}-{revision}-{name}-{}", self.family, &id[..20]),
            "Image": image,
            "ImageID": format!("sha256:{}", sha256_hex(image.as_bytes())),
            "Labels": {
                "com.amazonaws.ecs.cluster": self.cluster,
                "com.amazonaws.ecs.container-name": name,
                "com.amazonaws.ecs.task-arn": self.arn,
                "com.amazonaws.ecs.task-definition-family": self.family,
                "com.amazonaws.ecs.task-definition-version": revision,
            },
            "DesiredStatus": "RUNNING",
            "KnownStatus": status,
            "Limits": limits,
            "CreatedAt": self.started(),
            "StartedAt": self.started(),
            "Type": "NORMAL",
            "ContainerARN": self.resource(&format!("container/{}/{}/{}", self.cluster, self.task, &id[..32])),
            "Networks": [{ "NetworkMode": "awsvpc", "IPv4Addresses": [self.address] }],
        })
    }

    fn limits(&self) -> Map<String, Value> {
        let cpu = self.cpu.map(|cpu| ("CPU".to_owned(), json!(cpu)));
        let memory = self.memory_mib.map(|mib| ("Memory".to_owned(), json!(mib)));
        cpu.into_iter().chain(memory).collect()
    }

    fn resource(&self, resource: &str) -> String {
        ecs::arn(&self.shared.context(), resource)
    }

    /// RFC 3339 with nanoseconds, as Go prints it.
    fn started(&self) -> String {
        date_text(self.started).replace('Z', "000000Z")
    }
}

impl Container {
    fn of_an_external_task(name: &str) -> Container {
        Container {
            name: name.to_owned(),
            image: format!("{name}:latest"),
            status: "RUNNING",
            cpu: 2,
            memory_mib: None,
        }
    }
}
