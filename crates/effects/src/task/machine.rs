//! The machine below the task, as sysinfo tells it: name, kernel, CPUs, load, memory.

use std::fmt;

use serde::Serialize;
use sysinfo::{MemoryRefreshKind, System};

/// Memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What the kernel can use.
    pub total: u64,
    /// What programs can have without swapping: `MemAvailable`, or the kernel's older way to estimate it.
    pub available: u64,
}

impl Memory {
    /// Reads `/proc/meminfo`. None where it cannot be read.
    pub fn read() -> Option<Memory> {
        let mut system = System::new().ok()?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let memory = Memory { total: system.total_memory(), available: system.available_memory() };
        (memory.total > 0).then_some(memory)
    }
}

/// What the machine is and how busy it is at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// `NAME` of `/etc/os-release`; `Linux` in an image that has none.
    pub platform: String,
    /// `VERSION_ID` of `/etc/os-release`; the kernel's release in an image that has none.
    pub version: String,
    /// Release of the kernel; empty where it does not say.
    pub kernel: String,
    /// Name of the host, as its UTS namespace has it.
    pub host: Option<String>,
    /// CPUs that are online, whoever may use them; 0 where that is not told.
    pub cpus: usize,
    /// Tasks that ran or wanted to, as means over 1, 5 and 15 minutes; None where `/proc/loadavg` cannot be read.
    pub load: Option<[f64; 3]>,
    /// None where `/proc/meminfo` cannot be read.
    pub memory: Option<Memory>,
}

impl Machine {
    /// Asks the kernel and the image. What cannot be read is left out.
    pub fn read() -> Machine {
        let kernel = System::kernel_version().unwrap_or_default();
        Machine {
            platform: System::name().unwrap_or_else(|_| "Linux".to_owned()),
            version: System::os_version().unwrap_or_else(|_| kernel.clone()),
            kernel,
            host: System::host_name().ok().filter(|name| !name.is_empty()),
            cpus: nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
                .ok()
                .flatten()
                .and_then(|cpus| usize::try_from(cpus).ok())
                .unwrap_or(0),
            load: System::load_average().ok().map(|load| [load.one, load.five, load.fifteen]),
            memory: Memory::read(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
        write!(f, "kernel {}, {} CPUs", self.kernel, self.cpus)?;
        if let Some([one, five, fifteen]) = self.load {
            write!(f, ", load {one:.2} {five:.2} {fifteen:.2}")?;
        }
        match self.memory {
            Some(Memory { total, available }) => {
                write!(f, ", {:.1} of {:.1} GiB memory available", available as f64 / GIB, total as f64 / GIB)
            }
            None => f.write_str(", memory not told"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_as_the_kernel_has_it() {
        let machine = Machine::read();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(machine.kernel, kernel.trim());
        assert_eq!(machine.host.as_deref(), nix::unistd::gethostname().unwrap().to_str());
        let online = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        assert_eq!(machine.cpus, online.lines().filter(|line| line.starts_with("processor")).count());
        let memory = machine.memory.unwrap();
        assert!(memory.available > 0 && memory.available < memory.total, "{memory:?}");
        assert!(machine.load.unwrap().iter().all(|load| *load >= 0.0), "{:?}", machine.load);
    }

    #[test]
    fn a_machine_is_one_line() {
        let mut machine = Machine {
            platform: "Amazon Linux".into(),
            version: "2023".into(),
            kernel: "6.1.0-23-amd64".into(),
            host: None,
            cpus: 2,
            load: Some([0.5, 0.25, 0.0]),
            memory: Some(Memory { total: 4 << 30, available: 3 << 30 }),
        };
        assert_eq!(
            machine.to_string(),
            "kernel 6.1.0-23-amd64, 2 CPUs, load 0.50 0.25 0.00, 3.0 of 4.0 GiB memory available"
        );
        (machine.load, machine.memory) = (None, None);
        assert_eq!(machine.to_string(), "kernel 6.1.0-23-amd64, 2 CPUs, memory not told");
    }
}
