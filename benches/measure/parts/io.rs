//! I/O stress beside `stress-ng --iomix`, with the same bytes and workers: what reaches the block device, and
//! what is left when it ends and when it is killed.
//!
//! Every figure is taken from outside, from the counters of the block device, in the same way for both; the
//! tools take turns. What others do to the device meanwhile counts too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;

use crate::Options;
use crate::figures::{Better, OURS, Row, Statistic};
use crate::machine;
use crate::process::Running;

const MIB: u64 = 1024 * 1024;
const BYTES: u64 = 512 * MIB;
/// Until the files are there and the first pass over them is on its way.
const WARM_UP: Duration = Duration::from_secs(1);
const SPELL: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const STRESS: &str = "stress-ng --iomix";

pub(crate) fn run(options: Options) {
    let folder = machine::scratch();
    if Device::of(folder.path()).is_none() {
        let row = Row::new("io", "bytes", "MiB/s", Better::More);
        let why =
            format!("{} is on no block device; set TMPDIR to a folder that is", folder.path().display());
        row.said(OURS, why).emit();
        return;
    }
    let mut tools = vec![OURS];
    if machine::has("stress-ng") {
        tools.push(STRESS);
    }
    for workers in [1, 2] {
        let rounds = if options.full { 5 * ROUNDS } else { ROUNDS };
        let mut found: Vec<Vec<Rates>> = vec![Vec::new(); tools.len()];
        for _ in 0..rounds {
            for (tool, found) in tools.iter().zip(&mut found) {
                found.push(measure(tool, folder.path(), workers));
            }
        }
        for (case, unit, of) in [
            ("written", "MiB/s", (|rates| rates.written) as fn(&Rates) -> f64),
            ("read", "MiB/s", |rates| rates.read),
            ("operations", "requests/s", |rates| rates.operations),
        ] {
            let mut row = Row::new("io", format!("{case}, {workers} workers"), unit, Better::More);
            for (tool, found) in tools.iter().zip(&found) {
                let values: Vec<f64> = found.iter().map(of).collect();
                let cached = case == "read" && values.iter().all(|value| *value < 1.0);
                row = match cached {
                    // No figure: a ratio to nothing would look like one.
                    true => row.said(tool, "the device hardly read: the page cache had it"),
                    false => row.peer(tool, values),
                };
            }
            // At least what the peer does; its median is known only now.
            if let (Some(theirs), "written" | "operations") =
                (row.entries.get(1).and_then(|it| it.median()), case)
            {
                row = row.aim(Statistic::Median, theirs);
            }
            let note = match case {
                "operations" => {
                    "requests that the block device completed, for both: not bogo operations, not system calls"
                }
                _ => "as the block device counts it",
            };
            row.note(note).emit();
        }
    }
    let mut row = Row::new("io", "left after kill -9 of all of it", "MiB", Better::Less);
    for tool in &tools {
        row = row.peer(tool, vec![left_after_kill(tool, folder.path())]);
    }
    row.aim(Statistic::Worst, 1.0).note("what its folder still holds when its processes are gone").emit();
}

#[derive(Debug, Clone, Copy)]
struct Rates {
    /// MiB/s.
    written: f64,
    read: f64,
    /// Requests a second that the block device completed, read and written.
    operations: f64,
}

/// What a block device has done since the machine started, by the kernel's own count.
#[derive(Clone, Copy)]
pub(crate) struct Device {
    read: u64,
    written: u64,
    operations: u64,
}

impl Device {
    /// Of the device that `path` is on; None if it is on none.
    pub(crate) fn of(path: &Path) -> Option<Device> {
        let device = fs::metadata(path).ok()?.dev();
        let file = format!("/sys/dev/block/{}:{}/stat", libc::major(device), libc::minor(device));
        let text = fs::read_to_string(file).ok()?;
        // Documentation/block/stat.rst: requests read and written are fields 1 and 5, sectors of 512 bytes 3
        // and 7.
        let field = |number: usize| text.split_whitespace().nth(number - 1)?.parse::<u64>().ok();
        let operations = field(1)? + field(5)?;
        Some(Device { read: field(3)? * 512, written: field(7)? * 512, operations })
    }
}

fn start(tool: &str, folder: &Path, workers: u32) -> Running {
    let mut command;
    if tool == OURS {
        // The same number of bytes, as the share of free space that it is.
        let disk = statvfs(folder).unwrap();
        let free = disk.blocks_available() * disk.fragment_size();
        let percent = (BYTES * 100).div_ceil(free).clamp(1, 100);
        command = Command::new(machine::taskfault());
        command.args(["inject", "io-stress", "--duration", "1h", "--workers", &workers.to_string()]);
        command.args(["--percent", &percent.to_string(), "--path"]).arg(folder);
    } else {
        let bytes = format!("{BYTES}");
        command = Command::new("stress-ng");
        command.args(["--iomix", &workers.to_string(), "--iomix-bytes", &bytes, "-t", "3600"]);
        command.arg("--temp-path").arg(folder);
    }
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

/// What the device does while the tool works.
fn measure(tool: &str, folder: &Path, workers: u32) -> Rates {
    let mut child = start(tool, folder, workers);
    thread::sleep(WARM_UP);
    let (started, before) = (Instant::now(), Device::of(folder).unwrap());
    thread::sleep(SPELL);
    let (seconds, after) = (started.elapsed().as_secs_f64(), Device::of(folder).unwrap());
    child.signal(Signal::SIGINT);
    child.end();
    // What is still on its way to the disk is not the next one's.
    nix::unistd::sync();
    let rate = |before: u64, after: u64| (after - before) as f64 / seconds;
    Rates {
        written: rate(before.written, after.written) / MIB as f64,
        read: rate(before.read, after.read) / MIB as f64,
        operations: rate(before.operations, after.operations),
    }
}

/// MiB that lie in the folder after all of the tool was killed. The folder is empty again then.
fn left_after_kill(tool: &str, folder: &Path) -> f64 {
    let place = folder.join("left");
    fs::create_dir(&place).unwrap();
    let mut child = start(tool, &place, 1);
    thread::sleep(WARM_UP);
    killpg(Pid::from_raw(child.pid()), Signal::SIGKILL).unwrap();
    child.end();
    thread::sleep(Duration::from_millis(500));
    let left = size(&place) as f64 / MIB as f64;
    fs::remove_dir_all(&place).unwrap();
    left
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}
