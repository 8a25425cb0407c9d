//! The sidecar's container, as `task-definition.json` of the repository has it: what users copy is what is put in.

use serde_norway::{Mapping, Value};

use super::members::{is_called, objects, text};

const EXAMPLE: &str = include_str!("../../../../task-definition.json");

/// What the container of the sidecar is called.
pub(super) const NAME: &str = "taskfault";
/// The variable with the role that the sidecar registers with.
pub(super) const ROLE_VARIABLE: &str = "MANAGED_INSTANCE_ROLE_NAME";
/// The variable with the folder of its state, and where that is without it.
pub(super) const STATE_VARIABLE: &str = "TASKFAULT_STATE_DIR";
pub(super) const STATE_FOLDER: &str = "/var/lib/amazon/ssm";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Example {
    pub(super) container: Mapping,
    /// The volumes that it mounts.
    pub(super) volumes: Vec<Mapping>,
}

impl Example {
    /// # Errors
    /// None in a program that was tested: the file is part of it.
    pub(super) fn read() -> Result<Example, String> {
        let definition: Mapping = serde_json::from_str(EXAMPLE).map_err(|error| error.to_string())?;
        let container =
            objects(&definition, "containerDefinitions").find(|it| text(it, "name") == Some(NAME));
        let container = container.ok_or("the example has no sidecar")?.clone();
        let mounted: Vec<&str> = mounted(&container).collect();
        let volumes = objects(&definition, "volumes")
            .filter(|it| text(it, "name").is_some_and(|name| mounted.contains(&name)));
        Ok(Example { volumes: volumes.cloned().collect(), container })
    }

    /// Whether a volume is one of those that the sidecar brings along.
    pub(super) fn brings(&self, volume: &Value) -> bool {
        self.volumes.iter().filter_map(|it| text(it, "name")).any(|name| is_called(volume, name))
    }
}

/// The names of the volumes that a container mounts.
pub(super) fn mounted(container: &Mapping) -> impl Iterator<Item = &str> {
    objects(container, "mountPoints").filter_map(|it| text(it, "sourceVolume"))
}
