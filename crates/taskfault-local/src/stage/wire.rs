//! What the stage and a task's first process say to each other: one JSON object per line, over a socket
//! pair that is the first process's standard input. The end of the line is the end of the task.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// From the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Configure the task and start its programs. Said once, after [`Event::Ready`].
    Start(Setup),
    /// Start one more program.
    Run(Program),
    /// No more programs are to come: the task ends with its last one.
    Complete,
    /// Run a program beside one of the task's and say how it ended.
    Check(Check),
    /// SIGTERM to every program.
    Stop,
    /// SIGTERM to one program.
    Terminate { program: String },
    /// SIGKILL to one program.
    Kill { program: String },
}

/// Everything that the first process needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    pub hostname: String,
    /// The address of `eth0`; None where the task shares the stage's network.
    pub address: Option<Ipv4Addr>,
    pub programs: Vec<Program>,
    /// More programs will be told: until [`Order::Complete`] the task does not end with its last one.
    pub more: bool,
}

/// A process of a task: what ECS calls a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Unique in the task.
    pub name: String,
    /// The program file; searched on `PATH` where it has no slash.
    pub path: PathBuf,
    /// Without the program's own name.
    pub arguments: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Takes standard output and standard error, appended. None: they are thrown away.
    pub log: Option<PathBuf>,
    /// When it ends the others are stopped and the task ends, as ECS does with an essential container.
    pub essential: bool,
}

/// A look from inside the task at one of its programs. What it writes is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the program that it is about.
    pub program: String,
    /// The program file that looks.
    pub path: PathBuf,
    /// Without the program's own name.
    pub arguments: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Then it is killed, with all that it has started.
    pub timeout_ms: u64,
}

/// From the first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// The namespaces are there; `eth0` may be put in.
    Ready,
    /// All programs run. Their pids, in the order of the setup, and that of the task's pid 1, as the stage sees them.
    Started { first: i32, pids: Vec<i32> },
    /// One more program runs; its pid as the stage sees it.
    Running { program: String, pid: i32 },
    /// One more program could not be started.
    NotRunning { program: String, message: String },
    /// How a check ended; None if it took too long or could not be started.
    Checked { program: String, exit: Option<Exit> },
    /// A program ended.
    Ended { program: String, exit: Exit },
    /// The task could not be set up; it ends.
    Failed { message: String },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
