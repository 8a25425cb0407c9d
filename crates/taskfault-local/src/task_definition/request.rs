//! A definition as ECS reads it: its size, and whether it would be registered.

use aws_local::ecs;
use serde_json::{Map, Value as Json};
use serde_norway::Mapping;

/// The size of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// 1,024 for a core.
    pub(super) cpu_units: Option<u64>,
    pub(super) memory_mib: Option<u64>,
}

/// The task's own limits, in either of their forms.
pub(super) fn size(definition: &Mapping) -> Size {
    let body = as_request(definition).unwrap_or_default();
    let (cpu_units, memory_mib) = ecs::task_size(&body);
    Size { cpu_units, memory_mib }
}

/// Whether ECS registers the definition, as far as the local AWS knows its rules.
///
/// # Errors
/// In the words of ECS.
pub(super) fn registers(definition: &Mapping) -> Result<(), String> {
    let request = as_request(definition)?;
    ecs::check_definition(&request).map_err(|error| format!("RegisterTaskDefinition refuses it: {error}"))
}

fn as_request(definition: &Mapping) -> Result<Map<String, Json>, String> {
    match serde_json::to_value(definition) {
        Ok(Json::Object(request)) => Ok(request),
        Ok(_) => Err("this is no object".to_owned()),
        Err(error) => Err(format!("this cannot be said in JSON: {error}")),
    }
}
