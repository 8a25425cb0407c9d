//! The task metadata endpoint, version 4: which task this is, where it runs, and its limits.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use serde::Deserialize;

use super::arn::{ArnError, TaskArn};
use http_client::Client;
use http_client::host_of;

/// Set by ECS in every container.
pub const METADATA_VARIABLE: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// The endpoint allows 40 requests a second and answers within milliseconds; a new task's may not be up yet.
const ATTEMPTS: u32 = 6;
const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// What the sidecar needs of `${ECS_CONTAINER_METADATA_URI_V4}/task`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskMetadata {
    /// The task.
    pub arn: TaskArn,
    /// `us-west-2a`; may be empty on external instances.
    pub availability_zone: String,
    /// vCPU, where the task has a limit.
    pub cpu_limit: Option<f64>,
    /// Bytes, where the task has a limit.
    pub memory_limit: Option<u64>,
    /// The first address of the task's first network.
    pub address: Option<String>,
    /// `EC2`, `FARGATE` or `EXTERNAL`; empty if it does not say.
    pub launch_type: String,
    /// `awsvpc`, `host`, `bridge`, `none`; empty if no container says.
    pub network_mode: String,
    /// Whether a container of the task has an IPv6 address.
    pub has_v6: bool,
    /// The service that the task is of; empty for a task of none, and where an agent before 1.63.1 does not say.
    pub service: String,
    /// Whether the task definition lets containers use the ECS agent's fault endpoints
    /// (`enableFaultInjection`). Agents before 1.88.0 do not say, and do not have them.
    pub fault_injection_enabled: bool,
}

/// Why the task cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// There is no metadata endpoint: not in an ECS task.
    #[error(
        "{METADATA_VARIABLE} is not set: taskfault sidecar runs in an ECS task (platform 1.4.0 or agent 1.39.0 \
         and newer set it); for a local run start taskfault-local and see its --help"
    )]
    NotSet,
    /// The variable is no URL; this is its value.
    #[error("{METADATA_VARIABLE}={0:?} is not an http:// or https:// URL")]
    NotAUrl(String),
    /// No answer, after all tries.
    #[error(
        "cannot read the task metadata at {url}: {reason}; ECS sets {METADATA_VARIABLE} in every container, for a \
         local run it is a task of taskfault-local (see its --help)"
    )]
    Unreachable {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// An answer that is no task.
    #[error("the task metadata at {url} makes no sense: {reason}")]
    Unexpected {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A task without an ARN of the long form.
    #[error("the task metadata at {url} has a bad TaskARN: {reason}")]
    Arn {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: ArnError,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(rename = "TaskARN")]
    task_arn: String,
    #[serde(default)]
    availability_zone: String,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    launch_type: String,
    #[serde(default)]
    service_name: String,
    #[serde(default)]
    fault_injection_enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Limits {
    #[serde(rename = "CPU")]
    cpu: Option<f64>,
    /// MiB.
    #[serde(rename = "Memory")]
    memory: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(rename = "Networks", default)]
    networks: Vec<Network>,
}

#[derive(Debug, Deserialize)]
struct Network {
    #[serde(rename = "NetworkMode", default)]
    mode: String,
    #[serde(rename = "IPv4Addresses", default)]
    v4: Vec<String>,
    #[serde(rename = "IPv6Addresses", default)]
    v6: Vec<String>,
}

impl TaskMetadata {
    /// Asks the endpoint, a few times while it does not answer or its answer is no task.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub async fn read(client: &Client, base: &str) -> Result<TaskMetadata, MetadataError> {
        let url = format!("{}/task", base.trim_end_matches('/'));
        let uri: Uri = url
            .parse()
            .ok()
            .filter(|uri: &Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
            .ok_or_else(|| MetadataError::NotAUrl(base.to_owned()))?;
        let mut attempt = 1;
        loop {
            let answer = fetch(client, &uri).await;
            let answer = answer.map_err(|reason| MetadataError::Unreachable { url: url.clone(), reason });
            match answer.and_then(|body| parse(&url, &body)) {
                Ok(task) => return Ok(task),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(error) => tracing::warn!(%error, attempt, "task metadata not there, trying again"),
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn fetch(client: &Client, uri: &Uri) -> Result<Bytes, String> {
    let request = Request::get(uri)
        .header(header::HOST, host_of(uri))
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let answer = client.send(request, TIMEOUT).await.map_err(|error| error.to_string())?;
    match answer.status().is_success() {
        true => Ok(answer.into_body()),
        false => Err(format!("HTTP {}", answer.status())),
    }
}

/// Reads the answer that came from `url`.
pub fn parse(url: &str, body: &[u8]) -> Result<TaskMetadata, MetadataError> {
    let url = url.to_owned();
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) => return Err(MetadataError::Unexpected { url, reason: error.to_string() }),
    };
    let arn = match answer.task_arn.parse() {
        Ok(arn) => arn,
        Err(reason) => return Err(MetadataError::Arn { url, reason }),
    };
    let networks = || answer.containers.iter().flat_map(|container| &container.networks);
    let address = networks().find_map(|network| network.v4.first().or(network.v6.first())).cloned();
    let cpu_limit = answer.limits.cpu.filter(|cpu| *cpu > 0.0);
    let memory_limit =
        answer.limits.memory.filter(|mib| *mib > 0).and_then(|mib| mib.checked_mul(1024 * 1024));
    Ok(TaskMetadata {
        arn,
        cpu_limit,
        memory_limit,
        address,
        network_mode: networks().map(|network| network.mode.clone()).next().unwrap_or_default(),
        has_v6: networks().any(|network| !network.v6.is_empty()),
        availability_zone: answer.availability_zone,
        launch_type: answer.launch_type,
        service: answer.service_name,
        fault_injection_enabled: answer.fault_injection_enabled,
    })
}

/// Reads bytes as the metadata of a task.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = parse("fuzz", bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_with_and_without_limits() {
        let body = br#"{"Cluster":"c","TaskARN":"arn:aws:ecs:us-west-2:111122223333:task/default/158d1c8083dd49d6b527399fd6414f5c",
            "Limits":{"CPU":0.25,"Memory":512},"AvailabilityZone":"us-west-2-lax-1a","FaultInjectionEnabled":true,
            "Containers":[{"Name":"a","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"]}]}]}"#;
        let task = parse("u", body).unwrap();
        assert_eq!(task.arn.region, "us-west-2");
        assert_eq!((task.cpu_limit, task.address.as_deref()), (Some(0.25), Some("10.0.2.106")));
        assert_eq!(task.memory_limit, Some(512 * 1024 * 1024));
        let body =
            br#"{"TaskARN":"arn:aws:ecs:us-west-2:111122223333:task/default/1","Limits":{"Memory":512}}"#;
        assert_eq!(parse("u", body).unwrap().cpu_limit, None);
    }

    #[test]
    fn nonsense_is_named() {
        assert!(matches!(parse("u", b"{}"), Err(MetadataError::Unexpected { .. })));
        assert!(matches!(parse("u", br#"{"TaskARN":"x"}"#), Err(MetadataError::Arn { .. })));
    }
}
