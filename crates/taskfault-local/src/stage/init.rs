//! The first process of a task, from the inside: makes the task's namespaces, becomes pid 1 in them,
//! starts the programs, takes in orphans, and ends everything when it ends.
//!
//! Two processes, because a process never changes its own pid namespace: the outer one leaves the stage's
//! namespaces and waits, its child is pid 1. Both read nothing but the line to the stage.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};

use super::link::Netlink;
use super::refusal::{Refusal, RefusedCall};
use super::wire::{Event, Exit, Order, Program, Setup};
use super::{GATEWAY, PREFIX_BITS};

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

/// Runs the first process of a task. Its standard input is the line to the stage.
pub fn run_init(options: InitOptions) -> ExitCode {
    let done = line_to_stage().and_then(|mut line| {
        let result = if options.first { first(&line) } else { outer(options) };
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

/// Leaves the stage's namespaces and waits for pid 1 of the task.
fn outer(InitOptions { share_network, cpu, .. }: InitOptions) -> Result<(), String> {
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    let mut flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWNET, !share_network);
    unshare(flags).map_err(|errno| Refusal::read(RefusedCall::NewTask, errno).to_string())?;
    let mut first = Command::new("/proc/self/exe");
    first.arg0(std::env::args_os().next().unwrap_or_default()).args([INIT_COMMAND, "--first"]);
    let status = first.status().map_err(|error| format!("starting the task's first process: {error}"))?;
    // It has already sent the reason.
    if status.success() { Ok(()) } else { Err(format!("the task's first process ended: {status}")) }
}

/// Children inherit it.
fn pin(cpu: usize) -> Result<(), String> {
    let mut one = CpuSet::new();
    let pinned = one.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one));
    pinned.map_err(|errno| format!("keeping the task to CPU {cpu}: {errno}"))
}

/// Pid 1 of the task.
fn first(line: &UnixStream) -> Result<(), String> {
    // The line says when the stage is gone; this says when the outer process is, which holds the line too.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| format!("asking to end with the stage: {errno}"))?;
    mount_proc()?;
    let line = line.try_clone().map_err(|error| format!("taking over the line to the stage: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("starting the first process's runtime: {error}"))?;
    runtime.block_on(async {
        let mut stage = Conversation::over(line).map_err(|error| format!("talking to the stage: {error}"))?;
        let result = run_programs(&mut stage).await;
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
async fn run_programs(stage: &mut Conversation) -> Result<(), String> {
    stage.send(&Event::Ready).await;
    let Some(Order::Start(setup)) = stage.next().await else { return Ok(()) };
    configure(&setup).await?;
    // Before the first child, so that none ends unseen.
    let mut children = signal(SignalKind::child()).map_err(|error| format!("watching children: {error}"))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| format!("watching SIGTERM: {error}"))?;
    let mut running = setup.programs.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    stage.send(&Event::Started { pids: running.iter().map(|program| program.pid.as_raw()).collect() }).await;
    while !running.is_empty() {
        tokio::select! {
            _ = children.recv() => {
                for (pid, exit) in ended_children() {
                    take_out(&mut running, pid, exit, stage).await;
                }
            }
            _ = terminate.recv() => stop(&running),
            order = stage.next() => match order {
                Some(Order::Stop) => stop(&running),
                Some(Order::Kill { program }) => kill_one(&running, &program),
                Some(Order::Start(_)) => {}
                None => return Ok(()),
            },
        }
    }
    Ok(())
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
    // Dropped without a wait: pid 1 takes in every child itself.
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

/// SIGKILL to one program, if it still runs.
fn kill_one(running: &[Running], name: &str) {
    for program in running.iter().filter(|program| program.name == name) {
        let _ = kill(program.pid, Signal::SIGKILL);
    }
}

/// Every child that has ended, orphans of the task included.
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
