//! Which CPUs, and how much of them, this process may use: affinity, cgroup v1 and v2, task metadata.
//!
//! The readers take a root folder, so that tests read captured files; the parsers are pure.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Task;

pub mod memory;

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
    /// In CPUs: 0.5 is half of one.
    pub cpus: f64,
    /// Who sets it.
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
        let folders = cgroups(&text("proc/self/cgroup"), &text("proc/self/mountinfo"), "cpu");
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

/// A mounted cgroup hierarchy with the wanted controller, from one line of mountinfo.
struct Mount<'a> {
    /// The cgroup that is seen at the mount point.
    root: &'a str,
    point: String,
    v2: bool,
}

/// The folders of the cgroups that this process is in and whose limits by `controller` count for it: its own
/// first, then up to the root of each mount.
///
/// `cgroup` and `mountinfo` are the files of `/proc/self` with those names.
fn cgroups(cgroup: &str, mountinfo: &str, controller: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for mount in mountinfo.lines().filter_map(|line| mount(line, controller)) {
        let Some(own) = own_path(cgroup, mount.v2, controller) else { continue };
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

/// `36 32 0:29 ROOT POINT OPTIONS … - TYPE SOURCE SUPER_OPTIONS`, if it is a cgroup mount with the controller.
fn mount<'a>(line: &'a str, controller: &str) -> Option<Mount<'a>> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1)?);
    let v2 = kind == "cgroup2";
    let v1 = kind == "cgroup" && options.split(',').any(|option| option == controller);
    (v1 || v2).then(|| Mount { root, point: unescape(point), v2 })
}

/// The path of this process in `/proc/self/cgroup`: `0::PATH` for v2, `N:…,CONTROLLER,…:PATH` for v1.
fn own_path<'a>(cgroup: &'a str, v2: bool, controller: &str) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let wanted = if v2 {
            number == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|name| name == controller)
        };
        wanted.then_some(path)
    })
}

/// mountinfo writes blanks in paths as `\040`.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Reads bytes as the files of a cgroup: those that say where it is, with an empty line between them, and its limits.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (cgroup, mountinfo) = text.split_once("\n\n").unwrap_or((&text, &text));
    for controller in ["cpu", "memory"] {
        let _ = cgroups(cgroup, mountinfo, controller);
    }
    let _ = (parse_cpu_max(&text), throttled_periods(&text), parse_cfs(cgroup, mountinfo));
}

#[cfg(test)]
mod tests {
    use super::*;

    // Docker with cgroup v1 and `--cpus 0.5`, captured: the container's own cgroup is what is mounted.
    const DOCKER_V1_CGROUP: &str = "9:name=systemd:/docker/7c1f\n4:memory:/docker/7c1f\n\
        3:cpuset:/docker/7c1f\n2:cpuacct:/docker/7c1f\n1:cpu:/docker/7c1f\n0::/\n";
    const DOCKER_V1_MOUNTS: &str = "\
        180 170 0:63 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755\n\
        181 180 0:29 /docker/7c1f /sys/fs/cgroup/cpu ro,nosuid,nodev,noexec,relatime master:9 - cgroup cgroup rw,cpu\n\
        182 180 0:30 /docker/7c1f /sys/fs/cgroup/cpuacct ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpuacct\n";
    // systemd's hierarchy on cgroup v1: both controllers in one, the path of a service.
    const SYSTEMD_V1_CGROUP: &str = "4:cpu,cpuacct:/system.slice/app.service\n0::/system.slice/app.service\n";
    const SYSTEMD_V1_MOUNTS: &str =
        "35 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct\n";
    // cgroup v2 with a cgroup namespace of its own (Docker, containerd) and without one.
    const PRIVATE_V2_CGROUP: &str = "0::/\n";
    const HOST_V2_CGROUP: &str = "0::/ecstasks.slice/ecstasks-ab12.slice/docker-7c1f.scope\n";
    const V2_MOUNTS: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[allow(
        clippy::needless_update,
        reason = "the task learns more about itself; these tests need one limit"
    )]
    fn limits(files: &[(&str, &str)], task: Option<f64>, affinity: u32) -> CpuLimits {
        let task = Task { cpu_limit: task, ..Task::default() };
        CpuLimits::read_under(machine(files).path(), &task, affinity)
    }

    fn cgroup_at(cpus: f64, file: &str) -> Option<CpuLimit> {
        Some(CpuLimit { cpus, source: LimitSource::Cgroup(file.into()) })
    }

