//! The two processes behind a task. The outer one makes the task's namespaces and starts the programs in them, as a
//! container runtime does; its first child is pid 1 there and does what ECS's pause container does. So the programs see
//! themselves as containers that share a PID namespace: none of them is the other's parent.
//!
//! The end of the outer process, or of the line to the stage, is the end of pid 1, and with it of everything.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::link::Netlink;
use super::refusal::{Refusal, RefusedCall};
use super::wire::{Check, Event, Exit, Order, Program, Setup};
use super::{GATEWAY, PREFIX_BITS};
use crate::pause;

/// The hidden subcommand with which a program that uses the stage must call [`run_init`]. It is the first
/// argument, and must be recognised before the process has a second thread.
pub const INIT_COMMAND: &str = "task-init";

/// The arguments of [`INIT_COMMAND`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct InitOptions {
    /// Stay in the stage's network.
    #[arg(long)]
    pub share_network: bool,
    /// Run on this CPU only, with everything that is started.
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Already in the task's namespaces: be pid 1.
    #[arg(long)]
    pub first: bool,
}

/// Runs one of the two processes of a task. The outer one's standard input is the line to the stage.
pub fn run_init(options: InitOptions) -> ExitCode {
    if options.first {
        return first();
    }
    let done = line_to_stage().and_then(|mut line| {
        let result = outer(options, &line);
        if let Err(message) = &result {
            // A stage that has ended reads nothing.
            let _ = send(&mut line, &Event::Failed { message: message.clone() });
        }
        result
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn line_to_stage() -> Result<UnixStream, String> {
    let owned = io::stdin().as_fd().try_clone_to_owned();
    owned.map(UnixStream::from).map_err(|error| format!("taking over the line to the stage: {error}"))
}

fn send(line: &mut UnixStream, event: &Event) -> io::Result<()> {
    let mut text = serde_json::to_string(event)?;
    text.push('\n');
    line.write_all(text.as_bytes())
}

/// Leaves the stage's namespaces and runs the task's programs in those of the task.
fn outer(InitOptions { share_network, cpu, .. }: InitOptions, line: &UnixStream) -> Result<(), String> {
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    let mut flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWNET, !share_network);
    unshare(flags).map_err(|errno| Refusal::read(RefusedCall::NewTask, errno).to_string())?;
    let first = start_first()?;
    let result = hold(line, first);
    // With it everything in its namespace ends. It waits for our children there, as we do.
    let _ = kill(first, Signal::SIGKILL);
    while waitpid(None, None).is_ok() {}
    result
}

/// Starts pid 1 of the task and returns when it has made the task's /proc.
fn start_first() -> Result<Pid, String> {
    let failed = |error: io::Error| format!("starting the task's first process: {error}");
    let mut command = Command::new("/proc/self/exe");
    command.arg0(std::env::args_os().next().unwrap_or_default()).args([INIT_COMMAND, "--first"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        io::BufReader::new(output).read_line(&mut said).map_err(failed)?;
    }
    match said.trim() {
        READY => {
            Ok(Pid::from_raw(i32::try_from(child.id()).map_err(|error| failed(io::Error::other(error)))?))
        }
        "" => Err("the task's first process ended without a word".to_owned()),
        message => Err(message.to_owned()),
    }
}

/// What pid 1 says when the task's namespaces are there; anything else is why not.
const READY: &str = "ready";

/// Children inherit it.
fn pin(cpu: usize) -> Result<(), String> {
    let mut one = CpuSet::new();
    let pinned = one.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one));
    pinned.map_err(|errno| format!("keeping the task to CPU {cpu}: {errno}"))
}

/// Pid 1 of the task: what ECS's pause container is. It takes in orphans and does nothing else.
fn first() -> ExitCode {
    let made = set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| format!("asking to end with the outer process: {errno}"))
        .and_then(|()| mount_proc());
    let word = made.as_ref().map_or_else(|message| message.replace('\n', " "), |()| READY.to_owned());
    // An outer process that has ended before it could be asked for reads nothing.
    match (writeln!(io::stdout(), "{word}"), made) {
        (Ok(()), Ok(())) => pause::run(),
        _ => ExitCode::FAILURE,
    }
}

