//! The stage and its tasks, on this kernel: what a task sees, what it reaches, and that nothing is left.
//!
//! It has a main of its own, because namespaces can only be entered by a process with one thread. Run
//! plainly it is the list of tests; each test runs this program again as the stage process it watches, and
//! that one runs it again as the first process of its tasks. Where the kernel refuses namespaces the tests
//! are skipped aloud, and fail when `CI` is set.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails; clippy knows tests by their attribute only"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::panic;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use taskfault_local::stage::{
    AGENT_ADDRESS, GATEWAY, INIT_COMMAND, InitOptions, Network, Program, Stage, Task, TaskSpec, enter,
    run_init,
};

/// Name, the fixture of its stage process, and what is expected of it.
const TESTS: &[(&str, fn())] = &[
    ("a_dropped_task_is_gone", a_dropped_task_is_gone),
    ("a_killed_stage_leaves_nothing", a_killed_stage_leaves_nothing),
    ("a_program_that_is_not_there_is_said", a_program_that_is_not_there_is_said),
    ("a_stopped_task_ends_as_its_programs_do", a_stopped_task_ends_as_its_programs_do),
    (
        "a_suspended_first_process_does_not_hold_up_the_end",
        a_suspended_first_process_does_not_hold_up_the_end,
    ),
    ("a_task_has_its_own_network", a_task_has_its_own_network),
    ("a_task_reaches_the_agent_address_and_not_the_host", a_task_reaches_the_agent_address_and_not_the_host),
    ("a_task_sees_only_its_own_processes", a_task_sees_only_its_own_processes),
    ("orphans_are_taken_in", orphans_are_taken_in),
    ("tasks_that_come_do_not_change_the_gateway", tasks_that_come_do_not_change_the_gateway),
    ("the_end_of_an_essential_program_ends_the_task", the_end_of_an_essential_program_ends_the_task),
    ("the_end_of_the_outer_process_ends_the_task", the_end_of_the_outer_process_ends_the_task),
    ("two_tasks_reach_each_other", two_tasks_reach_each_other),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(INIT_COMMAND) => run_init(InitLine::parse_from(&arguments[1..]).options),
        Some("play") => play(&arguments[2], arguments.get(3).map(String::as_str)),
        Some("probe") => probe(),
        filter => run_tests(filter.filter(|word| !word.starts_with('-'))),
    }
}

#[derive(Debug, Parser)]
struct InitLine {
    #[command(flatten)]
    options: InitOptions,
}

