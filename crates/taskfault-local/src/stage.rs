//! The stage: an ECS instance made of nothing but namespaces, on which tasks run as processes.
//!
//! One user namespace and one network namespace hold everything, so nothing of the machine is touched and
//! no root is needed. In them a bridge stands for the container instance's network; each [`Task`] has a
//! pid, mount, IPC and UTS namespace and (unless it shares the stage's) a network namespace of its own,
//! joined to the bridge by a veth pair whose inner end is called `eth0`.
//!
//! The kernel holds the undo: a task's first process is pid 1 of the task, and it ends when its line to
//! the stage closes, whatever the reason; when it ends the kernel ends the rest of the task; and when the
//! last process is gone, so are the namespaces with their interfaces. Nothing here knows about AWS.

mod enter;
mod init;
mod link;
mod process;
mod refusal;
mod task;
mod wire;

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

pub use enter::{Namespaces, enter};
pub use init::{INIT_COMMAND, InitOptions, run_init};
pub use link::Link;
pub use process::{CpuTime, Used, used_in_task};
pub use refusal::{Refusal, RefusedCall};
pub use task::{Check, Exit, Happening, Network, Program, Task, TaskSpec};

/// Where the ECS agent answers for metadata and credentials, in every task.
/// Source: Amazon ECS developer guide, "Task metadata endpoint version 4".
pub const AGENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// The bridge's own address, the gateway of every task; ECS's bridge has the same one.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 172, 1);

/// The bridge's hardware address: locally administered (the second bit), and [`GATEWAY`].
const GATEWAY_HARDWARE: [u8; 6] = [0x02, 0, 169, 254, 172, 1];

/// Length of the prefix that tasks share, in bits.
pub const PREFIX_BITS: u8 = 22;

/// The last address given to a task: 169.254.175.254.
const LAST_TASK_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 175, 254);

/// What can go wrong on a stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The kernel, or a limit on it, does not let this user make namespaces.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A change of the network in the stage or in a task.
    #[error("{what}: {source}")]
    Netlink {
        /// The change that was tried: `bringing lo up`.
        what: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A call to the system that is no question of permission.
    #[error("{what}: {source}")]
    System {
        /// What was tried: `starting task web`.
        what: String,
        /// The error of the call.
        source: io::Error,
    },
    /// The task's first process said that something failed.
    #[error("task {task}: {message}")]
    Task {
        /// Its [`TaskSpec::name`].
        task: String,
        /// What failed, in words.
        message: String,
    },
    /// Every address of the task network is given out.
    #[error("no address is left for task {task} from {first} to {last}")]
    Full {
        /// The lowest address that it could have had.
        first: Ipv4Addr,
        /// The highest.
        last: Ipv4Addr,
        /// The [`TaskSpec::name`] of the task that was to be started.
        task: String,
    },
}

impl StageError {
    fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StageError {
        let what = what.into();
        move |source| StageError::System { what, source }
    }
}

/// The network of the stage, and the place where tasks are started.
///
/// It must be built by the process that called [`enter`], inside a tokio runtime. It ends with the process.
#[derive(Debug)]
#[must_use = "without it no task can be started"]
pub struct Stage {
    network: link::Netlink,
    bridge: u32,
    /// The next address to be given out, by the lowest of its part of the network.
    next_address: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// CPUs to keep tasks to, the next one first; empty leaves tasks every CPU.
    pins: VecDeque<usize>,
    taken: Taken,
}

/// Addresses of tasks that are there.
type Taken = Arc<Mutex<BTreeSet<Ipv4Addr>>>;

/// An address for as long as its task is there.
#[derive(Debug)]
#[must_use = "another task may get the address when this is dropped"]
struct Lease {
    address: Ipv4Addr,
    taken: Taken,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.taken.lock().remove(&self.address);
    }
}

impl Stage {
    /// Builds the stage's network: `lo` up, and the bridge with [`GATEWAY`] and [`AGENT_ADDRESS`] on it.
    ///
    /// # Errors
    /// [`StageError::Netlink`] with what was tried, for instance when the kernel has no bridge module.
    pub async fn build(namespaces: Namespaces) -> Result<Stage, StageError> {
        // The value is the proof that this process stands in namespaces of its own.
        let Namespaces { .. } = namespaces;
        let network = link::Netlink::open()?;
        network.raise_loopback().await?;
        let bridge = network.add_bridge("ecs-bridge", GATEWAY_HARDWARE).await?;
        network.add_address(bridge, GATEWAY, PREFIX_BITS).await?;
        network.add_address(bridge, AGENT_ADDRESS, 32).await?;
        Ok(Stage {
            network,
            bridge,
            next_address: BTreeMap::new(),
            pins: VecDeque::new(),
            taken: Taken::default(),
        })
    }

