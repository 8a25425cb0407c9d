//! One sidecar behind one relay: a start that something happens to, commands that something happens to, an end. And
//! what must hold.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;

use crate::cloud::Cloud;
use crate::mutation::{Armed, Mutation};
use crate::relay::Relay;

/// Mutations in a life: one of the start, the others of a sidecar that serves.
pub(crate) const RUNS: u64 = 6;

/// What happens in a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// [`RUNS`] mutations.
    Mutations,
    /// So many times `kill -9`, over commands and faults, and a next life in the same folder.
    Kills(u64),
}

/// In which everything has to happen that has to happen; for a slow machine, and for a pause between two tries.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a mutation may wait for what it hits.
const HIT: Duration = Duration::from_secs(2);
/// Most memory that a sidecar of a development build may have had, in KiB: it keeps answers of 12 MiB apart, and forgets
/// them.
const MOST_KIB: u64 = 128 * 1024;
const LOOK: Duration = Duration::from_millis(40);

/// What came of a life.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub runs: u64,
    pub hits: u64,
    pub commands: u64,
    pub refused_starts: u64,
    pub most_kib: u64,
    pub violations: Vec<String>,
}

/// One command and the file to which it writes when it runs.
#[derive(Debug)]
struct Sent {
    id: String,
    ran: Option<PathBuf>,
}

/// One sidecar and all that is around it.
#[derive(Debug)]
pub(crate) struct Life {
    rng: Rng,
    cloud: Cloud,
    relay: Relay,
    folder: TempDir,
    task: String,
    process: Child,
    instance: String,
    sent: Vec<Sent>,
    outcome: Outcome,
    polling: bool,
}

