//! Task metadata, version 4, and container credentials. Any `/v4/{cluster}/{service}/{task}` describes a
//! running task of that service: there is nothing to set up.
//!
//! Member names and forms as the ECS agent has them (`ecs-agent/tmds/handlers/v4/state/response.go`).

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::random;
use super::shared::Shared;
use super::wire::{self, Answer, date_text, sha256_hex};

/// How long container credentials last.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(6 * 3600);

/// Answers a GET, if its path is one of ours.
pub(super) fn answer(shared: &Shared, path: &str) -> Option<Answer> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let found = match segments.as_slice() {
        ["v2", "credentials", task] => is_name(task).then(|| credentials(shared)),
        ["v4", cluster, service, task, rest @ ..] => {
            let task = Task { shared, cluster, service, task };
            if task.is_named() { task.describe(rest) } else { None }
        }
        ["v4" | "v2", ..] => None,
        _ => return None,
    };
    Some(match found {
        Some(value) => wire::plain_json(200, &value),
        None => wire::plain_json(404, &json!(format!("there is no task metadata at {path}"))),
    })
}

/// Clusters, services and tasks have letters, digits, `_` and `-` in their names, 255 at most.
pub(super) fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
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

struct Task<'a> {
    shared: &'a Shared,
    cluster: &'a str,
    service: &'a str,
    task: &'a str,
}

impl Task<'_> {
    fn is_named(&self) -> bool {
        is_name(self.cluster) && is_name(self.service) && is_name(self.task)
    }

    fn describe(&self, rest: &[&str]) -> Option<Value> {
        match rest {
            [] | [""] => Some(self.container("taskfault")),
            ["task"] => Some(self.object()),
            ["taskWithTags"] => {
                let mut task = self.object();
                task["TaskTags"] = json!({});
                task["ContainerInstanceTags"] = json!({});
                Some(task)
            }
            _ => None,
        }
    }

    fn object(&self) -> Value {
        let mut task = json!({
            "Cluster": self.arn(&format!("cluster/{}", self.cluster)),
            "TaskARN": self.task_arn(),
            "Family": self.service,
            "Revision": "1",
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "PullStartedAt": self.started(),
            "PullStoppedAt": self.started(),
            "AvailabilityZone": format!("{}a", self.shared.region),
            "LaunchType": "EC2",
            "ServiceName": self.service,
            "Containers": [self.container("app"), self.container("taskfault")],
            "FaultInjectionEnabled": self.shared.fault_injection,
        });
        let limits = self.limits();
        if !limits.is_empty() {
            task["Limits"] = Value::Object(limits);
        }
        task
    }

    fn container(&self, container: &str) -> Value {
        let id = sha256_hex(format!("{}/{container}", self.task_arn()).as_bytes());
        json!({
            "DockerId": id,
            "Name": container,
            "DockerName": format!("ecs-{}-1-{container}-{}", self.service, &id[..20]),
            "Image": format!("{container}:latest"),
            "ImageID": format!("sha256:{}", sha256_hex(container.as_bytes())),
            "Labels": {
                "com.amazonaws.ecs.cluster": self.cluster,
                "com.amazonaws.ecs.container-name": container,
                "com.amazonaws.ecs.task-arn": self.task_arn(),
                "com.amazonaws.ecs.task-definition-family": self.service,
                "com.amazonaws.ecs.task-definition-version": "1",
            },
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "Limits": { "CPU": 2 },
            "CreatedAt": self.started(),
            "StartedAt": self.started(),
            "Type": "NORMAL",
            "ContainerARN": self.arn(&format!("container/{}/{}/{}", self.cluster, self.task, &id[..32])),
            "Networks": [{ "NetworkMode": "awsvpc", "IPv4Addresses": ["127.0.0.1"] }],
        })
    }

    fn limits(&self) -> Map<String, Value> {
        let cpu = self.shared.limits.cpu.map(|cpu| ("CPU".to_owned(), json!(cpu)));
        let memory = self.shared.limits.memory_mib.map(|mib| ("Memory".to_owned(), json!(mib)));
        cpu.into_iter().chain(memory).collect()
    }

    fn task_arn(&self) -> String {
        self.arn(&format!("task/{}/{}", self.cluster, self.task))
    }

    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.shared.region, self.shared.account)
    }

    /// RFC 3339 with nanoseconds, as Go prints it.
    fn started(&self) -> String {
        date_text(self.shared.started).replace('Z', "000000Z")
    }
}
