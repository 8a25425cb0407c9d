//! The story the demo tells, act by act. Each act checks what it shows.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_sdk_ssm::types::{CommandInvocationStatus as State, PingStatus};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::DemoError;
use super::api::{Api, StepOutput};
use super::meter::Meter;
use super::screen::Screen;
use crate::local::stage::{AGENT_ADDRESS, Exit, Namespaces, Network, Program, Stage, Task, TaskSpec};

/// Files in the demo's folder, the one that matters most last.
pub(super) const LOGS: [&str; 2] = ["local-aws.log", "sidecar.log"];

const PORT: u16 = 4566;
const DOCUMENT: &str = "AWSFIS-Run-CPU-Stress";
/// Of one core.
const LOAD_PERCENT: u32 = 60;
const STRESS_SECONDS: u64 = 20;
/// When the second command is cancelled.
const CANCEL_SECOND: u64 = 10;
/// How long its load is watched after that.
const SECONDS_AFTER_CANCEL: u64 = 3;

/// Below this mean share of one core the stress did not take place; busy machines need not give all.
const LOADED_PERCENT: f64 = LOAD_PERCENT as f64 / 2.0;
/// Above this the load is not gone.
const IDLE_PERCENT: f64 = 10.0;

/// Limits for a hang; everything takes a fraction of them.
const AWS_START: Duration = Duration::from_secs(10);
const REGISTRATION: Duration = Duration::from_secs(20);
const CANCELLATION: Duration = Duration::from_secs(10);
/// ECS's own default between SIGTERM and SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(30);
const COMMAND_SLACK_SECONDS: u64 = 10;

const POLL: Duration = Duration::from_millis(100);

/// Tells it all.
pub(super) async fn tell(screen: &Screen, namespaces: Namespaces, folder: &Path) -> Result<(), DemoError> {
    let began = Instant::now();
    screen.heading("taskfault: one ECS task, its fault-injection sidecar, and an AWS of its own");
    let outer_uid = namespaces.outer_uid;
    let mut stage = Stage::build(namespaces).await?;
    screen
        .done("namespaces", &format!("user {outer_uid} is root in here; nothing of the machine is touched"));
    let endpoint = format!("http://{AGENT_ADDRESS}:{PORT}");
    let _local_aws = start_local_aws(screen, &mut stage, folder, &endpoint).await?;
    let api = Api::at(&endpoint)?;
    let mut web = start_web(screen, &mut stage, folder, &endpoint).await?;
    match acts(screen, &api, &web).await {
        Ok(()) => {}
        Err(error) => return Err(with_exit(error, &mut web).await),
    }
    stop(screen, &api, &mut web).await?;
    screen
        .heading(&format!("All of it happened, in {:.0} s. Nothing is left.", began.elapsed().as_secs_f64()));
    Ok(())
}

async fn start_local_aws(
    screen: &Screen,
    stage: &mut Stage,
    folder: &Path,
    endpoint: &str,
) -> Result<Task, DemoError> {
    let address = SocketAddr::from((AGENT_ADDRESS, PORT));
    let program = Program {
        name: "local-aws".into(),
        path: own_binary()?,
        arguments: vec!["--listen".into(), address.to_string()],
        environment: BTreeMap::new(),
        log: Some(folder.join(LOGS[0])),
        essential: true,
    };
    let spec = TaskSpec { name: "local-aws".into(), network: Network::Stage, programs: vec![program] };
    let mut task = stage.start(spec).await?;
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(POLL).await;
        }
    };
    tokio::select! {
        ended = task.wait() => {
            let exit = ended?.get("local-aws").copied();
            return Err(DemoError::Unmet(format!("the local AWS ended with {}", told(exit))));
        }
        listens = timeout(AWS_START, listening) => listens.map_err(|_| too_long("the local AWS does not listen", AWS_START))?,
    }
    screen.done("local AWS", &format!("{endpoint}, inside only"));
    Ok(task)
}

async fn start_web(
    screen: &Screen,
    stage: &mut Stage,
    folder: &Path,
    endpoint: &str,
) -> Result<Task, DemoError> {
    let state = folder.join("state");
    std::fs::create_dir(&state).map_err(system("making the sidecar's state folder"))?;
    let program = Program {
        name: "sidecar".into(),
        path: sibling("taskfault")?,
        arguments: vec!["sidecar".into(), "--state-dir".into(), state.display().to_string()],
        environment: sidecar_environment(endpoint),
        log: Some(folder.join(LOGS[1])),
        essential: true,
    };
    let spec = TaskSpec { name: "web".into(), network: Network::Own, programs: vec![program] };
    let task = stage.start(spec).await?;
    // A sidecar that has ended already is found by the first act, which says how.
    if let (Some(address), Some(pid)) = (task.address(), task.pid("sidecar")) {
        let text = format!("eth0 {address}, processes of its own; the sidecar is pid {pid} outside");
        screen.done("task web", &text);
    }
    Ok(task)
}

