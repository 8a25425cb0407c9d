//! How much memory this task may use, and how much of that is free: cgroup v1 and v2, task metadata, machine.
//!
//! The readers take a root folder, so that tests read captured files; the parsers are pure.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{cgroups, relative};
use crate::amount::bytes;
use crate::task::Task;
use crate::task::capabilities::{PidNamespace, pid_namespace};
use crate::task::machine::Memory;

const MIB: u64 = 1024 * 1024;

/// Who sets a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemorySource {
    /// The file of a cgroup.
    Cgroup(PathBuf),
    /// `Limits.Memory` of the task metadata, and how its use is known.
    TaskMetadata {
        /// How its use is known.
        seen: Seen,
    },
    /// The memory of the machine.
    Machine,
}

/// How the use of a task's memory is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// From the processes of all containers.
    All,
    /// From our own processes and the statistics of the other containers.
    Statistics,
    /// From our own processes alone.
    Own,
}

impl fmt::Display for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemorySource::Cgroup(file) => write!(f, "{}", file.display()),
            MemorySource::TaskMetadata { seen: Seen::All } => f.write_str("task metadata"),
            MemorySource::TaskMetadata { seen: Seen::Statistics } => {
                f.write_str("task metadata; the use of other containers is taken from its statistics")
            }
            MemorySource::TaskMetadata { seen: Seen::Own } => {
                f.write_str("task metadata; other containers cannot be seen, so their use is not counted")
            }
            MemorySource::Machine => f.write_str("memory of the machine"),
        }
    }
}

/// One limit and what is used of it, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// What may be used.
    pub limit: u64,
    /// What cannot be had back for the asking: without the inactive pages of files, as `docker stats` counts.
    pub used: u64,
    /// Who sets the limit.
    pub source: MemorySource,
}

impl Room {
    /// What may still be used.
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// What stays free below the limit, so that the OOM killer never wakes: a twentieth, at least 16 MiB and at most
    /// 512 MiB, but of a small limit not more than a quarter.
    pub fn margin(&self) -> u64 {
        (self.limit / 20).clamp(16 * MIB, 512 * MIB).min(self.limit / 4)
    }

    /// Why nothing may be taken, in words.
    pub fn no_headroom(&self) -> String {
        format!(
            "only {} of {} ({}) are free, and {} stay free in any case; raise the memory limit",
            bytes(self.free()),
            bytes(self.limit),
            self.source,
            bytes(self.margin())
        )
    }

    /// Free above the margin; below 0, so much of the margin is used.
    pub fn headroom(&self) -> i64 {
        let free = i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_sub_unsigned(self.used);
        free.saturating_sub_unsigned(self.margin())
    }
}

/// Everything that bounds the memory of this process.
#[derive(Debug, Clone)]
pub struct MemoryLimits {
    root: PathBuf,
    /// Cgroups with the memory controller, from our own upwards.
    folders: Vec<PathBuf>,
    /// `Limits.Memory` of the task metadata.
    task: Option<u64>,
    /// What the other containers use, where that is asked for.
    others: Option<Arc<AtomicU64>>,
    /// Asks for the machine's memory; tests have their own.
    machine: fn() -> Option<Memory>,
}

impl MemoryLimits {
    /// Finds the limits of this process.
    pub fn read(task: &Task) -> Self {
        Self::read_under(Path::new("/"), task, Memory::read)
    }

