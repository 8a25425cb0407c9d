//! By what things are known: ARNs, and the ids that Docker would give.

use crate::Context;
use crate::wire::sha256_hex;

/// The ARN of something of this service: `resource` is `cluster/x`, `task/x/id`, …
pub(crate) fn arn(context: &Context, resource: &str) -> String {
    format!("arn:aws:ecs:{}:{}:{resource}", context.region, context.account)
}

/// The 64 hex digits by which Docker would know a container of a task.
pub fn docker_id(task_arn: &str, container: &str) -> String {
    sha256_hex(format!("{task_arn}/{container}").as_bytes())
}

/// Clusters, services and tasks have letters, digits, `_` and `-` in their names, 255 at most.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
