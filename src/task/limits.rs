//! Which CPUs, and how much of them, this process may use: affinity, cgroup v1 and v2, task metadata.
//!
//! The readers take a root folder, so that tests read captured files; the parsers are pure.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Task;

/// Where a CPU limit comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitSource {
    /// `Limits.CPU` of the task metadata.
    TaskMetadata,
    /// The CFS quota of a cgroup; the file that says so.
    Cgroup(PathBuf),
    /// No limit but the CPUs that the scheduler may put us on.
    Affinity,
}

impl std::fmt::Display for LimitSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LimitSource::TaskMetadata => f.write_str("task metadata"),
            LimitSource::Cgroup(file) => write!(f, "{}", file.display()),
            LimitSource::Affinity => f.write_str("CPUs of this process"),
        }
    }
}

/// A CPU limit, in CPUs, and who sets it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuLimit {
    pub cpus: f64,
    pub source: LimitSource,
}

/// Everything that bounds the CPU time of this process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuLimits {
    /// CPUs that the scheduler may use for this process, at least 1.
    pub affinity: u32,
    /// The smallest quota of the cgroups that this process is in, as far as they are visible from here.
    pub cgroup: Option<CpuLimit>,
    /// `Limits.CPU` of the task metadata, in vCPU.
    pub task: Option<f64>,
    /// `cpu.stat` of the cgroup that this process is in, for the count of throttled periods.
    pub stat_file: Option<PathBuf>,
}

impl CpuLimits {
    /// Reads the limits of this process; what cannot be read counts as no limit.
    pub fn read(task: &Task) -> Self {
        Self::read_under(Path::new("/"), task, affinity())
    }

    /// The same from the `/proc/self` and cgroup files under `root`.
    fn read_under(root: &Path, task: &Task, affinity: u32) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let folders = cpu_cgroups(&text("proc/self/cgroup"), &text("proc/self/mountinfo"));
        let mut cgroup: Option<CpuLimit> = None;
        for folder in &folders {
            if let Some(limit) = quota(root, folder)
                && cgroup.as_ref().is_none_or(|least| limit.cpus < least.cpus)
            {
                cgroup = Some(limit);
            }
        }
        let stat_file = folders.first().map(|folder| root.join(relative(folder)).join("cpu.stat"));
        CpuLimits { affinity, cgroup, task: task.cpu_limit, stat_file }
    }

    /// What "all cores" means here: the tightest bound and where it comes from.
    pub fn all_cores(&self) -> CpuLimit {
        let mut least = CpuLimit { cpus: f64::from(self.affinity), source: LimitSource::Affinity };
        let metadata = self.task.map(|cpus| CpuLimit { cpus, source: LimitSource::TaskMetadata });
        // At equal limits the task metadata is the better known name; a limit that does not bind is none.
        for limit in metadata.into_iter().chain(self.cgroup.clone()) {
            if limit.cpus > 0.0 && limit.cpus < least.cpus {
                least = limit;
            }
        }
        least
    }

    /// How often the cgroup of this process was throttled since it was made; None where that is not told.
    pub fn throttled(&self) -> Option<u64> {
        throttled_periods(&fs::read_to_string(self.stat_file.as_ref()?).ok()?)
    }
}

/// CPUs that the scheduler may use for this process. 1 if the kernel does not say.
fn affinity() -> u32 {
    use nix::sched::{CpuSet, sched_getaffinity};
    let Ok(set) = sched_getaffinity(nix::unistd::Pid::from_raw(0)) else { return 1 };
    let count = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The quota set on one cgroup folder, v2 or v1.
fn quota(root: &Path, folder: &Path) -> Option<CpuLimit> {
    let read = |file: &str| fs::read_to_string(root.join(relative(folder)).join(file)).ok();
    if let Some(cpus) = read("cpu.max").as_deref().and_then(parse_cpu_max) {
        return Some(CpuLimit { cpus, source: LimitSource::Cgroup(folder.join("cpu.max")) });
    }
    let cpus = parse_cfs(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)?;
    Some(CpuLimit { cpus, source: LimitSource::Cgroup(folder.join("cpu.cfs_quota_us")) })
}

/// cgroup v2 `cpu.max`: `"50000 100000"` is half a CPU, `"max 100000"` is no limit.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    parse_cfs(quota, period)
}

/// cgroup v1: quota and period in microseconds; a quota of -1 is no limit.
fn parse_cfs(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// `nr_throttled` of a `cpu.stat`.
fn throttled_periods(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("nr_throttled "))?.trim().parse().ok()
}

/// A mounted cgroup hierarchy with the CPU controller, from one line of mountinfo.
struct CpuMount<'a> {
    /// The cgroup that is seen at the mount point.
    root: &'a str,
    point: String,
    v2: bool,
}

/// The folders of the cgroups that this process is in and whose CPU quota counts for it: its own first,
/// then up to the root of each mount.
///
/// `cgroup` and `mountinfo` are the files of `/proc/self` with those names.
fn cpu_cgroups(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for mount in mountinfo.lines().filter_map(cpu_mount) {
        let Some(own) = own_path(cgroup, mount.v2) else { continue };
        let point = Path::new(&mount.point);
        // A path that is not below what is mounted (the cgroup namespace is not ours): what is mounted
        // is then the best there is.
        let below = Path::new(own).strip_prefix(mount.root).unwrap_or(Path::new(""));
        let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let start = if inside { point.join(below) } else { point.to_path_buf() };
        folders
            .extend(start.ancestors().take_while(|folder| folder.starts_with(point)).map(Path::to_path_buf));
    }
    folders
}

/// `36 32 0:29 ROOT POINT OPTIONS … - TYPE SOURCE SUPER_OPTIONS`, if it is a cgroup mount for the CPU.
fn cpu_mount(line: &str) -> Option<CpuMount<'_>> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1)?);
    let v2 = kind == "cgroup2";
    let v1 = kind == "cgroup" && options.split(',').any(|option| option == "cpu");
    (v1 || v2).then(|| CpuMount { root, point: unescape(point), v2 })
}

/// The path of this process in `/proc/self/cgroup`: `0::PATH` for v2, `N:…,cpu,…:PATH` for v1.
fn own_path(cgroup: &str, v2: bool) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let wanted = if v2 {
            number == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|name| name == "cpu")
        };
        wanted.then_some(path)
    })
}

/// mountinfo writes blanks in paths as `\040`.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}
