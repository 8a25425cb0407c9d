//! Where am I: the task's metadata, its limits, and what it is allowed to do.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub mod arn;
pub mod capabilities;
pub mod denied;
pub mod ecs_agent;
pub mod lifelines;
pub mod limits;
pub mod machine;
pub mod memory;
pub mod metadata;
pub mod partitions;
pub mod prefixes;
pub mod stats;

/// Set to `true`, it allows faults on processes in the host's own PID namespace.
pub use faults::kill_process::ALLOW_HOST_PROCESSES_VARIABLE;

/// Where the stock agent keeps its state, and where scripts look for the `registration` file.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/amazon/ssm";

/// How strong a fault may be that has a measure in percent: 1 to 100.
pub const MAX_PERCENT_VARIABLE: &str = "TASKFAULT_MAX_PERCENT";

/// The task that taskfault stands in, as far as it could be found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// The task's CPU limit in vCPU, from the task metadata (`Limits.CPU`). None where the task has none or
    /// there is no metadata (`taskfault inject` outside ECS). Limits of the cgroup are read apart.
    pub cpu_limit: Option<f64>,
    /// The task's memory limit in bytes, from the task metadata (`Limits.Memory`), as with the CPU.
    pub memory_limit: Option<u64>,
    /// Where the task metadata is, to ask it for what the other containers use ([`stats`]).
    pub metadata_uri: Option<String>,
    /// A folder that faults may make files in, if there is one to prefer.
    pub scratch: Option<PathBuf>,
    /// Whether who runs this has said that processes of the host may be hit
    /// ([`ALLOW_HOST_PROCESSES_VARIABLE`]).
    pub allow_host_processes: bool,
    /// Where faults may note what the next life has to know. None is the default folder.
    pub state_dir: Option<PathBuf>,
    /// Addresses that no network fault may cut: see [`lifelines`].
    pub lifelines: Vec<IpAddr>,
    /// Who no network fault may hit.
    pub denied: denied::DeniedTargets,
    /// The percentage that no fault may go beyond ([`MAX_PERCENT_VARIABLE`]), for what only the task's limits can tell.
    pub most_percent: Option<u64>,
    /// The way to the ECS agent's fault endpoints, as far as there is one.
    pub ecs_agent: ecs_agent::AgentAccess,
    /// Whose prefixes the sources S3 and DYNAMODB stand for.
    pub region: prefixes::Region,
}

impl Task {
    /// Where faults may note what the next life has to know.
    pub fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(DEFAULT_STATE_DIR))
    }
}