    fn read_under(root: &Path, task: &Task, machine: fn() -> Option<Memory>) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let folders = cgroups(&text("proc/self/cgroup"), &text("proc/self/mountinfo"), "memory");
        MemoryLimits { root: root.to_path_buf(), folders, task: task.memory_limit, others: None, machine }
    }

    /// Whether the task's own limit binds here and the processes of its other containers cannot be seen, so that
    /// somebody has to be asked for what they use.
    pub fn lacks_others(&self) -> bool {
        let own = MemorySource::TaskMetadata { seen: Seen::Own };
        self.rooms().iter().any(|room| room.source == own)
    }

    /// With the use of the other containers, in bytes, as it changes.
    #[must_use]
    pub fn with_others(self, used: Arc<AtomicU64>) -> Self {
        MemoryLimits { others: Some(used), ..self }
    }

    /// Every limit with its use at this moment. What cannot be read counts as no limit.
    pub fn rooms(&self) -> Vec<Room> {
        let machine = (self.machine)().map(|memory| Room {
            limit: memory.total,
            used: memory.total.saturating_sub(memory.available),
            source: MemorySource::Machine,
        });
        let mut rooms: Vec<Room> = self.folders.iter().filter_map(|folder| self.cgroup(folder)).collect();
        // Limits above what the machine has bind nobody ("no limit" is such a number in cgroup v1).
        if let Some(machine) = &machine {
            rooms.retain(|room| room.limit < machine.limit);
        }
        rooms.extend(self.task_room(&rooms));
        rooms.extend(machine);
        rooms
    }

    /// The limit with the least free; None if nothing can be read at all.
    pub fn tightest(&self) -> Option<Room> {
        self.rooms().into_iter().min_by_key(Room::free)
    }

    /// The limit with the least above its margin.
    pub fn least_headroom(&self) -> Option<Room> {
        self.rooms().into_iter().min_by_key(Room::headroom)
    }

    /// Bytes that may be taken now: above every margin. What cannot be read is no room.
    pub fn headroom(&self) -> i64 {
        self.least_headroom().map_or(i64::MIN, |room| room.headroom())
    }

    /// [`MemoryLimits::headroom`] for whoever follows it.
    pub fn follow(self: &Arc<Self>) -> Arc<dyn Fn() -> i64 + Send + Sync> {
        let limits = Arc::clone(self);
        Arc::new(move || limits.headroom())
    }

    /// How often the OOM killer has taken a process of our own cgroup, for whichever limit; where no cgroup counts,
    /// of the machine.
    pub fn oom_kills(&self) -> Option<u64> {
        let counted = |path: &Path| stat_value(&self.text(path), "oom_kill");
        let own = self.folders.first();
        own.and_then(|own| counted(&own.join("memory.events")))
            .or_else(|| counted(&own?.join("memory.oom_control")))
            .or_else(|| counted(Path::new("/proc/vmstat")))
    }

    fn text(&self, path: &Path) -> String {
        fs::read_to_string(self.root.join(relative(path))).unwrap_or_default()
    }

    fn cgroup(&self, folder: &Path) -> Option<Room> {
        let number = |file: &str| self.text(&folder.join(file)).trim().parse::<u64>().ok();
        let stat = self.text(&folder.join("memory.stat"));
        let (limit, used, cache, file) = match number("memory.max") {
            Some(limit) => {
                (limit, number("memory.current")?, stat_value(&stat, "inactive_file"), "memory.max")
            }
            None => (
                number("memory.limit_in_bytes")?,
                number("memory.usage_in_bytes")?,
                stat_value(&stat, "total_inactive_file"),
                "memory.limit_in_bytes",
            ),
        };
        let used = used.saturating_sub(cache.unwrap_or(0));
        Some(Room { limit, used, source: MemorySource::Cgroup(folder.join(file)) })
    }

    /// The task's own limit, where no cgroup that can be seen from here is as tight: a container with a cgroup
    /// namespace of its own does not see the task's cgroup above its own.
    fn task_room(&self, cgroups: &[Room]) -> Option<Room> {
        let limit = self.task.filter(|limit| cgroups.iter().all(|room| room.limit > *limit))?;
        let all_seen = pid_namespace(&self.root, std::process::id()) == Some(PidNamespace::Shared);
        let (others, seen) = match &self.others {
            _ if all_seen => (0, Seen::All),
            Some(others) => (others.load(Ordering::Relaxed), Seen::Statistics),
            None => (0, Seen::Own),
        };
        let used = self.resident().saturating_add(self.files_in_memory()).saturating_add(others);
        Some(Room { limit, used, source: MemorySource::TaskMetadata { seen } })
    }

    /// Files of our own container that are kept in memory: no process has them. What processes share is among them, and
    /// counts twice.
    fn files_in_memory(&self) -> u64 {
        let stat = self.folders.first().map(|own| self.text(&own.join("memory.stat"))).unwrap_or_default();
        stat_value(&stat, "shmem").or_else(|| stat_value(&stat, "total_shmem")).unwrap_or(0)
    }

    /// Memory of all processes that can be seen; what they share counts more than once.
    fn resident(&self) -> u64 {
        let processes = fs::read_dir(self.root.join("proc")).into_iter().flatten().flatten();
        let numbers = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        numbers
            .map(|entry| {
                let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
                let kept = |name| kib(&status, name).unwrap_or(0);
                kept("RssAnon:") + kept("RssShmem:")
            })
            .sum()
    }
}