    /// Keeps each task that is started from now on to one CPU, in turn: the limit of one vCPU that an ECS task
    /// would have. Without it a load in one task is a load on all of them, or on a large machine on none.
    pub fn pin_tasks(&mut self) {
        let all = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        self.pins = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)).collect();
    }

    /// Starts a task and returns when all its programs have been started.
    ///
    /// # Errors
    /// Whatever failed; nothing of the task is left then.
    pub async fn start(&mut self, mut spec: TaskSpec) -> Result<Task, StageError> {
        if let Some(cpu) = self.pins.pop_front() {
            self.pins.push_back(cpu);
            spec.cpu = Some(cpu);
        }
        let address = match spec.network {
            Network::Stage => None,
            Network::Own => Some(self.take_address(&spec.name, next(GATEWAY), LAST_TASK_ADDRESS)?),
            Network::Part { first, bits } => {
                let (lowest, last) = assignable(first, bits);
                Some(self.take_address(&spec.name, lowest, last)?)
            }
        };
        Task::start(spec, address, &self.network, self.bridge).await
    }

    /// The next address from one to another that no task has, in turn: one that was given back rests as long as it
    /// can.
    fn take_address(&mut self, task: &str, first: Ipv4Addr, last: Ipv4Addr) -> Result<Lease, StageError> {
        // Only tasks' addresses, whatever the part.
        let (lowest, last) = (first.max(next(GATEWAY)), last.min(LAST_TASK_ADDRESS));
        let mut taken = self.taken.lock();
        let from = self.next_address.get(&first).copied().unwrap_or(lowest);
        let address = free_address(from, lowest..=last, &taken).ok_or_else(|| StageError::Full {
            task: task.to_owned(),
            first: lowest,
            last,
        })?;
        taken.insert(address);
        self.next_address.insert(first, next(address));
        Ok(Lease { address, taken: self.taken.clone() })
    }
}

fn free_address(
    from: Ipv4Addr,
    part: RangeInclusive<Ipv4Addr>,
    taken: &BTreeSet<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let (first, last) = (part.start().to_bits(), part.end().to_bits());
    let from = from.to_bits().min(last + 1);
    let turn = (from..=last).chain(first..from);
    turn.map(Ipv4Addr::from_bits).find(|address| !taken.contains(address))
}

/// The lowest and the highest address of a subnet that a task may have. The first four and the last are reserved, as
/// in a subnet of a VPC: network, router, DNS, one for later; broadcast. See "Subnet CIDR blocks" in the user guide.
fn assignable(first: Ipv4Addr, bits: u8) -> (Ipv4Addr, Ipv4Addr) {
    let last = first.to_bits() | u32::MAX.checked_shr(bits.into()).unwrap_or(0);
    (Ipv4Addr::from_bits(first.to_bits() + 4), Ipv4Addr::from_bits(last - 1))
}

fn next(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_task_has_a_reserved_address_of_its_subnet() {
        let ends = assignable(Ipv4Addr::new(169, 254, 173, 0), 24);
        assert_eq!(ends, (Ipv4Addr::new(169, 254, 173, 4), Ipv4Addr::new(169, 254, 173, 254)));
    }

    #[test]
    fn addresses_are_given_in_turn_and_again() {
        let first = next(GATEWAY);
        let mut taken = BTreeSet::from([first]);
        let free = |from, taken: &BTreeSet<_>| free_address(from, first..=LAST_TASK_ADDRESS, taken);
        assert_eq!(free(first, &taken), Some(next(first)));
        assert_eq!(free(next(LAST_TASK_ADDRESS), &taken), Some(next(first)));
        taken.clear();
        assert_eq!(free(next(LAST_TASK_ADDRESS), &taken), Some(first));
        taken.extend((first.to_bits()..=LAST_TASK_ADDRESS.to_bits()).map(Ipv4Addr::from_bits));
        assert_eq!(free(first, &taken), None);
        let last = next(next(first));
        assert_eq!(
            free_address(last, first..=last, &BTreeSet::from([last])),
            Some(first),
            "not beyond its part"
        );
    }

    #[test]
    fn addresses_stay_in_the_shared_prefix() {
        let prefix = |address: Ipv4Addr| address.to_bits() >> (32 - PREFIX_BITS);
        assert_eq!(prefix(GATEWAY), prefix(LAST_TASK_ADDRESS));
        assert_ne!(prefix(GATEWAY), prefix(AGENT_ADDRESS), "the agent is reached through the gateway");
        assert_eq!(LAST_TASK_ADDRESS.to_bits() - GATEWAY.to_bits(), 1021);
    }
}
