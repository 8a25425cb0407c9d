//! `taskfault-local demo`, as `make demo` runs it: that it happens, that it says why when it does not, and
//! that nothing is left of it either way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A demo with a temporary folder of its own, so that what it leaves there can be seen.
struct Demo {
    child: Child,
    temporary: tempfile::TempDir,
    /// Where it writes its report: beside that folder, which must be empty at the end.
    report: PathBuf,
    shown: String,
    /// Processes that were seen to be its own.
    seen: Vec<u32>,
    _turn: MutexGuard<'static, ()>,
}

/// One at a time: two would be each other's fault.
static TURN: Mutex<()> = Mutex::new(());

impl Demo {
    fn start(program: &Path, arguments: &[&str]) -> Demo {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        let report = temporary.path().with_extension("report");
        command.arg("demo").arg("--report").arg(&report).args(arguments).env("TMPDIR", temporary.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        Demo { child, temporary, report, shown: String::new(), seen: Vec::new(), _turn: turn }
    }

    /// Reads on until a line has `text` in it; false at the end of the output.
    fn shows(&mut self, text: &str) -> bool {
        let mut output = BufReader::with_capacity(1, self.child.stdout.as_mut().unwrap());
        loop {
            let mut line = String::new();
            if output.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            self.shown.push_str(&line);
            if line.contains(text) {
                self.seen = descendants(self.child.id());
                return true;
            }
        }
    }

    /// Its exit code, when it has ended. Whatever the ending, its folder and its processes are gone.
    fn ends(&mut self) -> i32 {
        self.child.stdout.as_mut().unwrap().read_to_string(&mut self.shown).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let limit = Instant::now() + Duration::from_secs(10);
        while self.seen.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            assert!(Instant::now() < limit, "processes are left of {:?}", self.seen);
            std::thread::yield_now();
        }
        code
    }

    /// A skip is said aloud; where CI is set it is a failure.
    fn refused(&self) -> bool {
        let refused = self.shown.contains("namespaces are refused here");
        if refused {
            println!("SKIP: {}", self.shown);
            assert!(std::env::var_os("CI").is_none(), "{}", self.shown);
        }
        refused
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.report);
    }
}

/// The process and all below it.
fn descendants(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while next < all.len() {
        let parent = format!("PPid:\t{}\n", all[next]);
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let of_parent = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent))
        };
        all.extend(pids.filter(of_parent));
        next += 1;
    }
    all
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_taskfault-local"))
}

#[test]
fn all_of_it_happens() {
    let logs = tempfile::tempdir().unwrap();
    let kept = logs.path().join("kept");
    let mut demo = Demo::start(program(), &["--keep-logs", kept.to_str().unwrap()]);
    demo.shows("The service at rest");
    let code = demo.ends();
    if demo.refused() {
        return;
    }
    assert_eq!(code, 0, "{}", demo.shown);
    for part in ["Online after", "rounds down: 1", "slower", "replaced", "All of it happened"] {
        assert!(demo.shown.contains(part), "{part} in {}", demo.shown);
    }
    assert!(!demo.shown.contains('\x1b'), "no colours in a pipe");
    assert!(demo.shown.lines().all(|line| line.chars().count() <= 120), "{}", demo.shown);
    let kept_sidecars = fs::read_dir(&kept)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with("-taskfault.log"));
    assert_eq!(kept_sidecars.count(), 4, "three tasks and a replacement");
    assert!(fs::metadata(kept.join("local-aws.log")).unwrap().len() > 0);
    let record = fs::read_to_string(demo.report.join("report.json")).unwrap();
    let record: record::Record = serde_json::from_str(&record).unwrap();
    let ended: Vec<_> = record.experiments.iter().map(|experiment| experiment.status.as_str()).collect();
    assert_eq!(ended, ["completed", "completed"]);
    assert_eq!((record.tasks.len(), record.cpu.len()), (4, 4));
    let page = fs::read_to_string(demo.report.join("report.html")).unwrap();
    assert!(page.contains("data-series=\"failed\""), "the failed requests are in the picture");
    let asked = record.commands[0].steps.iter().find_map(|step| step.asked.as_deref());
    assert!(asked.unwrap().starts_with("80 % of "), "what can be had: {asked:?}");
    assert_eq!(record.commands[0].experiment.as_deref(), Some(record.experiments[0].id.as_str()));
}

#[test]
fn ctrl_c_cleans_up() {
    let mut demo = Demo::start(program(), &[]);
    if !demo.shows("stress-cpu: running") {
        assert!(demo.refused(), "{}", demo.shown);
        return;
    }
    assert!(demo.seen.len() >= 13, "the demo and three tasks of four processes each");
    kill(Pid::from_raw(i32::try_from(demo.child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(demo.ends(), 130);
    assert!(demo.shown.contains("interrupted"), "{}", demo.shown);
    let record = fs::read_to_string(demo.report.join("report.json")).unwrap();
    let record: record::Record = serde_json::from_str(&record).unwrap();
    assert_eq!(record.experiments.len(), 1, "a report is written whatever happens");
}

#[test]
fn a_sidecar_that_cannot_run_is_a_failure_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("taskfault-local");
    fs::copy(program(), &copy).unwrap();
    let mut without = Demo::start(&copy, &[]);
    let code = without.ends();
    if without.refused() {
        return;
    }
    assert_eq!(code, 1);
    assert!(without.shown.contains("taskfault, which is not there"), "{}", without.shown);
    drop(without);

    // A sidecar that gives up at once: its last words and its exit code are shown.
    std::os::unix::fs::symlink("/bin/ls", folder.path().join("taskfault")).unwrap();
    let mut broken = Demo::start(&copy, &[]);
    assert_eq!(broken.ends(), 1);
    assert!(broken.shown.contains("sidecar'"), "the log of the sidecar: {}", broken.shown);
    assert!(broken.shown.contains("exit code 2"), "{}", broken.shown);
}
