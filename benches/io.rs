//! I/O stress beside `stress-ng --iomix`: bytes that reach the block device and system calls, with the same
//! bytes and workers. Reports; never fails on a bad figure.
//!
//! `cargo bench --bench io [-- --seconds N] [--workers 1,2] [--mib N] [--path FOLDER]`
//!
//! Every figure is taken from outside, from `/proc/PID/io` of the processes, in the same way for both; the
//! tools take turns. `device` is what the kernel charged to storage, `calls` what went through read and write.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot measure may as well stop")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

const MIB: u64 = 1024 * 1024;

struct Options {
    seconds: u64,
    workers: Vec<u32>,
    mib: u64,
    path: PathBuf,
}

fn options() -> Options {
    let mut options = Options { seconds: 10, workers: vec![1, 2], mib: 512, path: std::env::temp_dir() };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value after each option");
        match word.as_str() {
            "--seconds" => options.seconds = value().parse().unwrap(),
            "--workers" => options.workers = value().split(',').map(|n| n.parse().unwrap()).collect(),
            "--mib" => options.mib = value().parse().unwrap(),
            "--path" => options.path = value().into(),
            other => panic!("no option {other}"),
        }
    }
    options
}

/// Bytes of a process and its children, as the kernel counts them.
#[derive(Clone, Copy, Default)]
struct Bytes {
    written: u64,
    read: u64,
    device_written: u64,
    device_read: u64,
}

impl Bytes {
    fn of(pid: u32) -> Option<Bytes> {
        let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        let value =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok();
        Some(Bytes {
            written: value("wchar:")?,
            read: value("rchar:")?,
            device_written: value("write_bytes:")?,
            device_read: value("read_bytes:")?,
        })
    }

    fn most(self, other: Bytes) -> Bytes {
        Bytes {
            written: self.written.max(other.written),
            read: self.read.max(other.read),
            device_written: self.device_written.max(other.device_written),
            device_read: self.device_read.max(other.device_read),
        }
    }
}

/// `pid` and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    family
}

fn taskfault(options: &Options, workers: u32) -> Command {
    // The same number of bytes, as the share of free space that it is.
    let disk = statvfs(&options.path).unwrap();
    let free = disk.blocks_available() * disk.fragment_size();
    let percent = (options.mib * MIB * 100).div_ceil(free).clamp(1, 100);
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskfault"));
    command.args(["inject", "io-stress", "--duration", "1h", "--workers", &workers.to_string()]);
    command.args(["--percent", &percent.to_string(), "--path"]).arg(&options.path);
    command
}

fn stress_ng(options: &Options, workers: u32, percent_bytes: u64) -> Command {
    let mut command = Command::new("stress-ng");
    command.args([
        "--iomix",
        &workers.to_string(),
        "--iomix-bytes",
        &percent_bytes.to_string(),
        "-t",
        "3600",
    ]);
    command.arg("--temp-path").arg(&options.path);
    command
}

/// Watches `child` for the time, ends it, and prints its rates.
fn measure(name: &str, mut child: Child, workers: u32, options: &Options) {
    let started = Instant::now();
    let mut seen = BTreeMap::<u32, Bytes>::new();
    while started.elapsed() < Duration::from_secs(options.seconds) {
        for pid in family(child.id()) {
            if let Some(bytes) = Bytes::of(pid) {
                let known = seen.entry(pid).or_default();
                *known = known.most(bytes);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let seconds = started.elapsed().as_secs_f64();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    child.wait().unwrap();
    let rate = |part: fn(&Bytes) -> u64| seen.values().map(part).sum::<u64>() as f64 / seconds / MIB as f64;
    println!(
        "{name:<10} {workers:>7} {:>12.1} {:>12.1} {:>12.1} {:>12.1}",
        rate(|bytes| bytes.device_written),
        rate(|bytes| bytes.device_read),
        rate(|bytes| bytes.written),
        rate(|bytes| bytes.read)
    );
}

fn main() {
    let options = options();
    println!("{} MiB in {}, {} s each, MiB/s", options.mib, options.path.display(), options.seconds);
    println!("tool       workers  device-wr    device-rd     calls-wr     calls-rd");
    for workers in options.workers.clone() {
        let mut tools = vec![("taskfault", taskfault(&options, workers))];
        tools.push(("stress-ng", stress_ng(&options, workers, options.mib * MIB)));
        for (name, mut command) in tools {
            match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                Ok(child) => measure(name, child, workers, &options),
                Err(error) => println!("{name:<10} {workers:>7} not here: {error}"),
            }
        }
    }
}