impl Life {
    /// The `number`-th life of a seed, from its start to its end, on this thread.
    pub(crate) fn play(seed: u64, number: u64, plan: Plan) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
            let polling = rng.u8(..3) == 0;
            let cloud = Cloud::start(polling).await;
            let relay = Relay::start(cloud.address).await;
            let folder = tempfile::tempdir().unwrap();
            let task = format!("{:032x}", rng.u128(..));
            let start = Mutation::of_calls(&mut rng);
            let armed = Armed { mutation: start, skip: rng.u32(..6), left: rng.u32(1..3), rng: rng.fork() };
            if plan == Plan::Mutations {
                relay.plan.borrow_mut().arm(armed);
            }
            let process = spawn(&folder, &relay.url, &task);
            let (instance, sent, outcome) = (String::new(), Vec::new(), Outcome::default());
            let mut life =
                Life { rng, cloud, relay, folder, task, process, instance, sent, outcome, polling };
            let whole = match plan {
                Plan::Mutations => life.whole(start).await,
                Plan::Kills(count) => life.killed(count).await,
            };
            if let Err(violation) = whole {
                life.outcome.violations.push(violation);
                life.keep();
            }
            life.outcome.hits = life.relay.plan.borrow().hits;
            // Ends by itself after an end in order; this is for one that is not.
            let _ = life.process.kill();
            let _ = life.process.wait();
            std::mem::take(&mut life.outcome)
        })
    }

    async fn whole(&mut self, start: Mutation) -> Result<(), String> {
        self.outcome.runs += 1;
        let lenient = start.may_end_a_start();
        self.started(lenient).await.map_err(|error| format!("start, {start:?}: {error}"))?;
        for _ in 1..RUNS {
            let mutation = Mutation::of_service(&mut self.rng, self.polling);
            self.outcome.runs += 1;
            self.disturbed(mutation).await.map_err(|error| format!("{mutation:?}: {error}"))?;
        }
        self.ended(lenient).await.map_err(|error| format!("end (start was {start:?}): {error}"))
    }

    async fn killed(&mut self, count: u64) -> Result<(), String> {
        self.started(false).await.map_err(|error| format!("start: {error}"))?;
        for number in 0..count {
            self.outcome.runs += 1;
            self.disturbed(Mutation::Kill).await.map_err(|error| format!("kill {number}: {error}"))?;
        }
        self.ended(false).await.map_err(|error| format!("end: {error}"))
    }

    /// Waits for a sidecar that is online, or has ended with a reason where it may; then one more, undisturbed.
    async fn started(&mut self, lenient: bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                let log = self.log();
                let last = log.lines().last().unwrap_or_default();
                if !(lenient && status.code() == Some(1) && last.contains(" ERROR ")) {
                    return Err(format!("it ended with {status}: {last}"));
                }
                self.outcome.refused_starts += 1;
                self.relay.plan.borrow_mut().disarm();
                self.process = spawn(&self.folder, &self.relay.url, &self.task);
                continue;
            }
            let log = self.log();
            if let Some(line) = log.lines().rev().find(|line| line.contains(" online ")) {
                let instance = line.rsplit("instance=").next().unwrap_or_default();
                self.instance =
                    instance.split_whitespace().next().unwrap_or_default().trim_matches('"').to_owned();
            }
            if !self.instance.is_empty() && self.cloud.online().await.contains(&self.instance) {
                break;
            }
            if Instant::now() > end {
                return Err("it is not online in time".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.relay.plan.borrow_mut().disarm();
        self.comes_back().await
    }

    /// Commands while `mutation` is at work, and what must hold after it.
    async fn disturbed(&mut self, mutation: Mutation) -> Result<(), String> {
        let left = self.rng.u32(1..4);
        let armed = Armed { mutation, skip: self.rng.u32(..3), left, rng: self.rng.fork() };
        self.relay.plan.borrow_mut().arm(armed);
        let began = Instant::now();
        let tenths = self.rng.u32(..3);
        self.script(tenths).await;
        if self.rng.u8(..3) == 0 {
            self.stress().await;
        }
        self.script(0).await;
        if mutation == Mutation::Kill {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..300))).await;
            self.process.kill().unwrap();
            self.process.wait().unwrap();
            self.process = spawn(&self.folder, &self.relay.url, &self.task);
        }
        while !self.relay.plan.borrow().is_spent() && began.elapsed() < HIT && mutation != Mutation::Kill {
            tokio::time::sleep(LOOK).await;
        }
        self.relay.plan.borrow_mut().disarm();
        self.settled().await?;
        self.comes_back().await
    }

    /// A script that says when it runs, and takes `tenths` of a second.
    async fn script(&mut self, tenths: u32) {
        let ran = self.folder.path().join(format!("ran-{}", self.outcome.commands));
        let script = format!("echo ran >> {}; sleep 0.{tenths}", ran.display());
        let parameters = json!({ "commands": [script] });
        let id = self.cloud.send(&self.instance, "AWS-RunShellScript", parameters).await;
        self.sent.push(Sent { id, ran: Some(ran) });
        self.outcome.commands += 1;
    }

    /// A fault that is cancelled as often as not.
    async fn stress(&mut self) {
        let parameters = json!({ "DurationSeconds": ["2"], "LoadPercent": ["1"], "CPU": ["1"] });
        let id = self.cloud.send(&self.instance, "AWSFIS-Run-CPU-Stress", parameters).await;
        if self.rng.bool() {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..200))).await;
            self.cloud.cancel(&id).await;
        }
        self.sent.push(Sent { id, ran: None });
        self.outcome.commands += 1;
    }

    /// Every command is answered, and none has run twice.
    async fn settled(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        for Sent { id, ran } in std::mem::take(&mut self.sent) {
            let status = loop {
                let status = self.cloud.status(&id).await;
                if !["Pending", "InProgress", "Delayed", "Cancelling"].contains(&status.as_str()) {
                    break status;
                }
                self.lives()?;
                if Instant::now() > end {
                    return Err(format!("command {id} is {status} and never answered"));
                }
                tokio::time::sleep(LOOK).await;
            };
            let Some(ran) = ran else { continue };
            let times = fs::read_to_string(&ran).unwrap_or_default().lines().count();
            if times > 1 || (times == 0 && status == "Success") {
                return Err(format!("command {id} is {status} and has run {times} times"));
            }
        }
        Ok(())
    }

    /// A plain command succeeds, no fault is left, and the sidecar is as small as it should be.
    async fn comes_back(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        self.script(0).await;
        let id = self.sent[0].id.clone();
        while self.cloud.status(&id).await != "Success" {
            self.lives()?;
            if Instant::now() > end {
                let status = self.cloud.status(&id).await;
                return Err(format!("it does not come back: a plain command is {status}"));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.settled().await?;
        while self.stress_threads() > 0 {
            if Instant::now() > end {
                return Err("a fault whose command was answered goes on".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        let kib = self.memory_kib();
        self.outcome.most_kib = self.outcome.most_kib.max(kib);
        if kib > MOST_KIB { Err(format!("it has held {kib} KiB")) } else { Ok(()) }
    }

    fn lives(&mut self) -> Result<(), String> {
        match self.process.try_wait().unwrap() {
            None => Ok(()),
            Some(status) => {
                Err(format!("it ended with {status}: {}", self.log().lines().last().unwrap_or_default()))
            }
        }
    }

    /// SIGTERM, an end in time, and nothing said that a program should not say.
    async fn ended(&mut self, lenient: bool) -> Result<(), String> {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                return Err("it does not end".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        };
        let log = self.log();
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(line.to_owned());
        }
        // What it was told a wrong name of cannot be removed.
        let good = status.code() == Some(0) || (lenient && status.code() == Some(1));
        if good { Ok(()) } else { Err(format!("{status}: {}", log.lines().last().unwrap_or_default())) }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Threads that burn CPU for a fault.
    fn stress_threads(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let names = tasks.into_iter().flatten().flatten();
        let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("cpu-stress")).count()
    }

    /// The most that it has held since it began.
    fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    }

    /// Keeps the folder of a life that broke something, and says where it is.
    fn keep(&mut self) {
        self.folder.disable_cleanup(true);
        let log = self.folder.path().join("log");
        self.outcome.violations.push(format!("its log is {}", log.display()));
    }
}

/// A sidecar that knows nothing but the relay.
fn spawn(folder: &TempDir, url: &str, task: &str) -> Child {
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    let state = folder.path().join("state");
    fs::create_dir_all(&state).unwrap();
    let program = env!("CARGO_BIN_EXE_taskfault");
    // Without NET_ADMIN: they share this machine's network, and would all tidy it up at their start.
    let mut command =
        if nix::unistd::geteuid().is_root() { Command::new("setpriv") } else { Command::new(program) };
    if nix::unistd::geteuid().is_root() {
        command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", program]);
    }
    command
        .args(["sidecar", "--state-dir"])
        .arg(state)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("MANAGED_INSTANCE_ROLE_NAME", "local")
        .env("ECS_CONTAINER_METADATA_URI_V4", format!("{url}/v4/demo/web/{task}"))
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("TASKFAULT_ALLOW_SHELL", "true")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
