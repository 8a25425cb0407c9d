//! The parts of the benchmark, and how one is run.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::figures::Row;
use crate::process::Running;

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
pub struct Part {
    pub name: &'static str,
    pub about: &'static str,
    /// It is broken off after this; what it had measured counts.
    pub limit: Duration,
    pub place: Place,
    pub run: fn(Options),
}

/// Where a part runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
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

pub const ALL: &[Part] = &[
    Part {
        name: "start",
        about: "from process to heartbeat to channel, and the end",
        limit: seconds(90),
        place: Place::Apart,
        run: start::run,
    },
    Part {
        name: "footprint",
        about: "memory, CPU time when idle, sizes",
        limit: seconds(240),
        place: Place::Apart,
        run: footprint::run,
    },
    Part {
        name: "roundtrip",
        about: "a one-line shell step: sent, acknowledged, answered",
        limit: seconds(60),
        place: Place::Apart,
        run: round_trip::run,
    },
    Part {
        name: "fault",
        about: "command to effect, cancel to none, and without us",
        limit: seconds(180),
        place: Place::Apart,
        run: faults::run,
    },
    Part {
        name: "cpu",
        about: "CPU share asked and achieved, in windows of 1 s",
        limit: seconds(3600),
        place: Place::Apart,
        run: cpu::run,
    },
    Part {
        name: "io",
        about: "I/O stress beside stress-ng --iomix",
        limit: seconds(120),
        place: Place::Apart,
        run: io::run,
    },
    Part {
        name: "targets",
        about: "many targets: time to install, cost of a packet",
        limit: seconds(150),
        place: Place::Apart,
        run: targets::run,
    },
    Part {
        name: "netem",
        about: "delay and loss asked and achieved; faults in and out (virtual machine)",
        limit: seconds(600),
        place: Place::Machine,
        run: netem::run,
    },
    Part {
        name: "fleet",
        about: "N tasks start at once under an API limit (virtual time, our back-off)",
        limit: seconds(60),
        place: Place::Here,
        run: fleet::run,
    },
    Part {
        name: "loops",
        about: "the inner loops, by criterion",
        limit: seconds(120),
        place: Place::Here,
        run: loops::run,
    },
];

pub fn find(name: &str) -> Option<&'static Part> {
    ALL.iter().find(|part| part.name == name)
}

/// Runs a part as a process of its own; its rows, and what went wrong.
pub fn perform(part: &Part, options: Options) -> (Vec<Row>, Option<String>) {
    let mut command = command(part, options);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => Running(child),
        Err(error) => return (Vec::new(), Some(format!("could not start it: {error}"))),
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
    let limit = if options.full { part.limit * 10 } else { part.limit };
    let (end, mut rows) = (Instant::now() + limit, Vec::new());
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(row) => rows.push(row),
                Err(_) => eprintln!("    {line}"),
            },
            Err(RecvTimeoutError::Timeout) => {
                drop(child);
                return (rows, Some(format!("broken off after {} s", limit.as_secs())));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let code = child.end();
    let words = words.join().unwrap_or_default();
    match code {
        Some(0) => (rows, None),
        _ => (rows, Some(last_lines(&words))),
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
