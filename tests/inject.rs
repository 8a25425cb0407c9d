//! `taskfault inject` as a process: exit codes, signals, and the report after them.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests; the shared functions of a test file are not seen as such"
)]

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outcome::{Ending, Outcome};

fn inject(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskfault"));
    command.arg("inject").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = inject(words).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Starts an hour of stress and returns once its worker thread is there.
fn started() -> Child {
    let mut child =
        inject(&["cpu-stress", "--duration", "1h", "--percent", "20", "--workers", "1"]).spawn().unwrap();
    while !threads(child.id()).iter().any(|name| name == "cpu-stress-look") {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    child
}

fn threads(pid: u32) -> Vec<String> {
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).ok();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(name).map(|name| name.trim().to_string()).collect()
}

fn end(mut child: Child) -> (i32, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().expect("an exit code, not a signal"), text)
}

#[test]
fn a_whole_stress_ends_with_0_and_a_report() {
    let (code, text, complaints) =
        run(&["cpu-stress", "--duration", "PT1S", "--percent", "5", "--workers", "1"]);
    assert_eq!(code, 0);
    assert_eq!(complaints, "cpu-stress: 1 thread at 5.0 % of a core each\n");
    assert!(text.starts_with("cpu-stress: asked 5 % of 1 CPU for 1 s"), "{text}");
    let (for_people, figures) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(for_people.ends_with("of 1 s; undone: no thread left"), "{text}");
    let told = Outcome::read(figures).unwrap();
    assert_eq!(
        (told.fault.as_str(), told.ending, told.undone),
        ("cpu-stress", Ending::Completed, Some(true))
    );
    assert_eq!((told.asked.seconds, &told.asked.figures["percent"]), (1.0, &5.into()));
    assert!(!told.achieved.per_second.is_empty(), "{text}");
}

#[test]
fn a_signal_undoes_it_and_still_reports() {
    for (signal, code) in
        [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)]
    {
        let child = started();
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let (ended, text) = end(child);
        assert_eq!(ended, code, "{text}");
        assert!(text.contains("cancelled after") && text.contains("undone"), "{text}");
    }
}

#[test]
fn a_second_signal_does_not_cut_the_report_short() {
    let child = started();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGTERM] {
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }
    let (code, text) = end(child);
    assert!(code == 143 || code == 130, "{code}: whichever of the first two was seen first");
    assert!(text.contains("undone"), "{text}");
}

#[test]
fn wrong_usage_is_2_with_the_name_of_the_parameter() {
    for (words, said) in [
        (&["cpu-stress", "--duration", "9s", "--percent", "101"][..], "percent is 101"),
        (&["cpu-stress", "--duration", "9s", "--workers", "4097"], "workers is 4097"),
        (&["cpu-stress", "--duration", "0s"], "accepted are 1 to 43200 seconds"),
        (&["cpu-stress", "--duration", "43201s"], "accepted are 1 to 43200 seconds"),
        (&["cpu-stress", "--duration", "soon"], "is not a duration"),
        (&["cpu-stress"], "--duration"),
        (&["cpu-stress", "--duration", "9s", "--load", "1"], "--load"),
        (&["cpu-stres"], "there is no fault \"cpu-stres\""),
        (&[], "Usage"),
    ] {
        let (code, text, complaints) = run(words);
        assert_eq!((code, text.as_str()), (2, ""), "{words:?}: {complaints}");
        assert!(complaints.contains(said), "{words:?}: {complaints}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_said_and_the_fault_is_over() {
    for to_stderr in [false, true] {
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskfault"));
        command.args(["inject", "cpu-stress", "--duration", "1s", "--percent", "5", "--workers", "1"]);
        command.stdout(full()).stderr(Stdio::piped());
        if to_stderr {
            command.stderr(full());
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(to_stderr || text.contains("the fault is over, and its report cannot be written"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}
