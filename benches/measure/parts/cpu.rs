//! CPU share asked against achieved, in windows of 1 s, beside stress-ng: free, under quotas, beside a load.
//!
//! Every figure is taken from outside, from the CPU clocks of the processes, in the same way for all. The
//! tools take turns, cell by cell. Under a quota percent means percent of the quota, for stress-ng too: it
//! knows nothing of quotas, so what it gives there is what a user gets. Beside a load (one burner per CPU)
//! what a worker can have is its fair share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::figures::{Better, OURS, Row, Statistic};
use crate::machine;
use crate::process::{Running, cpu_time, family};
use nix::sys::signal::Signal;

const PERIOD_US: u32 = 100_000;
/// Until a tool's workers run and its start-up is over.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longer than any cell; every tool is ended before.
const LIFE_SECONDS: u32 = 600;
const ALL_PERCENTS: &[u32] = &[1, 5, 10, 25, 50, 75, 90, 100];

/// One stretch of the grid.
struct Section {
    name: &'static str,
    workers: &'static [u32],
    percents: &'static [u32],
    windows: u32,
    /// In CPUs.
    quota: Option<f64>,
    busy: bool,
}

const fn section(name: &'static str, workers: &'static [u32], percents: &'static [u32]) -> Section {
    Section { name, workers, percents, windows: 3, quota: None, busy: false }
}

/// What fits into four minutes.
const SHORT: &[Section] = &[
    section("free", &[1, 2], &[1, 5, 10, 25, 50, 75, 90, 100]),
    Section { windows: 2, quota: Some(0.25), ..section("quota of 0.25 CPU", &[0], &[25, 80]) },
    Section { windows: 2, quota: Some(0.5), ..section("quota of 0.5 CPU", &[0], &[25, 80]) },
    Section { windows: 2, quota: Some(1.0), ..section("quota of 1 CPU", &[0], &[25, 80]) },
    Section { windows: 2, busy: true, ..section("beside a load", &[1, 2], &[10, 40]) },
];

const FULL: &[Section] = &[
    Section { windows: 5, ..section("free", &[1, 2], ALL_PERCENTS) },
    Section { windows: 5, quota: Some(0.25), ..section("quota of 0.25 CPU", &[0, 1], ALL_PERCENTS) },
    Section { windows: 5, quota: Some(0.5), ..section("quota of 0.5 CPU", &[0, 1], ALL_PERCENTS) },
    Section { windows: 5, quota: Some(1.0), ..section("quota of 1 CPU", &[0, 1, 2], ALL_PERCENTS) },
    Section { windows: 5, busy: true, ..section("beside a load", &[1, 2], ALL_PERCENTS) },
];

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Taskfault,
    /// As Chaos Mesh calls it: the best options known.
    StressBest,
    /// As AWS's document calls it.
    StressAws,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Taskfault => OURS,
            Tool::StressBest => "stress-ng sqrt, slice 10",
            Tool::StressAws => "stress-ng as AWS calls it",
        }
    }

    fn words(self, percent: u32, workers: u32) -> Vec<String> {
        let text = match self {
            Tool::Taskfault => format!(
                "{} inject cpu-stress --duration {LIFE_SECONDS}s --percent {percent} --workers {workers}",
                machine::taskfault().display()
            ),
            Tool::StressBest => format!(
                "stress-ng --cpu {workers} --cpu-method sqrt --cpu-load-slice 10 -t {LIFE_SECONDS}s --cpu-load {percent}"
            ),
            Tool::StressAws => format!(
                "stress-ng --cpu {workers} --cpu-method matrixprod -t {LIFE_SECONDS}s --cpu-load {percent}"
            ),
        };
        text.split(' ').map(String::from).collect()
    }
}

pub(crate) fn run(options: Options) {
    let mut tools = vec![Tool::Taskfault];
    if machine::has("stress-ng") {
        tools.extend([Tool::StressBest, Tool::StressAws]);
    }
    for section in if options.full { FULL } else { SHORT } {
        let quota = match section.quota.map(Quota::new).transpose() {
            Ok(quota) => quota,
            Err(error) => {
                let row = Row::new("cpu", section.name, "%", Better::Less);
                row.said(OURS, format!("not measured: no cgroup with a quota can be made ({error})")).emit();
                continue;
            }
        };
        let _burners = section.busy.then(Burners::new);
        for &workers in section.workers {
            for &percent in section.percents {
                cell(section, quota.as_ref(), &tools, workers, percent);
            }
        }
    }
}

fn cell(section: &Section, quota: Option<&Quota>, tools: &[Tool], workers: u32, percent: u32) {
    let of = if workers == 0 { "all workers".to_owned() } else { format!("{workers} × ") };
    let case = format!("{}, {of} {percent} %", section.name);
    let mut row = Row::new("cpu", case.replace("×  ", "× "), "%", Better::Near(f64::from(percent)));
    let whole = section.quota.unwrap_or(f64::from(workers));
    for &tool in tools {
        let shares = measure(tool, percent, workers, section.windows, quota);
        row = row.peer(tool.name(), shares.iter().map(|share| 100.0 * share / whole).collect());
    }
    // Beside a load not even a fair share may be there: nothing is aimed at.
    if !section.busy {
        row = row.aim(Statistic::Worst, 1.0);
    }
    row.emit();
}

/// CPUs that the tool kept busy in each window.
fn measure(tool: Tool, percent: u32, workers: u32, windows: u32, quota: Option<&Quota>) -> Vec<f64> {
    let mut child = start(tool, percent, workers, quota);
    thread::sleep(WARM_UP);
    let pids = family(child.pid());
    let used = || pids.iter().map(|pid| cpu_time(*pid)).sum::<Duration>();
    let mut shares = Vec::new();
    let (mut at, mut before) = (Instant::now(), used());
    for _ in 0..windows {
        thread::sleep(Duration::from_secs(1).saturating_sub(at.elapsed()));
        let (now, after) = (Instant::now(), used());
        shares.push((after.saturating_sub(before)).as_secs_f64() / (now - at).as_secs_f64());
        (at, before) = (now, after);
    }
    child.signal(Signal::SIGTERM);
    child.end();
    shares
}

/// Starts the tool, inside the quota's cgroup from its first instruction on.
fn start(tool: Tool, percent: u32, workers: u32, quota: Option<&Quota>) -> Running {
    let into =
        quota.map_or(String::new(), |quota| format!("echo $$ > {}/cgroup.procs && ", quota.0.display()));
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{into}exec \"$@\"")).arg("sh").args(tool.words(percent, workers));
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A cgroup with a CPU quota, gone when dropped.
#[must_use = "the quota ends when this is dropped"]
struct Quota(PathBuf);

impl Quota {
    fn new(cpus: f64) -> std::io::Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/cpu");
        // Process ids are small in a namespace of our own: the moment tells two runs apart.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let name = format!("taskfault-bench-{now}");
        let quota = Duration::from_micros(PERIOD_US.into()).mul_f64(cpus).as_micros();
        if v1.join("cpu.cfs_quota_us").exists() || v1.join("cpu.shares").exists() {
            let group = Quota(v1.join(name));
            fs::create_dir(&group.0)?;
            fs::write(group.0.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string())?;
            return Ok(group);
        }
        let group = Quota(Path::new("/sys/fs/cgroup").join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        Ok(group)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A process that was just reaped may hold it for a moment longer.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("could not remove {}", self.0.display());
    }
}

/// One burner per CPU, until dropped.
#[must_use = "the burners stop when this is dropped"]
struct Burners(Arc<AtomicBool>);

impl Burners {
    fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        }
        Burners(stop)
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
