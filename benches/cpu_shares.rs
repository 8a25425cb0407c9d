//! CPU share asked against achieved, in 1 s windows, beside stress-ng. Reports; never fails on a bad figure.
//!
//! `cargo bench --bench cpu_shares [-- --windows N] [--percents 50,90] [--only free|quota|busy]`
//!
//! Every figure is taken from outside, from the CPU clocks of the processes, in the same way for all. The
//! tools take turns, cell by cell. `quota` makes a cgroup of half a CPU and removes it (needs root), and
//! there percent means percent of the quota. `busy` runs one burner per CPU beside it: what a worker can
//! have there is its fair share.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot measure may as well stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

const QUOTA_CPUS: f64 = 0.5;
const PERIOD_US: u32 = 100_000;
/// Until a tool's workers run and its start-up is over.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longer than any cell; every tool is ended before.
const LIFE_SECONDS: u32 = 600;

struct Options {
    windows: u32,
    percents: Vec<u32>,
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Taskfault,
    /// As AWS's document calls it.
    StressAws,
    /// As Chaos Mesh calls it.
    StressBest,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Taskfault => "taskfault",
            Tool::StressAws => "stress-ng matrixprod",
            Tool::StressBest => "stress-ng sqrt slice 10",
        }
    }

    fn words(self, percent: u32, workers: u32) -> Vec<String> {
        let text = match self {
            Tool::Taskfault => format!(
                "{} inject cpu-stress --duration {LIFE_SECONDS}s --percent {percent} --workers {workers}",
                env!("CARGO_BIN_EXE_taskfault")
            ),
            Tool::StressAws => format!(
                "stress-ng --cpu {workers} --cpu-method matrixprod -t {LIFE_SECONDS}s --cpu-load {percent}"
            ),
            Tool::StressBest => format!(
                "stress-ng --cpu {workers} --cpu-method sqrt --cpu-load-slice 10 -t {LIFE_SECONDS}s --cpu-load {percent}"
            ),
        };
        text.split(' ').map(String::from).collect()
    }
}

/// A cgroup with a CPU quota, gone when dropped.
struct Quota(PathBuf);

impl Quota {
    fn new() -> std::io::Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/cpu");
        let name = format!("taskfault-bench-{}", std::process::id());
        let quota = (QUOTA_CPUS * f64::from(PERIOD_US)) as u32;
        if v1.join("cpu.cfs_quota_us").exists() {
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

fn main() {
    let options = options();
    let has_stress = Command::new("stress-ng").arg("--version").stdout(Stdio::null()).status().is_ok();
    let mut tools = vec![Tool::Taskfault];
    if has_stress {
        tools.extend([Tool::StressBest, Tool::StressAws]);
    } else {
        println!("stress-ng is not installed: no comparison");
    }
    println!("{} windows of 1 s each: median (lowest to highest), %", options.windows);
    let wants = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if wants("free") {
        section("free, per worker", &options, &tools, &[1, 2], None);
    }
    if wants("quota") {
        match Quota::new() {
            Ok(quota) => section("under a quota of 0.5 CPU, % of it", &options, &tools, &[0], Some(&quota)),
            Err(error) => println!("no quota: could not make a cgroup: {error}"),
        }
    }
    if wants("busy") {
        let _burners = Burners::new();
        section("beside one burner per CPU, per worker", &options, &tools, &[1, 2], None);
    }
}

fn options() -> Options {
    let mut options = Options { windows: 2, percents: vec![10, 25, 50, 75, 90, 100], only: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--windows" => options.windows = words.next().unwrap().parse().unwrap(),
            "--percents" => {
                options.percents = words.next().unwrap().split(',').map(|n| n.parse().unwrap()).collect()
            }
            "--only" => options.only = words.next(),
            // cargo bench adds --bench.
            _ => {}
        }
    }
    options
}

fn section(title: &str, options: &Options, tools: &[Tool], workers: &[u32], quota: Option<&Quota>) {
    println!("\n{title}");
    print!("{:>7} {:>5}", "workers", "asked");
    for tool in tools {
        print!("  {:<26}", tool.name());
    }
    println!();
    for &workers in workers {
        for &percent in &options.percents {
            print!("{:>7} {percent:>5}", if workers == 0 { "all".into() } else { workers.to_string() });
            let whole = if quota.is_some() { QUOTA_CPUS } else { f64::from(workers) };
            for &tool in tools {
                let mut shares = measure(tool, percent, workers, options.windows, quota);
                shares.iter_mut().for_each(|share| *share *= 100.0 / whole);
                shares.sort_by(f64::total_cmp);
                let (low, high) = (shares[0], shares[shares.len() - 1]);
                let median = (shares[(shares.len() - 1) / 2] + shares[shares.len() / 2]) / 2.0;
                print!("  {:<26}", format!("{median:5.1} ({low:.1} to {high:.1})"));
            }
            println!();
        }
    }
}

/// CPUs that the tool kept busy in each window.
fn measure(tool: Tool, percent: u32, workers: u32, windows: u32, quota: Option<&Quota>) -> Vec<f64> {
    let mut child = start(tool, percent, workers, quota);
    thread::sleep(WARM_UP);
    let pids = family(child.id());
    let used = || pids.iter().map(|pid| cpu_time(*pid)).sum::<Duration>();
    let mut shares = Vec::new();
    let (mut at, mut before) = (Instant::now(), used());
    for _ in 0..windows {
        thread::sleep(Duration::from_secs(1).saturating_sub(at.elapsed()));
        let (now, after) = (Instant::now(), used());
        shares.push((after - before).as_secs_f64() / (now - at).as_secs_f64());
        (at, before) = (now, after);
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    shares
}

/// Starts the tool, inside the quota's cgroup from its first instruction on.
fn start(tool: Tool, percent: u32, workers: u32, quota: Option<&Quota>) -> Child {
    let into =
        quota.map_or(String::new(), |quota| format!("echo $$ > {}/cgroup.procs && ", quota.0.display()));
    Command::new("sh")
        .arg("-c")
        .arg(format!("{into}exec \"$@\""))
        .arg("sh")
        .args(tool.words(percent, workers))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The process and its children.
fn family(parent: u32) -> Vec<Pid> {
    let child = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let of: u32 = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        (of == parent).then_some(Pid::from_raw(pid))
    };
    let mut pids = vec![Pid::from_raw(parent as i32)];
    pids.extend(fs::read_dir("/proc").unwrap().flatten().filter_map(child));
    pids
}

fn cpu_time(pid: Pid) -> Duration {
    ClockId::pid_cpu_clock_id(pid).and_then(ClockId::now).map_or(Duration::ZERO, Duration::from)
}
