//! What Fargate does not take of a task definition. Texts are the service's, as published where people met them.

use serde_json::{Map, Value};

use super::definition::{Definition, task_size};

/// The sizes that there are: CPU units, and least, most and step of memory in MiB.
/// Source: Amazon ECS developer guide, "Amazon ECS task definition parameters for Fargate", task size.
const SIZES: [(u64, u64, u64, u64); 7] = [
    (256, 512, 2_048, 512),
    (512, 1_024, 4_096, 1_024),
    (1_024, 2_048, 8_192, 1_024),
    (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024),
    (8_192, 16_384, 61_440, 4_096),
    (16_384, 32_768, 122_880, 8_192),
];

/// The only capability that may be added.
const CAPABILITY: &str = "SYS_PTRACE";
const LOG_DRIVERS: [&str; 3] = ["awslogs", "splunk", "awsfirelens"];

/// The first thing for which Fargate refuses a task definition; None if it takes it.
pub(super) fn problem(body: &Map<String, Value>) -> Option<String> {
    let text = |member: &str| body.get(member).and_then(Value::as_str);
    if text("networkMode") != Some("awsvpc") {
        return Some("Fargate only supports network mode ‘awsvpc’.".to_owned());
    }
    if let Some(mode) = text("pidMode").filter(|mode| *mode != "task") {
        return Some(format!(
            "Tasks using the Fargate launch type do not support pidMode '{mode}'. The supported value for pidMode is \
             'task'."
        ));
    }
    if text("ipcMode").is_some() {
        return Some("Tasks using the Fargate launch type do not support ipcMode.".to_owned());
    }
    if is_there(body.get("placementConstraints")) {
        return Some("Fargate does not support task placement constraints.".to_owned());
    }
    if let Some(problem) = size(body) {
        return Some(problem);
    }
    let volumes = body.get("volumes").and_then(Value::as_array);
    for volume in volumes.into_iter().flatten() {
        for (place, name) in
            [("/dockerVolumeConfiguration", "dockerVolumeConfiguration"), ("/host/sourcePath", "sourcePath")]
        {
            if is_there(volume.pointer(place)) {
                return Some(format!("Fargate compatible task definitions do not support {name}"));
            }
        }
    }
    let has_role = text("executionRoleArn").is_some();
    let containers = body.get("containerDefinitions").and_then(Value::as_array);
    containers.into_iter().flatten().find_map(|it| container(it, has_role))
}

fn size(body: &Map<String, Value>) -> Option<String> {
    for member in ["cpu", "memory"] {
        if !is_there(body.get(member)) {
            return Some(format!("Fargate requires that '{member}' be defined at the task level."));
        }
    }
    let (units, mib) = task_size(body);
    let (units, mib) = (units.unwrap_or_default(), mib.unwrap_or_default());
    let fits = |&(cpu, least, most, step): &(u64, u64, u64, u64)| {
        cpu == units
            && (least..=most).contains(&mib)
            && mib.is_multiple_of(step)
            && (cpu, mib) != (256, 1_536)
    };
    (!SIZES.iter().any(fits)).then(|| {
        format!(
            "No Fargate configuration exists for given values: {units} CPU, {mib} memory. See the Amazon ECS \
             documentation for the valid values."
        )
    })
}

fn container(container: &Value, has_role: bool) -> Option<String> {
    if container["privileged"] == true {
        return Some("Fargate requires that the 'privileged' setting be 'false'.".to_owned());
    }
    let added = container.pointer("/linuxParameters/capabilities/add").and_then(Value::as_array);
    let added = added.into_iter().flatten().filter_map(Value::as_str);
    if let Some(capability) = added.into_iter().find(|name| *name != CAPABILITY) {
        return Some(format!("{capability} is not allowed on Fargate."));
    }
    for (place, name) in [
        ("/dockerSecurityOptions", "dockerSecurityOptions"),
        ("/linuxParameters/devices", "devices"),
        ("/linuxParameters/sharedMemorySize", "sharedMemorySize"),
        ("/linuxParameters/tmpfs", "tmpfs"),
    ] {
        if is_there(container.pointer(place)) {
            return Some(format!("Fargate compatible task definitions do not support {name}"));
        }
    }
    if container["stopTimeout"].as_i64().is_some_and(|seconds| seconds > 120) {
        let text = "Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds.";
        return Some(text.to_owned());
    }
    let driver = container.pointer("/logConfiguration/logDriver").and_then(Value::as_str)?;
    if !LOG_DRIVERS.contains(&driver) {
        return Some(format!(
            "{driver} is not a valid log driver. Must be one of [{}]",
            LOG_DRIVERS.join(",")
        ));
    }
    (driver == "awslogs" && !has_role).then(|| {
        "Fargate requires task definition to have execution role ARN to support log driver awslogs."
            .to_owned()
    })
}