/// The conversation with the stage, until the task is over.
fn hold(line: &UnixStream, first: Pid) -> Result<(), String> {
    let line = line.try_clone().map_err(|error| format!("taking over the line to the stage: {error}"))?;
    // A process whose children are in another PID namespace can have no second thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("starting the task's runtime: {error}"))?;
    runtime.block_on(async {
        let mut stage = Conversation::over(line).map_err(|error| format!("talking to the stage: {error}"))?;
        let result = run_programs(&mut stage, first).await;
        if let Err(message) = &result {
            // Here, because the line closes with the conversation.
            stage.send(&Event::Failed { message: message.clone() }).await;
        }
        result
    })
}

fn mount_proc() -> Result<(), String> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| format!("keeping the task's mounts to itself: {errno}"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
        .map_err(|errno: Errno| Refusal::read(RefusedCall::MountProc, errno).to_string())
}

/// The life of the task, until its programs have ended or the stage is gone.
async fn run_programs(stage: &mut Conversation, first: Pid) -> Result<(), String> {
    stage.send(&Event::Ready).await;
    let Some(Order::Start(setup)) = stage.next().await else { return Ok(()) };
    configure(&setup).await?;
    // Before the first child, so that none ends unseen.
    let mut children = signal(SignalKind::child()).map_err(|error| format!("watching children: {error}"))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| format!("watching SIGTERM: {error}"))?;
    let mut more = setup.more;
    let mut checks: Vec<Looking> = Vec::new();
    let mut running = setup.programs.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let pids = running.iter().map(|program| program.pid.as_raw()).collect();
    stage.send(&Event::Started { first: first.as_raw(), pids }).await;
    while more || !running.is_empty() {
        let overdue = checks.iter().map(|check| check.until).min();
        tokio::select! {
            _ = children.recv() => {
                for (pid, exit) in ended_children() {
                    match checks.iter().position(|check| check.pid == pid) {
                        Some(place) => checks.remove(place).ended(exit, stage).await,
                        None => take_out(&mut running, pid, exit, stage).await,
                    }
                }
            }
            _ = terminate.recv() => stop(&running),
            () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => {
                checks.iter_mut().filter(|check| check.until <= Instant::now()).for_each(Looking::give_up);
            }
            order = stage.next() => match order {
                Some(Order::Stop) => stop(&running),
                Some(Order::Terminate { program }) => signal_one(&running, &program, Signal::SIGTERM),
                Some(Order::Kill { program }) => signal_one(&running, &program, Signal::SIGKILL),
                Some(Order::Run(program)) => stage.send(&run(&program, &mut running)).await,
                Some(Order::Complete) => more = false,
                Some(Order::Check(check)) => match Looking::start(&check) {
                    Some(looking) => checks.push(looking),
                    None => stage.send(&Event::Checked { program: check.program, exit: None }).await,
                },
                Some(Order::Start(_)) => {}
                None => return Ok(()),
            },
        }
    }
    Ok(())
}

/// Starts one more program, and says what came of it.
fn run(program: &Program, running: &mut Vec<Running>) -> Event {
    let name = program.name.clone();
    match start(program) {
        Ok(started) => {
            let pid = started.pid.as_raw();
            running.push(started);
            Event::Running { program: name, pid }
        }
        Err(message) => Event::NotRunning { program: name, message },
    }
}

/// A check that runs.
struct Looking {
    program: String,
    /// The leader of a process group of its own.
    pid: Pid,
    until: Instant,
    too_late: bool,
}

impl Looking {
    fn start(check: &Check) -> Option<Looking> {
        let mut command = Command::new(&check.path);
        command.args(&check.arguments).env_clear().envs(&check.environment).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let until = Instant::now() + Duration::from_millis(check.timeout_ms);
        let pid = Pid::from_raw(i32::try_from(child.id()).ok()?);
        Some(Looking { program: check.program.clone(), pid, until, too_late: false })
    }

