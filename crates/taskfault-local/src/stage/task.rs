//! A task, seen from the stage: start it, know its processes, stop it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::init::INIT_COMMAND;
use super::link::{Link, Netlink};
pub use super::wire::{Check, Exit, Program};
use super::wire::{Event, Order, Setup};
use super::{Lease, StageError};

/// Whose network a task uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Its own, with `eth0` on the stage's bridge (ECS: `awsvpc` or `bridge`).
    Own,
    /// As `Own`, with an address of this part of the stage's network.
    Part {
        /// The lowest address of the part.
        first: Ipv4Addr,
        /// Length of its prefix, in bits.
        bits: u8,
    },
    /// The stage's (ECS: `host`).
    Stage,
}

/// A task to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its hostname too: at most 64 bytes.
    pub name: String,
    /// Only a task with its own has an address.
    pub network: Network,
    /// The CPU that all of it is kept to; None leaves it every CPU. [`super::Stage::pin_tasks`] overrules it.
    pub cpu: Option<usize>,
    /// Started in this order. They share all namespaces of the task.
    pub programs: Vec<Program>,
    /// More will come by [`Task::run`]: the task does not end with its last program before [`Task::complete`].
    pub more: bool,
}

/// Something that happened in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A program of [`Task::run`] runs.
    Running {
        /// Its [`Program::name`].
        program: String,
    },
    /// A program of [`Task::run`] could not be started.
    NotRunning {
        /// Its [`Program::name`].
        program: String,
        /// What failed, in words.
        message: String,
    },
    /// A program ended.
    Ended {
        /// Its [`Program::name`].
        program: String,
        /// How.
        exit: Exit,
    },
    /// A check is over.
    Checked {
        /// The [`Program::name`] that it was about.
        program: String,
        /// How it ended; None if it took too long or could not be started.
        exit: Option<Exit>,
    },
}

/// A running task. Dropping it ends every process in it, at once; [`Task::stop`] asks first.
#[derive(Debug)]
#[must_use = "dropping a task ends its processes"]
pub struct Task {
    name: String,
    /// Given back when the task is dropped.
    lease: Option<Lease>,
    link: Option<Link>,
    /// Waits for the task's pid 1.
    outer: Child,
    /// None: closed, so the task has ended or is ending.
    line: Option<Line>,
    init_pid: Option<i32>,
    pids: BTreeMap<String, i32>,
    exits: BTreeMap<String, Exit>,
    names: Vec<String>,
}

#[derive(Debug)]
struct Line {
    events: Lines<BufReader<OwnedReadHalf>>,
    orders: OwnedWriteHalf,
}

/// How long a dropped task may take to be gone before its outer process is killed. The kernel ends a whole
/// pid namespace within milliseconds; only a first process that was stopped (SIGSTOP) takes longer.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

impl Task {
    pub(super) async fn start(
        spec: TaskSpec,
        lease: Option<Lease>,
        network: &Netlink,
        bridge: u32,
    ) -> Result<Task, StageError> {
        let mut task = Task::spawn(&spec, lease)?;
        let address = task.address();
        task.expect_ready().await?;
        if let Some(address) = address {
            let [.., third, fourth] = address.octets();
            let name = format!("veth{third}.{fourth}");
            task.link = Some(network.add_link(&name, bridge, task.outer.id()).await?);
        }
        let setup = Setup { hostname: spec.name, address, programs: spec.programs, more: spec.more };
        task.order(&Order::Start(setup)).await?;
        let (first, pids) = task.expect_started().await?;
        task.init_pid = Some(first);
        task.pids = task.names.iter().cloned().zip(pids).collect();
        Ok(task)
    }

    /// The processes without anything in them yet.
    fn spawn(spec: &TaskSpec, lease: Option<Lease>) -> Result<Task, StageError> {
        let what = format!("starting task {}", spec.name);
        let (ours, theirs) = UnixStream::pair().map_err(StageError::system(&what))?;
        let mut command = Command::new("/proc/self/exe");
        // The same program under the same name, even if its file has been replaced since.
        command.arg0(std::env::args_os().next().unwrap_or_default());
        command.arg(INIT_COMMAND).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        if spec.network == Network::Stage {
            command.arg("--share-network");
        }
        if let Some(cpu) = spec.cpu {
            command.arg("--cpu").arg(cpu.to_string());
        }
        // A group of its own: Ctrl-C on the terminal is for the stage, which then stops its tasks in order.
        let outer = command.process_group(0).spawn().map_err(StageError::system(&what))?;
        let line = Line::over(ours).map_err(StageError::system(&what))?;
        Ok(Task {
            name: spec.name.clone(),
            lease,
            link: None,
            outer,
            line: Some(line),
            init_pid: None,
            pids: BTreeMap::new(),
            exits: BTreeMap::new(),
            names: spec.programs.iter().map(|program| program.name.clone()).collect(),
        })
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of its `eth0`; None where it shares the stage's network.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.lease.as_ref().map(|lease| lease.address)
    }

    /// Its place on the bridge; None where it shares the stage's network.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// The pid, as the stage sees it, of the task's pid 1.
    pub fn init_pid(&self) -> Option<i32> {
        self.init_pid
    }

    /// The pid, as the stage sees it, of a program; None if none of that name was started.
    pub fn pid(&self, program: &str) -> Option<i32> {
        self.pids.get(program).copied()
    }

    /// Programs that have ended so far, as far as [`Task::wait`] was polled.
    pub fn exits(&self) -> &BTreeMap<String, Exit> {
        &self.exits
    }