/// Neither absent nor empty.
fn is_there(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

impl Definition {
    /// `compatibilities`: the launch types that it can run with.
    pub(super) fn compatibilities(&self) -> &'static [&'static str] {
        match (self.text("networkMode"), problem(&self.body)) {
            (Some("awsvpc"), None) => &["EC2", "FARGATE"],
            (Some("awsvpc"), Some(_)) => &["EC2"],
            _ => &["EXTERNAL", "EC2"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut body = json!({
            "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "containerDefinitions": [{ "name": "app", "image": "app" }],
        });
        change(&mut body);
        problem(body.as_object().unwrap())
    }

    #[test]
    fn what_fargate_does_not_take_is_said_in_its_words() {
        assert_eq!(said(|_| ()), None);
        for (place, value, words) in [
            ("/networkMode", json!("bridge"), "Fargate only supports network mode ‘awsvpc’."),
            ("/pidMode", json!("host"), "do not support pidMode 'host'. The supported value"),
            ("/ipcMode", json!("task"), "do not support ipcMode."),
            ("/cpu", json!(null), "Fargate requires that 'cpu' be defined at the task level."),
            ("/memory", json!(null), "Fargate requires that 'memory' be defined at the task level."),
            ("/containerDefinitions/0/privileged", json!(true), "the 'privileged' setting be 'false'"),
            (
                "/containerDefinitions/0/linuxParameters",
                json!({ "capabilities": { "add": ["SYS_PTRACE", "NET_ADMIN"] } }),
                "NET_ADMIN is not allowed on Fargate.",
            ),
            (
                "/containerDefinitions/0/linuxParameters",
                json!({ "sharedMemorySize": 64 }),
                "do not support sharedMemorySize",
            ),
            ("/containerDefinitions/0/stopTimeout", json!(121), "less than 120 seconds"),
            (
                "/containerDefinitions/0/logConfiguration",
                json!({ "logDriver": "json-file" }),
                "json-file is not a valid log driver. Must be one of [awslogs,splunk,awsfirelens]",
            ),
            (
                "/containerDefinitions/0/logConfiguration",
                json!({ "logDriver": "awslogs" }),
                "to have execution role ARN to support log driver awslogs.",
            ),
            ("/volumes", json!([{ "host": { "sourcePath": "/" } }]), "do not support sourcePath"),
        ] {
            let (parent, member) = place.rsplit_once('/').unwrap();
            let found = said(|body| body.pointer_mut(parent).unwrap()[member] = value.clone());
            assert!(found.as_deref().unwrap_or_default().contains(words), "{place} {value}: {found:?}");
        }
        let allowed = json!({ "capabilities": { "add": ["SYS_PTRACE"], "drop": ["CHOWN"] } });
        assert_eq!(said(|body| body["containerDefinitions"][0]["linuxParameters"] = allowed), None);
        assert_eq!(said(|body| body["pidMode"] = json!("task")), None);
    }

    #[test]
    fn cpu_and_memory_come_in_pairs() {
        for (cpu, memory, fits) in [
            ("256", "512", true),
            ("256", "1536", false),
            ("256", "2GB", true),
            (".25 vCPU", "1 GB", true),
            ("512", "512", false),
            ("512", "1024", true),
            ("1024", "1024", false),
            ("1024", "8192", true),
            ("1024", "8704", false),
            ("4 vCPU", "30 GB", true),
            ("4096", "31744", false),
            ("8192", "20480", true),
            ("8192", "17408", false),
            ("16384", "122880", true),
            ("128", "512", false),
        ] {
            let found = said(|body| (body["cpu"], body["memory"]) = (json!(cpu), json!(memory)));
            assert_eq!(found.is_none(), fits, "{cpu} {memory}: {found:?}");
        }
        let found = said(|body| body["memory"] = json!("4 GB")).unwrap();
        assert!(
            found.starts_with("No Fargate configuration exists for given values: 256 CPU, 4096 memory."),
            "{found}"
        );
    }
}