    #[test]
    fn docker_on_v1_reads_what_is_mounted() {
        let found = limits(
            &[
                ("proc/self/cgroup", DOCKER_V1_CGROUP),
                ("proc/self/mountinfo", DOCKER_V1_MOUNTS),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
            None,
            2,
        );
        assert_eq!(found.cgroup, cgroup_at(0.5, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
        assert_eq!(found.all_cores().cpus, 0.5);
    }

    #[test]
    fn the_tightest_cgroup_on_the_way_up_counts() {
        let found = limits(
            &[
                ("proc/self/cgroup", HOST_V2_CGROUP),
                ("proc/self/mountinfo", V2_MOUNTS),
                (
                    "sys/fs/cgroup/ecstasks.slice/ecstasks-ab12.slice/docker-7c1f.scope/cpu.max",
                    "max 100000\n",
                ),
                ("sys/fs/cgroup/ecstasks.slice/ecstasks-ab12.slice/cpu.max", "25000 100000\n"),
                ("sys/fs/cgroup/ecstasks.slice/cpu.max", "200000 100000\n"),
            ],
            None,
            4,
        );
        assert_eq!(
            found.cgroup,
            cgroup_at(0.25, "/sys/fs/cgroup/ecstasks.slice/ecstasks-ab12.slice/cpu.max")
        );
    }

    #[test]
    fn a_namespace_of_its_own_reads_the_mount_point() {
        let files = [
            ("proc/self/cgroup", PRIVATE_V2_CGROUP),
            ("proc/self/mountinfo", V2_MOUNTS),
            ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ];
        assert_eq!(limits(&files, None, 8).cgroup, cgroup_at(1.5, "/sys/fs/cgroup/cpu.max"));
    }

    #[test]
    fn both_controllers_in_one_hierarchy() {
        let files = [
            ("proc/self/cgroup", SYSTEMD_V1_CGROUP),
            ("proc/self/mountinfo", SYSTEMD_V1_MOUNTS),
            ("sys/fs/cgroup/cpu,cpuacct/system.slice/app.service/cpu.cfs_quota_us", "300000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/system.slice/app.service/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        let found = limits(&files, None, 2);
        assert_eq!(found.cgroup.as_ref().map(|limit| limit.cpus), Some(3.0));
        assert_eq!(
            found.all_cores(),
            CpuLimit { cpus: 2.0, source: LimitSource::Affinity },
            "it does not bind"
        );
    }

    #[test]
    fn the_tightest_of_metadata_cgroup_and_affinity_is_all_cores() {
        let files = [
            ("proc/self/cgroup", PRIVATE_V2_CGROUP),
            ("proc/self/mountinfo", V2_MOUNTS),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
        ];
        let all = |task, affinity| {
            let most = limits(&files, task, affinity).all_cores();
            (most.cpus, most.source.to_string())
        };
        assert_eq!(all(Some(0.25), 2), (0.25, "task metadata".into()));
        assert_eq!(all(Some(0.5), 2), (0.5, "task metadata".into()));
        assert_eq!(all(Some(4.0), 2), (0.5, "/sys/fs/cgroup/cpu.max".into()));
        assert_eq!(all(Some(0.0), 2), (0.5, "/sys/fs/cgroup/cpu.max".into()), "0 is no limit");
        assert_eq!(limits(&[], Some(4.0), 2).all_cores().source, LimitSource::Affinity);
    }

    #[test]
    fn a_path_outside_the_mount_falls_back_to_the_mount_point() {
        for own in ["0::/../other\n", "0::/elsewhere\n"] {
            let mounts = V2_MOUNTS.replace(" / /sys", " /docker/7c1f /sys");
            assert_eq!(cgroups(own, &mounts, "cpu"), [PathBuf::from("/sys/fs/cgroup")], "{own}");
        }
    }

    #[test]
    fn what_is_no_limit_is_none() {
        for text in ["", "max", "max 100000", "0 100000", "1 0", "-1 100000", "a b", "50000"] {
            assert_eq!(parse_cpu_max(text), None, "{text:?}");
        }
        assert_eq!(limits(&[], None, 2).cgroup, None);
    }

    #[test]
    fn throttled_periods_are_read_from_either_version() {
        // v1 has three lines, v2 also usage and more.
        assert_eq!(throttled_periods("nr_periods 73\nnr_throttled 71\nthrottled_time 4\n"), Some(71));
        assert_eq!(throttled_periods("usage_usec 5\nnr_periods 0\nnr_throttled 0\n"), Some(0));
        assert_eq!(throttled_periods(""), None);
    }

    #[test]
    fn garbage_is_no_cgroup() {
        assert!(cgroups("1:cpu", "x - cgroup y cpu\n1 2 3 / /p o - cgroup\n", "cpu").is_empty());
        assert!(mount("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,cpu", "cpu").is_none());
    }

    #[test]
    fn this_machine_can_be_read() {
        let found = CpuLimits::read(&Task::default());
        let all = found.all_cores();
        assert!(all.cpus > 0.0 && all.cpus <= f64::from(found.affinity), "{found:?}");
        // Not above what the standard library, which knows quotas too, would use in threads.
        let threads = std::thread::available_parallelism().unwrap().get() as f64;
        assert!((all.cpus - threads).abs() < 1.0, "{all:?} against {threads}");
    }
}
