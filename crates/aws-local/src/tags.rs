//! Tags of resources, as every service has them.

use std::collections::BTreeMap;

/// Resource tags, in key order.
pub(crate) type Tags = BTreeMap<String, String>;

/// The tag by which the managed instance of a task is found: its value is the task's ARN.
pub const TASK_ARN_TAG: &str = "ECS_TASK_ARN";
