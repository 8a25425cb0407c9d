//! I/O stress beside `stress-ng --iomix`: bytes that reach the block device, with the same bytes and workers.
//! Reports; never fails on a bad figure.
//!
//! `cargo bench --bench io [-- --seconds N] [--workers 1,2] [--mib N] [--path FOLDER]`
//!
//! Every figure is taken from outside, from the counters of the block device, in the same way for both; the
//! tools take turns. What others do to the device meanwhile counts too: an idle machine gives the best figures.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot measure may as well stop")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

const MIB: u64 = 1024 * 1024;
/// Until the files are there and the first pass over them is on its way.
const WARM_UP: Duration = Duration::from_secs(1);

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

/// Bytes that a block device has read and written since the machine started, by the kernel's own count.
#[derive(Clone, Copy)]
struct Device {
    read: u64,
    written: u64,
}

impl Device {
    /// Of the device that `path` is on.
    fn of(path: &Path) -> Device {
        let device = fs::metadata(path).unwrap().dev();
        let file = format!("/sys/dev/block/{}:{}/stat", libc::major(device), libc::minor(device));
        let text = fs::read_to_string(&file).expect("a folder on a block device, see --path");
        // Documentation/block/stat.rst: sectors of 512 bytes, read and written, are fields 3 and 7.
        let sectors = |field: usize| text.split_whitespace().nth(field - 1).unwrap().parse::<u64>().unwrap();
        Device { read: sectors(3) * 512, written: sectors(7) * 512 }
    }
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

fn stress_ng(options: &Options, workers: u32, bytes: u64) -> Command {
    let mut command = Command::new("stress-ng");
    command.args(["--iomix", &workers.to_string(), "--iomix-bytes", &bytes.to_string(), "-t", "3600"]);
    command.arg("--temp-path").arg(&options.path);
    command
}

/// Lets `child` work for the time, prints what the device did meanwhile, and ends it.
fn measure(name: &str, mut child: Child, workers: u32, options: &Options) {
    std::thread::sleep(WARM_UP);
    let (started, before) = (Instant::now(), Device::of(&options.path));
    std::thread::sleep(Duration::from_secs(options.seconds));
    let (seconds, after) = (started.elapsed().as_secs_f64(), Device::of(&options.path));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    child.wait().unwrap();
    let rate = |bytes: u64| bytes as f64 / seconds / MIB as f64;
    let (written, read) = (rate(after.written - before.written), rate(after.read - before.read));
    println!("{name:<10} {workers:>7} {written:>10.1} {read:>10.1}");
}

fn main() {
    let options = options();
    println!("{} MiB in {}, {} s each, MiB/s", options.mib, options.path.display(), options.seconds);
    println!("tool       workers    written       read");
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