    /// Kills it; its end is seen as any other's.
    fn give_up(&mut self) {
        self.too_late = true;
        self.until += Duration::from_secs(3600);
        let _ = killpg(self.pid, Signal::SIGKILL);
    }

    async fn ended(self, exit: Exit, stage: &mut Conversation) {
        // What it has left behind in its group.
        let _ = killpg(self.pid, Signal::SIGKILL);
        let exit = Some(exit).filter(|_| !self.too_late);
        stage.send(&Event::Checked { program: self.program, exit }).await;
    }
}

/// Hostname and network, as ECS prepares them before the first container starts.
async fn configure(setup: &Setup) -> Result<(), String> {
    sethostname(&setup.hostname).map_err(|errno| format!("naming the task {}: {errno}", setup.hostname))?;
    let Some(address) = setup.address else { return Ok(()) };
    let plumb = async {
        let network = Netlink::open()?;
        network.raise_loopback().await?;
        network.add_address(network.index("eth0").await?, address, PREFIX_BITS).await?;
        network.raise("eth0").await?;
        network.add_default_route(GATEWAY).await
    };
    plumb.await.map_err(|error| error.to_string())
}

/// A started program.
struct Running {
    name: String,
    pid: Pid,
    essential: bool,
}

fn start(program: &Program) -> Result<Running, String> {
    let failed =
        |error: io::Error| format!("starting {} ({}): {error}", program.name, program.path.display());
    let (out, err) = outputs(program).map_err(failed)?;
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).env_clear().envs(&program.environment);
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).map_err(|_| failed(io::Error::other("its pid is out of range")))?;
    // Dropped without a wait: every child's end is seen together.
    Ok(Running { name: program.name.clone(), pid: Pid::from_raw(pid), essential: program.essential })
}

fn outputs(program: &Program) -> io::Result<(Stdio, Stdio)> {
    let Some(path) = &program.log else { return Ok((Stdio::null(), Stdio::null())) };
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    Ok((log.try_clone()?.into(), log.into()))
}

/// SIGTERM to every program; one that is already gone needs none.
fn stop(running: &[Running]) {
    for program in running {
        let _ = kill(program.pid, Signal::SIGTERM);
    }
}

/// A signal to one program, if it still runs.
fn signal_one(running: &[Running], name: &str, signal: Signal) {
    for program in running.iter().filter(|program| program.name == name) {
        let _ = kill(program.pid, signal);
    }
}

/// Every child that has ended.
fn ended_children() -> Vec<(Pid, Exit)> {
    let mut ended = Vec::new();
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::Exited(pid, code) => ended.push((pid, Exit::Code(code))),
            WaitStatus::Signaled(pid, signal, _) => ended.push((pid, Exit::Signal(signal as i32))),
            WaitStatus::StillAlive => break,
            _ => {}
        }
    }
    ended
}

async fn take_out(running: &mut Vec<Running>, pid: Pid, exit: Exit, stage: &mut Conversation) {
    let Some(place) = running.iter().position(|program| program.pid == pid) else { return };
    let program = running.remove(place);
    if program.essential {
        stop(running);
    }
    stage.send(&Event::Ended { program: program.name, exit }).await;
}

/// The line to the stage, after the runtime has started.
struct Conversation {
    orders: Lines<BufReader<OwnedReadHalf>>,
    events: OwnedWriteHalf,
}

impl Conversation {
    fn over(line: UnixStream) -> io::Result<Conversation> {
        line.set_nonblocking(true)?;
        let (orders, events) = tokio::net::UnixStream::from_std(line)?.into_split();
        Ok(Conversation { orders: BufReader::new(orders).lines(), events })
    }

    /// The next order; None when the stage has ended or sends something else. May be dropped while waiting.
    async fn next(&mut self) -> Option<Order> {
        let line = self.orders.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// An ended stage is noticed by [`Conversation::next`].
    async fn send(&mut self, event: &Event) {
        if let Ok(mut text) = serde_json::to_string(event) {
            text.push('\n');
            let _ = self.events.write_all(text.as_bytes()).await;
        }
    }
}
