//! The parts of the benchmark, and how one is run.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::figures::Row;
use crate::process::{self, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

mod cpu;
mod faults;
mod fleet;
mod footprint;
mod io;
mod loops;
mod netem;
mod round_trip;
mod start;
mod targets;

/// One part.
pub(crate) struct Part {
    pub name: &'static str,
    pub about: &'static str,
    /// Its share of the quarter of an hour; ten times as much with `--full`.
    limit: Duration,
    /// What only `--full` measures.
    pub only_full: &'static str,
    pub place: Place,
    pub run: fn(Options),
}

impl Part {
    /// After how long it is broken off; what it had measured counts.
    pub(crate) fn limit(&self, options: Options) -> Duration {
        if options.full { self.limit * 10 } else { self.limit }
    }
}

/// Where a part runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Place {
    /// In pid, mount and network namespaces of its own.
    Apart,
    /// As any process: it calls tools that need the machine.
    Here,
    /// The part's process is here, its work in the virtual machine: called there, it runs apart.
    Machine,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const ALL: &[Part] = &[
    Part {
        name: "start",
        about: "from process to heartbeat to channel, and the end",
        limit: seconds(40),
        only_full: "180 starts instead of 60",
        place: Place::Apart,
        run: start::run,
    },
    Part {
        name: "footprint",
        about: "memory, CPU time when idle, sizes",
        limit: seconds(95),
        only_full: "",
        place: Place::Apart,
        run: footprint::run,
    },
    Part {
        name: "roundtrip",
        about: "a one-line shell step: sent, acknowledged, answered",
        limit: seconds(25),
        only_full: "a minute of commands for each case instead of 6 s",
        place: Place::Apart,
        run: round_trip::run,
    },
    Part {
        name: "fault",
        about: "command to effect, cancel to none, and without us",
        limit: seconds(85),
        only_full: "100 rounds of each fault instead of 20",
        place: Place::Apart,
        run: faults::run,
    },
    Part {
        name: "cpu",
        about: "CPU share asked and achieved, in windows of 1 s",
        limit: seconds(250),
        only_full: "eight percentages under each quota and beside a load, one and more workers there, five windows each",
        place: Place::Apart,
        run: cpu::run,
    },
    Part {
        name: "io",
        about: "I/O stress beside stress-ng --iomix",
        limit: seconds(65),
        only_full: "15 rounds instead of 3",
        place: Place::Apart,
        run: io::run,
    },
    Part {
        name: "targets",
        about: "many targets: time to install, cost of a packet",
        limit: seconds(90),
        only_full: "21 rounds of packets instead of 7",
        place: Place::Apart,
        run: targets::run,
    },
    Part {
        name: "netem",
        about: "delay and loss asked and achieved; faults in and out (virtual machine)",
        limit: seconds(190),
        only_full: "100 rounds and 500 kills instead of 6 and 20; the script's loss and its kill -9",
        place: Place::Machine,
        run: netem::run,
    },
    Part {
        name: "fleet",
        about: "N tasks start at once under an API limit (virtual time, our back-off)",
        limit: seconds(20),
        only_full: "10 runs of each fleet instead of 3",
        place: Place::Here,
        run: fleet::run,
    },
    Part {
        name: "loops",
        about: "the inner loops, by criterion",
        limit: seconds(40),
        only_full: "criterion's own sample sizes and times",
        place: Place::Here,
        run: loops::run,
    },
];

/// `make bench` is a quarter of an hour, whatever goes wrong.
const _: () = {
    let (mut sum, mut at) = (0, 0);
    while at < ALL.len() {
        sum += ALL[at].limit.as_secs();
        at += 1;
    }
    assert!(sum <= 15 * 60);
};

pub(crate) fn find(name: &str) -> Option<&'static Part> {
    ALL.iter().find(|part| part.name == name)
}

/// Runs a part as a process of its own; `heard` is given its rows as they come. What went wrong, if something did.
pub(crate) fn perform(part: &Part, options: Options, mut heard: impl FnMut(Row)) -> Option<String> {
    let mut command = command(part, options);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => Running(child),
        Err(error) => return Some(format!("could not start it: {error}")),
    };
    let (sender, lines) = channel();
    let out = BufReader::new(child.0.stdout.take().unwrap());
    thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut err = child.0.stderr.take().unwrap();
    let words = thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let limit = part.limit(options);
    let end = Instant::now() + limit;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(row) => heard(row),
                Err(_) => eprintln!("    {line}"),
            },
            Err(RecvTimeoutError::Timeout) => {
                // What it started would go on beside the next part.
                for pid in process::family(child.pid()) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                drop(child);
                return Some(format!("broken off after {} s", limit.as_secs()));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let code = child.end();
    let words = words.join().unwrap_or_default();
    match code {
        Some(0) => None,
        _ => Some(last_lines(&words)),
    }
}

fn command(part: &Part, options: Options) -> Command {
    let own = std::env::current_exe().unwrap();
    let in_machine = std::env::var_os("TASKFAULT_VM").is_some();
    let apart = part.place == Place::Apart || (part.place == Place::Machine && in_machine);
    let mut command = Command::new(if apart { "unshare".as_ref() } else { own.as_os_str() });
    if apart {
        // Killed with this process: then the kernel ends whatever is in there.
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg("--").arg(own);
    }
    command.args(["part", part.name]);
    if options.full {
        command.arg("--full");
    }
    command
}

/// What a part said last, or where and why it panicked.
fn last_lines(words: &str) -> String {
    let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let panicked = lines.iter().position(|line| line.contains("panicked at"));
    let from = panicked.unwrap_or(lines.len().saturating_sub(3));
    lines[from..].iter().take(3).copied().collect::<Vec<_>>().join(" | ")
}
