//! What a figure depends on beside the program: the machine, the kernel, the peers' versions. And where the
//! programs are.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

/// The program under test: that of `TASKFAULT`, or the one built with this benchmark.
pub(crate) fn taskfault() -> PathBuf {
    std::env::var_os("TASKFAULT").map_or_else(|| env!("CARGO_BIN_EXE_taskfault").into(), PathBuf::from)
}

/// Whether a program can be called.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// UTC.
    date: String,
    cpu: String,
    cpus: usize,
    memory_mib: u64,
    kernel: String,
    program: PathBuf,
    program_bytes: u64,
    /// The commit that the sources stand at.
    commit: String,
    /// One line each.
    peers: Vec<String>,
    /// Load average of the last minute before the run.
    load_before: String,
}

impl Machine {
    pub(crate) fn read() -> Machine {
        let of = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let cpu = of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), "model name");
        let memory = of(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
        let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let peers = [
            ("stress-ng", "--version"),
            ("tc", "-Version"),
            ("nft", "--version"),
            ("iptables", "--version"),
            ("qemu-system-x86_64", "--version"),
        ];
        Machine {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M"]),
            cpu,
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kib / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            program_bytes: fs::metadata(taskfault()).map_or(0, |program| program.len()),
            program: taskfault(),
            commit: said("git", &["describe", "--always", "--dirty"]),
            peers: peers.iter().map(|(name, word)| version(name, word)).collect(),
            load_before: load(),
        }
    }
}

fn version(name: &str, word: &str) -> String {
    let said = said(name, &[word]);
    if said.is_empty() { format!("{name}: not installed") } else { said }
}

/// The first line that a program prints; nothing if it is not there.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(
            out,
            "{} UTC, {} × {}, {} MiB, Linux {}, load {}, taskfault {}",
            self.date, self.cpus, self.cpu, self.memory_mib, self.kernel, self.load_before, self.commit
        )
    }
}

/// A folder of the file system that the sources lie on, where a part may write.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("taskfault-bench-").tempdir_in(std::env::temp_dir()).unwrap()
}