/// Does once what every test needs; a refusal is said on standard error.
fn probe() -> ExitCode {
    let namespaces = match enter() {
        Ok(namespaces) => namespaces,
        Err(refusal) => return refused(refusal),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = runtime.block_on(async {
        let mut stage = Stage::build(namespaces).await?;
        stage.start(spec("probe", vec![shell("main", "exit 0")])).await.map(drop)
    });
    started.map_or_else(refused, |()| ExitCode::SUCCESS)
}

fn refused(refusal: impl std::fmt::Display) -> ExitCode {
    eprintln!("{refusal}");
    ExitCode::FAILURE
}

fn run_tests(filter: Option<&str>) -> ExitCode {
    if let Err(why) = namespaces() {
        println!("SKIP all stage tests: {why}");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| filter.is_none_or(|word| name.contains(word))) {
        let passed = panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    println!("\ntest result: {}. {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether this user may make namespaces here: found out by doing it. Only a refusal is a reason to skip.
fn namespaces() -> Result<(), String> {
    let output = Command::new("/proc/self/exe").arg("probe").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("namespaces are refused here") { Err(said) } else { Ok(()) }
}

// ---- the stage process -------------------------------------------------------------------------------

/// Runs a fixture as the stage process: reports what happened as JSON lines, and goes on at each line it is sent.
fn play(fixture: &str, argument: Option<&str>) -> ExitCode {
    let namespaces = match enter() {
        Ok(namespaces) => namespaces,
        Err(refusal) => return refused(refusal),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::build(namespaces).await.unwrap();
        match fixture {
            "run" => run(&mut stage, argument.unwrap()).await,
            "hold" => hold(&mut stage).await,
            "missing" => missing(&mut stage).await,
            "pair" => pair(&mut stage).await,
            "agent" => agent(&mut stage, argument.unwrap()).await,
            "gateway" => gateway(&mut stage).await,
            other => panic!("no fixture {other}"),
        }
    });
    ExitCode::SUCCESS
}

fn report(value: Value) {
    println!("{value}");
    std::io::stdout().flush().unwrap();
}

fn cue() {
    std::io::stdin().lines().next();
}

fn shell(name: &str, script: &str) -> Program {
    Program {
        name: name.to_owned(),
        path: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: BTreeMap::from([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())]),
        log: std::env::var_os("LOG").map(|folder| Path::new(&folder).join(name)),
        essential: true,
    }
}

fn spec(name: &str, programs: Vec<Program>) -> TaskSpec {
    TaskSpec { name: name.to_owned(), network: Network::Own, cpu: None, programs, more: false }
}

/// One program, to its end.
async fn run(stage: &mut Stage, script: &str) {
    let mut task = stage.start(spec("one", vec![shell("main", script)])).await.unwrap();
    report(json!({ "exits": task.wait().await.unwrap() }));
}

/// A task that stays; then it is dropped, stopped or left, as the cue says.
async fn hold(stage: &mut Stage) {
    // The shell stays the parent: an orphaned grandchild must end too.
    let mut stubborn = shell("stubborn", "trap '' TERM; echo trapped; while :; do sleep 1000; done");
    stubborn.essential = false;
    let polite = shell("polite", "trap 'exit 7' TERM; echo trapped; while :; do sleep 1000 & wait; done");
    let mut task = stage.start(spec("held", vec![polite, stubborn])).await.unwrap();
    report(json!({
        "address": task.address(), "link": task.link().unwrap().name, "init": task.init_pid(),
        "polite": task.pid("polite"), "stubborn": task.pid("stubborn"),
    }));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    match line.trim() {
        "drop" => drop(task),
        "stop" => {
            let exits = task.stop(Duration::from_millis(300)).await.unwrap().clone();
            report(json!({ "exits": exits }));
        }
        _ => {}
    }
    report(json!({ "done": true }));
    cue();
}

async fn missing(stage: &mut Stage) {
    let mut program = shell("main", "");
    program.path = "/nowhere/program".into();
    let error = stage.start(spec("broken", vec![program])).await.unwrap_err();
    report(json!({ "error": error.to_string() }));
    let mut task: Task = stage.start(spec("whole", vec![shell("main", "exit 3")])).await.unwrap();
    report(json!({ "exits": task.wait().await.unwrap() }));
}

/// Two tasks, each with its own shell; the first asks the second's address through ARP and ICMP-free TCP.
async fn pair(stage: &mut Stage) {
    let server = stage.start(spec("server", vec![shell("main", "sleep 1000")])).await.unwrap();
    let address = server.address().unwrap();
    let mut client = stage.start(spec("client", vec![shell("main", &connect(address, 9))])).await.unwrap();
    report(json!({ "exits": client.wait().await.unwrap() }));
}

/// A listener on the agent's address on the stage, and a task that asks there and at the host's address.
async fn agent(stage: &mut Stage, host_port: &str) {
    let listener = tokio::net::TcpListener::bind((AGENT_ADDRESS, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "({}); echo agent $?; ({}); echo host $?",
        connect(AGENT_ADDRESS, port),
        connect(Ipv4Addr::LOCALHOST, host_port.parse().unwrap())
    );
    let mut task = stage.start(spec("asker", vec![shell("main", &script)])).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    report(json!({ "peer": peer.ip().to_string(), "address": task.address() }));
    report(json!({ "exits": task.wait().await.unwrap() }));
}

/// The gateway's hardware address, before and after tasks have come.
async fn gateway(stage: &mut Stage) {
    let hardware = || {
        let mut all = nix::ifaddrs::getifaddrs().unwrap().filter(|it| it.interface_name == "ecs-bridge");
        all.find_map(|it| it.address?.as_link_addr()?.addr()).unwrap()
    };
    let before = hardware();
    let mut tasks = Vec::new();
    for name in ["one", "two", "three"] {
        tasks.push(stage.start(spec(name, vec![shell("main", "sleep 1000")])).await.unwrap());
    }
    report(json!({ "before": before, "after": hardware() }));
}

/// Exit code 0 when connected, else an error's text. bash has TCP without any further program.
fn connect(address: Ipv4Addr, port: u16) -> String {
    format!("bash -c 'exec 3<>/dev/tcp/{address}/{port}'")
}

// ---- watching it -------------------------------------------------------------------------------------

/// A stage process and what it says.
struct Watched {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    logs: tempfile::TempDir,
}

impl Watched {
    fn play(fixture: &str, argument: Option<&str>) -> Watched {
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new("/proc/self/exe");
        command.args(["play", fixture]).args(argument).env("LOG", logs.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watched { child, lines, logs }
    }

    fn heard(&mut self) -> Value {
        let line = self.lines.next().expect("the stage process ended").unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn send(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn log(&self, program: &str) -> String {
        fs::read_to_string(self.logs.path().join(program)).unwrap()
    }

    /// Waits for the line that says the program is where the test needs it.
    fn logged(&self, program: &str, text: &str) {
        eventually(&format!("{program} says {text}"), || self.log(program).contains(text));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for what another process does. The limit is for a hang, not a measurement.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pid(value: &Value, name: &str) -> i32 {
    i32::try_from(value[name].as_i64().unwrap_or_else(|| panic!("{name} in {value}"))).unwrap()
}

fn lives(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// Interfaces of the network namespace that this test runs in.
fn interfaces() -> BTreeSet<String> {
    fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// All processes under `root`, so that a grandchild is not forgotten.
fn descendants(root: i32) -> Vec<i32> {
    let children = |parent: i32| -> Vec<i32> {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_child = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status
                .lines()
                .any(|line| line.strip_prefix("PPid:").is_some_and(|it| it.trim() == parent.to_string()))
        };
        pids.filter(is_child).collect()
    };
    let mut all = vec![root];
    let mut next = 0;
    while next < all.len() {
        all.extend(children(all[next]));
        next += 1;
    }
    all
}

/// The process that makes a task's namespaces: the parent of its pid 1 and of its programs.
fn outer(task: &Value) -> i32 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid(task, "init"))).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

// ---- the tests ---------------------------------------------------------------------------------------

fn a_task_sees_only_its_own_processes() {
    let mut stage = Watched::play("run", Some("echo $$ $PPID; cd /proc && echo [0-9]*; hostname"));
    assert_eq!(stage.heard()["exits"]["main"]["code"], 0);
    let log = stage.log("main");
    let lines: Vec<&str> = log.lines().collect();
    let (own, parent) = lines[0].split_once(' ').unwrap();
    assert_eq!(parent, "0", "no process of the task is its parent, as in a container: {log}");
    let seen: BTreeSet<&str> = lines[1].split(' ').collect();
    assert_eq!(seen, BTreeSet::from(["1", own]), "{log}");
    assert_eq!(lines[2], "one");
}

fn a_task_has_its_own_network() {
    let before = interfaces();
    let mut stage =
        Watched::play("run", Some("cat /proc/net/dev; echo ==; cat /proc/net/route; cat /proc/net/fib_trie"));
    assert_eq!(stage.heard()["exits"]["main"]["code"], 0);
    let log = stage.log("main");
    let names: BTreeSet<&str> = log
        .lines()
        .skip(2)
        .take_while(|line| *line != "==")
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    assert_eq!(names, BTreeSet::from(["eth0", "lo"]), "{log}");
    let default = format!("eth0\t00000000\t{:08X}", GATEWAY.to_bits().swap_bytes());
    assert!(log.contains(&default), "the default route leads to the gateway: {log}");
    assert!(log.contains("169.254.172.2"), "{log}");
    assert_eq!(interfaces(), before);
}

fn a_task_reaches_the_agent_address_and_not_the_host() {
    let host = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    host.set_nonblocking(true).unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let mut stage = Watched::play("agent", Some(&port));
    let peer = stage.heard();
    assert_eq!(peer["peer"], peer["address"], "the stage sees the task's own address");
    stage.heard();
    let log = stage.log("main");
    assert!(log.contains("agent 0"), "{log}");
    assert!(log.contains("host 1"), "the host's loopback is not the task's: {log}");
    assert_eq!(host.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// A bridge without an address of its own takes the lowest of its ports', and every task that knows the old one
/// sends into the void until it asks again.
fn tasks_that_come_do_not_change_the_gateway() {
    let heard = Watched::play("gateway", None).heard();
    assert_eq!(heard["before"], heard["after"]);
}

fn two_tasks_reach_each_other() {
    let mut stage = Watched::play("pair", None);
    stage.heard();
    // Nothing listens there: the refusal is the other task's kernel side answering.
    assert!(stage.log("main").contains("Connection refused"), "{}", stage.log("main"));
}

fn a_program_that_is_not_there_is_said() {
    let mut stage = Watched::play("missing", None);
    let error = stage.heard()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("task broken") && error.contains("/nowhere/program"), "{error}");
    assert_eq!(stage.heard()["exits"]["main"]["code"], 3, "the stage goes on");
}

fn orphans_are_taken_in() {
    // The inner shell leaves its child behind; once that has ended, a zombie would still stand in /proc.
    let script = "sh -c 'sleep 0.05 & echo $!' > \"$0.orphan\" 2>&1; exit 0";
    let script = script.replace("$0.orphan", "/dev/stdout");
    let script = format!("orphan=$({script}); while [ -d /proc/$orphan ]; do sleep 0.01; done; echo reaped");
    let mut stage = Watched::play("run", Some(&script));
    assert_eq!(stage.heard()["exits"]["main"]["code"], 0);
    assert!(stage.log("main").contains("reaped"));
}

fn the_end_of_an_essential_program_ends_the_task() {
    let mut stage = Watched::play("hold", None);
    let task = stage.heard();
    stage.logged("polite", "trapped");
    stage.logged("stubborn", "trapped");
    let all = descendants(outer(&task));
    kill(Pid::from_raw(pid(&task, "polite")), Signal::SIGTERM).unwrap();
    eventually("the essential program ends", || !lives(pid(&task, "polite")));
    stage.send("stop");
    let exits = stage.heard();
    assert_eq!(exits["exits"]["polite"]["code"], 7);
    assert_eq!(exits["exits"]["stubborn"]["signal"], 9, "it ignores SIGTERM");
    assert!(all.iter().all(|pid| !lives(*pid)));
}

fn a_stopped_task_ends_as_its_programs_do() {
    let mut stage = Watched::play("hold", None);
    let task = stage.heard();
    stage.logged("polite", "trapped");
    stage.logged("stubborn", "trapped");
    let all = descendants(outer(&task));
    assert!(all.len() >= 6, "the outer process, pid 1, two shells, two sleeps: {all:?}");
    stage.send("stop");
    let exits = stage.heard();
    assert_eq!(exits["exits"]["polite"]["code"], 7);
    assert_eq!(exits["exits"]["stubborn"]["signal"], 9);
    assert!(all.iter().all(|pid| !lives(*pid)), "stop returns when nothing is left");
}

fn a_dropped_task_is_gone() {
    let before = interfaces();
    let mut stage = Watched::play("hold", None);
    let task = stage.heard();
    stage.logged("stubborn", "trapped");
    let all = descendants(outer(&task));
    assert!(all.iter().all(|pid| lives(*pid)));
    stage.send("drop");
    assert_eq!(stage.heard()["done"], true);
    assert!(all.iter().all(|pid| !lives(*pid)), "drop returns when nothing is left");
    assert_eq!(interfaces(), before);
}

fn a_suspended_first_process_does_not_hold_up_the_end() {
    let mut stage = Watched::play("hold", None);
    let task = stage.heard();
    stage.logged("stubborn", "trapped");
    let all = descendants(outer(&task));
    kill(Pid::from_raw(pid(&task, "init")), Signal::SIGSTOP).unwrap();
    stage.send("drop");
    assert_eq!(stage.heard()["done"], true);
    eventually("the kernel ends them all", || all.iter().all(|pid| !lives(*pid)));
}

fn the_end_of_the_outer_process_ends_the_task() {
    let mut stage = Watched::play("hold", None);
    let task = stage.heard();
    stage.logged("stubborn", "trapped");
    let (outer, mut all) = (outer(&task), descendants(outer(&task)));
    kill(Pid::from_raw(outer), Signal::SIGKILL).unwrap();
    // The stage has not asked for its end.
    all.retain(|pid| *pid != outer);
    eventually("the kernel ends them all", || all.iter().all(|pid| !lives(*pid)));
}

fn a_killed_stage_leaves_nothing() {
    let before = interfaces();
    let mut stage = Watched::play("hold", None);
    let task = stage.heard();
    stage.logged("polite", "trapped");
    stage.logged("stubborn", "trapped");
    let all = descendants(i32::try_from(stage.child.id()).unwrap());
    assert!(all.contains(&pid(&task, "init")));
    stage.child.kill().unwrap();
    stage.child.wait().unwrap();
    eventually("every process of the stage is gone", || all.iter().all(|pid| !lives(*pid)));
    assert_eq!(interfaces(), before);
}