/// What ECS and the task definition put into the container's environment.
fn sidecar_environment(endpoint: &str) -> BTreeMap<String, String> {
    let task_id = uuid::Uuid::new_v4().simple().to_string();
    let variables = [
        // The task role's credentials, from where a task gets them. Neither is a secret of anything.
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{endpoint}/v2/credentials/{task_id}")),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("ECS_CONTAINER_METADATA_URI_V4", format!("{endpoint}/v4/demo/web/{task_id}")),
        ("MANAGED_INSTANCE_ROLE_NAME", "demo-managed-instance".to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Everything between the start of the sidecar and its end.
async fn acts(screen: &Screen, api: &Api, web: &Task) -> Result<(), DemoError> {
    let pid = web.pid("sidecar").ok_or_else(|| DemoError::Unmet("the sidecar ended at once".into()))?;
    let instance = register(screen, api, pid).await?;
    stress(screen, api, &instance, pid).await?;
    cancel(screen, api, &instance, pid).await
}

async fn register(screen: &Screen, api: &Api, pid: i32) -> Result<String, DemoError> {
    let began = Instant::now();
    loop {
        let online = api.instances().await?.into_iter().find(|it| it.ping_status == Some(PingStatus::Online));
        if let Some(instance) = online.and_then(|instance| instance.instance_id) {
            let took = began.elapsed().as_secs_f64();
            screen.done("managed instance", &format!("{instance}, Online after {took:.1} s"));
            return Ok(instance);
        }
        Meter::of(pid).map_err(|_| DemoError::Unmet("the sidecar ended before it was registered".into()))?;
        if began.elapsed() > REGISTRATION {
            return Err(too_long("no managed instance is Online", REGISTRATION));
        }
        sleep(POLL).await;
    }
}

async fn stress(screen: &Screen, api: &Api, instance: &str, pid: i32) -> Result<(), DemoError> {
    let command = send(screen, api, instance, "1").await?;
    let mut watch = Watch::start(screen, api, &command, pid)?;
    let state = watch.until_final(STRESS_SECONDS + COMMAND_SLACK_SECONDS).await?;
    let steps = api.steps(&command, instance).await?;
    show_steps(screen, &steps);
    require(state == State::Success, || format!("the command ended as {state}, not as Success"))?;
    require(!steps.is_empty(), || "GetCommandInvocation has no steps".into())?;
    let mean = watch.mean_in_progress();
    require(mean >= LOADED_PERCENT, || format!("the CPU stress reached {mean:.0} % of {LOAD_PERCENT} %"))?;
    screen.done("Success", &format!("{mean:.0} % of one core measured from outside, {LOAD_PERCENT} % asked"));
    Ok(())
}

async fn cancel(screen: &Screen, api: &Api, instance: &str, pid: i32) -> Result<(), DemoError> {
    let command = send(screen, api, instance, "2").await?;
    let mut watch = Watch::start(screen, api, &command, pid)?;
    for _ in 0..CANCEL_SECOND {
        watch.second().await?;
    }
    let mean = watch.mean_in_progress();
    require(mean >= LOADED_PERCENT, || format!("the CPU stress reached {mean:.0} % of {LOAD_PERCENT} %"))?;
    let asked = Instant::now();
    api.cancel(&command).await?;
    screen.note("CancelCommand");
    let state = final_state(api, &command, CANCELLATION).await?;
    let took = asked.elapsed();
    require(state == State::Cancelled, || format!("the command ended as {state}, not as Cancelled"))?;
    let mut percent = f64::INFINITY;
    for _ in 0..SECONDS_AFTER_CANCEL {
        percent = watch.second().await?;
    }
    show_steps(screen, &api.steps(&command, instance).await?);
    require(percent < IDLE_PERCENT, || {
        format!("after the cancel the sidecar still uses {percent:.0} % of a core")
    })?;
    screen.done(
        "Cancelled",
        &format!("{:.1} s after CancelCommand; the CPU is free again", took.as_secs_f64()),
    );
    Ok(())
}

/// SIGTERM, and nothing is left of the instance and its activation.
async fn stop(screen: &Screen, api: &Api, web: &mut Task) -> Result<(), DemoError> {
    screen.heading("3. The task stops: SIGTERM to the sidecar");
    let began = Instant::now();
    let exit = web.stop(STOP_GRACE).await?.get("sidecar").copied();
    let took = began.elapsed().as_secs_f64();
    require(exit == Some(Exit::Code(0)), || format!("the sidecar ended with {}", told(exit)))?;
    screen.done("sidecar", &format!("exit code 0 after {took:.1} s"));
    let instances = api.instances().await?.len();
    require(instances == 0, || format!("DescribeInstanceInformation still has {instances} instance(s)"))?;
    screen.done("instance", "gone: DescribeInstanceInformation is empty");
    let activations = api.activations().await?.len();
    require(activations == 0, || format!("DescribeActivations still has {activations} activation(s)"))?;
    screen.done("activation", "gone: DescribeActivations is empty");
    Ok(())
}

async fn send(screen: &Screen, api: &Api, instance: &str, act: &str) -> Result<String, DemoError> {
    let what = if act == "1" { "runs to its end" } else { "is cancelled half-way" };
    screen
        .heading(&format!("{act}. {DOCUMENT}: {STRESS_SECONDS} s, {LOAD_PERCENT} % of one core; it {what}"));
    let parameters = [
        ("DurationSeconds", STRESS_SECONDS.to_string()),
        ("LoadPercent", LOAD_PERCENT.to_string()),
        ("CPU", "1".to_owned()),
    ];
    let command = api.send(instance, DOCUMENT, &parameters).await?;
    screen.note(&format!("SendCommand: {command}"));
    Ok(command)
}

/// Watches one command and the sidecar's CPU, second by second.
struct Watch<'a> {
    screen: &'a Screen,
    api: &'a Api,
    command: &'a str,
    meter: Meter,
    ticks: tokio::time::Interval,
    second: u64,
    in_progress: Vec<f64>,
}

impl<'a> Watch<'a> {
    fn start(screen: &'a Screen, api: &'a Api, command: &'a str, pid: i32) -> Result<Watch<'a>, DemoError> {
        screen.seconds_heading();
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once; the first second ends one later.
        ticks.reset();
        let meter = Meter::of(pid).map_err(system("the sidecar is gone"))?;
        Ok(Watch { screen, api, command, meter, ticks, second: 0, in_progress: Vec::new() })
    }

    /// Lets a second pass and shows it; the share of one core in it, in percent.
    async fn second(&mut self) -> Result<f64, DemoError> {
        Ok(self.look().await?.1)
    }

    /// Shows seconds until the command has ended, at most `limit` of them.
    async fn until_final(&mut self, limit: u64) -> Result<State, DemoError> {
        loop {
            if let (Some(state), _) = self.look().await?
                && is_final(&state)
            {
                return Ok(state);
            }
            require(self.second < limit, || format!("the command has not ended after {limit} s"))?;
        }
    }

    async fn look(&mut self) -> Result<(Option<State>, f64), DemoError> {
        self.ticks.tick().await;
        self.second += 1;
        let percent = self.meter.percent().map_err(system("the sidecar is gone"))?;
        let state = self.api.state(self.command).await?;
        self.screen.second(self.second, state.as_ref().map_or("-", State::as_str), percent);
        if state == Some(State::InProgress) {
            self.in_progress.push(percent);
        }
        Ok((state, percent))
    }

    /// The mean over the seconds in progress. The first is left out: the command arrived in the middle of it.
    fn mean_in_progress(&self) -> f64 {
        let seconds = self.in_progress.get(1..).unwrap_or_default();
        if seconds.is_empty() { 0.0 } else { seconds.iter().sum::<f64>() / seconds.len() as f64 }
    }
}

async fn final_state(api: &Api, command: &str, limit: Duration) -> Result<State, DemoError> {
    let began = Instant::now();
    loop {
        if let Some(state) = api.state(command).await?
            && is_final(&state)
        {
            return Ok(state);
        }
        if began.elapsed() > limit {
            return Err(too_long("the command has not ended", limit));
        }
        sleep(POLL).await;
    }
}

fn is_final(state: &State) -> bool {
    !matches!(state, State::Pending | State::InProgress | State::Delayed | State::Cancelling)
}

fn show_steps(screen: &Screen, steps: &[StepOutput]) {
    for step in steps {
        let title =
            format!("GetCommandInvocation {}: {}, code {}", step.name, step.status, step.response_code);
        screen.quote(&title, step.stdout.trim_end());
        if !step.stderr.trim().is_empty() {
            screen.quote("standard error", step.stderr.trim_end());
        }
    }
}

/// The error, and how the sidecar ended if it has.
async fn with_exit(error: DemoError, web: &mut Task) -> DemoError {
    // Whatever it still has to say is said at once; a living sidecar is ended by the drop of the task.
    let _ = timeout(POLL, web.wait()).await;
    match web.exits().get("sidecar") {
        Some(exit) => DemoError::Unmet(format!("{error} (the sidecar ended: {exit})")),
        None => error,
    }
}

fn told(exit: Option<Exit>) -> String {
    exit.map_or_else(|| "no exit code".into(), |exit| exit.to_string())
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Unmet(otherwise())) }
}

fn too_long(what: &str, limit: Duration) -> DemoError {
    DemoError::Unmet(format!("{what} after {} s", limit.as_secs()))
}

fn system(what: &str) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.to_owned();
    move |source| DemoError::System { what, source }
}

fn own_binary() -> Result<PathBuf, DemoError> {
    std::env::current_exe().map_err(system("finding this program's file"))
}

/// The program that was built beside this one.
fn sibling(name: &str) -> Result<PathBuf, DemoError> {
    let path = own_binary()?.with_file_name(name);
    require(path.is_file(), || format!("{} is not there: build it with `cargo build`", path.display()))?;
    Ok(path)
}
