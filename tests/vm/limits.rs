//! Loads under the CPU and memory limits of cgroup v2, as a task on a current instance has them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ground::until;

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_cpu_stress_stays_within_cpu_max", a_cpu_stress_stays_within_cpu_max),
    ("a_memory_stress_stays_below_memory_max", a_memory_stress_stays_below_memory_max),
    ("an_io_stress_lives_under_memory_max", an_io_stress_lives_under_memory_max),
];

const MIB: u64 = 1024 * 1024;
const LIMIT: u64 = 160 * MIB;
/// Of one CPU, in percent.
const QUOTA: u64 = 40;

/// A cgroup with a limit of each kind.
struct Limits(PathBuf);

impl Limits {
    fn new() -> Limits {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = PathBuf::from("/sys/fs/cgroup");
        fs::write(root.join("cgroup.subtree_control"), "+cpu +memory +io").unwrap();
        let limits = Limits(root.join(format!("task{}", NUMBER.fetch_add(1, Ordering::Relaxed))));
        fs::create_dir(&limits.0).unwrap();
        limits.write("memory.max", &LIMIT.to_string());
        limits.write("memory.swap.max", "0");
        limits.write("cpu.max", &format!("{} 100000", QUOTA * 1_000));
        limits
    }

    fn write(&self, file: &str, text: &str) {
        // Without swap there is no such file, and no need of it.
        if file != "memory.swap.max" || self.0.join(file).exists() {
            fs::write(self.0.join(file), text).unwrap();
        }
    }

    /// `NAME NUMBER` in one of its files, or the number that is all of it.
    fn number(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        let word = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        word.trim().parse().unwrap()
    }

    /// A fault in it, its output piped.
    fn inject(&self, words: &[&str]) -> Command {
        let script = "echo $$ >\"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(self.0.join("cgroup.procs"));
        command.args(["/mnt/taskfault", "inject"]).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        until("the cgroup is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

fn a_cpu_stress_stays_within_cpu_max() {
    let limits = Limits::new();
    let ended = limits.inject(&["cpu-stress", "--duration", "8s", "--percent", "50"]).output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{complaints}");
    // Half of what the task may use, not of the machine; and it says whose limit that is.
    assert!(said.contains("50 % of the limit of 0.4 vCPU") && said.contains("/cpu.max"), "{said}");
    let used = limits.number("cpu.stat", "usage_usec ");
    // Half of 0.4 CPU for 8 s are 1.6 s; what is above is the start of the program, in an emulated machine.
    assert!((400_000..=3_000_000).contains(&used), "{used} us: {said}");
}

fn a_memory_stress_stays_below_memory_max() {
    let limits = Limits::new();
    for (percent, least) in [("50", 60 * MIB), ("100", 120 * MIB)] {
        let mut stress = limits
            .inject(&["memory-stress", "--duration", "5m", "--percent", percent, "--workers", "2"])
            .spawn()
            .unwrap();
        until("the memory is held", || limits.number("memory.current", "") > least);
        assert_eq!(stress.try_wait().unwrap(), None);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(stress.id().cast_signed()),
            nix::sys::signal::Signal::SIGINT,
        )
        .unwrap();
        let ended = stress.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(said.contains("limit: 160.0 MiB (") && said.contains("/memory.max)"), "{said}");
        assert!(said.contains("undone: all of it is given back"), "{said}");
        assert_eq!(limits.number("memory.events", "oom_kill "), 0, "{said}");
        until("it is given back", || limits.number("memory.current", "") < 40 * MIB);
    }
}

fn an_io_stress_lives_under_memory_max() {
    let limits = Limits::new();
    let words = ["io-stress", "--duration", "5s", "--percent", "30", "--workers", "2", "--path", "/root"];
    let ended = limits.inject(&words).output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{complaints}");
    assert!(said.contains("achieved: ") && said.contains("undone: no file and no thread left"), "{said}");
    assert_eq!(limits.number("memory.events", "oom_kill "), 0);
}
