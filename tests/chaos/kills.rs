//! `kill -9` of `taskfault inject` at any instant, for each fault that this kernel has: a moment later nothing of it is
//! left. (Latency and loss need a kernel with netem: `tests/vm/undo.rs`.)

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

/// In which the kernel, and the guardian of a pause, have to have undone everything; for a machine under load.
const UNDONE: Duration = Duration::from_secs(20);
/// A fault is killed within so many milliseconds, from before it has begun to well within it.
const KILLED_MS: u64 = 150;

/// Not for every kernel.
const NETWORK: [&str; 2] = [
    "network-blackhole-port --port 9 --protocol tcp --traffic-type egress",
    "network-blackhole-port --port 9 --protocol udp --traffic-type ingress",
];

/// A disk and a network that nobody else sees, and a process that can be paused.
#[derive(Debug)]
struct Ground {
    holder: Child,
    folder: TempDir,
    victim: Child,
    /// The victim's name, and that of its program.
    name: String,
    /// The network faults that this kernel can do.
    network: Vec<&'static str>,
}

impl Ground {
    fn new(lane: u64) -> Ground {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("disk")).unwrap();
        let script = "mount -t tmpfs -o size=16m none \"$1\" && ip link set lo up && echo there && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", script, "sh"])
            .arg(folder.path().join("disk"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n", "user, mount and network namespaces are refused here");
        let name = format!("kills-{}-{lane}", std::process::id());
        let program = folder.path().join(&name);
        // A copy that is being written while another lane forks could not be run: ETXTBSY.
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let victim = Command::new(&program).arg("3600").spawn().unwrap();
        let mut ground = Ground { holder, folder, victim, name, network: Vec::new() };
        ground.network = NETWORK.into_iter().filter(|words| ground.can(words)).collect();
        ground
    }

    /// Whether a network fault works here: not every kernel has what it takes.
    fn can(&self, words: &str) -> bool {
        let tried = self.inject(words.split(' ')).args(["--duration", "1s"]).status();
        tried.is_ok_and(|status| status.success()) && self.tables().is_some()
    }

    fn inject<'w>(&self, words: impl Iterator<Item = &'w str>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_taskfault"));
        // What tells its processes from others.
        command.arg("inject").args(words).env("TASKFAULT_STATE_DIR", self.folder.path().join("state"));
        command.stdout(Stdio::null());
        command
    }

    /// The disk, from out here.
    fn disk(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.path().strip_prefix("/").unwrap()).join("disk")
    }

    /// `program`, run inside. It replaces the process that enters, so that its id is the child's.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.holder.id());
        command.args([&target, "--user", "--mount", "--net", "--preserve-credentials", program]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The tables of nf_tables; None where they cannot be asked for.
    fn tables(&self) -> Option<String> {
        let listed = self.command("nft").args(["list", "tables"]).output().ok()?;
        listed.status.success().then(|| String::from_utf8_lossy(&listed.stdout).trim().to_owned())
    }

    /// What is left of a fault; None if nothing is.
    fn left(&self) -> Option<String> {
        let disk = statvfs(&self.disk()).unwrap();
        let (used, names) = (disk.blocks() - disk.blocks_free(), fs::read_dir(self.disk()).unwrap().count());
        let stopped = state(&self.victim) == Some('T');
        let processes = processes_with(self.folder.path());
        let tables = if self.network.is_empty() { String::new() } else { self.tables().unwrap_or_default() };
        let clean = used == 0 && names == 0 && !stopped && processes == 0 && tables.is_empty();
        (!clean).then(|| {
            format!(
                "{used} blocks and {names} names on the disk, victim stopped: {stopped}, {processes} processes, \
                 tables: {tables:?}"
            )
        })
    }

    /// The words of a fault that is to be killed.
    fn words(&self, number: u64) -> String {
        let disk = self.folder.path().join("disk").display().to_string();
        let mut faults = vec![
            format!("disk-fill --percent 50 --path {disk}"),
            format!("io-stress --percent 50 --workers 2 --path {disk}"),
            format!("process-pause --host-processes --process-name {}", self.name),
            "cpu-stress --percent 5 --workers 2".to_owned(),
            "memory-stress --percent 1".to_owned(),
        ];
        faults.extend(self.network.iter().map(|words| (*words).to_owned()));
        let chosen = number % faults.len() as u64;
        faults.swap_remove(usize::try_from(chosen).unwrap())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for child in [&mut self.victim, &mut self.holder] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills so many; what was left by which.
pub(crate) fn play(seed: u64, lane: u64, count: u64) -> Vec<String> {
    let mut rng = Rng::with_seed(seed ^ (lane << 32));
    let ground = Ground::new(lane);
    let mut violations = Vec::new();
    for number in 0..count {
        let words = ground.words(number + lane);
        let mut child = ground.inject(words.split(' ')).args(["--duration", "1h"]).spawn().unwrap();
        thread::sleep(Duration::from_micros(rng.u64(..KILLED_MS * 1000)));
        if let Some(status) = child.try_wait().unwrap() {
            violations.push(format!("{}: it ended by itself with {status}", words));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let end = Instant::now() + UNDONE;
        while let Some(left) = ground.left() {
            if Instant::now() > end {
                violations.push(format!("kill {number} of lane {lane}, {}: {left}", words));
                return violations;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    violations
}

/// The state of a process, as `/proc` has it: `T` if it is stopped.
fn state(child: &Child) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Processes that have this folder among their variables.
fn processes_with(folder: &Path) -> usize {
    let mark = folder.join("state").to_string_lossy().into_owned().into_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let variables = processes.filter_map(|process| fs::read(process.path().join("environ")).ok());
    variables.filter(|all| all.windows(mark.len()).any(|window| window == mark)).count()
}