    /// Starts one more program of a task that has [`TaskSpec::more`]; [`Task::next`] says what came of it.
    pub async fn run(&mut self, program: Program) {
        self.names.push(program.name.clone());
        let _ = self.order(&Order::Run(program)).await;
    }

    /// No more programs will come: the task ends with its last one.
    pub async fn complete(&mut self) {
        let _ = self.order(&Order::Complete).await;
    }

    /// Runs a check inside the task; [`Task::next`] says how it ended.
    pub async fn check(&mut self, check: Check) {
        let _ = self.order(&Order::Check(check)).await;
    }

    /// What happens next; None when the task has ended and nothing of it is left. May be dropped while waiting.
    ///
    /// # Errors
    /// [`StageError::Task`] when the task's first process failed.
    pub async fn next(&mut self) -> Result<Option<Happening>, StageError> {
        while let Some(event) = self.event().await {
            return Ok(Some(match event {
                Event::Ended { program, exit } => {
                    self.exits.insert(program.clone(), exit);
                    Happening::Ended { program, exit }
                }
                Event::Running { program, pid } => {
                    self.pids.insert(program.clone(), pid);
                    Happening::Running { program }
                }
                Event::NotRunning { program, message } => Happening::NotRunning { program, message },
                Event::Checked { program, exit } => Happening::Checked { program, exit },
                Event::Failed { message } => return Err(self.failed(message)),
                Event::Ready | Event::Started { .. } => continue,
            }));
        }
        self.end();
        Ok(None)
    }

    /// The next program that ends, and how; None when the task has ended and nothing of it is left. May be
    /// dropped while waiting.
    ///
    /// # Errors
    /// [`StageError::Task`] when the task's first process failed.
    pub async fn next_exit(&mut self) -> Result<Option<(String, Exit)>, StageError> {
        loop {
            match self.next().await? {
                Some(Happening::Ended { program, exit }) => return Ok(Some((program, exit))),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Asks every program to end (SIGTERM); [`Task::next_exit`] says when they have.
    pub async fn terminate(&mut self) {
        // A line that is broken means that the task has ended, which is found out there.
        let _ = self.order(&Order::Stop).await;
    }

    /// Asks one program to end (SIGTERM).
    pub async fn terminate_one(&mut self, program: &str) {
        let _ = self.order(&Order::Terminate { program: program.to_owned() }).await;
    }

    /// Ends one program at once (SIGKILL).
    pub async fn kill(&mut self, program: &str) {
        let _ = self.order(&Order::Kill { program: program.to_owned() }).await;
    }

    /// Waits until the task has ended; returns how each program did. May be dropped while waiting.
    ///
    /// # Errors
    /// [`StageError::Task`] when the task's first process failed.
    pub async fn wait(&mut self) -> Result<&BTreeMap<String, Exit>, StageError> {
        while self.next_exit().await?.is_some() {}
        Ok(&self.exits)
    }

    /// SIGTERM to every program, then, `grace` later, the end of whatever is left, as ECS stops a task.
    ///
    /// # Errors
    /// [`StageError::Task`] when the task's first process failed.
    pub async fn stop(&mut self, grace: Duration) -> Result<&BTreeMap<String, Exit>, StageError> {
        if self.line.is_some() {
            // A line that is broken means that the task has ended: wait finds out.
            let _ = self.order(&Order::Stop).await;
            if let Ok(waited) = tokio::time::timeout(grace, self.wait()).await {
                waited?;
            }
        }
        self.end();
        Ok(&self.exits)
    }

    /// Closes the line and returns when no process of the task is left.
    fn end(&mut self) {
        self.line = None;
        let deadline = Instant::now() + DROP_TIMEOUT;
        while matches!(self.outer.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // The kernel then kills pid 1 too, which asked for that.
                let _ = self.outer.kill();
                let _ = self.outer.wait();
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        for name in &self.names {
            // The kernel kills whatever outlives pid 1 of a pid namespace.
            self.exits.entry(name.clone()).or_insert(Exit::Signal(nix::libc::SIGKILL));
        }
    }

    async fn expect_ready(&mut self) -> Result<(), StageError> {
        match self.event().await {
            Some(Event::Ready) => Ok(()),
            other => Err(self.unexpected(other)),
        }
    }

    async fn expect_started(&mut self) -> Result<(i32, Vec<i32>), StageError> {
        match self.event().await {
            Some(Event::Started { first, pids }) => Ok((first, pids)),
            other => Err(self.unexpected(other)),
        }
    }

    async fn event(&mut self) -> Option<Event> {
        let line = self.line.as_mut()?.events.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    async fn order(&mut self, order: &Order) -> Result<(), StageError> {
        let mut text = serde_json::to_string(order).map_err(|error| self.failed(error.to_string()))?;
        text.push('\n');
        let what = format!("talking to task {}", self.name);
        let Some(line) = self.line.as_mut() else { return Err(self.failed("it has ended".into())) };
        line.orders.write_all(text.as_bytes()).await.map_err(StageError::system(what))
    }

    fn unexpected(&self, event: Option<Event>) -> StageError {
        match event {
            Some(Event::Failed { message }) => self.failed(message),
            Some(other) => self.failed(format!("its first process said {other:?} out of turn")),
            None => self.failed("its first process ended without a word".into()),
        }
    }

    fn failed(&self, message: String) -> StageError {
        StageError::Task { task: self.name.clone(), message }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.end();
    }
}

impl Line {
    fn over(line: UnixStream) -> std::io::Result<Line> {
        line.set_nonblocking(true)?;
        let (events, orders) = tokio::net::UnixStream::from_std(line)?.into_split();
        Ok(Line { events: BufReader::new(events).lines(), orders })
    }
}