/// `NAME NUMBER` in a `memory.stat`.
fn stat_value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.trim().parse().ok()
}

/// `NAME   NUMBER kB` in a file of `/proc`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads bytes as the files of `/proc` and of a cgroup that have memory in them.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for name in ["RssAnon:", "RssShmem:", "inactive_file", "total_inactive_file"] {
        let _ = (stat_value(&text, name), kib(&text, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 2,000 MiB, half of which is free.
    const MACHINE: fn() -> Option<Memory> =
        || Some(Memory { total: 2_097_152_000, available: 1_048_576_000 });
    const V1_CGROUP: &str = "9:name=systemd:/docker/7c1f\n4:memory:/docker/7c1f\n0::/\n";
    const V1_MOUNTS: &str = "\
        181 180 0:29 /docker/7c1f /sys/fs/cgroup/cpu ro master:9 - cgroup cgroup rw,cpu\n\
        182 180 0:30 /docker/7c1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    const V2_CGROUP: &str = "0::/ecstasks.slice/ecstasks-ab12.slice/docker-7c1f.scope\n";
    const V2_MOUNTS: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn rooms(files: &[(&str, &str)], task: Option<u64>) -> Vec<Room> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let task = Task { memory_limit: task, ..Task::default() };
        MemoryLimits::read_under(root.path(), &task, MACHINE).rooms()
    }

    #[test]
    fn docker_on_v1_counts_no_inactive_files() {
        let found = rooms(
            &[
                ("proc/self/cgroup", V1_CGROUP),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "50331648\n"),
                ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 16777216\n"),
            ],
            None,
        );
        assert_eq!((found[0].limit, found[0].used, found[0].free()), (128 * MIB, 32 * MIB, 96 * MIB));
        assert_eq!(found[0].source.to_string(), "/sys/fs/cgroup/memory/memory.limit_in_bytes");
        assert_eq!((&found[1].source, found.len()), (&MemorySource::Machine, 2));
    }

    #[test]
    fn every_v2_cgroup_on_the_way_up_counts() {
        let slice = "sys/fs/cgroup/ecstasks.slice/ecstasks-ab12.slice";
        let own = format!("{slice}/docker-7c1f.scope");
        let file = |folder: &str, name: &str| format!("{folder}/{name}");
        let found = rooms(
            &[
                ("proc/self/cgroup", V2_CGROUP),
                ("proc/self/mountinfo", V2_MOUNTS),
                (&file(&own, "memory.max"), "max\n"),
                (&file(&own, "memory.current"), "1048576\n"),
                (&file(slice, "memory.max"), "268435456\n"),
                (&file(slice, "memory.current"), "104857600\n"),
                (&file(slice, "memory.stat"), "anon 9\ninactive_file 4194304\n"),
            ],
            Some(256 * MIB),
        );
        assert_eq!((found[0].limit, found[0].used), (256 * MIB, 96 * MIB));
        assert_eq!(found.len(), 2, "the task's limit is that of the slice: {found:?}");
    }

    #[test]
    fn a_task_limit_without_a_cgroup_is_counted_from_processes() {
        let found = rooms(
            &[
                ("proc/7/status", "Name:\ta\nRssAnon:\t  2048 kB\nRssFile:\t 999 kB\nRssShmem:\t 1024 kB\n"),
                ("proc/8/status", "Name:\tb\nRssAnon:\t  1024 kB\n"),
                ("proc/self/status", "RssAnon:\t  4096 kB\n"),
            ],
            Some(512 * MIB),
        );
        assert_eq!((found[0].limit, found[0].used), (512 * MIB, 4 * MIB));
        assert_eq!(found[0].source, MemorySource::TaskMetadata { seen: Seen::Own });
        assert!(found[0].source.to_string().contains("other containers cannot be seen"));
    }

    #[test]
    fn what_others_use_is_counted_where_it_is_known() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/7")).unwrap();
        fs::write(root.path().join("proc/7/status"), "Name:\ta\nRssAnon:\t  2048 kB\n").unwrap();
        let task = Task { memory_limit: Some(512 * MIB), ..Task::default() };
        let limits = MemoryLimits::read_under(root.path(), &task, MACHINE);
        assert!(limits.lacks_others());
        let others = Arc::new(AtomicU64::new(100 * MIB));
        let limits = limits.with_others(Arc::clone(&others));
        assert!(!limits.lacks_others());
        let used = || limits.rooms()[0].used;
        assert_eq!(used(), 102 * MIB);
        others.store(300 * MIB, Ordering::Relaxed);
        assert_eq!(used(), 302 * MIB);
        assert!(limits.rooms()[0].source.to_string().contains("taken from its statistics"));
    }

    #[test]
    fn the_margin_is_part_of_every_limit() {
        for limit in [8, 64, 256, 4096, 1024 * 1024] {
            let room = Room { limit: limit * MIB, used: 0, source: MemorySource::Machine };
            assert!(room.margin() >= MIB && room.margin() <= room.limit / 4, "{limit}");
            assert_eq!(room.headroom().cast_unsigned() + room.margin(), room.limit);
        }
        let room = Room { limit: 64 * MIB, used: 60 * MIB, source: MemorySource::Machine };
        assert_eq!(room.headroom(), -12 * MIB.cast_signed());
        // 100 MiB of a large machine are less than 90 MiB of a small cgroup: the machine's margin is larger.
        let of = |limit, used| Room { limit: limit * MIB, used: used * MIB, source: MemorySource::Machine };
        assert!(of(8192, 8092).headroom() < of(128, 38).headroom());
    }

    #[test]
    fn visits_of_the_oom_killer_are_counted() {
        let counted = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let file = root.path().join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            MemoryLimits::read_under(root.path(), &Task::default(), MACHINE).oom_kills()
        };
        let v1 = [("proc/self/cgroup", V1_CGROUP), ("proc/self/mountinfo", V1_MOUNTS)];
        let oom_control =
            ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        assert_eq!(counted(&[v1[0], v1[1], oom_control]), Some(3));
        let events = "sys/fs/cgroup/ecstasks.slice/ecstasks-ab12.slice/docker-7c1f.scope/memory.events";
        let v2 = [("proc/self/cgroup", V2_CGROUP), ("proc/self/mountinfo", V2_MOUNTS)];
        assert_eq!(counted(&[v2[0], v2[1], (events, "oom 9\noom_kill 5\noom_group_kill 1\n")]), Some(5));
        assert_eq!(counted(&[("proc/vmstat", "oom_kill 7\n")]), Some(7));
        assert_eq!(counted(&[]), None);
    }

    #[test]
    fn no_limit_is_the_machine() {
        // The kernel's number for no limit in v1.
        let found = rooms(
            &[
                ("proc/self/cgroup", V1_CGROUP),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n"),
            ],
            None,
        );
        assert_eq!(
            found,
            [Room { limit: 2_097_152_000, used: 1_048_576_000, source: MemorySource::Machine }]
        );
        let untold = MemoryLimits::read_under(Path::new("/nonexistent"), &Task::default(), || None);
        assert_eq!(untold.rooms(), []);
    }

    #[test]
    fn this_machine_can_be_read() {
        let tightest = MemoryLimits::read(&Task::default()).tightest().unwrap();
        assert!(tightest.free() > 0 && tightest.free() <= tightest.limit, "{tightest:?}");
    }
}
